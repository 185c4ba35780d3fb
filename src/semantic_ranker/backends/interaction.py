"""The interaction cross-encoder as a torch module: the one definition of the architecture, trained and exported."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from semantic_ranker.errors import ModelLoadError

if TYPE_CHECKING:
    pass

ARCHITECTURE = "InteractionCrossEncoder"
FEATURES = ("cosine", "lexical", "phrase", "soft_match", "mean_match", "joint_cosine")
_NO_ATTENTION = -1e4
_LENGTH_SATURATION = 1.2
_LENGTH_NORMALISATION = 0.75
_MEAN_LENGTH = 150.0


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionConfig:
    """Shape of an `InteractionCrossEncoder`, as stored in ``config.json``.

    All ``num_hidden_layers`` attend within the query and within the passage only, so that their states equal the
    bi-encoder's; ``joint_layers`` further layers read both, starting from the states that many layers below the top.
    """

    vocab_size: int = 30522
    hidden_size: int = 384
    num_hidden_layers: int = 6
    num_attention_heads: int = 12
    intermediate_size: int = 1536
    max_position_embeddings: int = 512
    layer_norm_eps: float = 1e-12
    joint_layers: int = 0
    cls_token_id: int = 101
    sep_token_id: int = 102

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read the known keys of a ``config.json``, ignoring the others."""
        names = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in names})

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``config.json``."""
        return {"architectures": [ARCHITECTURE], "model_type": "semantic_ranker_interaction", **asdict(self)}


class _SelfAttention(nn.Module):
    def __init__(self, config: InteractionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        batch, length, width = states.shape
        shape = (batch, length, self.heads, width // self.heads)
        query, key, value = (
            layer(states).reshape(shape).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        weights = query @ key.transpose(-1, -2) / math.sqrt(width // self.heads) + bias
        return (weights.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, width)


class _Attention(nn.Module):
    def __init__(self, config: InteractionConfig) -> None:
        super().__init__()
        self.self = _SelfAttention(config)
        self.output = _Output(config.hidden_size, config)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        return self.output(self.self(states, bias), states)


class _Output(nn.Module):
    def __init__(self, width: int, config: InteractionConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, states: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(states) + residual)


class _Intermediate(nn.Module):
    def __init__(self, config: InteractionConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, states: Tensor) -> Tensor:
        return functional.gelu(self.dense(states))


class _Layer(nn.Module):
    """One BERT layer, parameters named as in Hugging Face's ``BertModel``."""

    def __init__(self, config: InteractionConfig) -> None:
        super().__init__()
        self.attention = _Attention(config)
        self.intermediate = _Intermediate(config)
        self.output = _Output(config.intermediate_size, config)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        attended = self.attention(states, bias)
        return self.output(self.intermediate(attended), attended)


class _Embeddings(nn.Module):
    def __init__(self, config: InteractionConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(2, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        # Each segment is encoded as the bi-encoder saw it: token type 0.
        summed = self.word_embeddings(input_ids) + self.position_embeddings(positions)
        return self.LayerNorm(summed + self.token_type_embeddings.weight[0])


class _Encoder(nn.Module):
    def __init__(self, config: InteractionConfig, layers: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Layer(config) for _ in range(layers))


@dataclass(frozen=True, slots=True)
class Segments:
    """Masks of one batch; every field is float32 (batch, length) unless said otherwise.

    ``valid`` marks real tokens; ``query`` and ``passage`` mark the tokens of each side, specials included;
    ``query_words`` and ``passage_words`` leave [CLS] and [SEP] out. ``positions`` is int64 and restarts in the passage.
    """

    query: Tensor
    passage: Tensor
    query_words: Tensor
    passage_words: Tensor
    positions: Tensor

    @classmethod
    def of(cls, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, config: InteractionConfig) -> Self:
        """Derive the masks from the three inputs, int64 (batch, length)."""
        passage = attention_mask * token_type_ids
        query = attention_mask - passage
        special = (input_ids == config.cls_token_id) | (input_ids == config.sep_token_id)
        word = (~special).float()
        index = torch.arange(input_ids.shape[1], device=input_ids.device)[None, :]
        positions = (index - query.sum(1, keepdim=True) * passage) * attention_mask
        query_, passage_ = query.float(), passage.float()
        return cls(query_, passage_, query_ * word, passage_ * word, positions)

    def within(self) -> Tensor:
        """Additive attention bias that keeps each side to itself, (batch, 1, length, length)."""
        same = self.query[:, :, None] * self.query[:, None, :] + self.passage[:, :, None] * self.passage[:, None, :]
        return ((1.0 - same) * _NO_ATTENTION)[:, None]

    def across(self) -> Tensor:
        """Additive attention bias of the joint layers, (batch, 1, 1, length)."""
        return ((1.0 - self.query - self.passage) * _NO_ATTENTION)[:, None, None, :]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a batch of pairs as the head reads it.

    ``match_id`` int64 (batch, length); ``tokens`` projected, L2-normalised states (batch, length, hidden); ``pooled``
    (batch, hidden); ``words`` marks tokens that are not special, ``weight`` is their stored and ``learned`` their
    learned importance, each (batch, length).
    """

    match_id: Tensor
    tokens: Tensor
    pooled: Tensor
    words: Tensor
    weight: Tensor
    learned: Tensor


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """Mean of the masked states, L2-normalised: float32 (batch, hidden)."""
    total = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp_min(1.0)
    return functional.normalize(total, dim=-1)


class InteractionHead(nn.Module):
    """Score from the token interactions of two encoded segments.

    Features, each 0 where either side has no words:

    * ``cosine``: the bi-encoder's own score;
    * ``lexical``: BM25 saturation of exact matches (stems), weighted by a learned term weight;
    * ``phrase``: the same for adjacent query tokens found adjacent in the passage;
    * ``soft_match``: the best cosine of each query token over the passage (MaxSim, Khattab & Zaharia 2020),
      weighted by the term weight; ``mean_match``: the same, unweighted.

    A small network of the features, zero at the start, learns where to trust which.
    """

    term_weight: Tensor
    match_id: Tensor

    def __init__(self, config: InteractionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.register_buffer("term_weight", torch.ones(config.vocab_size))
        self.register_buffer("match_id", torch.arange(config.vocab_size))
        self.project = nn.Linear(width, width, bias=False)
        self.importance = nn.Linear(width, 1)
        self.feature_weight = nn.Parameter(torch.tensor([1.0, 0.3, 0.0, 0.5, 0.5, 0.0]))
        self.mix = nn.Sequential(nn.Linear(len(FEATURES) + 3, 32), nn.GELU(), nn.Linear(32, 1))
        self.scale = nn.Parameter(torch.tensor(20.0))
        self.bias = nn.Parameter(torch.tensor(0.0))
        self.reset()

    def reset(self) -> None:
        """Start from what needs no training: identity projection, stored term weights, silent network."""
        nn.init.eye_(self.project.weight)
        nn.init.zeros_(self.importance.weight)
        nn.init.zeros_(self.importance.bias)
        last = self.mix[2]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def side(self, input_ids: Tensor, states: Tensor, every: Tensor, words: Tensor) -> Side:
        """Bundle one side; ``every`` and ``words`` are its float32 (batch, length) masks with and without specials."""
        tokens = functional.normalize(self.project(states), dim=-1)
        weight = self.term_weight[input_ids] * words
        learned = torch.exp(self.importance(states).squeeze(-1)) * words
        return Side(self.match_id[input_ids], tokens, mean_pool(states, every), words, weight, learned)

    def features(self, query: Side, passage: Side, similarity: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the features without the joint one, (..., 5), and three facts on the pair, (..., 3).

        Args:
            query: Its leading axes and the passage's broadcast: (batch, length) each for pairs, (n, 1, length) and
                (1, m, length) for every query with every passage.
            passage: See ``query``.
            similarity: Products of the tokens, (..., query length, passage length); None computes them.
        """
        cosine = (query.pooled * passage.pooled).sum(-1)
        term = query.weight * query.learned
        pairs = query.words[..., :, None] * passage.words[..., None, :]
        equal = (query.match_id[..., :, None] == passage.match_id[..., None, :]).float() * pairs
        found = equal.sum(-1)
        length = passage.words.sum(-1, keepdim=True)
        norm = 1.0 - _LENGTH_NORMALISATION + _LENGTH_NORMALISATION * length / _MEAN_LENGTH
        saturated = found * (_LENGTH_SATURATION + 1.0) / (found + _LENGTH_SATURATION * norm)
        lexical = (term * saturated).sum(-1) / (term.sum(-1) + 1e-6)

        adjacent = (equal[..., :-1, :-1] * equal[..., 1:, 1:]).amax(-1)
        both = (term[..., :-1] + term[..., 1:]) * query.words[..., :-1] * query.words[..., 1:]
        phrase = (both * adjacent).sum(-1) / (both.sum(-1) + 1e-6)

        if similarity is None:
            similarity = query.tokens @ passage.tokens.transpose(-1, -2)
        similarity = similarity - (1.0 - pairs) * 4.0
        best = similarity.amax(-1).clamp_min(-1.0) * query.words * (length > 0).float()
        soft_weight = (query.weight + 0.05 * query.words) * query.learned
        soft = (best * soft_weight).sum(-1) / (soft_weight.sum(-1) + 1e-6)
        words = query.words.sum(-1)
        mean = best.sum(-1) / words.clamp_min(1.0)
        specificity = query.weight.sum(-1) / words.clamp_min(1.0)
        facts = torch.log1p(words) / 3.0, torch.log1p(length[..., 0]) / 5.0, specificity / 5.0
        return torch.stack([cosine, lexical, phrase, soft, mean], -1), torch.stack(
            [fact.expand(cosine.shape) for fact in facts], -1
        )

    def combine(self, features: Tensor, facts: Tensor) -> Tensor:
        """Return logits (batch,) from all features (batch, 6) and facts (batch, 3)."""
        linear = (features * self.feature_weight).sum(-1)
        return self.scale * (linear + self.mix(torch.cat([features, facts], 1)).squeeze(-1)) + self.bias


class InteractionCrossEncoder(nn.Module):
    """Cross-encoder that starts as good as the bi-encoder it is built from.

    Input is ``[CLS] query [SEP] [CLS] passage [SEP]`` with token types 0 and 1. Every layer attends within its
    segment with restarting positions, so the states are the bi-encoder's to the last digit; optional joint layers
    (initialised from the top ones) read both segments; `InteractionHead` turns the states into a logit.
    """

    def __init__(self, config: InteractionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.encoder = _Encoder(config, config.num_hidden_layers)
        self.joint = _Encoder(config, config.joint_layers)
        self.head = InteractionHead(config)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Return logits, float32 (batch, 1), from int64 (batch, length) inputs."""
        segments = Segments.of(input_ids, attention_mask, token_type_ids, self.config)
        states = self.embeddings(input_ids, segments.positions)
        branch, bias = self.config.num_hidden_layers - self.config.joint_layers, segments.within()
        below = states
        for depth, layer in enumerate(self.encoder.layer):
            if depth == branch:
                below = states
            states = layer(states, bias)
        return self.score_states(input_ids, states, below, segments)[:, None]

    def score_states(self, input_ids: Tensor, states: Tensor, below: Tensor, segments: Segments) -> Tensor:
        """Return logits (batch,) from split states (batch, length, hidden) of the top and below the joint layers."""
        whole = self.head.side(input_ids, states, segments.query, segments.query_words + segments.passage_words)
        passage_pooled = mean_pool(states, segments.passage)
        query = replace(whole, words=segments.query_words, weight=whole.weight * segments.query_words)
        passage = replace(whole, words=segments.passage_words, pooled=passage_pooled)
        features, facts = self.head.features(query, passage)
        joint = torch.zeros_like(features[:, 0])
        if len(self.joint.layer):
            across = segments.across()
            for layer in self.joint.layer:
                below = layer(below, across)
            joint = (mean_pool(below, segments.query) * mean_pool(below, segments.passage)).sum(-1)
        return self.head.combine(torch.cat([features, joint[:, None]], 1), facts)

    @classmethod
    def from_bi_encoder(cls, folder: str | Path, *, joint_layers: int = 0) -> Self:
        """Start from a BERT-shaped sentence-transformers folder (``config.json``, ``model.safetensors``)."""
        folder = Path(folder)
        config_json = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config_json.get("model_type") != "bert":
            raise ModelLoadError(
                f"Expected a BERT-shaped bi-encoder in {folder.name} (config.json model_type 'bert'), "
                f"got {config_json.get('model_type')!r}; pass a folder such as all-MiniLM-L6-v2."
            )
        model = cls(InteractionConfig.from_dict({**config_json, "joint_layers": joint_layers}))
        weights = {
            key.removeprefix("bert."): value.float() for key, value in load_file(folder / "model.safetensors").items()
        }
        first = model.config.num_hidden_layers - joint_layers
        for key, value in list(weights.items()):
            if key.startswith("encoder.layer."):
                depth, rest = key.removeprefix("encoder.layer.").split(".", 1)
                if int(depth) >= first:
                    weights[f"joint.layer.{int(depth) - first}.{rest}"] = value
        known = model.state_dict()
        missing = [key for key in known if key not in weights and not key.startswith("head.")]
        if missing:
            raise ModelLoadError(
                f"{folder.name}/model.safetensors lacks {len(missing)} tensors, the first: {missing[0]}."
            )
        model.load_state_dict({**known, **{key: value for key, value in weights.items() if key in known}})
        return model.eval()

    @classmethod
    def from_folder(cls, folder: str | Path) -> Self:
        """Open a folder written by `save`."""
        folder = Path(folder)
        config = InteractionConfig.from_dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        model = cls(config)
        try:
            model.load_state_dict(load_file(folder / "model.safetensors"))
        except (RuntimeError, OSError) as error:
            raise ModelLoadError(f"{folder.name}/model.safetensors does not fit its config.json: {error}") from error
        return model.eval()

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` (float32), each to a temporary name first."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {key: value.contiguous() for key, value in self.state_dict().items()}, folder / "model.safetensors.tmp"
        )
        (folder / "model.safetensors.tmp").replace(folder / "model.safetensors")
        temporary = folder / "config.json.tmp"
        temporary.write_text(json.dumps(self.config.to_dict(), indent=2) + "\n", encoding="utf-8")
        temporary.replace(folder / "config.json")
