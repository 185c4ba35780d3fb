"""Export a trained model to ONNX and INT8, with the proof that it still scores alike.

Run: python examples/05_optimization.py
Needs: pip install "semantic-ranker[training]"

The model is a tiny one, trained for seconds on made-up questions. On the command line: semantic-ranker export MODEL OUT
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from semantic_ranker import CrossEncoder
from semantic_ranker_training.cross_encoder import CrossEncoderTrainer
from semantic_ranker_training.cross_encoder.tiny import write_tiny_base
from semantic_ranker_training.data.synthetic import synthetic_groups
from semantic_ranker_training.optimizer import ModelOptimizer


def main() -> None:
    """Train, export, and rank with each form."""
    groups = synthetic_groups(80)
    texts = [group.texts[0] for group in groups]
    with tempfile.TemporaryDirectory() as folder:
        base = write_tiny_base(Path(folder, "base"), [*(group.query for group in groups), *texts])
        trainer = CrossEncoderTrainer(
            str(base), loss_function="cross_entropy", epochs=6, batch_size=8, learning_rate=3e-3, max_length=48
        )
        trained = trainer.train(groups, (), output_dir=Path(folder, "run"))

        report = ModelOptimizer(trained.model).export_to_onnx(Path(folder, "exported"))
        print("timed, in this order:", ", ".join(variant.name for variant in report.variants))
        print("files:", ", ".join(sorted(report.size_bytes)))
        sizes = {variant.name: variant.megabytes for variant in report.variants}
        print("int8 is smaller than fp32:", sizes["int8"] < sizes["fp32"])
        first = {
            precision: CrossEncoder(report.folder, precision=precision).rank(groups[0].query, texts[:10])[0].index
            for precision in ("fp32", "int8")
        }
        print("the same text first:", first["fp32"] == first["int8"])


if __name__ == "__main__":
    main()
