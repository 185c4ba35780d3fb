"""Losses of a one-logit cross-encoder by name. Sentence-transformers' where it has them, two more beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from semantic_ranker.errors import InvalidInputError

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from semantic_ranker_training.cross_encoder.config import TrainingConfig

Form = Literal["pairs", "lists", "columns"]
_PAIRS_AT_ONCE = 256
_NO_TEXT = -1e9


@dataclass(frozen=True, slots=True)
class LossSpec:
    """What a loss is fed.

    Attributes:
        form: ``pairs`` is a row a text, ``lists`` a row a query, ``columns`` one positive and its negatives.
        teacher: Whether it learns from a teacher's scores instead of labels.
        many_positives: Whether a row may hold several positives.
        says: What it is, for tables and help texts.
    """

    form: Form
    says: str
    teacher: bool = False
    many_positives: bool = False


LOSSES: dict[str, LossSpec] = {
    "bce": LossSpec("pairs", "binary cross-entropy of each pair"),
    "mse": LossSpec("pairs", "squared error of each logit to its label or teacher score"),
    "margin": LossSpec("lists", "hinge on every positive-negative pair of a query", many_positives=True),
    "cross_entropy": LossSpec("lists", "cross-entropy of a query's softmax on its positives", many_positives=True),
    "mnrl": LossSpec("columns", "softmax over the query's negatives and those of the batch"),
    "lambda": LossSpec("lists", "LambdaLoss, NDCGLoss2++", many_positives=True),
    "listnet": LossSpec("lists", "ListNet on the labels", many_positives=True),
    "ranknet": LossSpec("lists", "RankNet on every pair of different labels", many_positives=True),
    "distil_margin_mse": LossSpec("columns", "squared error to the teacher's margins", teacher=True),
    "distil_listnet": LossSpec("lists", "cross-entropy to the teacher's softmax", teacher=True, many_positives=True),
}
"""Every loss by its name."""


def build_loss(model: CrossEncoder, config: TrainingConfig, *, pos_weight: float = 1.0) -> nn.Module:
    """Return the loss that a configuration names; logits enter it as they are (activation identity).

    Args:
        model: The model to train, one logit.
        config: Its settings.
        pos_weight: Negatives a positive, for ``bce``.
    """
    from sentence_transformers.cross_encoder import losses

    raw = nn.Identity()
    many: dict[str, Any] = {"mini_batch_size": _PAIRS_AT_ONCE}
    match config.loss_function:
        case "bce":
            return losses.BinaryCrossEntropyLoss(model, raw, pos_weight=torch.tensor(pos_weight, device=model.device))
        case "mse":
            return losses.MSELoss(model, raw)
        case "mnrl":
            # The library's default is a sigmoid, which saturates logits before the softmax.
            scale: Any = config.mnrl_scale  # declared as int, used as a factor
            return losses.MultipleNegativesRankingLoss(model, scale=scale, activation_fn=raw)
        case "lambda":
            return losses.LambdaLoss(model, activation_fn=raw, **many)
        case "listnet" | "distil_listnet":
            return losses.ListNetLoss(model, activation_fn=raw, **many)
        case "ranknet":
            return losses.RankNetLoss(model, activation_fn=raw, **many)
        case "distil_margin_mse":
            return losses.MarginMSELoss(model, raw)
        case "margin":
            return MarginLoss(model, config.margin)
        case "cross_entropy":
            return GroupCrossEntropyLoss(model)
    raise InvalidInputError(f"Expected loss_function out of {', '.join(LOSSES)}, got {config.loss_function!r}.")


class _ListLoss(nn.Module):
    """Reads sentence-transformers' listwise batches: ``[queries, documents of each]`` and a label tensor each."""

    def __init__(self, model: CrossEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: list[Any], labels: list[Tensor], **_: Any) -> Tensor:
        """Return the mean loss of a batch, float32 ()."""
        queries, documents = inputs
        pairs = [(query, text) for query, texts in zip(queries, documents, strict=True) for text in texts]
        found = torch.cat(
            [self._logits(pairs[at : at + _PAIRS_AT_ONCE]) for at in range(0, len(pairs), _PAIRS_AT_ONCE)]
        )
        rows = torch.split(found, [len(texts) for texts in documents])
        relevant = [row.to(found.device) > 0 for row in labels]
        logits = nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=_NO_TEXT)
        positive = nn.utils.rnn.pad_sequence(relevant, batch_first=True, padding_value=False)
        return self.of_logits(logits, positive, logits > _NO_TEXT)

    def of_logits(self, logits: Tensor, positive: Tensor, present: Tensor) -> Tensor:
        """Return the loss of float32 (queries, texts) logits; the masks are bool of the same shape."""
        raise NotImplementedError

    def get_config_dict(self) -> dict[str, Any]:
        """Return what sentence-transformers writes into its model card."""
        return {}

    def _logits(self, pairs: list[tuple[str, str]]) -> Tensor:
        from sentence_transformers.util import batch_to_device

        return self.model(batch_to_device(self.model.preprocess(pairs), self.model.device))["scores"].view(-1).float()


class MarginLoss(_ListLoss):
    """Hinge: every positive should be above every negative of its query by a margin.

    Args:
        model: The model to train.
        margin: In logits.
    """

    def __init__(self, model: CrossEncoder, margin: float = 1.0) -> None:
        super().__init__(model)
        self.margin = margin

    def of_logits(self, logits: Tensor, positive: Tensor, present: Tensor) -> Tensor:
        """Return the mean hinge over pairs; see `_ListLoss.of_logits`."""
        pairs = positive[:, :, None] & (present & ~positive)[:, None, :]
        hinge = functional.relu(self.margin - logits[:, :, None] + logits[:, None, :])
        return hinge[pairs].sum() / pairs.sum().clamp(min=1)


class GroupCrossEntropyLoss(_ListLoss):
    """Softmax over a query's texts, cross-entropy on its positives (FlagEmbedding's reranker; InfoNCE in a group).

    The cross-entropy of two classes of one logit would be ``bce`` once more.
    """

    def of_logits(self, logits: Tensor, positive: Tensor, present: Tensor) -> Tensor:
        """Return the mean over positives of ``-log softmax``; see `_ListLoss.of_logits`."""
        # Each positive competes with the negatives, not with the other positives.
        negatives = logits.masked_fill(positive | ~present, -torch.inf).logsumexp(1, keepdim=True)
        loss = torch.logaddexp(logits, negatives) - logits
        return loss[positive].sum() / positive.sum().clamp(min=1)
