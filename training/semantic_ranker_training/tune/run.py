"""`tune`: from a folder of documents to a reranker with the proof, in stages that are kept on disk."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from semantic_ranker import CrossEncoder
from semantic_ranker._files import locked
from semantic_ranker._version import __version__
from semantic_ranker.errors import DataFormatError
from semantic_ranker.evaluation import RerankTask
from semantic_ranker_training.data.groups import group_line
from semantic_ranker_training.data.records import Group
from semantic_ranker_training.tune import finish, measure
from semantic_ranker_training.tune.base import Base, find_base
from semantic_ranker_training.tune.data import Data, prepare
from semantic_ranker_training.tune.embedder import KeptEmbedder
from semantic_ranker_training.tune.estimate import Estimate, estimate, guard_queries
from semantic_ranker_training.tune.fit import FitReport, FitSettings, fit
from semantic_ranker_training.tune.gains import gain_of, ingredients, without
from semantic_ranker_training.tune.general import general_groups
from semantic_ranker_training.tune.given import Given, read_given
from semantic_ranker_training.tune.library import Library, read_library
from semantic_ranker_training.tune.measure import Weights
from semantic_ranker_training.tune.mining import Learnt, learning_pairs, mined, with_refused
from semantic_ranker_training.tune.options import TuneOptions
from semantic_ranker_training.tune.proof import Proving, prove
from semantic_ranker_training.tune.publish import PAGE, REPORT, Made, limits_of, publish
from semantic_ranker_training.tune.work import WorkFolder, file_hash, hashed

Tell = Callable[[str], None]
FEWEST_LEARNT = 8
GENERAL = 800
_LEAST_FIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneResult:
    """What came of it.

    Attributes:
        folder: The model folder.
        content: Everything that ``tune.json`` holds.
        unchanged: Whether nothing had to be done.
    """

    folder: Path
    content: dict[str, Any]
    unchanged: bool = False

    @property
    def status(self) -> int:
        """Exit status of the command."""
        return int(self.content["verdict"]["exit_status"])


def tune(options: TuneOptions, tell: Tell | None = None, *, settings: FitSettings | None = None) -> TuneResult:
    """Tune a reranker on a folder of documents and prove what it gained.

    Called again it continues a run that was killed, and does again only what documents or options have changed.

    Args:
        options: What is asked for.
        tell: Is told in lines what happens.
        settings: How the model learns; None takes the defaults.

    Raises:
        InvalidInputError: There is nothing to learn from, or a file cannot be used; the message says why.
        ModelLoadError: The base or the teacher cannot be opened.
        StorageError: The disk is full, or another process works on the same folder; what is done is kept.
    """
    path = work_folder(options.out)
    with locked(path / "lock", wait=False):
        learning = settings or FitSettings()
        if options.epochs is not None:
            learning = replace(learning, epochs=options.epochs)
        return _Tuning(options, WorkFolder(path), tell or (lambda _: None), learning).run()


def settings_of(options: TuneOptions, settings: FitSettings, stemmer: str) -> FitSettings:
    """Return how a model learns where options say so too, and the language of the documents."""
    return replace(
        settings,
        seed=options.seed,
        general=options.general,
        passage_tokens=options.passage_tokens,
        language=stemmer,
    )


def work_folder(out: Path) -> Path:
    """Return the folder beside ``out`` in which a run keeps its stages."""
    return out.absolute().parent / f".{out.name}.tune"


@dataclass(slots=True)
class _Tuning:
    options: TuneOptions
    work: WorkFolder
    tell: Tell
    settings: FitSettings
    started: float = field(default_factory=time.monotonic)

    def run(self) -> TuneResult:
        base = find_base(self.options.base)
        self.tell(f"reading {self.options.documents}")
        library = read_library(self.options.documents, self.work.path / "read")
        identity = self._identity(base, library)
        if (known := self._finished(identity)) is not None:
            return TuneResult(folder=self.options.out, content=known, unchanged=True)
        data = prepare(library, self.work.path / "split.json", self.options)
        for note in data.notes:
            self.tell(f"note: {note}")
        # Kept, so that a run that goes on measures the same queries.
        planned = self.work.stage(
            "plan", identity, lambda _: estimate(data, base, self.options, self.settings).to_dict()
        )
        ahead = Estimate(**planned)
        self.tell(ahead.line())
        embedder = KeptEmbedder(
            self.work.path / "vectors", len(data.corpus.passages), data.language.code, self.options.budget_s, base
        )
        embedder.embed_documents([of.text for of in data.corpus.passages.values()])
        given = read_given(self.options, data, embedder, self.work.path, base)
        groups, learnt = self._groups(data, given, embedder, base)
        validation = data.validation(embedder)
        report = self._fit("fit", base, groups, validation, data, ahead)
        gains = self._gains(base, groups, validation, data, embedder, report, ahead)
        model, facts = self._export(base, data, report, groups, validation)
        weights = self._weights(model, data, validation)
        # Kept too: a proof that goes on measures the same queries.
        guarded = self.work.stage(
            "guards", self.work.key("export"), lambda _: guard_queries(ahead, base, self.options, self._left(ahead))
        )
        proving = self._proving(base, model, data, embedder, given, weights, guarded)
        proof = prove(proving, self.work, self.work.key("export"), self.tell)
        made = Made(
            identity=identity,
            options=self.options,
            base=base,
            data=data,
            given=given,
            learnt=learnt,
            groups=groups,
            report=report,
            export=facts,
            gains=gains,
            proof=proof,
            stages=dict(self.work.seconds),
            # Of the stages that a killed run finished too.
            seconds=max(time.monotonic() - self.started, sum(self.work.seconds.values())),
        )
        content = publish(made, model, self.work.path)
        (self.work.path / "fit" / "last.safetensors").unlink(missing_ok=True)
        return TuneResult(folder=self.options.out, content=content)

    def _left(self, ahead: Estimate) -> float:
        """Return the seconds of the budget that neither the run so far nor the planned proof takes."""
        return self.options.budget_s - (time.monotonic() - self.started) - ahead.after_s

    def _identity(self, base: Base, library: Library) -> str:
        """Return the hash of everything that decides the result."""
        options = self.options.to_dict()
        del options["documents"], options["out"]
        files = {
            name: file_hash(path)
            for name in ("queries", "qrels", "feedback")
            if (path := getattr(self.options, name)) is not None
        }
        weights = [path for path in sorted(base.folder.rglob("*")) if path.suffix in (".safetensors", ".npz", ".onnx")]
        model = [base.name, *(file_hash(path) for path in weights)]
        return hashed([__version__, options, files, dict(library.hashes), model, self.settings.to_dict()])

    def _finished(self, identity: str) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = json.loads((self.options.out / REPORT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        there = (self.options.out / "config.json").is_file() and (self.options.out / PAGE).is_file()
        return content if content.get("identity") == identity and there else None

    def _groups(self, data: Data, given: Given, embedder: KeptEmbedder, base: Base) -> tuple[list[Group], Learnt]:
        options, stemmer = self.options, data.language.stemmer
        learnt = learning_pairs(data.library, data.corpus, data.split, given.pairs, options, stemmer)
        if len(learnt.pairs) < FEWEST_LEARNT:
            raise DataFormatError(
                f"Expected {FEWEST_LEARNT} or more pairs to learn from, got {len(learnt.pairs)} of "
                f"{sum(learnt.made.values())} made; left out: {learnt.dropped or 'none'}. Add documents with headings.",
                str(options.documents),
            )
        self.tell(f"mining negatives for {len(learnt.pairs)} pairs")
        texts = list(data.texts("train").values())
        inputs = [
            [[pair.query, pair.positive, pair.strategy] for pair in learnt.pairs], texts, embedder.name,
            options.teacher, options.negatives, options.negatives_from, stemmer, options.seed,
        ]  # fmt: skip
        teacher = CrossEncoder(options.teacher, other_languages="score") if options.teacher else None
        made: list[Group] = []

        def mine(folder: Path) -> Any:
            made.extend(mined(learnt.pairs, texts, folder, embedder, teacher, options, stemmer))
            return {"groups": len(made)}

        self.work.stage("mine", inputs, mine)
        found = made or mined(learnt.pairs, texts, self.work.path / "mine", embedder, teacher, options, stemmer)
        return with_refused(found, given.refused), learnt

    def _fit(
        self, name: str, base: Base, groups: Sequence[Group], validation: RerankTask, data: Data, ahead: Estimate
    ) -> FitReport:
        general = list(general_groups(GENERAL, self.options.seed)) if self.options.general else []
        settings = settings_of(self.options, self.settings, data.language.stemmer)
        room = self._left(ahead)
        inputs = [
            [group_line(group, "labelled") for group in groups], [group_line(group) for group in general],
            settings.to_dict(), base.name, dict(validation.queries), self.options.budget_s,
        ]  # fmt: skip
        folder = self.work.path / name

        def learn(path: Path) -> Any:
            self.tell(f"learning from {len(groups)} queries, at most {max(room, _LEAST_FIT_S) / 60:.0f} minutes")
            return fit(
                base, groups, validation, general, path,
                settings=settings, budget_s=max(room, _LEAST_FIT_S), progress=self.tell,
            ).to_dict()  # fmt: skip

        found = self.work.stage(name, inputs, learn)
        return FitReport(folder=folder / "model", **{**found, "history": tuple(found["history"])})

    def _gains(
        self,
        base: Base,
        groups: Sequence[Group],
        validation: RerankTask,
        data: Data,
        embedder: KeptEmbedder,
        report: FitReport,
        ahead: Estimate,
    ) -> dict[str, Any]:
        """Leave out each ingredient that was given, and measure what it was worth."""
        gains: dict[str, Any] = {}
        for kind in ingredients(groups, self.options):
            if not self.options.ablate and self._left(ahead) < 1.2 * report.seconds:
                gains[kind] = {"measured": False, "why": "the budget had no room to learn once more without it"}
                continue
            self.tell(f"learning without {kind}, to see what it is worth")
            other = self._fit(f"without-{kind}", base, without(groups, kind), validation, data, ahead)
            gains[kind] = gain_of(kind, self.work, base, data, embedder, report, other)
        return gains

    def _export(
        self, base: Base, data: Data, report: FitReport, groups: Sequence[Group], validation: RerankTask
    ) -> tuple[Path, dict[str, Any]]:
        counts = Counter(group.source for group in groups)

        def make(folder: Path) -> Any:
            self.tell("calibrating and exporting")
            scale, bias = finish.calibration(report.folder, base.becomes, validation)
            facts = {"tuned_from": base.name, "fit": report.to_dict(), "settings": self.settings.to_dict()}
            metadata = finish.described(
                self.options.out.name, base, data.language.code, counts, limits_of(base, data, report), facts
            )
            metadata = replace(metadata, scale=scale, bias=bias)
            made = finish.export(
                report.folder, base.becomes, folder / "model", metadata, list(data.texts("train").values()), validation
            )
            return {**made, "calibration": {"scale": scale, "bias": bias}}

        inputs = [self.work.key("fit"), report.to_dict(), data.language.code, self.options.out.name]
        facts = self.work.stage("export", inputs, make)
        return self.work.path / "export" / "model", facts

    def _weights(self, model: Path, data: Data, validation: RerankTask) -> Weights:
        """Fit how much of its document, and of the search, a score should have."""
        sources = data.sources

        def make(_: Path) -> Any:
            with measure.open_cached(model) as opened:
                return measure.validation_weights(opened, validation, sources).to_dict()

        return Weights(**self.work.stage("weights", [self.work.key("export"), sources], make))

    def _proving(
        self,
        base: Base,
        model: Path,
        data: Data,
        embedder: KeptEmbedder,
        given: Given,
        weights: Weights,
        guarded: int,
    ) -> Proving:
        return Proving(
            base=base,
            model=model,
            data=data,
            embedder=embedder,
            weights=weights,
            judged=given.tested,
            guards=self.options.guards,
            guard_queries=guarded,
            depth=measure.DEPTH if base.becomes == "interaction" else measure.SLOW_DEPTH,
            published=self.options.out,
            seed=self.options.seed,
        )
