"""A reranker with fewer layers: some of the teacher's, trained to give the states that all of them give.

The head stays the teacher's, so only states have to be learnt, text by text and without any label: the projected state
of each token, the pooled state, and how alike the pooled states of the texts of a batch are.

python -m semantic_ranker_training.shallow training/recipes/reranker_en_tiny.toml --data DIR --out runs/reranker-en-tiny
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from semantic_ranker._files import write_atomically
from semantic_ranker.backends.interaction import InteractionCrossEncoder, mean_pool
from semantic_ranker.errors import InvalidInputError, SemanticRankerError
from semantic_ranker_training.config import read_recipe, recipe_parser
from semantic_ranker_training.pairs import docstring_pairs, read_pairs
from semantic_ranker_training.states import bare_tokenizer, base_tokens, padded, split_states
from semantic_ranker_training.train import base_folder, calibrate, claim

logger = logging.getLogger(__name__)

Ids = Sequence[Sequence[int]]
_HELD_OUT = 200
_QUERY_STEPS = 0.34
_SORTED_BATCHES = 16
_LEAST_RATE = 0.02
_GEOMETRY = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShallowRecipe:
    """Everything that decides a run.

    Attributes:
        name: Name of the model.
        teacher: Folder of the run that made the model to be copied (`semantic_ranker_training.train`).
        layers: Which of its layers to start from, lowest first.
        files: Files of pairs below the data folder; their texts are read, their pairing is not.
        packages: Installed packages: functions are read as passages, first sentences of their docstrings as queries.
        most_texts: At most so many passages and queries of the files; 0 takes all.
        start: Folder of a run with the same layers to go on from; empty starts from the teacher's layers.
        passage_tokens: Tokens kept of a passage.
        query_tokens: Tokens kept of a query.
        batch_texts: Passages a step; queries come twice as many.
        steps: Optimiser steps.
        learning_rate: After the warm-up; then it falls linearly to a fiftieth.
        warmup_steps: Steps of linear warm-up.
        seed: Of the order of the texts.
    """

    name: str
    teacher: str = ""
    layers: tuple[int, ...]
    files: tuple[str, ...]
    packages: tuple[str, ...] = ()
    most_texts: int = 0
    start: str = ""
    passage_tokens: int = 128
    query_tokens: int = 64
    batch_texts: int = 24
    steps: int = 4000
    learning_rate: float = 5e-4
    warmup_steps: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise InvalidInputError(f"Expected layers as rising numbers from 0, got {list(self.layers)}.")
        if not self.teacher:
            raise InvalidInputError("Expected the folder of a finished run: --set teacher=runs/reranker-en.")
        if min(self.steps, self.batch_texts) < 1:
            raise InvalidInputError(
                f"Expected steps and batch_texts of 1 or more, got {self.steps} and {self.batch_texts}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content


def shallow_model(teacher: InteractionCrossEncoder, layers: Sequence[int]) -> InteractionCrossEncoder:
    """Return a model with some of a teacher's layers and all else the same.

    Raises:
        InvalidInputError: The teacher has no such layer, or reads both sides together.
    """
    config = teacher.config
    if config.joint_layers or max(layers) >= config.num_hidden_layers:
        raise InvalidInputError(
            f"Expected a teacher without joint layers and with layers {list(layers)}, got {config.joint_layers} joint "
            f"ones and {config.num_hidden_layers} layers."
        )
    student = InteractionCrossEncoder(replace(config, num_hidden_layers=len(layers)))
    weights = teacher.state_dict()
    for key in student.state_dict():
        if key.startswith("encoder.layer."):
            depth, rest = key.removeprefix("encoder.layer.").split(".", 1)
            weights[key] = weights[f"encoder.layer.{layers[int(depth)]}.{rest}"].clone()
    student.load_state_dict({key: weights[key] for key in student.state_dict()})
    return student


class ShallowRun:
    """One run, kept in one folder: a second call continues where a killed one was.

    Args:
        recipe: What to do.
        data: Folder that the recipe's files are below.
        folder: Where the steps are kept.

    Raises:
        InvalidInputError: The folder belongs to another recipe, or the teacher's run is not there.
    """

    def __init__(self, recipe: ShallowRecipe, data: Path, folder: Path) -> None:
        self.recipe, self.data, self.folder = recipe, data, folder
        self.taught_by = Path(recipe.teacher)
        if not (self.taught_by / "training.json").is_file():
            raise InvalidInputError(f"Expected a finished run at {recipe.teacher!r}, found no training.json.")
        folder.mkdir(parents=True, exist_ok=True)
        claim(folder / "recipe.json", recipe)
        self.teacher_run = json.loads((self.taught_by / "training.json").read_text(encoding="utf-8"))
        self.teacher = InteractionCrossEncoder.from_folder(self.taught_by / "model").requires_grad_(False)
        self.student = shallow_model(self.teacher, recipe.layers)
        if recipe.start:
            earlier = InteractionCrossEncoder.from_folder(Path(recipe.start) / "model")
            if earlier.config != self.student.config:
                raise InvalidInputError(
                    f"Expected a run with layers like {list(recipe.layers)} of this teacher at {recipe.start!r}, got "
                    f"{earlier.config.num_hidden_layers} layers."
                )
            self.student.load_state_dict(earlier.state_dict())
        # Embeddings and head stay as they are: what is to be learnt is the way from one to the other.
        self.student.requires_grad_(False)
        self.student.encoder.requires_grad_(True)

    def run(self, *, every: int = 250) -> Path:
        """Train what is not trained yet and return the folder of the weights.

        Args:
            every: Steps between checkpoints.
        """
        learnt = self.learn(every=every)
        target = self.folder / "model"
        self.student.save(target)
        scale, bias = calibrate(self.student, self.taught_by)
        content = {
            "recipe": self.recipe.to_dict(),
            "start": json.loads((Path(self.recipe.start) / "training.json").read_text(encoding="utf-8"))
            if self.recipe.start
            else None,
            "teacher": {key: self.teacher_run[key] for key in ("recipe", "pairs", "passages", "data_sha256")},
            **learnt,
            "calibration": {"scale": scale, "bias": bias},
            "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
        }
        write_atomically(self.folder / "training.json", json.dumps(content, indent=2) + "\n")
        return target

    def learn(self, *, every: int = 250) -> dict[str, Any]:
        """Train what is not trained yet.

        Args:
            every: Steps between checkpoints.

        Returns:
            How many texts were learnt from, and the errors of held-out ones before and after.
        """
        passages, queries = self._texts()
        held_out = passages[:_HELD_OUT], queries[:_HELD_OUT]
        before = self._errors(held_out)
        self._train(passages[_HELD_OUT:], queries[_HELD_OUT:], every)
        self.student.eval()
        return {
            "texts": {"passages": len(passages) - _HELD_OUT, "queries": len(queries) - _HELD_OUT},
            "held_out": {"before": before, "after": self._errors(held_out)},
        }

    def _texts(self) -> tuple[list[list[int]], list[list[int]]]:
        tokenizer = bare_tokenizer(base_folder(self.teacher_run["recipe"]["base"]))
        recipe, found = self.recipe, []
        pairs = [pair for file in recipe.files for pair in read_pairs(self.data / file)]
        code = list(docstring_pairs(recipe.packages, recipe.seed)) if recipe.packages else []
        for side, limit in ((1, recipe.passage_tokens), (0, recipe.query_tokens)):
            chooser = random.Random(recipe.seed)
            texts = list(dict.fromkeys(pair[side] for pair in pairs))
            chooser.shuffle(texts)
            texts = texts[: recipe.most_texts or None]
            if code:
                texts = list(dict.fromkeys([*texts, *(pair[side] for pair in code)]))
                chooser.shuffle(texts)
            found.append(base_tokens(tokenizer, texts, limit))
        if min(map(len, found)) <= _HELD_OUT:
            raise InvalidInputError(
                f"Expected more than {_HELD_OUT} passages and queries, got {len(found[0])} and {len(found[1])}."
            )
        return found[0], found[1]

    def _train(self, passages: Ids, queries: Ids, every: int) -> None:
        recipe, checkpoint = self.recipe, self.folder / "checkpoint.pt"
        trained = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=0.01)
        start = 0
        if checkpoint.exists():
            kept = torch.load(checkpoint, weights_only=True)
            self.student.load_state_dict(kept["model"])
            optimizer.load_state_dict(kept["optimizer"])
            start = kept["step"]
        rows = batches(passages, queries, recipe.batch_texts, np.random.default_rng(recipe.seed + start))
        self.student.train()
        with tqdm(total=recipe.steps, initial=start, desc=recipe.name, unit="step", disable=None) as bar:
            for step in range(start, recipe.steps):
                rate = min(1.0, (step + 1) / recipe.warmup_steps) * max(_LEAST_RATE, 1 - step / recipe.steps)
                for group in optimizer.param_groups:
                    group["lr"] = recipe.learning_rate * rate
                tokens, pooled, geometry = self._losses(next(rows))
                loss, shown = tokens + pooled + _GEOMETRY * geometry, (float(tokens.detach()), float(pooled.detach()))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                bar.update()
                bar.set_postfix(tokens=f"{shown[0]:.3f}", pooled=f"{shown[1]:.3f}")
                if (step + 1) % every == 0 or step + 1 == recipe.steps:
                    logger.info("step %d: tokens %.4f, pooled %.4f", step + 1, *shown)
                    temporary = checkpoint.with_suffix(".tmp")
                    states = {"model": self.student.state_dict(), "optimizer": optimizer.state_dict()}
                    torch.save({**states, "step": step + 1}, temporary)
                    os.replace(temporary, checkpoint)

    def _losses(self, ids: Ids) -> tuple[Tensor, Tensor, Tensor]:
        """Return 1 - cosine of tokens and of pooled states, and the squared error of the texts' similarities."""
        tokens, mask = padded(ids)
        with torch.no_grad():
            expected = split_states(self.teacher)(tokens, mask)
        found, every = split_states(self.student)(tokens, mask), mask.float()
        config = self.student.config
        words = every * ((tokens != config.cls_token_id) & (tokens != config.sep_token_id)).float()
        wanted, given = (
            functional.normalize(model.head.project(states), dim=-1)
            for model, states in ((self.teacher, expected), (self.student, found))
        )
        apart = ((1 - (wanted * given).sum(-1)) * words).sum() / words.sum()
        whole, own = mean_pool(expected, every), mean_pool(found, every)
        return apart, (1 - (whole * own).sum(-1)).mean(), ((whole @ whole.T - own @ own.T) ** 2).mean()

    @torch.no_grad()
    def _errors(self, held_out: tuple[Ids, Ids]) -> dict[str, dict[str, float]]:
        was_training = self.student.training
        self.student.eval()
        found = {}
        for name, texts in zip(("passages", "queries"), held_out, strict=True):
            parts = [[float(value) for value in self._losses(texts[i : i + 50])] for i in range(0, len(texts), 50)]
            tokens, pooled, _ = np.mean(parts, 0)
            found[name] = {"tokens": round(float(tokens), 4), "pooled": round(float(pooled), 4)}
        self.student.train(was_training)
        return found


def batches(passages: Ids, queries: Ids, size: int, generator: np.random.Generator) -> Iterator[Ids]:
    """Yield batches of texts of like length for ever: passages, and after a third of them twice as many queries."""
    while True:
        rows = generator.permutation(len(passages))
        asked = list(generator.permutation(len(queries)))
        block = min(size * _SORTED_BATCHES, len(rows))
        for start in range(0, len(rows) - block + 1, block):
            alike = sorted(rows[start : start + block], key=lambda row: len(passages[row]))
            order = [alike[place : place + size] for place in range(0, block, size)]
            generator.shuffle(order)
            for chosen in order:
                yield [passages[row] for row in chosen]
                if generator.random() < _QUERY_STEPS and len(asked) >= 2 * size:
                    yield [queries[asked.pop()] for _ in range(2 * size)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a recipe; return the exit status."""
    parser = recipe_parser("semantic_ranker_training.shallow", "Train a shallower reranker.")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    started = time.monotonic()
    try:
        recipe = read_recipe(ShallowRecipe, options.recipe, options.set)
        folder = ShallowRun(recipe, options.data, options.out).run()
    except SemanticRankerError as error:
        parser.exit(2, f"error: {error}\n")
    logger.info("weights in %s after %.0f s", folder, time.monotonic() - started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
