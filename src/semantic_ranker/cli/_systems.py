"""What evaluate, compare and report share: systems and judgments in, findings out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from semantic_ranker.cli._output import count, snippet

if TYPE_CHECKING:
    from semantic_ranker.evaluation.inputs import JudgedData, Measured
    from semantic_ranker.evaluation.slices import Grouping
    from semantic_ranker.reports.comparison import Findings

SYSTEM = "TREC run, JSON run, model folder, 'bm25' or 'bundled'; NAME=SYSTEM gives it a name"
QUERY_LENGTH, PASSAGE_LENGTH = "query-length", "passage-length"


def add_data(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the options that say what is measured on."""
    parser.add_argument(
        "--data",
        required=required,
        metavar="PATH",
        help="BEIR folder, or file of judgments (TREC, BEIR or JSON); a model needs the folder's texts",
    )
    parser.add_argument("--split", default="test", metavar="NAME", help="judgments of a BEIR folder (default: test)")
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=["nDCG@10", "RR@10", "Recall@100"],
        metavar="M",
        help="such as ndcg@10 mrr@10 map recall@100 hit_rate@5 (default: nDCG@10 RR@10 Recall@100)",
    )
    parser.add_argument("--candidates", metavar="RUN", help="run whose documents a model reranks (default: BM25)")
    parser.add_argument(
        "--depth", type=count, default=100, metavar="N", help="candidates a query for a model, results for BM25 (100)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of intervals and tests (default: 0)")


def measure_systems(options: argparse.Namespace) -> tuple[JudgedData, list[Measured]]:
    """Measure the systems of the command line.

    Raises:
        EvaluationError: A system or the data cannot be used, or two systems have one name.
    """
    from semantic_ranker.errors import EvaluationError
    from semantic_ranker.evaluation.inputs import Measuring, data_at

    data = data_at(options.data, options.split)
    measuring = Measuring(
        data=data, metrics=options.metrics, candidates=options.candidates, depth=options.depth, seed=options.seed
    )
    found: dict[str, Measured] = {}
    for given in options.systems:
        name, system = named(given)
        options.model = system if Path(system).is_dir() else None  # a folder that is no model is the user's mistake
        measured = measuring.measure(system, name)
        if measured.name in found:
            raise EvaluationError(
                f"Expected systems of different names, got {measured.name!r} twice: use NAME={given}."
            )
        found[measured.name] = measured
    return data, list(found.values())


def named(given: str) -> tuple[str | None, str]:
    """Return name and system of ``NAME=SYSTEM``; the name is None where there is none."""
    name, equals, system = given.partition("=")
    if not equals or not name or "/" in name or Path(given).exists():
        return None, given
    return name, system


def find(options: argparse.Namespace, data: JudgedData, systems: list[Measured], *, kinds: list[str]) -> Findings:
    """Compare the first system with the others, by kinds of query as well, as far as there are texts for it."""
    from semantic_ranker.evaluation.slices import slice_evaluations
    from semantic_ranker.evaluation.systems import compare_evaluations
    from semantic_ranker.reports.comparison import Findings

    base, others = systems[0], systems[1:]
    groups = {kind: groups_by(kind, data) for kind in kinds}
    comparisons = (
        compare_evaluations(base.evaluation, {of.name: of.evaluation for of in others}, seed=options.seed).systems
        if others
        else {}
    )
    slices = {
        of.name: {
            kind_name(kind): slice_evaluations(base.evaluation, of.evaluation, group, seed=options.seed)
            for kind, group in groups.items()
        }
        for of in others
    }
    return Findings(
        data=data.name,
        qrels=data.qrels,
        systems=systems,
        comparisons=comparisons,
        slices=slices,
        queries=data.collection.queries if data.collection else {},
    )


def kind_name(kind: str) -> str:
    """Return how a kind of query is called on a page."""
    return {QUERY_LENGTH: "length of the query", PASSAGE_LENGTH: "length of the relevant passages"}.get(
        kind, Path(kind).stem
    )


def groups_by(kind: str, data: JudgedData) -> Grouping:
    """Return the groups of queries.

    Args:
        kind: ``query-length``, ``passage-length``, or a JSON file: label by query id, or source by document id.
        data: Whose queries.

    Raises:
        EvaluationError: The file cannot be read, or texts are needed and there are none.
    """
    from semantic_ranker.evaluation.slices import passage_length_groups, query_length_groups, source_groups

    if kind == QUERY_LENGTH:
        return query_length_groups(data.texts().queries)
    if kind == PASSAGE_LENGTH:
        return passage_length_groups(data.texts().corpus, data.qrels)
    labels = _labels(kind)
    return labels if any(qid in labels for qid in data.qrels) else source_groups(data.qrels, labels)


def _labels(path: str) -> Mapping[str, str]:
    import json

    from semantic_ranker.errors import EvaluationError

    try:
        found = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"Expected {QUERY_LENGTH}, {PASSAGE_LENGTH} or a JSON file of labels, got {path!r}: {error}."
        ) from None
    if not isinstance(found, dict) or not all(isinstance(label, str) for label in found.values()):
        raise EvaluationError(f"Expected an object from query id or document id to label in {path}, got another shape.")
    return {key: snippet(label, 40) for key, label in found.items()}


def texts_at_hand(data: JudgedData) -> list[str]:
    """Return the kinds of query that the texts of the data allow without more reading."""
    return [QUERY_LENGTH, PASSAGE_LENGTH] if data.collection else []
