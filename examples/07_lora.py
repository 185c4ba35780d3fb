"""Adapt a model with low-rank adapters: few numbers learn, the adapter and the merged model are both written.

Run: python examples/07_lora.py
Needs: pip install "semantic-ranker[training]"

The base is a tiny one with random weights. Adapters save memory on big bases; on small ones training all weights is as
fast, and the default.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from semantic_ranker import CrossEncoder
from semantic_ranker_training.cross_encoder import CrossEncoderTrainer
from semantic_ranker_training.cross_encoder.tiny import write_tiny_base
from semantic_ranker_training.data.synthetic import synthetic_groups


def size(path: Path) -> int:
    """Return the bytes of a folder's weights."""
    return sum(file.stat().st_size for file in path.rglob("*.safetensors"))


def main() -> None:
    """Train adapters of rank 4 on made-up questions."""
    groups = synthetic_groups(40)
    with tempfile.TemporaryDirectory() as folder:
        texts = [text for group in groups for text in (group.query, *group.texts)]
        base = write_tiny_base(Path(folder, "base"), texts)
        trainer = CrossEncoderTrainer(
            str(base), use_lora=True, lora_r=4, lora_alpha=8, epochs=1, batch_size=8, learning_rate=3e-3, max_length=48
        )
        result = trainer.train(groups, (), output_dir=Path(folder, "run"))
        assert result.adapter is not None
        print("adapter:", ", ".join(sorted(path.name for path in result.adapter.iterdir())))
        print("the adapter is smaller than the model:", size(result.adapter) < size(result.model) / 2)
        merged = CrossEncoder(result.model, backend="torch")
        print("the merged model ranks:", len(merged.rank(groups[0].query, texts[:5])), "texts")


if __name__ == "__main__":
    main()
