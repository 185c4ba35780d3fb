"""A made-up folder of documents with enough structure to learn from, and a tiny base."""

import random

import pytest

from semantic_ranker_training.cross_encoder.tiny import write_tiny_base

TOPICS = ("garden", "kitchen", "harbour", "library", "workshop", "station", "museum", "orchard", "bakery", "theatre",
          "stable", "laboratory", "vineyard", "lighthouse")  # fmt: skip
THINGS = ("tools", "opening hours", "visitors", "repairs", "payments", "safety rules")
FILLER = ("every", "morning", "people", "keep", "things", "there", "and", "write", "down", "what", "they", "need",
          "before", "noon", "because", "somebody", "else", "will", "come", "later", "with", "keys")  # fmt: skip


def document(topic, seed=0, things=THINGS):
    """Return a Markdown document whose sections use words of their own beside common ones."""
    chooser = random.Random(f"{topic}/{seed}")
    lines = [
        f"# The {topic} handbook",
        "",
        f"All that concerns the {topic} is told here, for those who work in it.",
        "",
    ]
    for thing in things:
        own = [f"{topic[:4]}{thing[:3].strip()}{number}" for number in range(4)]
        lines += [f"## About {thing} of the {topic}", ""]
        for _ in range(4):
            words = [*chooser.sample(FILLER, 9), *chooser.sample(own, 2), thing.split()[0], topic]
            chooser.shuffle(words)
            lines.append(" ".join(words).capitalize() + ".")
        lines.append("")
    return "\n".join(lines)


@pytest.fixture(scope="session", name="document")
def _document():
    """The function that makes a document of a topic."""
    return document


@pytest.fixture(scope="session")
def sections():
    """Body by topic and thing of all sections."""
    return {
        (topic, thing): part.partition("\n")[2].strip()
        for topic in TOPICS
        for thing, part in zip(THINGS, document(topic).split("## ")[1:], strict=True)
    }


@pytest.fixture
def folder(tmp_path):
    """Fourteen documents of six sections."""
    path = tmp_path / "docs"
    path.mkdir()
    for topic in TOPICS:
        (path / f"{topic}.md").write_text(document(topic))
    return path


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """A bi-encoder with random weights, which becomes an interaction model."""
    return write_tiny_base(tmp_path_factory.mktemp("base") / "tiny", [document(topic) for topic in TOPICS])
