"""``semantic-ranker models``: the models on this machine, the best of them, two side by side, one trained again."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from semantic_ranker.cli._output import count, snippet, write

if TYPE_CHECKING:
    from semantic_ranker.registry import Best, Figure, ModelComparison, ModelEntry

_ROOT_HELP = "folder of models (default: $SEMANTIC_RANKER_MODELS, else ./models); those of the package are added"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    models = commands.add_parser("models", help="list the models here, find the best, compare two, train one again")
    models.add_argument("--root", metavar="DIR", help=_ROOT_HELP)
    models.add_argument("--json", action="store_true", help="print JSON")
    models.add_argument("--verify", action="store_true", help="compare every file with its sha256 (reads all weights)")
    models.add_argument("--catalogue", action="store_true", help="list the embedders that can be had instead")
    models.set_defaults(run=_list)
    actions = models.add_subparsers(metavar="ACTION")
    _add_best(actions)
    _add_compare(actions)
    _add_retrain(actions)


def _add_best(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    best = actions.add_parser("best", help="rank the models by a figure of their manifests")
    best.add_argument("--metric", default="nDCG@10", help="default: %(default)s")
    best.add_argument("--collection", metavar="NAME", help="default: the mean over all that the models share")
    best.add_argument("--kind", default="reranker", choices=["reranker", "embedder", "static-embedder"])
    _add_shared(best)
    best.set_defaults(run=_best)


def _add_compare(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    compare = actions.add_parser("compare", help="two models side by side; with --data, on the same candidates")
    compare.add_argument("a", metavar="A", help="model to beat: NAME, NAME@VERSION or a folder")
    compare.add_argument("b", metavar="B", help="model on trial, likewise")
    compare.add_argument("--data", metavar="DIR", help="BEIR folder on which both rerank BM25's best")
    compare.add_argument(
        "--depth", type=count, default=100, metavar="N", help="candidates a query (default: %(default)s)"
    )
    compare.add_argument("--metrics", nargs="+", default=["nDCG@10", "RR@10"], metavar="M")
    _add_shared(compare)
    compare.set_defaults(run=_compare)


def _add_retrain(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    retrain = actions.add_parser("retrain", help="run the recipe in a model's manifest again, into a new version")
    retrain.add_argument("name", metavar="NAME", help="NAME, NAME@VERSION or a folder")
    retrain.add_argument("--data", metavar="PATH", help="what the recipe learns from, the same as then or newer")
    retrain.add_argument("--out", metavar="DIR", help="folder of the new version (default: ROOT/NAME-VERSION)")
    retrain.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides", help="change a key of the recipe"
    )
    _add_shared(retrain)
    retrain.set_defaults(run=_retrain)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    # Given after the action as well as before it: SUPPRESS keeps what was said before.
    parser.add_argument("--root", metavar="DIR", default=argparse.SUPPRESS, help=_ROOT_HELP)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")


def _catalogue(options: argparse.Namespace) -> int:
    from semantic_ranker.catalogue import specs

    if options.json:
        rows = [{"name": of.name, "dim": of.dim, "languages": of.languages, "obtained": of.obtained} for of in specs()]
        print(json.dumps(rows, indent=2))
        return 0
    write(f"{'embedder':<45} {'dim':>5}  {'languages':<16} {'licence':<14} obtained by")
    for spec in specs():
        languages, licence = snippet(", ".join(spec.languages), 16), snippet(spec.licence, 14)
        write(f"{snippet(spec.name, 45):<45} {spec.dim:>5}  {languages:<16} {licence:<14} {spec.obtained}")
    return 0


def _list(options: argparse.Namespace) -> int:
    if options.catalogue:
        return _catalogue(options)
    from semantic_ranker.registry import ModelRegistry

    registry = ModelRegistry(options.root)
    entries = registry.entries(verify=options.verify)
    if options.json:
        print(json.dumps({"root": str(registry.root), "models": [entry.to_dict() for entry in entries]}, indent=2))
        return 0
    write(f"{'model':<30} {'kind':<15} {'languages':<10} {'weights':<18} {'size':>8}  {'trained':<10} from")
    for entry in entries:
        for line in _lines(entry):
            write(line)
        for figure in entry.figures if not entry.problem else ():
            write(f"    {snippet(figure.collection, 22):<22} {snippet(figure.metric, 12):<12} {_figure(figure)}")
    damaged = sum(entry.problem is not None for entry in entries)
    write(f"{len(entries) - damaged} models, {damaged} damaged; below {registry.root} and in the package")
    return 0


def _lines(entry: ModelEntry) -> list[str]:
    if entry.problem:
        return [f"{snippet(entry.reference, 30):<30} DAMAGED", f"    {entry.path}: {entry.problem}"]
    origin = entry.lineage.parent or entry.lineage.base_model or "unknown"
    languages, weights = ", ".join(entry.languages) or "?", ", ".join(entry.precisions) or "-"
    created = snippet(entry.lineage.created, 10) or "unknown"
    return [
        f"{snippet(entry.reference, 30):<30} {snippet(entry.kind, 15):<15} {snippet(languages, 10):<10} "
        f"{snippet(weights, 18):<18} {entry.size_bytes / 1e6:>5.1f} MB  {created:<10} {snippet(origin, 60)}",
        f"    {'in the package' if entry.bundled else entry.path}",
    ]


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return "not measured"
    interval = "" if figure.low is None or figure.high is None else f" [{figure.low:.3f}, {figure.high:.3f}]"
    return f"{figure.value:.3f}{interval}"


def _best(options: argparse.Namespace) -> int:
    from semantic_ranker.registry import ModelRegistry

    best = ModelRegistry(options.root).best(options.metric, options.collection, kind=options.kind)
    if options.json:
        print(json.dumps(best.to_dict(), indent=2))
    else:
        _print_best(best)
    return 0


def _print_best(best: Best) -> None:
    write(f"{best.metric} on {', '.join(best.collections)}")
    for place, row in enumerate(best.ranking, start=1):
        interval = "" if row.low is None or row.high is None else f"[{row.low:.3f}, {row.high:.3f}]"
        write(f"{place:>3}  {snippet(row.entry.reference, 30):<30} {row.value:.4f}  {interval:<16} {row.entry.path}")
    if best.unmeasured:
        write(f"Not measured, so that nobody knows: {', '.join(best.unmeasured)}")
    if len(best.ranking) > 1 and not best.is_clear:
        first, second = (row.entry.reference for row in best.ranking[:2])
        write(f"The lead may be chance; to know: semantic-ranker models compare {second} {first} --data DIR")


def _compare(options: argparse.Namespace) -> int:
    from semantic_ranker.collections import load_beir
    from semantic_ranker.registry import ModelRegistry

    registry = ModelRegistry(options.root)
    data = load_beir(options.data) if options.data else None
    found = registry.compare(options.a, options.b, data=data, metrics=tuple(options.metrics), depth=options.depth)
    if options.json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        _print_comparison(found)
    return 0


def _print_comparison(found: ModelComparison) -> None:
    a, b = (f"{entry.reference} ({side})" for entry, side in ((found.a, "A"), (found.b, "B")))
    write(f"{'collection':<22} {'metric':<12} {snippet(a, 28):<28} {snippet(b, 28)}")
    for pair in found.figures:
        head = f"{snippet(pair.collection, 22):<22} {snippet(pair.metric, 12):<12}"
        write(f"{head} {_figure(pair.a):<28} {_figure(pair.b)}")
    write("" if found.lineage else "\nThe lineage is the same.")
    for key, values in found.lineage.items():
        write(f"{snippet(key, 35):<35} {snippet(values[0], 28) or '-':<28} {snippet(values[1], 28) or '-'}")
    if found.measured:
        write(f"\nOn the same candidates:\n{found.measured}")
    else:
        write(
            "\nFigures of manifests were measured at different times; --data DIR compares both on the same candidates."
        )


def _retrain(options: argparse.Namespace) -> int:
    from semantic_ranker.registry import ModelRegistry

    found = ModelRegistry(options.root).retrain(
        options.name, data=options.data, out=options.out, overrides=options.overrides
    )
    if options.json:
        print(json.dumps(found.to_dict(), indent=2))
    else:
        write(f"Trained {found.entry.reference} from the recipe of {found.parent.reference}: {found.entry.path}")
        write(f"Data: {found.summary}")
        write(f"Next: semantic-ranker models compare {found.parent.path} {found.entry.path} --data DIR")
    return 0
