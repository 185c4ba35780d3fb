"""The report as one page that a person would show to a colleague."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semantic_ranker.evaluation.resampling import show_p
from semantic_ranker.evaluation.slices import slice_evaluations
from semantic_ranker.reports import Page, plots
from semantic_ranker_training.tune.measure import METRICS, Findings
from semantic_ranker_training.tune.proof import BY_PASSAGE, TUNED, Proof

SHOWN = 20
_TEXT = 280
_TITLES = {
    "better": "Better: the tuned reranker helps on these documents",
    "not shown": "Not shown: no gain that is more than chance",
    "worse": "Worse: keep what you have",
}


def write_page(path: Path, content: Mapping[str, Any], proof: Proof, base: str) -> None:
    """Write the page.

    Args:
        path: The file.
        content: What ``tune.json`` holds.
        proof: The figures with their queries.
        base: Name of what was tuned, or of the bundled reranker where that could not rank.

    Raises:
        ModuleNotFoundError: The extra ``report`` is not installed.
    """
    page = Page(_TITLES[proof.verdict.outcome], proof.verdict.words)
    documents = content["documents"]
    page.facts(
        {
            "documents": documents["read"], "passages": documents["passages"], "language": documents["language"],
            "held-out questions": len(proof.own.task.queries), "minutes": f"{content['seconds'] / 60:.0f}",
        }
    )  # fmt: skip
    page.text(proof.verdict.recommendation)
    _scores(page, proof.own, base, "Held-out sections")
    if proof.judged is not None:
        _scores(page, proof.judged, base, "Your judged questions")
    _queries(page, proof.own, base)
    _guards(page, proof, base)
    _gains(page, content)
    _cost(page, proof, content, base)
    _learning(page, content)
    _method(page, proof, content)
    page.write(path)


def _scores(page: Page, found: Findings, base: str, heading: str) -> None:
    figures = found.to_dict()["systems"]
    page.section(heading)
    page.table(
        ["system", *(f"{metric}" for metric in METRICS), "nDCG@10, 95 %"],
        [
            [name, *(of[metric]["mean"] for metric in METRICS), "{:.3f} to {:.3f}".format(*of[METRICS[0]]["interval"])]
            for name, of in figures.items()
        ],
        f"{len(found.task.queries)} questions over {len(found.task.corpus):,} passages.",
    )
    bars = {name: (of[METRICS[0]]["mean"], *of[METRICS[0]]["interval"]) for name, of in figures.items()}
    page.plot(
        plots.bars_with_intervals(bars, xlabel="nDCG@10, 95 % interval"),
        "Intervals of single systems may overlap although their difference is certain: see the differences below.",
        "Mean nDCG@10 of each system with its interval.",
    )
    page.table(
        ["tuned against", "metric", "difference", "low", "high", "p", "p Holm", "won", "lost"],
        [
            [
                name, of.metric, f"{of.difference:+.4f}", f"{of.low:+.4f}", f"{of.high:+.4f}", show_p(of.p_value),
                show_p(of.adjusted_p), of.won, of.lost,
            ]
            for name, comparison in found.comparisons.items()
            for of in comparison.metrics
        ],
        "Paired by question: 95 % bootstrap interval, randomisation test, Holm's correction over this table.",
    )  # fmt: skip


def _queries(page: Page, found: Findings, base: str) -> None:
    comparison = found.comparisons[base][METRICS[0]]
    page.section(f"Question by question against the {base}")
    page.plot(
        plots.per_query_differences(comparison.per_query, metric=METRICS[0], a=base, b=TUNED),
        f"{comparison.won} questions won, {comparison.lost} lost, "
        f"{len(comparison.per_query) - comparison.won - comparison.lost} equal.",
        "Difference in nDCG@10 of each question, sorted.",
    )
    worst, best = comparison.extremes(SHOWN)
    for verb, rows in (("lost most", worst), ("won most", best)):
        if rows:
            page.details(
                f"The {len(rows)} questions that the tuned model {verb}",
                ["question", "difference", "the right passage", "rank before", "rank now", "first now"],
                [_row(found, base, qid, value) for qid, value in rows],
            )
    if len(set(found.task.kinds.values())) > 1:
        slices = slice_evaluations(found.evaluations[base], found.evaluations[TUNED], found.task.kinds)
        page.table(
            ["kind of question", "questions", base, TUNED, "difference"],
            [[of.label, of.queries, of.mean_a, of.mean_b, f"{of.difference:+.4f}"] for of in slices.slices],
            "nDCG@10 by what asked.",
        )


def _row(found: Findings, base: str, qid: str, value: float) -> list[Any]:
    relevant = next(iter(found.task.qrels[qid]))
    now = list(sorted(found.runs[TUNED].get(qid, {}).items(), key=lambda item: (-item[1], item[0])))
    first = now[0][0] if now else ""
    return [
        found.task.queries[qid],
        f"{value:+.3f}",
        _short(found.task.corpus.get(relevant, "")),
        _rank(found.runs[base].get(qid, {}), found.task.qrels[qid]),
        _rank(found.runs[TUNED].get(qid, {}), found.task.qrels[qid]),
        "the same" if first in found.task.qrels[qid] else _short(found.task.corpus.get(first, "")),
    ]


def _rank(scores: Mapping[str, float], relevant: Mapping[str, int]) -> str:
    order = sorted(scores, key=lambda key: (-scores[key], key))
    return str(next((place for place, key in enumerate(order, 1) if key in relevant), "not found"))


def _short(text: str) -> str:
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _guards(page: Page, proof: Proof, base: str) -> None:
    page.section("What it unlearnt elsewhere")
    rows = {name: of.metrics[0] for name, of in proof.guards.items()}
    page.table(
        ["collection", "questions", base, TUNED, "difference", "low", "high", "p"],
        [
            [
                name, len(of.per_query), of.mean_a, of.mean_b, f"{of.difference:+.4f}", f"{of.low:+.4f}",
                f"{of.high:+.4f}", show_p(of.p_value),
            ]
            for name, of in rows.items()
        ],
        "nDCG@10 of both models on the same candidates of BM25. A loss counts where the interval is below zero.",
    )  # fmt: skip
    page.plot(
        plots.bars_with_intervals(
            {name: (of.difference, of.low, of.high) for name, of in rows.items()},
            xlabel="tuned minus base, nDCG@10, 95 % interval",
            reference=0.0,
        ),
        "Right of the line is better than before.",
        "Difference of nDCG@10 on each guard collection.",
    )


def _gains(page: Page, content: Mapping[str, Any]) -> None:
    if not content["gains"]:
        return
    page.section("What each ingredient was worth")
    page.table(
        ["ingredient", "without", "with", "difference", "low", "high"],
        [
            [
                name, of["without"], of["with"], f"{of['difference']:+.4f}", f"{of['low']:+.4f}", f"{of['high']:+.4f}",
            ]
            if of["measured"]
            else [name, None, None, None, None, None]
            for name, of in content["gains"].items()
        ],
        "nDCG@10 on the held-out questions, learnt once more without it; a dash where the budget had no room for that.",
    )  # fmt: skip


def _cost(page: Page, proof: Proof, content: Mapping[str, Any], base: str) -> None:
    page.section("What it costs")
    page.table(
        ["system", "ms to rank 20 new passages"],
        [[name, value] for name, value in proof.latency_ms.items()],
        f"Median on this machine. The model folder has {content['export']['megabytes']} MB "
        f"({content['export']['precision']}).",
    )


def _learning(page: Page, content: Mapping[str, Any]) -> None:
    page.section("Learning")
    fit, pairs = content["fit"], content["pairs"]
    page.table(
        ["pairs of", "made", "learnt from"],
        [[kind, count, pairs["learnt"].get(kind, 0)] for kind, count in pairs["made"].items()],
        "Left out: " + (", ".join(f"{count} {why}" for why, count in pairs["left_out"].items()) or "none") + ".",
    )
    start = [] if fit["before"] is None else [(0.0, fit["before"])]
    points = [*start, *((float(of["step"]), of["nDCG@10"]) for of in fit["history"])]
    ended = (
        f"Ended after {fit['steps']} of {fit['planned']} steps: {fit['stopped']}. Taken is {fit['mix']:.0%} of the way "
        f"from the base's weights to the new ones: nDCG@10 {fit['after']:.3f} on the validation questions."
    )
    if len(points) > 1:
        curve = ([step for step, _ in points], [value for _, value in points])
        page.plot(
            plots.lines({"validation": curve}, xlabel="step", ylabel="nDCG@10"),
            ended,
            "nDCG@10 of the validation questions by step.",
        )
    else:
        page.text(ended)


def _method(page: Page, proof: Proof, content: Mapping[str, Any]) -> None:
    page.section("How this was measured")
    by = content["split"]["by"]
    page.text(
        f"Whole {by}s were held out before anything was learnt; near duplicates stay on one side. A question is a "
        "heading, a title, the text of a link or a docstring's first sentence, and the passages below it are right, "
        "as they were written, without the heading above them. Such questions stand in for people's and are not the "
        "same: real questions are longer and use other words. Passages are of 180 words at most, and all of the "
        "folder's are searched."
    )
    page.text(
        f"Rerankers get the first {proof.depth} of RRF, which fuses BM25 and {proof.dense}. The fused system adds the "
        f"search's score with the weight {1 - proof.weights.fusion_weight:.2f}, fitted on other questions. Unjudged "
        "passages count as not relevant."
    )
    if share := proof.weights.source_weight:
        page.text(
            f"A passage's score is {1 - share:.0%} its own and {share:.0%} that of the best passage of its document, "
            f"as it will be in use; {BY_PASSAGE!r} leaves that out."
        )
    for note in content["notes"]:
        page.text(note[0].upper() + note[1:] + ".")
