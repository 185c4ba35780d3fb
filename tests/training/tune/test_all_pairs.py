"""Every query with every passage at once gives what the pairs give one by one, and the same gradients."""

from dataclasses import fields, replace

import pytest
import torch

from semantic_ranker.backends.interaction import InteractionConfig, InteractionHead, Side
from semantic_ranker_training.tune.all_pairs import all_pairs_logits


def _side(head: InteractionHead, rows: int, length: int, seed: int) -> Side:
    chance = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 30, (rows, length), generator=chance)
    every = (torch.arange(length)[None] < torch.randint(3, length + 1, (rows, 1), generator=chance)).float()
    words = every.clone()
    words[:, 0] = 0
    states = torch.randn(rows, length, head.project.in_features, generator=chance)
    return head.side(ids, states, every, words)


def _one_by_one(head: InteractionHead, query: Side, passage: Side) -> torch.Tensor:
    rows = []
    for place in range(len(query.pooled)):
        repeated = Side(*(getattr(query, entry.name)[[place] * len(passage.pooled)] for entry in fields(Side)))
        features, facts = head.features(repeated, passage)
        rows.append(head.combine(torch.cat([features, torch.zeros(len(features), 1)], 1), facts))
    return torch.stack(rows)


@pytest.mark.parametrize("silent", [False, True], ids=["words on both sides", "a passage without words"])
def test_all_pairs_at_once_are_the_pairs_one_by_one(silent):
    torch.manual_seed(3)
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    head = InteractionHead(InteractionConfig.from_dict({**sizes, "intermediate_size": 32}))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.uniform_(head.term_weight, 0.5, 3.0)
    query, passage = _side(head, 3, 6, seed=1), _side(head, 5, 11, seed=2)
    if silent:
        words = passage.words.clone()
        words[1] = 0
        passage = replace(passage, words=words, weight=passage.weight * words, learned=passage.learned * words)
    found, expected = all_pairs_logits(head, query, passage), _one_by_one(head, query, passage)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    names = [name for name, _ in head.named_parameters()]
    gradients = [
        torch.autograd.grad(logits.logsumexp(1).sum(), list(head.parameters()), retain_graph=True, allow_unused=True)
        for logits in (found, expected)
    ]
    for name, one, other in zip(names, *gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3, msg=name)
