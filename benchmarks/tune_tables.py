"""The tables of docs/tune.md: what the command gave on folders of real documentation, and what each ingredient did."""

from __future__ import annotations

from typing import Any

from table_parts import RESULTS, change, has, points, read, rows

METRICS = ("nDCG@10", "RR@10", "Recall@5")


def tuned() -> str:
    if not (RESULTS / "tune.json").is_file():
        return "`benchmarks/tune.py` was not run on this checkout."
    found = read("tune")
    lines: list[str] = []
    for folder, runs in found["runs"].items():
        lines += _folder(folder, runs["default"])
    if "handbook_questions" in found:
        lines += _questions(found["handbook_questions"])
    machine, versions = found["machine"], found["versions"]
    commands = [f"`python {run['command']} --data DATA`" for runs in found["runs"].values() for run in runs.values()]
    lines.append(
        f"Intervals of 95 %. {machine['cores']} cores, torch {versions['torch']}, onnxruntime {versions['onnxruntime']}. "
        + ", ".join(commands)
    )
    return "\n".join(lines)


def _folder(name: str, run: dict[str, Any]) -> list[str]:
    held, fit = run["held_out"], run["fit"]
    base = "" if run["base"] == "bundled reranker" else f"tuned from {run['base']}, "
    cut = f" ({fit['steps']} of {fit['planned']} steps, what the budget left)" if fit["stopped"] == "budget" else ""
    lines = [
        f"**{name}**: {run['documents']['read']} documents, {held['passages']:,} passages, {held['queries']} held-out "
        f"headings, titles and questions (a proxy); {base}learnt from {sum(run['pairs']['learnt'].values()):,} pairs in "
        f"{fit['seconds'] / 60:.0f} minutes{cut}, {run['seconds'] / 60:.0f} in all.",
        "",
        f"| | {' | '.join(METRICS)} |",
        "|---" * (len(METRICS) + 1) + "|",
    ]
    for system, figures in held["systems"].items():
        cells = [_cell(figures[metric]) for metric in METRICS]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    lines += ["", f"> {run['verdict']['words']}", ""]
    if run["guards"]:
        told = (f"{name} {change(of)} ({of['queries']} queries)" for name, of in run["guards"].items())
        lines += [f"Elsewhere, nDCG@10 against the base: {', '.join(told)}.", ""]
    return lines


def _questions(found: dict[str, Any]) -> list[str]:
    lines = [
        "The 60 questions on the handbook, in the words of people who ask. Nothing was learnt from them; that half of the "
        "way is taken (step 5) was decided with a look at them; that scores go by documents too (step 6), at them and at the "
        "held-out questions above:",
        "",
        "| | nDCG@10 |",
        "|---|---|",
    ]
    for system, figures in found["systems"].items():
        name = system.replace("docs-18f-handbook-default", "tuned").replace("reranker", "bundled reranker")
        lines.append(f"| {name} | {_cell(figures['nDCG@10'])} |")
    gain = next(
        of for of in found["gain"]["docs-18f-handbook-default - reranker"]["metrics"] if of["metric"] == "nDCG@10"
    )
    said = f"{100 * gain['difference']:+.1f} points [{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}]"
    return [*lines, "", f"Tuned against bundled: {said}, p {gain['p_value']:.2f}.", ""]


def _cell(figure: dict[str, Any]) -> str:
    low, high = figure["interval"] if "interval" in figure else (figure["low"], figure["high"])
    return f"{figure['mean']:.3f} [{low:.3f}, {high:.3f}]"


def ablations() -> str:
    if not has("tune_ablations"):
        return "`benchmarks/tune_ablations.py` was not run on this checkout."
    found = read("tune_ablations")
    default = found["default"]

    def line(name: str, part: dict[str, Any]) -> list[object]:
        figure, against, fit = part["nDCG@10"], part["against"], part["fit"]
        told = [points(against[of]) if of in against else "-" for of in ("bundled reranker", default)]
        return [
            name,
            fit.get("groups", "-"),
            format(fit["mix"], ".0%") if "mix" in fit else "-",
            _cell(figure),
            *told,
        ]

    head = (
        "learnt",
        "queries learnt from",
        "of the way",
        "nDCG@10",
        "against the bundled reranker, points",
        "against the default, points",
    )
    body = rows(head, (line(name, part) for name, part in found["rows"].items()))
    return (
        f"{body}\n\n{found['queries']} held-out headings, titles and links of {found['folder']}, a proxy; one seed, "
        f"{found['passes']:g} pass where nothing else is said, weights in float32, each passage by itself; "
        f"of the way: what share of the step from the base's weights to "
        f"the new ones was taken, chosen on the watched questions; 95 % intervals over queries. "
        f"torch {found['versions']['torch']}, `{found['command']}`"
    )
