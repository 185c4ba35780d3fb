"""Train embeddings towards an isotropic Gaussian (SIGReg), and find documents by distance.

Run: python examples/08_gaussian.py
Needs: pip install "semantic-ranker[training,faiss]"

The base is a tiny one with random weights, and the questions are made up: no figure means anything. As a command:
semantic-ranker train-embedder, and docs/isotropy.md has what was measured on real models.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from semantic_ranker import GaussianRetriever
from semantic_ranker_training.cross_encoder.tiny import write_tiny_base
from semantic_ranker_training.data.synthetic import synthetic_groups
from semantic_ranker_training.gaussian import GaussianConfig, GaussianTrainer


def main() -> None:
    """Train for seconds, then retrieve with the trained and with the bundled model."""
    groups = synthetic_groups(40)
    answers = [group.texts[0] for group in groups]
    with tempfile.TemporaryDirectory() as folder:
        base = write_tiny_base(Path(folder, "base"), [*(group.query for group in groups), *answers])
        config = GaussianConfig(num_epochs=2, batch_size=16, learning_rate=1e-3, max_length=32, output_dim=32)
        result = GaussianTrainer(str(base), config).train(groups, (), output_dir=Path(folder, "run"))
        print(f"vectors of {result.dim}, written:", ", ".join(sorted(path.name for path in result.folder.iterdir())))
        trained = GaussianRetriever(result.model, embedding_dim=32)
        trained.add_documents(answers)
        print("the trained model finds", len(trained.retrieve(groups[0].query, top_k=3)), "documents")

    bundled = GaussianRetriever()
    bundled.add_documents(
        ["Cats sleep all day.", "To change a forgotten password, open Settings.", "Guest Wi-Fi: ask."]
    )
    for document, distance in bundled.retrieve("how do I reset my password", top_k=2):
        print(f"{distance:.2f}", document)


if __name__ == "__main__":
    main()
