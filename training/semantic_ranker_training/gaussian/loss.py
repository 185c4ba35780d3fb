"""The loss of isotropic embeddings, for sentence-transformers' trainer: a contrastive part and what keeps it Gaussian.

    contrastive + lambda_isotropy * (isotropy(queries) + isotropy(documents)) / 2 + lambda_reg * variance

Queries and documents are regularised apart: a mixture of two Gaussians is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn import functional

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.gaussian.sigreg import NULL, SLICES, covariance_loss, sigreg, total_count

if TYPE_CHECKING:
    from torch import Tensor

Distance = Literal["l2", "cosine"]
Contrastive = Literal["infonce", "margin"]
Isotropy = Literal["sigreg", "covariance"]
_COSINE_TEMPERATURE = 0.05
_LEAST_STD = 1e-4


class IsotropicLoss(nn.Module):
    """InfoNCE or the seed's margin, with SIGReg on queries and on documents and a variance term.

    Distances are in units of that of two random texts: ``|q - d|^2 / (2 dim)`` for ``l2``, which is 1 for two draws
    from N(0, I), and ``1 - cos`` for ``cosine``. Regularisers see the vectors themselves for ``l2``, and
    ``sqrt(dim) * z / |z|`` for ``cosine``, which leaves the model's vectors of length 1.

    Args:
        model: A `SentenceTransformer`, or any module from features to ``sentence_embedding`` (batch, dim).
        distance: What nearest means.
        contrastive: ``infonce`` over the batch and the given negatives, or ``margin``, the seed's triplet hinge, with
            the hardest negative of the batch where none is given.
        isotropy: ``sigreg``, or ``covariance``, the seed's, which collapses: to be measured against only.
        lambda_isotropy: Weight; 0 leaves it out.
        lambda_reg: Weight of the hinge ``mean(max(0, 1 - std))`` over dimensions (VICReg's variance).
        temperature: Of ``infonce``; None is ``1 / sqrt(dim)`` for ``l2`` and 0.05 for ``cosine``.
        margin: Of ``margin``, in the units above.
        slices: Random directions a step.
        predictor: Hidden width of a head (JEPA) from queries to documents that only the contrastive part uses and
            that is thrown away; 0 is none. A *prediction* alone tells no documents apart, so the negatives stay.
        dim: Of the vectors; needed for a predictor.
        seed: Of the slices.

    Raises:
        InvalidInputError: An option is unknown or out of range.
    """

    def __init__(
        self,
        model: Any,
        *,
        distance: Distance = "cosine",
        contrastive: Contrastive = "infonce",
        isotropy: Isotropy = "sigreg",
        lambda_isotropy: float = 1.0,
        lambda_reg: float = 0.0,
        temperature: float | None = None,
        margin: float = 1.0,
        slices: int = SLICES,
        predictor: int = 0,
        dim: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(distance, contrastive, isotropy, (lambda_isotropy, lambda_reg, margin), temperature)
        self.model = model
        self.distance, self.contrastive, self.isotropy = distance, contrastive, isotropy
        self.lambda_isotropy, self.lambda_reg = lambda_isotropy, lambda_reg
        self.temperature, self.margin, self.slices, self.seed = temperature, margin, slices, seed
        self.predictor = _predictor(predictor, dim)
        self.step = 0
        self.figures: dict[str, float] = {}

    def forward(
        self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the parts of the loss; the trainer adds them up and logs each.

        Args:
            sentence_features: Of queries, of their passages, and of one negative each if there are any.
            labels: Not used.
        """
        vectors = [self.model(features)["sentence_embedding"] for features in sentence_features]
        return self.of_vectors(*vectors)

    def of_vectors(self, queries: Tensor, documents: Tensor, *negatives: Tensor) -> dict[str, Tensor]:
        """Return the parts of the loss of vectors, scalars by name.

        Args:
            queries: float (batch, dim).
            documents: float (batch, dim), row by row those of the queries.
            negatives: More of the same shape.
        """
        asked = queries if self.predictor is None else queries + self.predictor(queries)
        distances = self.distances(asked, torch.cat([documents, *negatives]))
        losses = {"contrastive": self._contrast(distances, queries.shape[-1], has_negatives=bool(negatives))}
        scaled = [self._scaled(of) for of in (queries, documents)]
        if self.lambda_isotropy:
            parts = [self._isotropy(of, place) for place, of in enumerate(scaled)]
            losses["isotropy"] = self.lambda_isotropy * torch.stack(parts).mean()
        if self.lambda_reg:
            losses["variance"] = self.lambda_reg * torch.stack([_variance(of) for of in scaled]).mean()
        self._note(distances, queries, documents, scaled)
        if self.training:
            self.step += 1
        return losses

    def distances(self, queries: Tensor, documents: Tensor) -> Tensor:
        """Return distances in units of that of two random texts, float (queries, documents)."""
        if self.distance == "cosine":
            return 1 - functional.normalize(queries, dim=-1) @ functional.normalize(documents, dim=-1).T
        squares = (queries**2).sum(-1)[:, None] + (documents**2).sum(-1)[None] - 2 * queries @ documents.T
        return squares.clamp_min(0) / (2 * queries.shape[-1])

    def _contrast(self, distances: Tensor, dim: int, *, has_negatives: bool) -> Tensor:
        rows = torch.arange(len(distances), device=distances.device)
        if self.contrastive == "infonce":
            return functional.cross_entropy(-distances / self._temperature(dim), rows)
        positive = distances[rows, rows]
        if has_negatives:
            others = distances[rows, len(distances) + rows]
        else:
            others = distances.masked_fill(torch.eye(*distances.shape, dtype=torch.bool, device=rows.device), math.inf)
            others = others.min(dim=1).values if len(distances) > 1 else positive + self.margin
        return functional.relu(positive - others + self.margin).mean()

    def _isotropy(self, scaled: Tensor, place: int) -> Tensor:
        if self.isotropy == "covariance":
            return covariance_loss(scaled)
        seed = (self.seed * 1_000_003 + self.step) * 2 + place
        return sigreg(scaled, count=self.slices, seed=seed) / total_count(scaled)

    def _scaled(self, vectors: Tensor) -> Tensor:
        if self.distance == "l2":
            return vectors
        return functional.normalize(vectors, dim=-1) * math.sqrt(vectors.shape[-1])

    def _note(self, distances: Tensor, queries: Tensor, documents: Tensor, scaled: list[Tensor]) -> None:
        with torch.no_grad():
            rows = torch.arange(len(distances), device=distances.device)
            norms = torch.cat([queries, documents]).float().norm(dim=-1)
            self.figures = {
                "positive_distance": float(distances[rows, rows].mean()),
                "norm": float(norms.mean()),
                "sigreg": float(torch.stack([sigreg(of, count=64, seed=self.step) for of in scaled]).mean()) - NULL,
            }
            if len(queries) > 1:
                # Of the scaled vectors: 1 is a Gaussian's whatever the distance.
                std = torch.stack([of.float().std(0).mean() for of in scaled]).mean()
                others = distances[:, : len(rows)][~torch.eye(len(rows), dtype=torch.bool, device=rows.device)]
                self.figures |= {"embedding_std": float(std), "random_distance": float(others.mean())}

    def collapse(self) -> str | None:
        """Return what is wrong with the vectors of the last batch, and the remedy; None when nothing is."""
        std, apart = self.figures.get("embedding_std", 1.0), self.figures.get("random_distance", 1.0)
        if math.isfinite(std) and (std < 0.05 or apart < 0.02):
            return (
                f"the embeddings collapse: standard deviation {std:.3g} (1 is Gaussian), distance of random pairs "
                f"{apart:.3g} (1 is independent). Raise lambda_isotropy (SIGReg, not isotropy='covariance', which "
                "rewards it) or lambda_reg, or lower learning_rate"
            )
        return None

    def get_config_dict(self) -> dict[str, Any]:
        """Return the settings, for the model's card."""
        names = ("distance", "contrastive", "isotropy", "lambda_isotropy", "lambda_reg", "margin", "slices")
        return {name: getattr(self, name) for name in names} | {"temperature": self.temperature}

    def _temperature(self, dim: int) -> float:
        # Squared distances of Gaussian vectors deviate by sqrt(8 dim) from their mean of 2 dim.
        usual = _COSINE_TEMPERATURE if self.distance == "cosine" else 1 / math.sqrt(dim)
        return self.temperature or usual


def _variance(scaled: Tensor) -> Tensor:
    if len(scaled) < 2:
        return scaled.sum() * 0
    return functional.relu(1 - (scaled.float().var(0) + _LEAST_STD).sqrt()).mean()


def _predictor(width: int, dim: int | None) -> nn.Module | None:
    if not width:
        return None
    if dim is None or width < 1:
        raise InvalidInputError(f"Expected a width of 1 or more and dim for a predictor, got {width} and {dim}.")
    last = nn.Linear(width, dim)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(dim, width), nn.GELU(), last)


def _check(
    distance: str, contrastive: str, isotropy: str, weights: tuple[float, ...], temperature: float | None
) -> None:
    known = {"distance": ("l2", "cosine"), "contrastive": ("infonce", "margin"), "isotropy": ("sigreg", "covariance")}
    for (name, choices), value in zip(known.items(), (distance, contrastive, isotropy), strict=True):
        if value not in choices:
            raise InvalidInputError(f"Expected {name} out of {', '.join(choices)}, got {value!r}.")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise InvalidInputError(f"Expected lambda_isotropy, lambda_reg and margin of 0 or more, got {weights}.")
    if temperature is not None and not (math.isfinite(temperature) and temperature > 0):
        raise InvalidInputError(f"Expected a temperature above 0, got {temperature!r}.")
