"""Everything that a run found, as JSON, page, card and model folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semantic_ranker._version import __version__
from semantic_ranker.evaluation import interval
from semantic_ranker_training.data.records import Group
from semantic_ranker_training.manifest import Metric
from semantic_ranker_training.tune import finish
from semantic_ranker_training.tune.base import Base
from semantic_ranker_training.tune.data import Data, kinds
from semantic_ranker_training.tune.fit import FitReport
from semantic_ranker_training.tune.given import Given
from semantic_ranker_training.tune.measure import METRICS
from semantic_ranker_training.tune.mining import Learnt
from semantic_ranker_training.tune.options import TuneOptions
from semantic_ranker_training.tune.proof import TUNED, Proof, base_name
from semantic_ranker_training.tune.report import write_page

REPORT, PAGE = "tune.json", "tune.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the stages of a run made.

    Attributes:
        identity: Hash of everything that decided it.
        options: What was asked for.
        base: What was tuned.
        data: The documents.
        given: What the user gave beside them.
        learnt: Pairs and what was left out.
        groups: What was learnt from.
        report: How.
        export: Size, precision and parity of the model folder.
        gains: What each ingredient was worth.
        proof: The figures.
        stages: Seconds of each stage, those of a run that was killed too.
        seconds: Of this run, what a killed one had finished before it included.
    """

    identity: str
    options: TuneOptions
    base: Base
    data: Data
    given: Given
    learnt: Learnt
    groups: Sequence[Group]
    report: FitReport
    export: Mapping[str, Any]
    gains: Mapping[str, Any]
    proof: Proof
    stages: Mapping[str, float]
    seconds: float

    def content(self) -> dict[str, Any]:
        """Return what ``tune.json`` holds."""
        data = self.data
        return {
            "schema_version": 1,
            "kind": "tune",
            "made_by": f"semantic-ranker {__version__}",
            "identity": self.identity,
            "options": self.options.to_dict(),
            "base": self.base.name,
            "compared_with": base_name(self.base),
            "documents": {
                "read": len(data.library.documents),
                "passages": len(data.corpus.passages),
                "language": data.language.code,
                "left_out": data.library.reasons,
            },
            "split": {
                "by": "section" if data.split.by_section else "document",
                "sides": dict(Counter(data.split.side.values())),
                "tested": kinds(data.tested),
                "watched": kinds(data.watched),
            },
            "pairs": {
                "made": self.learnt.made,
                "left_out": self.learnt.dropped,
                "learnt": dict(Counter(of.source for of in self.groups)),
            },
            "fit": self.report.to_dict(),
            "export": dict(self.export),
            "gains": dict(self.gains),
            "notes": [
                *data.notes,
                *self.given.notes,
                *limits_of(self.base, data, self.report),
                *self.said_of_sources(),
            ],
            "stages": dict(self.stages),
            "seconds": round(self.seconds, 1),
            **self.proof.to_dict(),
        }

    def said_of_sources(self) -> list[str]:
        """Return what users of the model should know of its source weight."""
        if not (share := self.proof.weights.source_weight):
            return []
        return [
            f"a passage's score has {share:.0%} of that of the best passage of its document, fitted on "
            f"{len(self.data.watched)} watched questions: documents are told apart by metadata 'source' in LangChain, "
            "by 'file_path' or the source node in LlamaIndex; source_weight=0 scores each passage by itself"
        ]


def limits_of(base: Base, data: Data, report: FitReport) -> list[str]:
    """Return what is known to limit a tuned model."""
    found = ["tuned on one folder of documents: nothing is said of others"]
    if report.stopped == "budget":
        found.append(
            f"the budget had room for {report.steps} of the {report.planned} steps of learning that were wanted: more "
            "time (--budget) may gain more"
        )
    if base.name == "bundled reranker" and data.language.code != "en":
        found.append(
            f"the base reads English; the documents are in {data.language.code!r}: its encoder was not made for them, "
            "and without a multilingual base (--base) that is the limit of what tuning can reach"
        )
    return found


def publish(made: Made, model: Path, work: Path) -> dict[str, Any]:
    """Write page and model folder, and return what ``tune.json`` holds.

    Args:
        made: What was found.
        model: The exported folder.
        work: Folder of the run.
    """
    content: dict[str, Any] = json.loads(json.dumps(made.content(), default=float))
    write_page(work / PAGE, content, made.proof, base_name(made.base))
    own, name = made.proof.own.evaluations, f"held-out sections of {made.options.documents.name}"
    metrics = []
    for metric in METRICS:
        low, high = interval(own[TUNED].per_query[metric])
        others = {system: of.mean[metric] for system, of in own.items() if system != TUNED}
        value = own[TUNED].mean[metric]
        metrics.append(Metric(collection=name, name=metric, value=value, low=low, high=high, baselines=others))
    verdict = made.proof.verdict
    extra = {
        REPORT: json.dumps(content, indent=2, ensure_ascii=True) + "\n",
        PAGE: (work / PAGE).read_text(encoding="utf-8"),
    }
    said = [verdict.words, verdict.recommendation, *made.said_of_sources()]
    finish.publish(model, made.options.out, metrics, said, extra, made.proof.weights.source_weight)
    return content
