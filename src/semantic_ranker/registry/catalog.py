"""The registry itself: finds model folders, names one of them, and says which is the best on what they share."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semantic_ranker._settings import MANIFEST
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.model_folder import BUNDLED
from semantic_ranker.registry.best import Best, best_of
from semantic_ranker.registry.entries import ModelEntry, read_entry, version_key

if TYPE_CHECKING:
    from semantic_ranker.collections import Collection
    from semantic_ranker.registry.comparison import ModelComparison
    from semantic_ranker.registry.retraining import Retraining

ROOT_VARIABLE = "SEMANTIC_RANKER_MODELS"
"""Environment variable that names the folder of models."""
DEFAULT_ROOT = Path("models")
"""Where models are looked for when the variable is not set, below the working folder."""
_DEPTH = 4


class ModelRegistry:
    """Model folders below a folder, and those that ship with the package.

    A model folder is one with ``semantic_ranker.json``; it is found up to four levels down. Nothing is cached: what
    is on the disk counts.

    Args:
        root: The folder; None takes ``SEMANTIC_RANKER_MODELS``, else ``./models``, which need not be there.

    Raises:
        InvalidInputError: ``root``, or what the variable names, is no folder.
    """

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        named = root if root is not None else os.environ.get(ROOT_VARIABLE) or None
        self.root = Path(DEFAULT_ROOT if named is None else named)
        if named is not None and not self.root.is_dir():
            said = "the argument" if root is not None else f"${ROOT_VARIABLE}"
            raise InvalidInputError(f"Expected a folder of models at {str(self.root)!r} ({said}), found none.")

    def entries(self, *, kind: str | None = None, verify: bool = False) -> list[ModelEntry]:
        """Return all models, by name and version; damaged folders are among them, with their ``problem``.

        Args:
            kind: Keeps ``reranker``, ``embedder`` or ``static-embedder`` only; damaged folders have none.
            verify: Whether every file is compared with its hash.
        """
        found = [read_entry(folder, bundled=True, verify=verify) for folder in _folders(BUNDLED.parent)]
        bundled = {entry.path.resolve() for entry in found}
        others = [folder for folder in _folders(self.root) if folder.resolve() not in bundled]
        found += [read_entry(folder, verify=verify) for folder in others]
        kept = [entry for entry in found if kind is None or entry.kind == kind]
        return sorted(kept, key=lambda entry: (entry.name, version_key(entry.version), str(entry.path)))

    def get(self, reference: str | os.PathLike[str]) -> ModelEntry:
        """Return one model.

        Args:
            reference: ``NAME`` (its highest version), ``NAME@VERSION``, ``bundled`` (what ships), or a folder.

        Raises:
            InvalidInputError: There is none, several folders hold the same, or it is damaged; the message says which.
        """
        entry = self._entry(os.fspath(reference))
        if entry.problem:
            raise InvalidInputError(f"{entry.reference} in {str(entry.path)!r} cannot be used: {entry.problem}")
        return entry

    def _entry(self, reference: str) -> ModelEntry:
        if (Path(reference) / MANIFEST).is_file():
            return read_entry(Path(reference))
        if reference == "bundled":
            return read_entry(BUNDLED, bundled=True)
        entries = self.entries()
        name, _, version = reference.partition("@")
        named = [entry for entry in entries if entry.name == name and version in ("", entry.version)]
        if not named:
            raise InvalidInputError(
                f"Expected a model {reference!r} below {str(self.root)!r}, found none{_near(name, entries)}"
            )
        usable = [entry for entry in named if not entry.problem] or named
        highest = [entry for entry in usable if version_key(entry.version) == version_key(usable[-1].version)]
        if len(highest) > 1:
            places = ", ".join(str(entry.path) for entry in highest)
            raise InvalidInputError(
                f"Expected one model {highest[0].reference!r}, found several: give one of {places}."
            )
        return highest[0]

    def best(self, metric: str = "nDCG@10", collection: str | None = None, *, kind: str = "reranker") -> Best:
        """Return the ranking of the models by a figure of their manifests.

        Figures of different collections cannot be compared: without a ``collection``, models are compared by the mean
        over those that all of them were measured on, and it is an error when they share none.

        Args:
            metric: Any usual spelling.
            collection: What they were measured on; None takes all that they share.
            kind: Which models.

        Raises:
            EvaluationError: The metric is unknown.
            InvalidInputError: No model was measured so, or the models share no collection.
        """
        return best_of(self.entries(kind=kind), metric, collection, kind)

    def compare(
        self,
        a: str | os.PathLike[str],
        b: str | os.PathLike[str],
        *,
        data: Collection | None = None,
        metrics: tuple[str, ...] = ("nDCG@10", "RR@10"),
        depth: int = 100,
    ) -> ModelComparison:
        """Return two models side by side: figures, lineage, and on ``data`` a paired test.

        Args:
            a: The model to beat, as for `get`.
            b: The model on trial, likewise.
            data: Both rerank BM25's best of every judged query of it, when given.
            metrics: What is measured on ``data``.
            depth: Candidates a query.

        Raises:
            InvalidInputError: A model is not there, or ``data`` is given and one is no reranker.
            EvaluationError: A metric is unknown, or no query has candidates.
            ModelLoadError: A model cannot be opened.
        """
        from semantic_ranker.registry.comparison import compare_entries

        return compare_entries(self.get(a), self.get(b), data=data, metrics=metrics, depth=depth)

    def retrain(
        self,
        reference: str | os.PathLike[str],
        *,
        data: str | os.PathLike[str] | None = None,
        out: str | os.PathLike[str] | None = None,
        overrides: Sequence[str] = (),
    ) -> Retraining:
        """Run the recipe of a model's manifest again, into a new version; a run that was killed goes on.

        Args:
            reference: The model, as for `get`.
            data: File or folder that the recipe learns from, the same as then or newer; None for a recipe that needs
                none.
            out: Folder of the new version; None is ``NAME-VERSION`` below the registry's.
            overrides: ``key=value`` of the recipe, as for the trainer.

        Raises:
            InvalidInputError: The model is not there or has no recipe, or an argument does not fit.
            ModuleNotFoundError: The extra ``training`` is not installed.
            ModelLoadError: What was written cannot be used.
        """
        from semantic_ranker.registry.retraining import retrain_entry

        source, target = (None if path is None else Path(path) for path in (data, out))
        return retrain_entry(self, self.get(reference), data=source, out=target, overrides=overrides)


def _folders(root: Path, depth: int = _DEPTH) -> Iterator[Path]:
    if (root / MANIFEST).is_file():
        yield root
        return
    try:
        inside = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return  # not there, or not ours to read
    for path in inside if depth else ():
        if not path.is_symlink() or (path / MANIFEST).is_file():  # a link to a model, and no way round in circles
            yield from _folders(path, depth - 1)


def _near(name: str, entries: list[ModelEntry]) -> str:
    names = sorted({entry.name for entry in entries})
    close = difflib.get_close_matches(name, names, 1)
    return f": did you mean {close[0]!r}?" if close else f"; there are: {', '.join(names) or 'none'}."
