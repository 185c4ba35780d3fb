"""Train a cross-encoder on triples, look at its history, and rank with it.

Run: python examples/01_basic_training.py
Needs: pip install "semantic-ranker[training]"

The base is a tiny one with random weights and the questions are made up, so that this takes seconds; nothing that it
prints says how good a model is. With a base of yours: CrossEncoderTrainer("FOLDER", epochs=3, learning_rate=5e-5).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from semantic_ranker import CrossEncoder
from semantic_ranker_training.cross_encoder import CrossEncoderTrainer
from semantic_ranker_training.cross_encoder.tiny import write_tiny_base
from semantic_ranker_training.data.synthetic import synthetic_groups


def main() -> None:
    """Train on made-up questions, each with the sentence that answers it and one that does not."""
    groups = synthetic_groups(40)
    answers = [group.texts[0] for group in groups]
    triples = [(group.query, group.texts[0], answers[place - 1]) for place, group in enumerate(groups)]
    with tempfile.TemporaryDirectory() as folder:
        base = write_tiny_base(Path(folder, "base"), [*(group.query for group in groups), *answers])
        trainer = CrossEncoderTrainer(
            str(base),
            loss_function="cross_entropy",
            epochs=4,
            batch_size=8,
            learning_rate=3e-3,
            max_length=48,
            logging_steps=4,
        )
        result = trainer.train(triples, output_dir=Path(folder, "run"))

        losses = result["train_loss"]
        print("the loss fell:", losses[-1] < losses[0])
        print("measured on held-out queries:", ", ".join(metric.name for metric in result.metrics))
        print("written:", ", ".join(sorted(path.name for path in result.folder.iterdir() if path.suffix == ".json")))
        encoder = CrossEncoder(result.model, backend="torch")  # without ONNX files; 05_optimization.py writes them
        print("ranks:", len(encoder.rank(groups[0].query, answers[:5])), "texts")


if __name__ == "__main__":
    main()
