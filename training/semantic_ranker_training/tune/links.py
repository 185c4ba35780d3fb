"""Finds what the links between documents are called: words that a person chose for another document or section."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

_MARKDOWN = re.compile(r"(?<!!)\[([^\]\[\n]{2,200})\]\(\s*<?([^)\s>]{1,300})>?[^)\n]{0,200}\)")
_HTML = re.compile(
    r"<a\b[^>]{0,300}?\bhref\s*=\s*[\"']([^\"'>]{1,300})[\"'][^>]{0,300}>(.{2,300}?)</a\s*>", re.I | re.S
)
_RST = re.compile(r"`([^`<\n]{2,200})<([^`>\s]{1,300})>`")
_TAG = re.compile(r"<[^<>]{0,300}>")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.I)
_SUFFIXES = (
    "",
    ".md",
    ".markdown",
    ".rst",
    ".html",
    ".htm",
    ".txt",
    "/index.md",
    "/index.rst",
    "/index.html",
    "/README.md",
)
_SLUG = re.compile(r"[^\w]+")
_EMPTY = re.compile(r"(?:here|this|link|more|read more|click here|see|page|docs?|aquí|más|enlace|ver)", re.I)


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a document.

    Attributes:
        text: What it is called.
        target: Path as it was written, without the fragment.
        fragment: Name of a section, or empty.
    """

    text: str
    target: str
    fragment: str = ""


def links_of(text: str, suffix: str) -> list[Link]:
    """Return the links of a file that stay inside the folder; those called "here" and the like say nothing.

    Args:
        text: The file as it is.
        suffix: Of its name, in lower case, with the dot.
    """
    pairs: Iterator[tuple[str, str]] = iter(())
    if suffix in (".md", ".markdown"):
        pairs = ((found[1], found[2]) for found in _MARKDOWN.finditer(text))
    elif suffix == ".rst":
        pairs = ((found[1], found[2]) for found in _RST.finditer(text))
    elif suffix in (".html", ".htm", ".xhtml"):
        pairs = ((_TAG.sub(" ", found[2]), found[1]) for found in _HTML.finditer(text))
    links = []
    for words, target in pairs:
        called = " ".join(re.sub(r"[*_`]+", "", words).split())
        if _SCHEME.match(target) or _SCHEME.match(called) or _EMPTY.fullmatch(called) or len(called.split()) < 2:
            continue
        path, _, fragment = unquote(target).partition("#")
        links.append(Link(called, path.partition("?")[0], fragment))
    return links


def resolve(link: Link, source: str, known: Mapping[str, object], by_stem: Mapping[str, Sequence[str]]) -> str | None:
    """Return the source of the document that a link leads to, None where that is not sure.

    Args:
        link: The link.
        source: Of the document that it is in.
        known: Documents by source.
        by_stem: Sources by file name without suffix, lower case.
    """
    if not link.target:
        return source
    inside = (
        link.target.lstrip("/")
        if link.target.startswith("/")
        else posixpath.join(posixpath.dirname(source), link.target)
    )
    path = posixpath.normpath(inside)
    stem, suffix = posixpath.splitext(path)
    for candidate in (path, *(path + end for end in _SUFFIXES[1:]), *(stem + end for end in _SUFFIXES[1:] if suffix)):
        if candidate in known:
            return candidate
    named = by_stem.get(posixpath.basename(stem or path).lower(), ())
    return named[0] if len(named) == 1 else None


def slug(heading: str) -> str:
    """Return a heading as site generators write it in a link."""
    return _SLUG.sub("-", heading.casefold()).strip("-_")
