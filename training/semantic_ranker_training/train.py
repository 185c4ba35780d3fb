"""From a recipe to a model folder, in steps that are kept on disk: a killed run continues where it was.

python -m semantic_ranker_training.train training/recipes/reranker_en.toml --data DIR --out runs/reranker-en
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from semantic_ranker._extras import package_folder
from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker.errors import InvalidInputError, SemanticRankerError
from semantic_ranker_training.calibration import fit_platt
from semantic_ranker_training.config import Recipe, SourceConfig, recipe_of_values, recipe_parser
from semantic_ranker_training.distill import GroupBatch, HeadTraining, train_head
from semantic_ranker_training.mining import EncodedSource, Groups, mine
from semantic_ranker_training.pairs import PairSource, load_source
from semantic_ranker_training.states import (
    RaggedStates,
    bare_tokenizer,
    base_tokens,
    encode_states,
    mean_state,
    open_bi_encoder,
    split_states,
    take_off,
    teacher_states,
)
from semantic_ranker_training.terms import SNOWBALL, match_ids, term_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker_training.shallow import ShallowRecipe

logger = logging.getLogger(__name__)

QUERY_TOKENS = 64
_HELD_OUT_EVERY = 10
_CENTRED_ON = 100  # passages of each source


def base_folder(base: str) -> Path:
    """Return the folder of a base model: a path, or ``package:folder`` inside an installed package.

    Raises:
        InvalidInputError: There is no such folder.
    """
    package, separator, inside = base.partition(":")
    root = package_folder(package) if separator else None
    folder = Path(base) if root is None else root / inside
    if not (folder / "config.json").is_file():
        raise InvalidInputError(f"Expected a model folder with config.json for {base!r}, found none.")
    return folder


class RerankerRun:
    """One training run, kept in one folder.

    Args:
        recipe: What to do.
        data: Folder that the recipe's files are below.
        folder: Where the steps are kept; a folder of another recipe is refused.

    Raises:
        InvalidInputError: The folder belongs to another recipe, or the base is not there.
    """

    def __init__(self, recipe: Recipe, data: Path, folder: Path) -> None:
        self.recipe, self.data, self.folder = recipe, data, folder
        folder.mkdir(parents=True, exist_ok=True)
        claim(folder / "recipe.json", recipe)
        self.base = base_folder(recipe.base)
        self.tokenizer = bare_tokenizer(self.base)
        torch.manual_seed(recipe.seed)  # the head's small network starts at random
        self.model = open_bi_encoder(self.base, joint_layers=recipe.joint_layers)
        if recipe.centre:
            self._centre()

    def run(self) -> Path:
        """Do all steps that are not done yet and return the folder of the trained weights."""
        sources = self.sources()
        groups = [self._mined(source) for source in sources]
        held_out = [every_tenth(group, held_out=True) for group in groups]
        before = self._accuracy(sources, held_out)
        history = train_head(
            self.model, sources, [every_tenth(g, held_out=False) for g in groups], self.recipe, self.folder / "trainer"
        )
        after = self._accuracy(sources, held_out)
        scale, bias = _platt(np.concatenate(_logits(self.model, sources, held_out, self.recipe)))
        target = self.folder / "model"
        self.model.save(target)
        _write_json(
            self.folder / "training.json",
            {
                "recipe": self.recipe.to_dict(),
                "pairs": {source.pairs.name: len(group.query) for source, group in zip(sources, groups, strict=True)},
                "passages": {source.pairs.name: len(source.pairs.passages) for source in sources},
                "data_sha256": {source.pairs.name: _digest(source.pairs) for source in sources},
                "held_out": {"before": before, "after": after},
                "calibration": {"scale": scale, "bias": bias},
                "log": history,
                "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
            },
        )
        return target

    def sources(self) -> list[EncodedSource]:
        """Return the encoded sources, and set the model's stored term weights to theirs."""
        sources = [self._encoded(config) for config in self.recipe.sources]
        passages = [passage for source in sources for passage in source.pairs.passages]
        self.model.head.term_weight.copy_(torch.from_numpy(term_weights(self.tokenizer, passages)))
        stemmers = [SNOWBALL[language] for language in self.recipe.languages]
        self.model.head.match_id.copy_(torch.from_numpy(match_ids(self.tokenizer, *stemmers)))
        return sources

    def _centre(self) -> None:
        """Take the mean state of some passages of each source off all states, through the bias of the last layer."""
        path = self.folder / "centre.npy"
        if not path.exists():
            texts = [
                text
                for config in self.recipe.sources
                for text in load_source(config, self.data, self.recipe.seed).passages[:_CENTRED_ON]
            ]
            ids = base_tokens(self.tokenizer, texts, self.recipe.passage_tokens)
            found = encode_states(ids, split_states(self.model), label="centre")
            temporary = path.with_suffix(".tmp.npy")
            np.save(temporary, mean_state(found))
            os.replace(temporary, path)
        take_off(self.model, np.load(path))

    def _encoded(self, config: SourceConfig) -> EncodedSource:
        pairs = load_source(config, self.data, self.recipe.seed)
        logger.info("%s: %d passages, %d queries", pairs.name, len(pairs.passages), len(pairs.queries))
        states = split_states(self.model)

        def base(texts: list[str], limit: int, label: str) -> RaggedStates:
            return encode_states(base_tokens(self.tokenizer, texts, limit), states, label=label)

        limit, teacher = self.recipe.passage_tokens, self.recipe.teacher
        queries = self._kept(
            f"{pairs.name}.queries", lambda: base(pairs.queries, QUERY_TOKENS, f"{pairs.name} queries")
        )
        passages = self._kept(f"{pairs.name}.passages", lambda: base(pairs.passages, limit, f"{pairs.name} passages"))
        if not teacher:
            return EncodedSource(pairs, queries, passages, None, None)
        taught = [
            self._kept(
                f"{pairs.name}.teacher_{side}",
                lambda t=texts, n=size, s=side: teacher_states(teacher, t, n, label=f"{pairs.name} teacher {s}"),
            )
            for side, texts, size in (("queries", pairs.queries, QUERY_TOKENS), ("passages", pairs.passages, limit))
        ]
        return EncodedSource(pairs, queries, passages, taught[0], taught[1])

    def _kept(self, name: str, make: Any) -> RaggedStates:
        path = self.folder / "states" / f"{name}.npz"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            states: RaggedStates = make()
            states.save(path)
        return RaggedStates.load(path)

    def _mined(self, source: EncodedSource) -> Groups:
        path = self.folder / "groups" / f"{source.pairs.name}.npz"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            mine(source, self.recipe).save(path)
        return Groups.load(path)

    def _accuracy(self, sources: Sequence[EncodedSource], groups: Sequence[Groups]) -> dict[str, float]:
        """Share of held-out groups whose positive is ranked first: a check of the run, not a figure to quote."""
        logits = _logits(self.model, sources, groups, self.recipe)
        return {
            source.pairs.name: round(float((scores.argmax(1) == 0).mean()), 4)
            for source, scores in zip(sources, logits, strict=True)
        }


def _logits(
    model: InteractionCrossEncoder, sources: Sequence[EncodedSource], groups: Sequence[Groups], recipe: Recipe
) -> list[NDArray[np.float32]]:
    module = HeadTraining(model, sources, recipe).eval()
    found = []
    with torch.inference_mode():
        for place, group in enumerate(groups):
            rows = [
                module.logits(
                    GroupBatch(
                        place, group.query[i : i + 8].tolist(), group.passage[i : i + 8].tolist(), torch.empty(0)
                    )
                ).numpy()
                for i in range(0, len(group.query), 8)
            ]
            found.append(np.concatenate(rows))
    return found


def _platt(logits: NDArray[np.float32]) -> tuple[float, float]:
    relevant = np.zeros(logits.shape, dtype=bool)
    relevant[:, 0] = True
    return fit_platt(logits.reshape(-1), relevant.reshape(-1))


def calibrate(model: InteractionCrossEncoder, folder: Path) -> tuple[float, float]:
    """Return scale and bias of another model for the groups that a finished run held out.

    Args:
        model: With the tokenizer of the run's base; its encoder may be another.
        folder: Of the run, with its groups and the ids of their texts.
    """
    recipe = recipe_of_values(Recipe, json.loads((folder / "recipe.json").read_text(encoding="utf-8")))
    sources, groups = [], []
    for path in sorted((folder / "groups").glob("*.npz")):
        name = path.stem
        queries, passages = (
            encode_states(
                RaggedStates.ids_of(folder / "states" / f"{name}.{side}.npz"),
                split_states(model),
                label=f"{name} {side}",
            )
            for side in ("queries", "passages")
        )
        sources.append(EncodedSource(PairSource(name, [], [], []), queries, passages, None, None))
        groups.append(every_tenth(Groups.load(path), held_out=True))
    return _platt(np.concatenate(_logits(model, sources, groups, recipe)))


def every_tenth(groups: Groups, *, held_out: bool) -> Groups:
    """Return the tenth of the groups that is held out, or the others."""
    # Passages are shared between the two parts; the part held out checks the run and calibrates, nothing more.
    chosen = (np.arange(len(groups.query)) % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1) == held_out
    return Groups(groups.query[chosen], groups.passage[chosen], groups.teacher[chosen])


def claim(path: Path, recipe: Recipe | ShallowRecipe) -> None:
    """Write a recipe into a run's folder.

    Raises:
        InvalidInputError: The folder holds a run of another recipe. A key that the run's recipe lacks, because it is
            older than the key, counts as its default.
    """
    if path.exists() and recipe_of_values(type(recipe), json.loads(path.read_text(encoding="utf-8"))) != recipe:
        raise InvalidInputError(
            f"{path.parent} holds a run of another recipe: give another --out, or remove the folder."
        )
    _write_json(path, recipe.to_dict())


def _digest(pairs: PairSource) -> str:
    return hashlib.sha256(json.dumps([pairs.passages, pairs.queries, pairs.positives]).encode()).hexdigest()


def _write_json(path: Path, content: Any) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2, default=float) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a recipe; return the exit status."""
    parser = recipe_parser("semantic_ranker_training.train", "Train a reranker by a recipe.")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        recipe = Recipe.from_toml(options.recipe, options.set)
        folder = RerankerRun(recipe, options.data, options.out).run()
    except SemanticRankerError as error:
        parser.exit(2, f"error: {error}\n")
    logger.info("weights in %s", folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
