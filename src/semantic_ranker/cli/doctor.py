"""``semantic-ranker doctor``: check this installation."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from semantic_ranker.cli._output import write

if TYPE_CHECKING:
    from semantic_ranker.doctor import Diagnosis


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    doctor = commands.add_parser("doctor", help="check this installation")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from semantic_ranker.doctor import diagnose

    diagnosis = diagnose()
    if options.json:
        print(json.dumps(diagnosis.to_dict(), indent=2))
    else:
        _print_diagnosis(diagnosis)
    return 1 if diagnosis.problems else 0


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
