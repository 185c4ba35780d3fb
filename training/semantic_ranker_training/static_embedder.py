"""Distils a static embedder from a bi-encoder, in steps that are kept on disk: a killed run continues where it was.

python -m semantic_ranker_training.static_embedder training/recipes/static_en.toml --data DIR --out runs/static-en
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from semantic_ranker._files import write_atomically
from semantic_ranker.errors import InvalidInputError, SemanticRankerError
from semantic_ranker_training.config import SourceConfig, read_recipe, recipe_parser
from semantic_ranker_training.known_base import of_base
from semantic_ranker_training.manifest import DataSource, Metric, ModelMetadata
from semantic_ranker_training.states import bare_tokenizer
from semantic_ranker_training.static_embedder_fit import (
    TokenBags,
    fit,
    initial_vectors,
    projection,
    sif_weights,
    token_bags,
    vocabulary_vectors,
)
from semantic_ranker_training.static_embedder_folder import write_static_folder
from semantic_ranker_training.static_embedder_targets import digest, sample_texts, teacher_vectors
from semantic_ranker_training.train import base_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_SPECIALS = ("[CLS]", "[SEP]")
_LICENSES = {
    "docstrings": "BSD-3-Clause and similar, per package",
    "debian-en": "free, per package",
    "medquad": "CC BY 4.0",
}
_QA_LICENSE = "CC BY-SA 4.0"
_LIMITS = (
    "It knows no word order: 'dog bites man' and 'man bites dog' have one vector.",
    "Texts are read up to 512 tokens (4,096 characters).",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticRecipe:
    """Everything that decides a static embedder.

    Attributes:
        name: Name of the model.
        base: Bi-encoder to distil: a folder, or ``package:folder`` inside an installed package.
        sources: Whose texts are used; labels are not.
        texts: At most so many of them, 0 for all.
        max_tokens: Tokens that the teacher reads of a text, specials included.
        dim: Length of a vector.
        smoothing: Of the weights that the fit starts from, see `sif_weights`.
        learning_rate: Of Adam, falling to 0.
        batch_size: Texts a step.
        epochs: Passes over the texts; 0 leaves the weighted PCA as it is.
        warmup_steps: Steps of linear warm-up.
        seed: Of sampling and order.
    """

    name: str
    base: str
    sources: tuple[SourceConfig, ...] = field(default=())
    texts: int = 0
    max_tokens: int = 96
    dim: int = 256
    smoothing: float = 3e-4
    learning_rate: float = 1e-2
    batch_size: int = 256
    epochs: int = 5
    warmup_steps: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.sources:
            raise InvalidInputError("Expected at least one [[sources]] table in the recipe, got none.")
        for name in ("max_tokens", "dim", "batch_size", "warmup_steps", "smoothing", "learning_rate"):
            if (value := getattr(self, name)) <= 0:
                raise InvalidInputError(f"Expected {name} above 0 in the recipe, got {value!r}.")

    @classmethod
    def from_toml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Read a recipe; arguments and errors as `semantic_ranker_training.config.Recipe.from_toml`."""
        return read_recipe(cls, path, overrides)

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved recipe, as JSON types."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content


class StaticRun:
    """One distillation, kept in one folder.

    Args:
        recipe: What to do.
        data: Folder that the recipe's files are below.
        folder: Where the steps are kept; the teacher's vectors of other texts are refused.

    Raises:
        InvalidInputError: The base is not there.
    """

    def __init__(self, recipe: StaticRecipe, data: Path, folder: Path) -> None:
        self.recipe, self.data, self.folder = recipe, data, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.base = base_folder(recipe.base)
        self.tokenizer = bare_tokenizer(self.base)
        self.tokenizer.encode_special_tokens = True

    def run(self) -> Path:
        """Do all steps that are not done yet; return the file of the token vectors."""
        recipe = self.recipe
        texts = sample_texts(recipe.sources, self.data, recipe.seed)[: recipe.texts or None]
        logger.info("%d texts", len(texts))
        taught = teacher_vectors(self.base, texts, self.folder / "teacher", max_tokens=recipe.max_tokens)
        directions = projection(taught, recipe.dim)
        targets = taught @ directions
        targets /= np.linalg.norm(targets, axis=1, keepdims=True)
        bags = token_bags(self.tokenizer, texts, recipe.max_tokens - len(_SPECIALS))
        vectors, log = fit(self._start(bags, directions), bags, targets, recipe)
        path = self.folder / "vectors.npy"
        partial = self.folder / "vectors.partial.npy"
        np.save(partial, vectors)
        os.replace(partial, path)
        self._describe(texts, log)
        return path

    def _start(self, bags: TokenBags, directions: NDArray[np.float32]) -> NDArray[np.float32]:
        size = self.tokenizer.get_vocab_size()
        path = self.folder / "vocabulary.npy"
        if not path.is_file():
            from transformers import AutoModel

            encoder = AutoModel.from_pretrained(self.base, local_files_only=True, use_safetensors=True).eval()
            first, last = self.tokenizer.encode("").ids  # a text without words is its two special tokens
            partial = self.folder / "vocabulary.partial.npy"
            np.save(partial, vocabulary_vectors(encoder, (first, last), size))
            os.replace(partial, path)
        return initial_vectors(np.load(path), sif_weights(bags, size, self.recipe.smoothing), directions)

    def _describe(self, texts: Sequence[str], log: list[dict[str, float]]) -> None:
        content = {
            "recipe": self.recipe.to_dict(),
            "texts": len(texts),
            "texts_sha256": digest(texts),
            "log": log,
            "versions": {"torch": torch.__version__, "numpy": np.__version__, "python": sys.version.split()[0]},
        }
        write_atomically(self.folder / "training.json", json.dumps(content, indent=2) + "\n")


def release(run: Path, out: Path, *, version: str, quality: Path | None = None, overwrite: bool = False) -> None:
    """Write the model folder of a finished run.

    Args:
        run: Folder of a `StaticRun`.
        out: The model folder.
        version: Of the weights.
        quality: ``benchmarks/results/static_embedder.json``, for the card; None says that nothing was measured.
        overwrite: Whether a model folder at ``out`` is replaced.

    Raises:
        InvalidInputError: The run is not finished, or ``out`` has content and ``overwrite`` is off.
    """
    try:
        training = json.loads((run / "training.json").read_text(encoding="utf-8"))
        measured = json.loads(quality.read_text(encoding="utf-8")) if quality else None
        vectors = np.load(run / "vectors.npy")
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"Expected a finished run at {run}: {error}.") from error
    tokenizer = (base_folder(training["recipe"]["base"]) / "tokenizer.json").read_text(encoding="utf-8")
    write_static_folder(out, vectors, tokenizer, metadata_of(training, measured, version), overwrite=overwrite)


def metadata_of(training: dict[str, Any], quality: dict[str, Any] | None, version: str) -> ModelMetadata:
    """Describe a run for the card and the manifest.

    Args:
        training: Content of the run's ``training.json``.
        quality: Content of ``benchmarks/results/static_embedder.json``, or None.
        version: Of the weights.
    """
    recipe = training["recipe"]
    names = [source["source"] or source["file"] for source in recipe["sources"]]
    told = ModelMetadata(
        name=recipe["name"],
        version=version,
        base_model="sentence-transformers/all-MiniLM-L6-v2",
        license="apache-2.0",
        languages=("en",),
        description="A small English embedder without a network: token vectors distilled from all-MiniLM-L6-v2.",
        recipe=_told(training),
        data=tuple(
            DataSource(name=name, license=_LICENSES.get(name, _QA_LICENSE), use="texts, without their labels")
            for name in names
        ),
        seen=(
            "all-MiniLM-L6-v2, the teacher, was trained on more than a billion pairs, MS MARCO, SQuAD, S2ORC and "
            "Stack Exchange among them: figures on other collections are not zero-shot in the strict sense.",
        ),
        limits=(
            "English only.",
            *_LIMITS,
            "It ranks worse than its teacher everywhere, and worse than BM25 on three of the four development "
            "collections: it is made for speed, and as a second opinion beside BM25.",
        ),
        metrics=_metrics(quality) if quality else (),
        training=training,
    )
    return of_base(told, recipe["base"], limits=_LIMITS)


def _told(training: dict[str, Any]) -> str:
    recipe, log = training["recipe"], training["log"]
    start = f"Every token went through the base model alone; PCA to {recipe['dim']} dimensions and SIF weights gave "
    if not log:
        return f"{start}its vector."
    return (
        f"{start}the start. Then {recipe['epochs']} epochs moved the token vectors until their sum pointed where the "
        f"base model's vector of the text points, on {training['texts']} texts of at most {recipe['max_tokens']} "
        f"tokens, without any label; held-out cosine {log[-1]['held_out_cosine']:.3f}."
    )


def _metrics(quality: dict[str, Any]) -> tuple[Metric, ...]:
    found = []
    for name, part in quality["collections"].items():
        systems = part["retrieval"]
        ours = systems["static"]
        baselines = {other: value["mean"] for other, value in systems.items() if other != "static"}
        found.append(
            Metric(
                collection=name,
                name="nDCG@10",
                value=ours["mean"],
                low=ours["low"],
                high=ours["high"],
                baselines=baselines,
            )
        )
    return tuple(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a recipe, or release a run; return the exit status."""
    parser = recipe_parser("semantic_ranker_training.static_embedder", __doc__ or "")
    parser.add_argument("--release", type=Path, metavar="FOLDER", help="write the model folder as well")
    parser.add_argument("--quality", type=Path, help="results of benchmarks/static_embedder.py, for the card")
    parser.add_argument("--version", default="0.1.0", help="version of the weights")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        recipe = StaticRecipe.from_toml(options.recipe, options.set)
        logger.info("token vectors in %s", StaticRun(recipe, options.data, options.out).run())
        if options.release:
            release(options.out, options.release, version=options.version, quality=options.quality, overwrite=True)
            logger.info("wrote %s", options.release)
    except SemanticRankerError as error:
        parser.exit(2, f"error: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
