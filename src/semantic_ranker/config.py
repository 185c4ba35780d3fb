"""Settings from a file, the environment and arguments, in this order of increasing strength.

A file is JSON or TOML with the sections ``embedder``, ``cache`` and ``reranker``. A variable is
``SEMANTIC_RANKER_EMBEDDER_MODEL`` for ``embedder.model``, and so on. Passwords are never shown.
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
import os
import tomllib
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit, urlunsplit

from semantic_ranker._arguments import Options
from semantic_ranker.embedding.options import EmbedderOptions
from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from semantic_ranker.cache import TieredCache
    from semantic_ranker.cross_encoder import CrossEncoder
    from semantic_ranker.embedder import Embedder

PREFIX = "SEMANTIC_RANKER_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
"""Names the file where the caller names none."""
_HIDDEN = "***"
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_NOTHING = ("", "none", "null")
# Other parts of the package read these.
_OTHERS = tuple(f"{PREFIX}{name}" for name in ("CACHE", "CONFIG", "DATA", "DEBUG", "MODELS", "MSMARCO", "REDIS_URL"))
# A variable that looks this much like one of ours is a misspelling, not another program's.
_LIKENESS = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """See `semantic_ranker.cache.TieredCache`, and `RedisOptions` from ``ttl_s`` on, for what each field means.

    Attributes:
        url: Of Redis, such as ``redis://:password@host:6379/0``; None keeps to this process. Never shown in full.
        codec: How vectors are stored.
        memory_bytes: What the tier in this process may take.
        policy: What goes first when it is full.
        on_non_finite: What a vector with NaN or infinity does.
        ttl_s: Seconds that a vector is kept in Redis.
        timeout_s: Seconds that connecting, or one answer, may take.
        fail_max: Failures in a row after which Redis is left alone.
        reset_s: Seconds after which it is looked at again.
        max_connections: Connections of this process.
        allow_unprotected: Allow a server of another machine without a password.
    """

    url: str | None = field(default=None, repr=False)
    codec: Literal["fp16", "fp32", "int8"] = "fp16"
    memory_bytes: int = 64 * 1024 * 1024
    policy: Literal["auto", "tinylfu", "lru"] = "auto"
    on_non_finite: Literal["raise", "skip"] = "raise"
    ttl_s: float = 30.0 * 24 * 60 * 60
    timeout_s: float = 0.05
    fail_max: int = 3
    reset_s: float = 1.0
    max_connections: int = 8
    allow_unprotected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `load_settings` read.

    Attributes:
        embedder: Arguments of an `Embedder`.
        reranker: Arguments of a `CrossEncoder`.
        cache: Arguments of a `TieredCache`; None where no key of ``cache`` was given anywhere: then there is none.
    """

    embedder: EmbedderOptions = field(default_factory=EmbedderOptions)
    reranker: Options = field(default_factory=Options)
    cache: CacheSettings | None = None

    def shown(self) -> dict[str, Any]:
        """Return all settings for logs and reports, without passwords."""
        content = asdict(self)
        if self.cache is not None:
            content["cache"]["url"] = without_password(self.cache.url)
        return content


_SECTIONS: dict[str, type] = {"embedder": EmbedderOptions, "cache": CacheSettings, "reranker": Options}
_SECRETS = ("cache.url",)
_REDIS = ("ttl_s", "timeout_s", "fail_max", "reset_s", "max_connections", "allow_unprotected")


@dataclass(frozen=True, slots=True)
class _Given:
    """One value with the place that it came from."""

    value: Any
    origin: str


def load_settings(
    path: str | os.PathLike[str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Settings:
    """Read settings; an argument beats a variable, a variable beats the file, the file beats the defaults.

    Args:
        path: A ``.json`` or ``.toml`` file; None reads the one that ``SEMANTIC_RANKER_CONFIG`` names, if any.
        environment: Variables; None takes the process's. ``none`` stands for no value.
        arguments: Values by dotted name, such as ``{"embedder.model": "all-MiniLM-L6-v2"}``.

    Raises:
        InvalidInputError: The file cannot be read, a key is unknown (the message names the nearest one), or a value
            has another type, is not finite, is negative or out of range (the message says where it came from).

    Example:
        >>> from semantic_ranker.config import load_settings
        >>> load_settings(arguments={"embedder.precision": "int8"}).embedder.precision
        'int8'
    """
    environment = os.environ if environment is None else environment
    path = path or environment.get(CONFIG_VARIABLE) or None
    given = _of_file(Path(path)) if path else {}
    given |= _of_environment(environment)
    given |= {_known(name, "argument"): _Given(value, "argument") for name, value in (arguments or {}).items()}
    checked = {name: _checked(name, of) for name, of in given.items()}
    return Settings(
        embedder=_section("embedder", checked, given) or EmbedderOptions(),
        reranker=_section("reranker", checked, given) or Options(),
        cache=_section("cache", checked, given),
    )


def build_embedder(settings: Settings) -> Embedder:
    """Return the embedder that the settings describe, with their cache if they have one."""
    from semantic_ranker.embedder import Embedder

    options = {entry.name: getattr(settings.embedder, entry.name) for entry in fields(settings.embedder)}
    return Embedder(**options, cache=build_cache(settings))


def build_reranker(settings: Settings) -> CrossEncoder:
    """Return the reranker that the settings describe."""
    from semantic_ranker.cross_encoder import CrossEncoder

    return CrossEncoder(**{entry.name: getattr(settings.reranker, entry.name) for entry in fields(settings.reranker)})


def build_cache(settings: Settings) -> TieredCache | None:
    """Return the cache that the settings describe, or None where they describe none.

    Raises:
        ModuleNotFoundError: A URL is given, and the extra ``redis`` is not installed.
        CacheError: The cache cannot be configured so.
    """
    if settings.cache is None:
        return None
    from semantic_ranker.cache import RedisOptions, TieredCache

    chosen = {entry.name: getattr(settings.cache, entry.name) for entry in fields(settings.cache)}
    of_redis = {name: chosen.pop(name) for name in _REDIS}
    return TieredCache(**chosen, redis=RedisOptions(**of_redis))


def without_password(url: str | None) -> str | None:
    """Return a URL with stars for its password, whatever form it has."""
    if not url:
        return url
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return _HIDDEN
    if "@" not in parts.netloc and "password" not in parts.query:
        return url
    user = f"{parts.username or ''}:{_HIDDEN}@" if "@" in parts.netloc else ""
    return urlunsplit((parts.scheme, f"{user}{host}{port}", parts.path, _HIDDEN if parts.query else "", ""))


def _of_file(path: Path) -> dict[str, _Given]:
    if path.suffix not in (".json", ".toml"):
        raise InvalidInputError(f"Expected a .json or .toml file of settings, got {path.name!r}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except FileNotFoundError:
        raise InvalidInputError(f"Expected a file of settings at {str(path)!r}, found nothing.") from None
    except (OSError, ValueError, RecursionError) as error:
        # The reason of a broken file may quote it; the place is enough, and shows no password.
        place = f" at line {line}" if (line := getattr(error, "lineno", None)) else ""
        raise InvalidInputError(
            f"Cannot read the settings in {str(path)!r}: no valid {path.suffix[1:].upper()}{place}."
        ) from None
    if not isinstance(content, dict):
        raise InvalidInputError(f"Expected an object of sections in {str(path)!r}, got {type(content).__name__}.")
    found = {}
    for section, values in content.items():
        _nearest(section, list(_SECTIONS), f"section {section!r} in {path.name}")
        if not isinstance(values, dict):
            raise InvalidInputError(f"Expected section {section!r} in {path.name} to hold keys, got {_kind(values)}.")
        for key, value in values.items():
            found[_known(f"{section}.{key}", path.name)] = _Given(value, path.name)
    return found


def _of_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    names = {f"{PREFIX}{name.replace('.', '_').upper()}": name for name in _all_names()}
    found = {}
    for variable, text in environment.items():
        if variable in names:
            found[names[variable]] = _Given(_parsed(names[variable], text), variable)
        elif variable.startswith(PREFIX) and _is_ours(variable, list(names)):
            _nearest(variable, list(names), f"variable {variable}")
    return found


def _is_ours(variable: str, names: list[str]) -> bool:
    if variable in _OTHERS:
        return False
    in_section = any(variable.startswith(f"{PREFIX}{section.upper()}_") for section in _SECTIONS)
    return in_section or bool(difflib.get_close_matches(variable, names, 1, _LIKENESS))


def _all_names() -> list[str]:
    return [f"{section}.{entry.name}" for section, kind in _SECTIONS.items() for entry in fields(kind)]


def _known(name: str, origin: str) -> str:
    _nearest(name, _all_names(), f"key {name!r} in {origin}")
    return name


def _nearest(name: str, known: list[str], what: str) -> None:
    if name in known:
        return
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."
    raise InvalidInputError(f"Unknown {what}; {hint}")


def _parsed(name: str, text: str) -> Any:
    """Read a variable's text as the first of the key's types that it fits; else it stays text, and is refused."""
    options = _types(name)
    word = text.strip().lower()
    if type(None) in options and word in _NOTHING:
        return None
    if bool in options and word in _WORDS:
        return _WORDS[word]
    for kind in (int, float):
        if kind in options:
            try:
                return kind(text)
            except ValueError:
                continue
    return text


def _types(name: str) -> tuple[Any, ...]:
    """Return the types that a key may have; a literal's values stand for themselves."""
    section, _, key = name.partition(".")
    hint = get_type_hints(_SECTIONS[section])[key]
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    values = [get_args(option) if get_origin(option) is Literal else (option,) for option in options]
    return tuple(itertools.chain.from_iterable(values))


def _checked(name: str, given: _Given) -> Any:
    options, value = _types(name), given.value
    choices = [option for option in options if isinstance(option, str)]
    allowed = tuple(option for option in options if isinstance(option, type))
    if isinstance(value, os.PathLike) and str in allowed:
        value = os.fspath(value)
    if isinstance(value, int) and not isinstance(value, bool) and float in allowed and int not in allowed:
        value = float(value)
    fits = type(value) in allowed or (isinstance(value, str) and value in choices)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not fits or (number and not (math.isfinite(value) and value >= 0)):
        expected = " or ".join([*map(repr, choices), *(_spoken(option) for option in allowed)])
        actual = _kind(value) if name in _SECRETS else f"{value!r}"
        raise InvalidInputError(f"Expected {name} to be {expected}, got {actual} (from {given.origin}).")
    return value


def _spoken(kind: type) -> str:
    if kind is type(None):
        return "nothing"
    return {int: "a whole number of 0 or more", float: "a finite number of 0 or more", bool: "true or false"}.get(
        kind, "text"
    )


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"


def _section(section: str, checked: Mapping[str, Any], given: Mapping[str, _Given]) -> Any:
    """Build one section, or None where nothing of it was given; its own checks of ranges are reported with origins."""
    values = {name.partition(".")[2]: value for name, value in checked.items() if name.startswith(f"{section}.")}
    if not values:
        return None
    try:
        return _SECTIONS[section](**values)
    except InvalidInputError as error:
        origins = ", ".join(dict.fromkeys(given[f"{section}.{key}"].origin for key in values))
        raise InvalidInputError(f"{error} (section {section!r}, from {origins})") from error
