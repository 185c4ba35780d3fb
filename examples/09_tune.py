"""Tune a reranker on a folder of documents, without labels, and hear whether it helps.

Run: python examples/09_tune.py
Needs: pip install "semantic-ranker[tune]"

As a command: semantic-ranker tune examples/handbook/en --out my-reranker, which starts from the bundled reranker and
takes up to an hour. Here the base is a tiny one with random weights, so that a minute or two are enough; it comes out
worse than the bundled model, and the verdict says so.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from semantic_ranker import CrossEncoder
from semantic_ranker_training.cross_encoder.tiny import write_tiny_base
from semantic_ranker_training.tune import FitSettings, TuneOptions, tune

HANDBOOK = Path(__file__).parent / "handbook" / "en"
MEANING = {0: "better: use it", 3: "not shown to be better: keep the base", 4: "worse: keep the base"}


def main() -> None:
    """Tune, read the verdict, open the model."""
    with tempfile.TemporaryDirectory() as folder:
        texts = [path.read_text(encoding="utf-8") for path in sorted(HANDBOOK.glob("*.md"))]
        options = TuneOptions(
            documents=HANDBOOK,
            out=Path(folder, "my-reranker"),
            base=write_tiny_base(Path(folder, "base"), texts),
            guard_queries=10,
        )
        result = tune(options, settings=FitSettings(epochs=1, learning_rate=1e-3, mixes=(1.0,)))
        proof = result.content["held_out"]
        print("measured on held-out sections:", ", ".join(proof["systems"]))
        print("verdict:", MEANING[result.status])
        print("written:", ", ".join(sorted(path.name for path in result.folder.iterdir())))
        with CrossEncoder(result.folder) as encoder:
            print("opens:", len(encoder.rank("who pays for parking", texts[:3])), "texts ranked")


if __name__ == "__main__":
    main()
