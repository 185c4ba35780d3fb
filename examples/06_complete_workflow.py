"""Everything in order: documents, pairs, negatives, training, export, comparison, decision.

Run: python examples/06_complete_workflow.py
Needs: pip install "semantic-ranker[training,docs-ingest]"

The base is a tiny one with random weights: it loses against the bundled model, and the decision says so. Put a real
base into the recipe (base = "FOLDER") and leave the rest.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from staff_handbook import load_judgments, load_questions, load_sections

from semantic_ranker import BM25Index, CrossEncoder, RankerEvaluator, compare
from semantic_ranker.evaluation import RerankTask
from semantic_ranker_training.run import run_recipe

HERE = Path(__file__).parent
RECIPE = HERE.parent / "training" / "recipes" / "smoke.toml"


def judged() -> RerankTask:
    """Return the handbook's English questions with BM25's best ten sections."""
    corpus = {section.id: section.text for section in load_sections() if section.language == "en"}
    queries = {question.id: question.text for question in load_questions() if question.language == "en"}
    names, bm25 = list(corpus), BM25Index(list(corpus.values()))
    run = {key: {names[row]: score for row, score in bm25.search(text, 10)} for key, text in queries.items()}
    qrels = {key: grades for key, grades in load_judgments().items() if key in queries}
    return RerankTask(queries=queries, corpus=corpus, qrels=qrels, candidates=run)


def main() -> None:
    """Make pairs of the handbook's headings, mine, train, export, and compare on people's questions."""
    with tempfile.TemporaryDirectory() as folder:
        # One epoch is too little for int8, and the export would say so.
        quick = ["num_epochs=1", "max_queries=60", 'precisions=["fp32"]']
        result = run_recipe(RECIPE, data=HERE / "handbook" / "en", out=Path(folder, "mine"), overrides=quick)
        print("written:", ", ".join(sorted(path.name for path in result.folder.iterdir())))
        task = judged()
        runs = {
            name: RankerEvaluator(CrossEncoder(model)).evaluate(task, "nDCG@10").run
            for name, model in {"bundled": None, "mine": result.folder}.items()
        }
    change = compare(runs["bundled"], runs["mine"], task.qrels, ["nDCG@10"])["nDCG@10"]
    print("mine is", "better" if change.low > 0 else "worse" if change.high < 0 else "not shown to differ")
    print("use:", "mine" if change.low > 0 else "bundled")


if __name__ == "__main__":
    main()
