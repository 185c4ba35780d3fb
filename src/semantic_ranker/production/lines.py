"""The lines of the checklist, one function each; each runs what it checks."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.production.checklist import Line, Needs, State
from semantic_ranker.production.probes import (
    QUERY,
    RIGHT,
    WRONG,
    Order,
    broken_copy,
    interleaved,
    quiet,
    ranker,
    sample,
    through_langchain,
    through_llama_index,
)

if TYPE_CHECKING:
    from semantic_ranker.collections import Collection
    from semantic_ranker.registry import ModelEntry

TRAINING, QUALITY, EXPORT, LATENCY = "training size", "nDCG@10", "optimised export", "latency"
FALLBACK, MONITORING, DOCUMENTATION, ROLLBACK = "fallback", "monitoring", "documentation", "rollback"
_LATENCY_ROUNDS, _SPEED_ROUNDS = 40, 9
_SECTIONS = {
    "training": ("training",),
    "data": ("data",),
    "metrics": ("metrics", "evaluation", "results"),
    "limits": ("limits", "limitations"),
    "licence": ("licence", "license"),
}


def training_size(entry: ModelEntry, needs: Needs) -> Line:
    """Compare the training pairs that the manifest records with what is needed."""
    pairs = entry.lineage.pairs
    if not pairs:
        advice = "Train with a recipe of this project, which records them, or write training.pairs into the manifest."
        return Line(name=TRAINING, state="cannot tell", found="The manifest records no training pairs.", advice=advice)
    total = sum(pairs.values())
    found = f"{total} training pairs of {len(pairs)} sources, {needs.pairs} are needed."
    advice = "" if total >= needs.pairs else "Mine more pairs from your documents, or take a model trained on more."
    return Line(name=TRAINING, state="ok" if total >= needs.pairs else "failed", found=found, advice=advice)


def quality(entry: ModelEntry, judged: Collection | None, needs: Needs) -> Line:
    """Rerank BM25's best of the judged queries, and compare nDCG@10 with BM25's."""
    if judged is None:
        advice = "Give judged queries of your own documents: --judged DIR (`feedback export` makes them from a log)."
        return Line(name=QUALITY, state="cannot tell", found="No judged queries were given.", advice=advice)
    from semantic_ranker.evaluation import RankerEvaluator
    from semantic_ranker.registry.comparison import bm25_task

    report = RankerEvaluator(entry.path).evaluate(bm25_task(judged, needs.depth), "nDCG@10")
    metric = report["nDCG@10"]
    found = (
        f"{metric.reranked:.3f} against {metric.first_stage:.3f} of BM25 on {report.queries} queries of "
        f"{judged.name}: {metric.gain:+.3f} [{metric.low:+.3f}, {metric.high:+.3f}], ceiling {metric.ceiling:.3f}."
    )
    state: State = "ok" if metric.low > 0 else "failed" if metric.gain <= 0 else "cannot tell"
    advice = {
        "ok": "",
        "failed": "Do not ship it for these documents: train on them, or take another model.",
        "cannot tell": "The gain may be chance: judge more queries.",
    }[state]
    return Line(name=QUALITY, state=state, found=found, advice=advice)


def optimised_export(entry: ModelEntry, judged: Collection | None, needs: Needs) -> Line:
    """Rank with the int8 weights, and where fp32 weights lie beside them, time both by turns."""
    if "int8" not in entry.precisions:
        found = f"No int8 weights; there are: {', '.join(entry.precisions) or 'none'}."
        advice = f"Write them: semantic-ranker export {entry.path} OUT"
        return Line(name=EXPORT, state="failed", found=found, advice=advice)
    query, texts = sample(judged, needs.candidates)
    kinds = [kind for kind in ("int8", "fp32") if kind in entry.precisions]
    runs = [ranker(entry, kind, query, texts) for kind in kinds]
    times: dict[str, list[float]] = dict(zip(kinds, interleaved(runs, _SPEED_ROUNDS), strict=True))
    return judge_speed(times)


def judge_speed(times_ms: dict[str, list[float]]) -> Line:
    """Return the line of the optimised export.

    Args:
        times_ms: Milliseconds of each round, by precision: ``int8``, and ``fp32`` where it is there.
    """
    int8 = float(np.median(times_ms["int8"]))
    if "fp32" not in times_ms:
        return Line(name=EXPORT, state="ok", found=f"int8 weights run, {int8:.1f} ms; no fp32 weights to compare with.")
    fp32 = float(np.median(times_ms["fp32"]))
    found = f"int8 takes {int8:.1f} ms and fp32 {fp32:.1f} ms: {fp32 / int8:.2f} times as fast."
    if int8 < fp32:
        return Line(name=EXPORT, state="ok", found=found)
    advice = "int8 does not pay on this machine: see `semantic-ranker doctor` for its CPU, or use precision='fp32'."
    return Line(name=EXPORT, state="failed", found=found, advice=advice)


def latency(entry: ModelEntry, judged: Collection | None, needs: Needs) -> Line:
    """Time the reranking of one query's candidates, after a first one that is not counted."""
    query, texts = sample(judged, needs.candidates)
    (times,) = interleaved([ranker(entry, "auto", query, texts)], _LATENCY_ROUNDS)
    p50, p95 = np.percentile(times, [50, 95]).tolist()
    found = f"P95 {p95:.1f} ms (P50 {p50:.1f} ms) for {len(texts)} candidates, {needs.latency_ms:g} ms are allowed."
    if p95 <= needs.latency_ms:
        return Line(name=LATENCY, state="ok", found=found)
    advice = "Rerank fewer candidates, export to int8, use more threads, or allow more: --budget-ms."
    return Line(name=LATENCY, state="failed", found=found, advice=advice)


def fallback(entry: ModelEntry) -> Line:
    """Break a copy of the model, rank through an adapter, and expect the first stage's order, marked as degraded."""
    for framework, run in (("LangChain", through_langchain), ("LlamaIndex", through_llama_index)):
        with tempfile.TemporaryDirectory() as scratch:
            broken = broken_copy(entry, Path(scratch))
            try:
                with quiet("semantic_ranker_langchain", "semantic_ranker_llama_index"):
                    healthy, degraded = run(str(entry.path)), run(str(broken))
            except ModuleNotFoundError:
                continue
        return _judge_fallback(framework, healthy, degraded)
    advice = "Install the extra 'langchain' or 'llama-index', or test the fallback of your own code by a broken model."
    return Line(
        name=FALLBACK, state="cannot tell", found="Neither LangChain nor LlamaIndex is installed.", advice=advice
    )


def _judge_fallback(framework: str, healthy: Order, degraded: Order) -> Line:
    problems = []
    if None in degraded.marks:
        problems.append("a broken model did not mark its documents as degraded")
    if degraded.texts != [WRONG, RIGHT]:
        problems.append("a broken model did not keep the first stage's order")
    if set(healthy.marks) & set(degraded.marks):
        problems.append("the model itself fails in the same way")
    if not problems:
        found = f"A broken copy gives the first stage's order, marked {degraded.marks[0]} (through {framework})."
        return Line(name=FALLBACK, state="ok", found=found)
    advice = "Use on_error='passthrough' of the adapter, and look for the mark in the metadata."
    return Line(name=FALLBACK, state="failed", found=f"{framework}: {'; '.join(problems)}.", advice=advice)


def monitoring(feedback: Path | None) -> Line:
    """Write a record beside the log and read it back, then read the log itself."""
    if feedback is None:
        advice = "Log interactions with FeedbackLog, and give the log: --feedback LOG."
        return Line(name=MONITORING, state="cannot tell", found="No feedback log was given.", advice=advice)
    from semantic_ranker.feedback import FeedbackLog, Interaction, measure

    if not feedback.exists():
        advice = "Let the application log one interaction first, and check the path."
        return Line(name=MONITORING, state="failed", found=f"There is no feedback log at {feedback}.", advice=advice)
    probe = FeedbackLog(feedback.with_name(f".{feedback.name}.{os.getpid()}.probe.jsonl"))
    try:
        written = probe.append(Interaction(query="probe"))
        came_back = list(probe) == [written]
    finally:
        probe.path.unlink(missing_ok=True)
    reading = FeedbackLog(feedback).read(on_error="skip")
    metrics = measure(reading)
    found = f"{metrics.interactions} interactions to {metrics.last}, {metrics.reviewed.count} of them reviewed."
    if not came_back or not os.access(feedback, os.W_OK):
        advice = "Give the application the right to write the log and its folder."
        return Line(name=MONITORING, state="failed", found=f"{feedback} cannot be written. {found}", advice=advice)
    if reading.damaged or not metrics.interactions:
        found = f"{found[:-1]}; {reading.damaged} lines are damaged."
        advice = "Correct the damaged lines (`feedback metrics LOG` names the first), and log interactions."
        return Line(name=MONITORING, state="failed", found=found, advice=advice)
    return Line(name=MONITORING, state="ok", found=f"The log is written and read: {found}")


def documentation(entry: ModelEntry) -> Line:
    """Look for the sections of a model card, each with words in it."""
    card = entry.path / "README.md"
    if not card.is_file():
        advice = f"Write them: semantic-ranker export {entry.path} OUT makes a card."
        return Line(name=DOCUMENTATION, state="failed", found="There is no README.md (model card).", advice=advice)
    sections = card_sections(card.read_text(encoding="utf-8", errors="replace"))
    missing = [name for name, titles in _SECTIONS.items() if not any(sections.get(title) for title in titles)]
    if missing:
        advice = "Write them: who uses the model must know what it learnt from, how good it is, and where it fails."
        return Line(name=DOCUMENTATION, state="failed", found=f"The card lacks: {', '.join(missing)}.", advice=advice)
    return Line(name=DOCUMENTATION, state="ok", found=f"The card has {', '.join(_SECTIONS)}.")


def rollback(entry: ModelEntry, earlier: ModelEntry | None) -> Line:
    """Open the earlier version and rank with it."""
    if earlier is None:
        found = f"There is no earlier version of {entry.name}."
        advice = "Keep the folder of the version in use beside the new one, or name one: --previous."
        return Line(name=ROLLBACK, state="failed", found=found, advice=advice)
    from semantic_ranker.cross_encoder import CrossEncoder
    from semantic_ranker.doctor import check_canaries
    from semantic_ranker.model_folder import ModelFolder

    if earlier.path.resolve() == entry.path.resolve():
        advice = "Name another folder than the model's own: --previous."
        return Line(name=ROLLBACK, state="failed", found="The earlier version is the model itself.", advice=advice)
    encoder = CrossEncoder(earlier.path)
    ranked = encoder.rank(QUERY, [WRONG, RIGHT])
    folder = ModelFolder.open(earlier.path)
    problems = check_canaries(encoder, folder.manifest or {}, scale=folder.settings.scale)
    if problems:
        advice = "Restore that folder from where it was released; `models --verify` compares its files."
        found = f"{earlier.reference} scores otherwise than when it was exported: {'; '.join(problems)}."
        return Line(name=ROLLBACK, state="failed", found=found, advice=advice)
    found = (
        f"{earlier.reference} in {earlier.path} opens, ranks {len(ranked)} texts, and scores as when it was exported."
    )
    return Line(name=ROLLBACK, state="ok", found=found)


def card_sections(text: str) -> dict[str, str]:
    """Return the text below each heading of a Markdown file, deeper ones included, by lower-case heading."""
    found: dict[str, str] = {}
    headings = list(re.finditer(r"^(#{1,6})\s+(.+?)\s*#*$", text, re.MULTILINE))
    for place, heading in enumerate(headings):
        deeper = (other.start() for other in headings[place + 1 :] if len(other.group(1)) <= len(heading.group(1)))
        body = text[heading.end() : next(deeper, len(text))]
        words = re.sub(r"^#{1,6}\s.*$", "", body, flags=re.MULTILINE).strip()
        found[heading.group(2).lower()] = words
    return found
