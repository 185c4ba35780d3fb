"""The command line: rank, doctor, export. Errors are one line; what a command needs is imported when it runs."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from semantic_ranker._version import __version__

if TYPE_CHECKING:
    from semantic_ranker.doctor import Diagnosis
    from semantic_ranker.ranking import RankedText

_FAILURE, _USAGE, _INTERRUPTED, _BROKEN_PIPE = 1, 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words of the command line without the program; None takes the process's.

    Returns:
        Exit status: 0 done, 1 failed, 2 wrong input, 130 interrupted, 141 the reader of the output went away.
    """
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes once more at its end: that must not meet the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Exception as error:  # a user of the command line is told, not shown a traceback
        return _report(error, options)


def _report(error: Exception, options: argparse.Namespace) -> int:
    from semantic_ranker.errors import InvalidInputError, ModelLoadError, SemanticRankerError

    if os.environ.get("SEMANTIC_RANKER_DEBUG"):
        raise error
    known = isinstance(error, (SemanticRankerError, ModuleNotFoundError))
    message = " ".join(str(error).split())
    if not known:
        message = f"{type(error).__name__}: {message} (set SEMANTIC_RANKER_DEBUG=1 for the traceback)"
    print(f"semantic-ranker: {message}", file=sys.stderr)
    named_by_user = isinstance(error, ModelLoadError) and options.model is not None
    return _USAGE if isinstance(error, InvalidInputError) or named_by_user else _FAILURE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="semantic-ranker", description="Rerank texts by relevance, on this machine.")
    parser.add_argument("--version", action="version", version=f"semantic-ranker {__version__}")
    parser.set_defaults(model=None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    rank = commands.add_parser("rank", help="order documents by how well they answer a query")
    rank.add_argument("query")
    rank.add_argument(
        "--docs", required=True, metavar="FILE", help='one document a line, or .jsonl with "text"; - is standard input'
    )
    rank.add_argument("--top-k", type=_count, metavar="N", help="how many to print (default: all)")
    rank.add_argument("--model", metavar="M", help="model folder or hub id (default: the bundled model)")
    rank.add_argument("--json", action="store_true", help="print JSON")
    rank.set_defaults(run=_rank)

    doctor = commands.add_parser("doctor", help="check this installation")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=_doctor)

    export = commands.add_parser("export", help="write a model folder that runs without torch")
    export.add_argument("model", metavar="MODEL", help="folder with safetensors, or hub id")
    export.add_argument("out", metavar="OUT", help="folder to write")
    export.add_argument(
        "--precisions",
        nargs="+",
        default=["fp32", "int8"],
        choices=["fp32", "int8"],
        help="graphs to keep (default: both)",
    )
    export.add_argument("--overwrite", action="store_true", help="replace a model folder at OUT")
    export.set_defaults(run=_export)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, got {text!r}")
    return int(text)


def _rank(options: argparse.Namespace) -> int:
    from semantic_ranker._documents import read_documents
    from semantic_ranker.cross_encoder import CrossEncoder

    documents = read_documents(options.docs)
    encoder = CrossEncoder(options.model)
    ranked = encoder.rank(options.query, documents, options.top_k)
    if options.json:
        results = [
            {
                "rank": place,
                "index": item.index,
                "relevance_score": item.relevance_score,
                "logit": item.logit,
                "truncated": item.truncated,
                "span": item.span,
                "text": item.text,
            }
            for place, item in enumerate(ranked, start=1)
        ]
        # ASCII, so that no terminal's encoding and no lone surrogate in a document can break it.
        print(json.dumps({"query": options.query, "model": encoder.model_name, "results": results}, indent=2))
    else:
        _print_ranking(ranked)
    return 0


def _print_ranking(ranked: Sequence[RankedText]) -> None:
    if not ranked:
        print("semantic-ranker: there are no documents", file=sys.stderr)
        return
    _write("rank   score  text")
    width = shutil.get_terminal_size().columns - 15
    for place, item in enumerate(ranked, start=1):
        _write(f"{place:>4}  {item.relevance_score:.4f}  {snippet(item.text, max(20, width))}")


def snippet(text: str, width: int) -> str:
    """Return the beginning of a text as one line that cannot steer a terminal.

    Args:
        text: Anything.
        width: Columns that it may take; East Asian wide characters take two.
    """
    # Characters beyond this number cannot be seen, however long the text is.
    line = " ".join(text[: 8 * width].split())
    shown, columns = [], 0
    for character in line:
        columns += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if columns > width:
            break
        shown.append(character if character.isprintable() else "\ufffd")
    if len(shown) == len(line):
        return "".join(shown)
    while shown and columns > width - 1:
        columns -= 2 if unicodedata.east_asian_width(shown.pop()) in "WF" else 1
    return "".join(shown) + "…"


def _doctor(options: argparse.Namespace) -> int:
    from semantic_ranker.doctor import diagnose

    diagnosis = diagnose()
    if options.json:
        print(json.dumps(diagnosis.to_dict(), indent=2))
    else:
        _print_diagnosis(diagnosis)
    return _FAILURE if diagnosis.problems else 0


def _print_diagnosis(diagnosis: Diagnosis) -> None:
    cpu, model = diagnosis.cpu, diagnosis.model
    libraries = (f"{name} {found or 'MISSING'}" for name, found in diagnosis.libraries.items())
    features = "unknown" if cpu.features is None else ", ".join(cpu.features) or "none"
    _write(f"semantic-ranker {diagnosis.version}, Python {diagnosis.python}, {diagnosis.system}")
    _write(f"libraries  {', '.join(libraries)}")
    _write(f"cpu        {cpu.name}; {cpu.usable_cores} cores usable, {cpu.threads} scoring threads")
    _write(f"           instruction sets: {features} ({cpu.meaning})")
    if not model.problem:
        _write(f"model      {model.name} {model.version}, {model.precision} by {model.backend}")
        _write(f"           {model.verified_files} files verified, ranks rightly")
        _write(f"           first rank after {model.first_rank_s:.2f} s")
    for number, extra in enumerate(diagnosis.extras):
        state = f"missing {', '.join(extra.missing)}; run: {extra.install}" if extra.missing else "installed"
        _write(f"{'extras' if number == 0 else '':<9}  {extra.name:<12} {state}")
    for problem in diagnosis.problems:
        _write(f"PROBLEM    {problem}")
    _write("The core does not work." if diagnosis.problems else "The core works.")


def _export(options: argparse.Namespace) -> int:
    from semantic_ranker._extras import requires_extra

    with requires_extra("training"):
        # By name, so that the core never imports training.
        export = importlib.import_module("semantic_ranker_training.export")
        report = export.export_model(
            options.model, options.out, precisions=options.precisions, overwrite=options.overwrite
        )
    _write(f"Wrote {options.out}")
    _write(report.summary())
    return 0


def _write(line: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "replace").decode(encoding))


if __name__ == "__main__":
    sys.exit(main())
