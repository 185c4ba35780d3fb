"""The command line: one module a command. Errors are one line; what a command needs is imported when it runs."""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence

from semantic_ranker._version import __version__

_FAILURE, _USAGE, _INTERRUPTED, _BROKEN_PIPE = 1, 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Words of the command line without the program; None takes the process's.

    Returns:
        Exit status: 0 done, 1 failed, 2 wrong input, 130 interrupted, 141 the reader of the output went away;
        a command may document others.
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
    from semantic_ranker.errors import EvaluationError, InvalidInputError, ModelLoadError, SemanticRankerError

    if os.environ.get("SEMANTIC_RANKER_DEBUG"):
        raise error
    known = isinstance(error, (SemanticRankerError, ModuleNotFoundError))
    message = " ".join(str(error).split())
    if not known:
        message = f"{type(error).__name__}: {message} (set SEMANTIC_RANKER_DEBUG=1 for the traceback)"
    print(f"semantic-ranker: {message}", file=sys.stderr)
    named_by_user = isinstance(error, ModelLoadError) and options.model is not None
    return _USAGE if isinstance(error, (InvalidInputError, EvaluationError)) or named_by_user else _FAILURE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="semantic-ranker", description="Rerank texts by relevance, on this machine.")
    parser.add_argument("--version", action="version", version=f"semantic-ranker {__version__}")
    parser.set_defaults(model=None)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{__name__}.{module.name}").add(commands)
    return parser
