"""One step of an interaction model's training: which texts, ranked for which queries, and what that costs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional

from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker_training.data.records import Group
from semantic_ranker_training.states import base_tokens, split_states
from semantic_ranker_training.terms import match_ids, term_weights
from semantic_ranker_training.train import QUERY_TOKENS
from semantic_ranker_training.tune.all_pairs import all_pairs_logits
from semantic_ranker_training.tune.fit import FitSettings

if TYPE_CHECKING:
    from torch import Tensor

    from semantic_ranker.backends.interaction import Side

_SAME = 0.6  # share of the words of the shorter of two texts, from which one is no negative beside the other
_OUT = -1e4
_AT_ONCE = 8


@dataclass(slots=True)
class StepData:
    """The data of a run as token ids, and the loss of a step.

    Attributes:
        model: What learns.
        tokenizer: Without truncation or padding.
        groups: What is learnt from.
        general: What is not to be unlearnt.
        settings: How.
        base: The model as it was.
    """

    model: InteractionCrossEncoder
    tokenizer: Tokenizer
    groups: list[Group]
    general: list[Group]
    settings: FitSettings
    _ids: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    _words: dict[str, frozenset[str]] = field(default_factory=dict)
    _orders: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    base: InteractionCrossEncoder = field(init=False)

    def __post_init__(self) -> None:
        self.base = copy.deepcopy(self.model).eval().requires_grad_(False)

    def fit_words(self, known: Sequence[str]) -> None:
        """Take how rare each word is from these texts, and which words are one where the head does not know that.

        Args:
            known: Stemmers of the languages that the head was made for; none for a new head.
        """
        texts = list(dict.fromkeys(text for group in self.groups for text in group.texts))
        head = self.model.head
        head.term_weight.copy_(torch.from_numpy(term_weights(self.tokenizer, texts, self.settings.language)))
        if self.settings.language not in known:
            head.match_id.copy_(torch.from_numpy(match_ids(self.tokenizer, self.settings.language)))

    def parameters(self) -> list[dict[str, Any]]:
        """Return what learns, the slow part first."""
        slow: list[Tensor] = []
        fast: list[Tensor] = []
        for name, value in self.model.named_parameters():
            of_head = name.startswith("head.") and not name.startswith("head.project")
            learns = not name.startswith("embeddings.") and (self.settings.encoder or name.startswith("head."))
            value.requires_grad_(learns)
            if learns:
                (fast if of_head else slow).append(value)
        return [
            {"params": slow, "lr": self.settings.learning_rate},
            {"params": fast, "lr": self.settings.head_learning_rate},
        ]

    def step(self, number: int) -> Tensor:
        """Return the loss of one step; which groups it takes depends on its number and the seed alone."""
        rows, old = self._rows(number)
        answers = [self._answer(group, number) for group in rows]
        texts = list(dict.fromkeys([*answers, *self._negatives(rows, number)]))
        logits = self._logits(self.model, [group.query for group in rows], texts)
        targets = torch.tensor([texts.index(answer) for answer in answers])
        masked = logits.masked_fill(self._same(rows, answers, texts), _OUT)
        loss = functional.cross_entropy(masked, targets)
        if old and self.settings.keep:
            loss = loss + self.settings.keep * self._drift(rows[-old:], texts, logits[-old:])
        if self.settings.teach and any(group.scores is not None for group in rows):
            loss = loss + self.settings.teach * self._taught(rows, texts, logits)
        return loss

    @property
    def shares(self) -> tuple[int, int]:
        """How many of a step's queries are learnt from, and how many are general ones."""
        batch = min(self.settings.batch, len(self.groups))
        old = min(round(batch * self.settings.general), len(self.general), batch - 1)
        return batch - old, old

    def _rows(self, number: int) -> tuple[list[Group], int]:
        own, old = self.shares
        rows = _drawn(self.groups, own, number, self.settings.seed, self._orders)
        return rows + _drawn(self.general, old, number, self.settings.seed + 1, self._orders), old

    def _negatives(self, rows: Sequence[Group], number: int) -> list[str]:
        """Return negatives that someone vouched for; those of the others are the answers beside theirs."""
        chooser, found = np.random.default_rng([self.settings.seed, number, 1]), []
        for group in rows:
            if group.scores is not None or group.source in self.settings.own_negatives:
                negatives = group.negatives
                for row in chooser.permutation(len(negatives))[: self.settings.hard]:
                    found.append(negatives[row])
        return found

    def _answer(self, group: Group, number: int) -> str:
        """Return one of a query's answers: another one in each pass."""
        return group.positives[number * self.shares[0] // len(self.groups) % len(group.positives)]

    def _same(self, rows: Sequence[Group], answers: Sequence[str], texts: Sequence[str]) -> Tensor:
        same = torch.zeros(len(rows), len(texts), dtype=torch.bool)
        for row, (group, answer) in enumerate(zip(rows, answers, strict=True)):
            own = self._words_of(answer)
            for place, text in enumerate(texts):
                other = self._words_of(text)
                repeats = len(own & other) >= _SAME * max(1, min(len(own), len(other)))
                same[row, place] = text != answer and (repeats or text in group.positives)
        return same

    def _drift(self, rows: Sequence[Group], texts: Sequence[str], logits: Tensor) -> Tensor:
        with torch.no_grad():
            before = self._logits(self.base, [group.query for group in rows], texts)
        return functional.kl_div(logits.log_softmax(1), before.log_softmax(1), reduction="batchmean", log_target=True)

    def _taught(self, rows: Sequence[Group], texts: Sequence[str], logits: Tensor) -> Tensor:
        losses = []
        for row, group in enumerate(rows):
            known = dict(zip(group.texts, group.scores or (), strict=False))
            places = [place for place, text in enumerate(texts) if text in known]
            if len(places) > 1:
                target = torch.tensor([known[texts[place]] for place in places])
                losses.append(
                    functional.kl_div(
                        logits[row, places].log_softmax(0), target.log_softmax(0), reduction="sum", log_target=True
                    )
                )
        return torch.stack(losses).mean() if losses else logits.sum() * 0.0

    def _logits(self, model: InteractionCrossEncoder, queries: Sequence[str], texts: Sequence[str]) -> Tensor:
        asked, read = self._side(model, queries, QUERY_TOKENS), self._side(model, texts, self.settings.passage_tokens)
        return all_pairs_logits(model.head, asked, read)

    def _side(self, model: InteractionCrossEncoder, texts: Sequence[str], limit: int) -> Side:
        missing = [text for text in dict.fromkeys(texts) if (text, limit) not in self._ids]
        for text, ids in zip(missing, base_tokens(self.tokenizer, missing, limit) if missing else (), strict=True):
            self._ids[text, limit] = ids
        rows = [self._ids[text, limit] for text in texts]
        tokens, mask = _padded(rows)
        config, seen = model.config, mask.float()
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.settings.encoder):
            states = _states(model, rows)
        words = seen * ((tokens != config.cls_token_id) & (tokens != config.sep_token_id)).float()
        return model.head.side(tokens, states, seen, words)

    def _words_of(self, text: str) -> frozenset[str]:
        return self._words.setdefault(text, frozenset(text.lower().split()))


def _in_pairs(groups: Sequence[Group], chooser: np.random.Generator) -> list[int]:
    """Return all rows in drawn order, each followed by one whose answer is among its mined negatives, if one is left.

    A step encodes the answers of all its queries, so a hard negative that is another query's answer costs nothing.
    """
    drawn = chooser.permutation(len(groups)).tolist()
    asking: dict[str, list[int]] = {}
    for row in drawn:
        for answer in groups[row].positives:
            asking.setdefault(answer, []).append(row)
    taken: dict[int, None] = {}
    for row in drawn:
        if row in taken:
            continue
        taken[row] = None
        negatives = groups[row].negatives
        hard = (other for place in chooser.permutation(len(negatives)) for other in asking.get(negatives[place], ()))
        if (partner := next((other for other in hard if other not in taken), None)) is not None:
            taken[partner] = None
    return list(taken)


def _states(model: InteractionCrossEncoder, rows: Sequence[Sequence[int]]) -> Tensor:
    """Encode texts in order of their length, few at once: of all together a third would be padding."""
    encode, longest = split_states(model), max(map(len, rows))
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    parts = [
        encode(*_padded([rows[row] for row in order[start : start + _AT_ONCE]]))
        for start in range(0, len(rows), _AT_ONCE)
    ]
    return torch.cat([functional.pad(of, (0, 0, 0, longest - of.shape[1])) for of in parts])[
        torch.tensor(order).argsort()
    ]


def _padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return ids and mask, int64 (texts, longest)."""
    longest = max(map(len, rows))
    tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return tokens, mask


def _drawn(
    groups: Sequence[Group], wanted: int, step: int, seed: int, orders: dict[tuple[int, int], list[int]]
) -> list[Group]:
    """Return groups so that each comes once an epoch, whatever the steps before were; orders of epochs are kept."""
    found = []
    for place in range(step * wanted, (step + 1) * wanted):
        epoch, row = divmod(place, len(groups))
        if (seed, epoch) not in orders:
            orders[seed, epoch] = _in_pairs(groups, np.random.default_rng([seed, epoch]))
        found.append(groups[orders[seed, epoch][row]])
    return found
