"""What ships by default is what the committed figures support, and the page says no more than they do."""

import json
from pathlib import Path

from semantic_ranker_training.gaussian.whitening import DEFAULT_POWER

ROOT = Path(__file__).parents[3]
FOUND = json.loads((ROOT / "benchmarks/results/isotropy.json").read_text())["free"]
KIND = "own documents, query direction"


def test_default_power_was_chosen_on_development_queries():
    assert FOUND["chosen"][KIND] == DEFAULT_POWER
    assert not set(FOUND["development"]) & set(FOUND["rows"]["base"])


def test_default_is_above_the_base_on_two_collections_and_below_it_on_none():
    verdict = FOUND["verdict"][f"chosen power, {KIND}"]
    assert len(verdict["above"]) >= 2
    assert verdict["below"] == []


def test_page_has_the_figures():
    text = (ROOT / "docs/isotropy.md").read_text()
    for name, entry in FOUND["rows"][f"chosen power, {KIND}"].items():
        assert f"{100 * entry['difference']:+.1f}" in text, name
