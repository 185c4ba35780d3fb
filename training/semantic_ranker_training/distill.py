"""Trains the interaction head on frozen states: a listwise distillation inside the Hugging Face trainer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import Trainer, TrainingArguments

from semantic_ranker.backends.interaction import InteractionHead, Side
from semantic_ranker_training.config import Recipe
from semantic_ranker_training.mining import EncodedSource, Groups

if TYPE_CHECKING:
    from torch import Tensor

    from semantic_ranker.backends.interaction import InteractionCrossEncoder


@dataclass(frozen=True, slots=True)
class GroupBatch:
    """One step's input: the rows of one source."""

    source: int
    query_rows: list[int]
    passage_rows: list[list[int]]
    teacher: Tensor


class GroupDataset(torch.utils.data.Dataset[GroupBatch]):
    """Step ``i`` of training: a source in turn, and ``batch_queries`` of its groups, drawn by seed and step alone.

    Because a step depends on nothing before it, a resumed run sees what an unbroken one would have seen.
    """

    def __init__(self, groups: Sequence[Groups], recipe: Recipe) -> None:
        self._groups = groups
        self._recipe = recipe

    def __len__(self) -> int:
        return self._recipe.steps

    def __getitem__(self, step: int) -> GroupBatch:
        source = step % len(self._groups)
        groups, recipe = self._groups[source], self._recipe
        generator = np.random.default_rng([recipe.seed, step])
        rows = generator.choice(len(groups.query), min(recipe.batch_queries, len(groups.query)), replace=False)
        others = groups.passage.shape[1] - 1
        columns = np.stack(
            [np.concatenate([[0], 1 + generator.permutation(others)[: recipe.group_size - 1]]) for _ in rows]
        )
        passages = np.take_along_axis(groups.passage[rows], columns, 1)
        teacher = np.take_along_axis(groups.teacher[rows], columns, 1)
        return GroupBatch(source, groups.query[rows].tolist(), passages.tolist(), torch.from_numpy(teacher))


class HeadTraining(nn.Module):
    """The head with the loss: distillation as the recipe says (margins: Hofstätter 2020), plus weighted label loss."""

    def __init__(self, model: InteractionCrossEncoder, sources: Sequence[EncodedSource], recipe: Recipe) -> None:
        super().__init__()
        self.head = model.head
        self._special = model.config.cls_token_id, model.config.sep_token_id
        self._sources = sources
        self._recipe = recipe

    def forward(self, batch: GroupBatch) -> dict[str, Tensor]:
        """Return ``loss`` and its parts for one `GroupBatch`."""
        logits = self.logits(batch)
        distillation = self._distillation(logits, batch.teacher * self._recipe.teacher_temperature)
        labels = functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
        loss = distillation + self._recipe.label_weight * labels
        return {"loss": loss, "distillation": distillation.detach(), "labels": labels.detach()}

    def _distillation(self, logits: Tensor, target: Tensor) -> Tensor:
        if self._recipe.distillation == "kl":
            return functional.kl_div(
                logits.log_softmax(1), target.log_softmax(1), reduction="batchmean", log_target=True
            )
        if self._recipe.distillation == "margin_mse":
            return functional.mse_loss(logits[:, :1] - logits[:, 1:], target[:, :1] - target[:, 1:])
        return logits.new_zeros(())

    def logits(self, batch: GroupBatch) -> Tensor:
        """Return float32 (queries, group) of one batch."""
        source = self._sources[batch.source]
        flat = np.array(batch.passage_rows).reshape(-1)
        unique, place = np.unique(flat, return_inverse=True)
        passages = _rows(self._side(source.passages.batch(unique.tolist())), torch.from_numpy(place.reshape(-1)))
        repeated = torch.arange(len(batch.query_rows)).repeat_interleave(len(batch.passage_rows[0]))
        queries = _rows(self._side(source.queries.batch(batch.query_rows)), repeated)
        features, facts = self.head.features(queries, passages)
        features = torch.cat([features, torch.zeros(len(features), 1)], 1)
        return self.head.combine(features, facts).view(len(batch.query_rows), -1)

    def _side(self, batch: tuple[Tensor, Tensor, Tensor]) -> Side:
        ids, mask, states = batch
        first, last = self._special
        return self.head.side(ids, states, mask, mask * ((ids != first) & (ids != last)).float())


def _rows(side: Side, rows: Tensor) -> Side:
    return Side(*(getattr(side, entry.name)[rows] for entry in fields(Side)))


class _HeadTrainer(Trainer):  # type: ignore[misc]  # transformers is not analysed
    """Hugging Face's trainer, with batches passed whole, steps in order, and the parts of the loss in the log."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._parts: dict[str, list[float]] = {}

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        output = model(inputs["batch"])
        for name in ("distillation", "labels"):
            self._parts.setdefault(name, []).append(float(output[name]))
        return (output["loss"], output) if return_outputs else output["loss"]

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        if "loss" in logs:
            logs.update({name: round(sum(values) / len(values), 4) for name, values in self._parts.items() if values})
            self._parts.clear()
        super().log(logs, *args, **options)

    def _get_train_sampler(self, *_: Any) -> Any:
        return torch.utils.data.SequentialSampler(self.train_dataset)


def train_head(
    model: InteractionCrossEncoder,
    sources: Sequence[EncodedSource],
    groups: Sequence[Groups],
    recipe: Recipe,
    folder: Path,
) -> list[dict[str, Any]]:
    """Train ``model.head`` in place; checkpoints go to ``folder`` and a second call continues from the last.

    Returns:
        The trainer's log, one dict an entry.
    """
    torch.manual_seed(recipe.seed)
    module = HeadTraining(model, sources, recipe)
    trainer = _HeadTrainer(
        model=module,
        args=TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=1,
            max_steps=recipe.steps,
            warmup_steps=recipe.warmup_steps,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            max_grad_norm=1.0,
            logging_steps=25,
            save_steps=max(1, recipe.steps // 5),
            save_total_limit=2,
            report_to=[],
            use_cpu=not torch.cuda.is_available(),
            remove_unused_columns=False,
            seed=recipe.seed,
        ),
        train_dataset=GroupDataset(groups, recipe),
        data_collator=lambda items: {"batch": items[0]},
        optimizers=(torch.optim.AdamW(_parameter_groups(model.head, recipe)), None),
    )
    trainer.train(resume_from_checkpoint=True if any(folder.glob("checkpoint-*")) else None)
    return [dict(entry) for entry in trainer.state.log_history]


def _parameter_groups(head: InteractionHead, recipe: Recipe) -> list[dict[str, Any]]:
    def named(projection: bool) -> Iterator[nn.Parameter]:
        return (value for name, value in head.named_parameters() if name.startswith("project") is projection)

    return [
        {"params": list(named(True)), "lr": recipe.learning_rate, "weight_decay": recipe.weight_decay},
        {"params": list(named(False)), "lr": recipe.head_learning_rate, "weight_decay": recipe.weight_decay},
    ]
