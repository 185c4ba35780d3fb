"""``semantic-ranker doctor``: check this installation, or whether a model is ready for users."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from semantic_ranker.cli._output import count, write

if TYPE_CHECKING:
    from semantic_ranker.doctor import Diagnosis
    from semantic_ranker.production import Checklist


_EPILOG = """Exit status: 0 all is well; 1 a line failed, or the core does not work; 2 wrong input;
3 (with --production) nothing failed, but a line cannot be told."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    doctor = commands.add_parser(
        "doctor",
        help="check this installation, or whether a model is ready for users",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.add_argument("--json", action="store_true", help="print JSON")
    group = doctor.add_argument_group("with --production")
    group.add_argument(
        "--production", metavar="MODEL", help="verify a reranker (folder or name) by running the checklist"
    )
    group.add_argument("--judged", metavar="DIR", help="BEIR folder with judged queries of your documents")
    group.add_argument("--feedback", metavar="LOG", help="the feedback log that the application writes")
    group.add_argument("--previous", metavar="M", help="version to go back to (default: the highest earlier one)")
    group.add_argument(
        "--root", metavar="DIR", help="folder of models (default: $SEMANTIC_RANKER_MODELS, else ./models)"
    )
    group.add_argument(
        "--budget-ms", type=float, default=200.0, metavar="MS", help="P95 allowed (default: %(default)g)"
    )
    group.add_argument("--candidates", type=count, default=20, metavar="N", help="texts a query (default: %(default)s)")
    group.add_argument(
        "--min-pairs", type=count, default=1000, metavar="N", help="training pairs (default: %(default)s)"
    )
    doctor.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    if options.production is not None:
        return _production(options)
    from semantic_ranker.doctor import diagnose

    diagnosis = diagnose()
    if options.json:
        print(json.dumps(diagnosis.to_dict(), indent=2))
    else:
        _print_diagnosis(diagnosis)
    return 1 if diagnosis.problems else 0


def _production(options: argparse.Namespace) -> int:
    from pathlib import Path

    from semantic_ranker.collections import load_beir
    from semantic_ranker.production import Needs, check_production
    from semantic_ranker.registry import ModelRegistry

    found = check_production(
        options.production,
        registry=ModelRegistry(options.root),
        judged=load_beir(options.judged) if options.judged else None,
        feedback=Path(options.feedback) if options.feedback else None,
        previous=options.previous,
        needs=Needs(pairs=options.min_pairs, latency_ms=options.budget_ms, candidates=options.candidates),
        progress=_tell if sys.stderr.isatty() else None,
    )
    if options.json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        _print_checklist(found)
    return {"ok": 0, "failed": 1, "cannot tell": 3}[found.state]


def _tell(name: str) -> None:
    print(f"checking {name} ...", file=sys.stderr)


def _print_checklist(found: Checklist) -> None:
    write(f"{found.model} in {found.path}")
    for line in found.lines:
        write(f"{line.state:<12} {line.name:<17} {line.found}")
        if line.advice:
            write(f"{'':<30} {line.advice}")
    states = [line.state for line in found.lines]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("ok", "failed", "cannot tell"))
    write(f"{'Ready' if found.state == 'ok' else 'Not ready' if found.state == 'failed' else 'Not proved'}: {counts}.")


def _print_diagnosis(diagnosis: Diagnosis) -> None:
    cpu, model = diagnosis.cpu, diagnosis.model
    libraries = (f"{name} {found or 'MISSING'}" for name, found in diagnosis.libraries.items())
    features = "unknown" if cpu.features is None else ", ".join(cpu.features) or "none"
    write(f"semantic-ranker {diagnosis.version}, Python {diagnosis.python}, {diagnosis.system}")
    write(f"libraries  {', '.join(libraries)}")
    write(f"cpu        {cpu.name}; {cpu.usable_cores} cores usable, {cpu.threads} scoring threads")
    write(f"           instruction sets: {features} ({cpu.meaning})")
    if not model.problem:
        write(f"model      {model.name} {model.version}, {model.precision} by {model.backend}")
        write(f"           {model.verified_files} files verified, ranks rightly")
        write(f"           first rank after {model.first_rank_s:.2f} s")
    for number, extra in enumerate(diagnosis.extras):
        state = f"missing {', '.join(extra.missing)}; run: {extra.install}" if extra.missing else "installed"
        write(f"{'extras' if number == 0 else '':<9}  {extra.name:<12} {state}")
    for problem in diagnosis.problems:
        write(f"PROBLEM    {problem}")
    write("The core does not work." if diagnosis.problems else "The core works.")
