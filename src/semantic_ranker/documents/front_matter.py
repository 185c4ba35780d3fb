"""Takes the front matter off a Markdown text: YAML's simple lines or TOML, as strings. Runs no YAML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

Metadata = dict[str, str | tuple[str, ...]]

_MOST_CHARACTERS = 65_536
_KEY = re.compile(r"([A-Za-z_][\w .-]{0,80}?)\s{0,8}:(?:\s(.*)|$)")
_ITEM = re.compile(r"\s{0,16}-\s+(.*)")
_QUOTED = re.compile(r"([\"'])(.*)\1\s*$")


def split_front_matter(text: str) -> tuple[Metadata, str]:
    """Return the front matter and the text below it; a text without any comes back whole.

    Values are strings, or tuples of strings for lists. Nested YAML and anchors are left out: nothing is evaluated.
    """
    for fence, parse in (("---", _yaml), ("+++", _toml)):
        if not text.startswith(fence + "\n"):
            continue
        end = text.find(f"\n{fence}", len(fence), _MOST_CHARACTERS)
        line_end = text.find("\n", end + 1) if end >= 0 else -1
        after = text[end + 4 : line_end if line_end >= 0 else len(text)]
        if end < 0 or after.strip():
            return {}, text
        found = parse(text[len(fence) + 1 : end + 1])
        if found is not None:
            return found, text[line_end + 1 :] if line_end >= 0 else ""
    return {}, text


def _yaml(text: str) -> Metadata | None:
    found: Metadata = {}
    key, lines = "", text.split("\n")
    for line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if named := _KEY.fullmatch(line.rstrip()):
            key = named.group(1).strip()
            value = _yaml_value(named.group(2) or "")
            if value:
                found[key] = value
        elif not key:
            return None  # a text between two rules, not front matter
        elif item := _ITEM.fullmatch(line):
            before = found.get(key, ())
            found[key] = (*((before,) if isinstance(before, str) else before), _plain(item.group(1)))
        elif line[0].isspace() and isinstance(before := found.get(key, ""), str):
            found[key] = f"{before.lstrip('>|-')} {line.strip()}".strip()
    return found


def _yaml_value(value: str) -> str | tuple[str, ...]:
    value = value.strip()
    if value.startswith("[") and value.endswith("]"):
        return tuple(_plain(item) for item in value[1:-1].split(",") if item.strip())
    return _plain(value)


def _plain(value: str) -> str:
    value = value.strip()
    quoted = _QUOTED.match(value)
    return quoted.group(2) if quoted else value


def _toml(text: str) -> Metadata | None:
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None
    return {key: value for key, given in found.items() if (value := _toml_value(given)) is not None}


def _toml_value(value: object) -> str | tuple[str, ...] | None:
    if isinstance(value, Mapping):
        return None
    return tuple(map(str, value)) if isinstance(value, list) else str(value)
