"""``semantic-ranker compare``: is one ranking or model better than another, and where."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from semantic_ranker.cli._output import count, snippet, write
from semantic_ranker.cli._systems import SYSTEM, add_data, find, measure_systems, texts_at_hand

if TYPE_CHECKING:
    from semantic_ranker.reports.comparison import Findings


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    compare = commands.add_parser("compare", help="say whether one ranking or model is better than another")
    compare.add_argument("baseline", metavar="BASELINE", help=SYSTEM)
    compare.add_argument("others", nargs="+", metavar="SYSTEM", help="what is compared with it")
    add_data(compare)
    compare.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="KIND",
        help="query-length, passage-length, or a JSON file: label by query id, or source by document id",
    )
    compare.add_argument("--show", type=count, metavar="N", help="print the N queries that lose and gain most")
    compare.add_argument("--json", action="store_true", help="print JSON, with the difference of every query")
    compare.add_argument("--html", metavar="PAGE", help="write a page with plots (extra: report)")
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    import json

    options.systems = [options.baseline, *options.others]
    data, systems = measure_systems(options)
    found = find(options, data, systems, kinds=options.by)
    if options.html:
        from semantic_ranker.reports.comparison import comparison_page

        page = found if options.by else find(options, data, systems, kinds=texts_at_hand(data))
        comparison_page(page).write(options.html)
    if options.json:
        print(json.dumps(_as_json(found), indent=2))
    else:
        _print(found, options.show)
    return 0


def _as_json(found: Findings) -> dict[str, Any]:
    return {
        "data": found.data,
        "baseline": found.systems[0].name,
        "systems": {
            name: {
                **comparison.to_dict(),
                "slices": {kind: of.to_dict() for kind, of in found.slices.get(name, {}).items()},
            }
            for name, comparison in found.comparisons.items()
        },
    }


def _print(found: Findings, show: int | None) -> None:
    base = snippet(found.systems[0].name, 40)
    for name, comparison in found.comparisons.items():
        write(f"A {base}, B {snippet(name, 40)}")
        write(str(comparison))
        for kind, slices in found.slices.get(name, {}).items():
            write(f"\nby {snippet(kind, 40)}")
            write(str(slices))
        first = comparison.metrics[0]
        for heading, rows in zip(("loses most", "gains most"), first.extremes(show or 0), strict=True):
            if rows:
                write(f"\nB {heading} in {first.metric}")
            for qid, difference in rows:
                write(f"  {difference:+.4f}  {snippet(qid, 24):<24}  {snippet(found.queries.get(qid, ''), 70)}")
        write("")
