"""``semantic-ranker cache``: look at the vectors kept in a Redis, or delete them."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from semantic_ranker.cli._output import write

VARIABLES = ("SEMANTIC_RANKER_REDIS_URL", "SEMANTIC_RANKER_CACHE_URL")
"""Where the URL is looked for; better than an argument, which other users of the machine can see."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("cache", help="look at or delete the vectors kept in a Redis")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    stats = actions.add_parser("stats", help="how many vectors, of which spaces, and what they take")
    stats.set_defaults(run=_stats)
    clear = actions.add_parser("clear", help="delete our vectors; keys of other programs are never touched")
    clear.add_argument("--space", metavar="S", help="only this space, as `cache stats` shows it")
    clear.set_defaults(run=_clear)
    for action in (stats, clear):
        action.add_argument("--url", metavar="URL", help=f"of Redis (default: ${VARIABLES[0]})")
        action.add_argument("--config", metavar="FILE", help="settings with cache.url, JSON or TOML")
        action.add_argument(
            "--allow-unprotected", action="store_true", help="allow another machine's server without a password"
        )
        action.add_argument("--json", action="store_true", help="print JSON")


def _stats(options: argparse.Namespace) -> int:
    from semantic_ranker.cache.admin import survey

    found = survey(_url(options), allow_unprotected=options.allow_unprotected)
    if options.json:
        print(json.dumps(found.to_dict(), indent=2))
        return 0
    content = found.to_dict()
    advice = content.pop("advice")
    for name, value in content.items():
        write(f"{name.replace('_', ' '):<16} {_shown(value)}")
    for line in advice:
        write(f"{'advice':<16} {line}")
    return 0


def _clear(options: argparse.Namespace) -> int:
    from semantic_ranker.cache.admin import clear
    from semantic_ranker.config import without_password

    url = _url(options)
    deleted = clear(url, space=options.space, allow_unprotected=options.allow_unprotected)
    if options.json:
        print(json.dumps({"url": without_password(url), "deleted": deleted}))
    else:
        write(f"deleted {deleted} vectors from {without_password(url)}")
    return 0


def _url(options: argparse.Namespace) -> str:
    from semantic_ranker.config import load_settings
    from semantic_ranker.errors import InvalidInputError

    url = options.url or next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None)
    if not url and (cache := load_settings(options.config).cache):
        url = cache.url
    if not url:
        raise InvalidInputError(
            f"Expected the URL of a Redis, such as redis://:password@host:6379/0, got none: set {VARIABLES[0]}, "
            "or use --url, or --config."
        )
    return str(url)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {count:,}" for name, count in value.items()) or "-"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}"
    return "-" if value is None else str(value)
