"""Pairs of other things than the user's documents: a share of training, and a small guard, so that nothing is unlearnt.

Both are made on the spot of what is installed beside this package and may be used: first sentences of docstrings, and
headings of the long descriptions of packages. No package is in both.
"""

from __future__ import annotations

import importlib.metadata
import random
import re
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

from semantic_ranker._extras import package_folder
from semantic_ranker.collections import Collection
from semantic_ranker_training.data.duplicates import normalized
from semantic_ranker_training.data.records import Group
from semantic_ranker_training.pairs import function_pairs
from semantic_ranker_training.prepare.documents import Document
from semantic_ranker_training.prepare.markup import markdown_sections
from semantic_ranker_training.prepare.strategies import Context, make_pairs

PACKAGES = ("numpy", "networkx", "fsspec", "sympy", "torch")
"""Whose docstrings are learnt from: BSD licences, and always there where there is torch."""
GUARD = "built-in guard"
_MODULES = ("argparse", "asyncio", "collections", "concurrent", "csv", "email", "http", "json", "logging", "pathlib",
            "shutil", "statistics", "subprocess", "tarfile", "unittest", "urllib", "zipfile")  # fmt: skip
_PERMISSIVE = re.compile(r"\b(?:MIT|BSD|Apache|ISC|PSF|Python Software Foundation|Unlicense|CC0)\b", re.IGNORECASE)
_DISTRACTORS = 600


@cache
def general_groups(count: int, seed: int) -> tuple[Group, ...]:
    """Return pairs as groups without negatives, half of them docstrings, half headings of package descriptions.

    Args:
        count: Groups at most.
        seed: Of the choice.
    """
    files = [file for root in _package_folders() for file in sorted(root.rglob("*.py"))]
    random.Random(f"{seed}/general").shuffle(files)
    pairs = list(islice(_functions(files, seed), count // 2))
    pairs += islice(description_pairs(seed, guard=False), count - len(pairs))
    random.Random(seed).shuffle(pairs)
    return tuple(Group(query, (text,), (1.0,), source="general") for query, text in dict(pairs).items())


def built_in_guard(queries: int = 200, seed: int = 13) -> Collection:
    """Return a collection of the standard library's docstrings and of headings of package descriptions.

    Args:
        queries: Queries at most.
        seed: Of the choice.
    """
    chooser = random.Random(f"{seed}/guard")
    pairs = _distinct(islice(_standard_library(seed), queries + _DISTRACTORS))
    prose = _distinct(islice(description_pairs(seed, guard=True), queries + _DISTRACTORS))
    for part in (pairs, prose):
        chooser.shuffle(part)
    asked = [*pairs[: queries // 2], *prose[: queries - queries // 2]]
    texts = list(dict.fromkeys(text for _, text in [*asked, *pairs[:_DISTRACTORS], *prose[:_DISTRACTORS]]))
    row = {text: f"d{place}" for place, text in enumerate(texts)}
    return Collection(
        name=GUARD,
        corpus={key: text for text, key in row.items()},
        queries={f"q{place}": query for place, (query, _) in enumerate(asked)},
        qrels={f"q{place}": {row[text]: 1} for place, (_, text) in enumerate(asked)},
    )


def description_pairs(seed: int, *, guard: bool) -> Iterator[tuple[str, str]]:
    """Give headings of installed packages' descriptions with their sections; every second package is the guard's."""
    found = []
    for distribution in importlib.metadata.distributions():
        meta = distribution.metadata
        name = str(meta["Name"] or "").lower()
        licence = " ".join(
            [str(meta["License"] or "")[:200], str(meta["License-Expression"] or ""), *_classifiers(meta)]
        )
        text = str(meta.json.get("description") or "")
        if name and _PERMISSIVE.search(licence) and len(text) > 500 and (sum(name.encode()) % 2 == 1) is guard:
            found.append((name, text))
    found = sorted(set(found))
    random.Random(f"{seed}/descriptions").shuffle(found)
    for name, text in found:
        sections = tuple(markdown_sections(text[:60_000]))
        document = Document(id=name, title=sections[0].heading if sections else name, sections=sections)
        for pair in make_pairs(document, ("heading", "faq"), Context(frequencies={}, seed=seed)):
            if len(pair.query.split()) >= 2 and re.search(r"[a-z]{3}", pair.positive):
                yield pair.query, pair.positive


def _distinct(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return list({normalized(query): (query, text) for query, text in pairs}.values())


def _classifiers(meta: importlib.metadata.PackageMetadata) -> Sequence[str]:
    return [str(line) for line in meta.get_all("Classifier") or () if str(line).startswith("License")]


def _package_folders() -> Iterator[Path]:
    yield from filter(None, map(package_folder, PACKAGES))


def _standard_library(seed: int) -> Iterator[tuple[str, str]]:
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [file for name in _MODULES for file in [root / f"{name}.py", *sorted((root / name).rglob("*.py"))]]
    random.Random(f"{seed}/library").shuffle(files)
    yield from _functions([file for file in files if file.is_file()], seed)


def _functions(files: Sequence[Path], seed: int) -> Iterator[tuple[str, str]]:
    chooser = random.Random(f"{seed}/functions")
    for file in files:
        if "test" not in "/".join(file.parts[-3:]).lower():
            yield from function_pairs(file, chooser)
