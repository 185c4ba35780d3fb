"""Trains an `InteractionCrossEncoder`: in a step every text is encoded once and ranked for every query."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from semantic_ranker.backends.interaction import InteractionCrossEncoder
from semantic_ranker.errors import NonFiniteScoreError
from semantic_ranker.evaluation import RankerEvaluator, RerankTask, evaluate
from semantic_ranker_training.data.records import Group
from semantic_ranker_training.states import (
    bare_tokenizer,
    base_tokens,
    encode_states,
    mean_state,
    split_states,
    take_off,
)
from semantic_ranker_training.terms import SNOWBALL
from semantic_ranker_training.tune.base import Base, open_interaction, tokenizer_file
from semantic_ranker_training.tune.checkpoints import load_checkpoint, save_checkpoint
from semantic_ranker_training.tune.fit import METRIC, FitReport, FitSettings, Progress
from semantic_ranker_training.tune.interaction_step import StepData
from semantic_ranker_training.tune.scoring import InteractionScorer

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from torch import Tensor

_WARM_UP, _LEAST_WARM_UP = 0.06, 5
_TIMED_STEPS = 3
_CLIP = 1.0
_CENTRED_ON = 200
_NARROW = 0.5  # cosine of two texts on average


def fit_interaction(
    base: Base,
    groups: Sequence[Group],
    validation: RerankTask,
    general: Sequence[Group],
    out: Path,
    settings: FitSettings,
    budget_s: float,
    progress: Progress,
) -> FitReport:
    """Train; see `fit`."""
    started = time.monotonic()
    torch.manual_seed(settings.seed)
    tokenizer = bare_tokenizer(base.folder)
    model = open_interaction(base)
    if not base.ranks:
        settings = replace(settings, mixes=())  # there is no ranking to stay near to
        _centre(model, tokenizer, groups, settings.passage_tokens)
    run = StepData(model, tokenizer, list(groups), list(general), settings)
    measure = _Measure(tokenizer_file(base), validation)
    run.fit_words([SNOWBALL.get(code, "") for code in base.languages] if base.ranks else ())
    before = measure(model)
    passes = settings.passes(len(groups), base.ranks)
    loop = _Loop(run, measure, out, started + budget_s, progress, passes)
    loop.resume_or_plan(before)
    loop.run_all()
    return loop.finish(base, time.monotonic() - started)


def _centre(model: InteractionCrossEncoder, tokenizer: Tokenizer, groups: Sequence[Group], passage_tokens: int) -> None:
    """Take the mean state off where all vectors point the same way, as those of e5 do."""
    texts = list(dict.fromkeys(text for group in groups for text in group.texts))[:_CENTRED_ON]
    states = encode_states(base_tokens(tokenizer, texts, passage_tokens), split_states(model), label="centre")
    if float(np.square(states.pooled.mean(0)).sum()) > _NARROW:
        take_off(model, mean_state(states))


class _Measure:
    """nDCG@10 of each validation query, float64 (queries,)."""

    def __init__(self, tokenizer: Path, task: RerankTask) -> None:
        self._tokenizer, self._task = tokenizer, task
        self.seconds = 0.0

    def __call__(self, model: InteractionCrossEncoder) -> NDArray[np.float64]:
        started = time.monotonic()
        with InteractionScorer(model.eval(), self._tokenizer) as scorer:
            run = RankerEvaluator(scorer).evaluate(self._task, METRIC, resamples=100).run
        found = evaluate(run, self._task.qrels, [METRIC]).per_query[METRIC]
        self.seconds = time.monotonic() - started
        return np.array([found[query] for query in sorted(found)])


def _surely_better(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Return whether the mean difference is more than one standard error of it (Breiman et al. 1984)."""
    gains = one - other
    spread = float(gains.std(ddof=1)) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return float(gains.mean()) > spread


@dataclass(slots=True)
class _Loop:
    """Steps, checkpoints and evaluations until the plan, the budget or the patience is at its end."""

    run: StepData
    measure: _Measure
    out: Path
    deadline: float
    progress: Progress
    passes: float
    facts: dict[str, Any] = field(default_factory=dict)
    optimiser: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimiser = torch.optim.AdamW(self.run.parameters(), weight_decay=0.01)
        self.out.mkdir(parents=True, exist_ok=True)

    @property
    def _last(self) -> Path:
        return self.out / "last.safetensors"

    @property
    def _pass(self) -> float:
        """Steps after which every group was learnt from once."""
        return len(self.run.groups) / self.run.shares[0]

    def resume_or_plan(self, before: NDArray[np.float64]) -> None:
        """Go on from the last checkpoint, or time a few steps and plan as many as the budget allows."""
        found = load_checkpoint(self._last, self.run.model, self.optimiser)
        if found is not None:
            self.facts = found
            self.progress(f"goes on after step {found['step']} of {found['planned']}")
            return
        seconds = self._time_a_step()
        wanted = max(1, math.ceil(self.passes * self._pass))
        # Each evaluation costs about what the first one did, and so does each mix at the end.
        checks = math.ceil(self.passes * self.run.settings.evaluations) + len(self.run.settings.mixes)
        room = self.deadline - time.monotonic() - checks * self.measure.seconds
        planned = max(1, min(wanted, int(room / seconds)))
        self.progress(
            f"{planned} steps of {seconds:.1f} s each"
            + ("" if planned == wanted else f"; {wanted} were wanted, the budget has no room for more")
        )
        self.facts = {
            "step": 0, "planned": planned, "wanted": wanted, "before": before.tolist(), "best": [-1.0], "since": 0,
            "last": [], "best_step": 0, "history": [], "seconds": 0.0, "losses": [], "stopped": "",
        }  # fmt: skip

    def _time_a_step(self) -> float:
        times = []
        for number in range(_TIMED_STEPS):
            started = time.monotonic()
            self.run.model.train()
            torch.autograd.backward(self.run.step(number))
            times.append(time.monotonic() - started)
        self.optimiser.zero_grad(set_to_none=True)
        return min(times[1:])

    def run_all(self) -> None:
        """Do the steps that are left."""
        facts = self.facts
        every = max(1, math.ceil(self._pass / self.run.settings.evaluations))
        while facts["step"] < facts["planned"] and not facts["stopped"]:
            started = time.monotonic()
            self._one(facts["step"])
            facts["step"] += 1
            facts["seconds"] += time.monotonic() - started
            late = time.monotonic() + self.measure.seconds * (1 + len(self.run.settings.mixes)) > self.deadline
            if facts["step"] % every == 0 or facts["step"] == facts["planned"] or late:
                self._check()
                if late and facts["step"] < facts["planned"] and not facts["stopped"]:
                    facts["stopped"] = "budget"
                save_checkpoint(self._last, self.run.model, self.optimiser, facts)
            elif facts["step"] % 10 == 0:
                save_checkpoint(self._last, self.run.model, self.optimiser, facts)

    def _one(self, step: int) -> None:
        planned, settings = self.facts["planned"], self.run.settings
        warm = max(_LEAST_WARM_UP, _WARM_UP * planned)
        share = min(1.0, (step + 1) / warm) * (1.0 - step / planned)
        for group, rate in zip(
            self.optimiser.param_groups, (settings.learning_rate, settings.head_learning_rate), strict=True
        ):
            group["lr"] = rate * share
        self.run.model.train()
        loss = self.run.step(step)
        if not torch.isfinite(loss):
            raise NonFiniteScoreError(f"Expected a finite loss, got {float(loss.detach())} in step {step}.", [step])
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_([value for of in self.optimiser.param_groups for value in of["params"]], _CLIP)
        self.optimiser.step()
        self.facts["losses"].append(float(loss.detach()))

    def _check(self) -> None:
        facts = self.facts
        values, losses = self.measure(self.run.model), facts["losses"]
        found = float(values.mean())
        loss = sum(losses) / max(1, len(losses))
        facts["losses"], facts["last"] = [], values.tolist()
        facts["history"].append({"step": facts["step"], "loss": round(loss, 4), METRIC: round(found, 5)})
        self.progress(
            f"step {facts['step']} of {facts['planned']}: loss {loss:.3f}, {METRIC} {found:.4f} in validation"
        )
        if found > np.mean(facts["best"]):
            facts["best"], facts["best_step"], facts["since"] = values.tolist(), facts["step"], 0
            self.run.model.save(self.out / "best")
        else:
            facts["since"] += 1
            if facts["since"] >= self.run.settings.patience and facts["step"] < facts["planned"]:
                facts["stopped"] = "no better"

    def finish(self, base: Base, elapsed: float) -> FitReport:
        """Write the model, and report.

        The weights of the last step, of which the rate had come down to nothing, are taken, unless those of an earlier
        step are surely better in validation: a hundred queries tell near ones apart by chance. Of their mixes with the
        base's weights the nearest to the base is taken, unless one further off is surely better: half of the way keeps
        most of what is gained and forgets little (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
        """
        facts = self.facts
        before, values, taken = np.array(facts["before"]), np.array(facts["last"]), facts["step"]
        new = {name: value.clone() for name, value in self.run.model.state_dict().items()}
        if facts["best_step"] != taken and _surely_better(np.array(facts["best"]), values):
            new = InteractionCrossEncoder.from_folder(self.out / "best").state_dict()
            values, taken = np.array(facts["best"]), facts["best_step"]
        chosen, values = self._mix(new, values)
        if before.mean() > values.mean():
            values, chosen = before, 0.0
        self._load_mixed(new, chosen)
        target = self.out / "model"
        self.run.model.eval().save(target)
        (target / "tokenizer.json").write_bytes(tokenizer_file(base).read_bytes())
        return FitReport(
            folder=target,
            before=float(before.mean()),
            after=float(values.mean()),
            taken=taken,
            steps=facts["step"],
            planned=facts["wanted"],
            seconds=max(elapsed, facts["seconds"]),
            stopped=facts["stopped"] or ("done" if facts["planned"] == facts["wanted"] else "budget"),
            mix=chosen,
            history=tuple(facts["history"]),
            groups=len(self.run.groups),
        )

    def _mix(self, new: dict[str, Tensor], whole: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the share of the new weights to take, and its figures; all of them where there is no time to look."""
        found = {1.0: whole}
        for mix in sorted(set(self.run.settings.mixes) - {1.0}):
            if time.monotonic() + self.measure.seconds > self.deadline:
                break
            self._load_mixed(new, mix)
            found[mix] = self.measure(self.run.model)
            self.progress(f"{mix:.0%} of the new weights: {METRIC} {found[mix].mean():.4f} in validation")
        chosen = min(found)
        for mix in sorted(found):
            if _surely_better(found[mix], found[chosen]):
                chosen = mix
        return chosen, found[chosen]

    def _load_mixed(self, new: dict[str, Tensor], mix: float) -> None:
        old = self.run.base.state_dict()
        self.run.model.load_state_dict(
            {
                name: value
                if not value.dtype.is_floating_point or name == "head.term_weight"
                else old[name] + mix * (value - old[name])
                for name, value in new.items()
            }
        )
