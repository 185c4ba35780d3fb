"""``semantic-ranker evaluate``: how good are rankings, or a model, on judged queries."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from semantic_ranker.cli._output import snippet, write
from semantic_ranker.cli._systems import SYSTEM, add_data, find, measure_systems, texts_at_hand

if TYPE_CHECKING:
    from semantic_ranker.evaluation.inputs import JudgedData, Measured


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    evaluate = commands.add_parser("evaluate", help="measure rankings or models on judged queries")
    evaluate.add_argument("systems", nargs="+", metavar="SYSTEM", help=SYSTEM)
    add_data(evaluate)
    evaluate.add_argument("--save-run", metavar="FILE", help="write the (one) system's ranking as a TREC run")
    evaluate.add_argument("--per-query", action="store_true", help="with --json: values of single queries as well")
    evaluate.add_argument("--json", action="store_true", help="print JSON")
    evaluate.add_argument("--html", metavar="PAGE", help="write a page with plots (extra: report)")
    evaluate.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    import json

    from semantic_ranker.errors import EvaluationError

    if options.save_run and len(options.systems) != 1:
        raise EvaluationError(f"Expected one system with --save-run, got {len(options.systems)}.")
    data, systems = measure_systems(options)
    if options.save_run:
        from semantic_ranker.collections import write_run

        write_run(options.save_run, {qid: dict(of) for qid, of in systems[0].run.items()})
    if options.html:
        from semantic_ranker.reports.comparison import comparison_page

        comparison_page(find(options, data, systems, kinds=texts_at_hand(data))).write(options.html)
    if options.json:
        print(json.dumps(_as_json(data, systems, per_query=options.per_query), indent=2))
    else:
        _print(data, systems)
    return 0


def _as_json(data: JudgedData, systems: list[Measured], *, per_query: bool) -> dict[str, Any]:
    from semantic_ranker.evaluation import interval

    found: dict[str, Any] = {}
    for system in systems:
        evaluation = system.evaluation
        found[system.name] = {
            "mean": evaluation.mean,
            "intervals": {name: list(interval(of)) for name, of in evaluation.per_query.items()},
            "tied": evaluation.tied,
        }
        if system.rerank is not None:
            found[system.name]["rerank"] = system.rerank.to_dict() | {"from": system.candidates}
        if per_query:
            found[system.name]["per_query"] = evaluation.per_query
    return {"data": data.name, "queries": len(next(iter(systems[0].evaluation.per_query.values()))), "systems": found}


def _print(data: JudgedData, systems: list[Measured]) -> None:
    from semantic_ranker.evaluation import interval

    width = min(30, max(6, *(len(system.name) for system in systems)))
    write(f"{'system':<{width}}  {'metric':<12} {'mean':>7}  95 % interval")
    for name in systems[0].evaluation.mean:
        for system in systems:
            low, high = interval(system.evaluation.per_query[name])
            shown = snippet(system.name, width)
            write(f"{shown:<{width}}  {name:<12} {system.evaluation.mean[name]:7.4f}  [{low:.4f}, {high:.4f}]")
    for system in systems:
        if system.rerank is not None:
            write(f"\n{snippet(system.name, 60)} reranks {snippet(system.candidates, 60)}:\n{system.rerank}")
    tied = ", ".join(
        f"{snippet(of.name, 30)} {of.evaluation.tied:.1%}" for of in systems if of.evaluation.tied >= 0.005
    )
    queries = len(next(iter(systems[0].evaluation.per_query.values())))
    write(
        f"\n{queries} judged queries of {snippet(data.name, 60)}" + (f"; ranks that are ties: {tied}" if tied else "")
    )
    for system in systems:
        _print_gaps(data, system)


def _print_gaps(data: JudgedData, system: Measured) -> None:
    judged = [qid for qid, grades in data.qrels.items() if grades]
    empty = sum(not system.run.get(qid) for qid in judged)
    foreign = sum(qid not in data.qrels for qid in system.run)
    if empty:
        write(f"{snippet(system.name, 30)}: {empty} judged queries without results, which count as zero")
    if foreign:
        write(f"{snippet(system.name, 30)}: {foreign} queries without judgments, which were left out")
