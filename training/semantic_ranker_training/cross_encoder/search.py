"""Hyperparameter search with optuna: a run a trial, kept, judged by nDCG@10 on held-out queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semantic_ranker._files import StrPath
from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.cross_encoder.evaluator import PRIMARY
from semantic_ranker_training.cross_encoder.trainer import CrossEncoderTrainer
from semantic_ranker_training.data import as_groups

Range = Sequence[Any] | tuple[float, float, str]


def search_settings(
    trainer: CrossEncoderTrainer,
    train_samples: Sequence[Any],
    *,
    space: Mapping[str, Range],
    output_dir: StrPath,
    trials: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """Try settings and return the best ones.

    Args:
        trainer: Its settings are those that are not searched.
        train_samples: As for `CrossEncoderTrainer.train`; the same tenth is held out in every trial.
        space: By name of a setting either the values to choose from (a list), or ``(low, high, "log")`` or
            ``(low, high, "linear")`` for a float.
        output_dir: A folder a trial goes below it; trials that are done are not trained again.
        trials: How many.
        seed: Of the search.

    Returns:
        ``settings``, ``value`` (nDCG@10 of the best trial) and ``trials``, each with its settings and value.

    Raises:
        ModuleNotFoundError: optuna is not installed.
        InvalidInputError: ``space`` is empty or a range is not understood.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("The search needs optuna: pip install 'semantic-ranker[search]'") from error
    if not space or trials < 1:
        raise InvalidInputError(f"Expected settings to search and one trial or more, got {len(space)} and {trials}.")
    groups, out = as_groups(train_samples), Path(output_dir)

    def value_of(trial: Any) -> float:
        chosen = {name: _suggest(trial, name, values) for name, values in space.items()}
        result = trainer.train(groups, output_dir=out / f"trial-{trial.number}", **chosen)
        return next(metric.value for metric in result.metrics if metric.name == PRIMARY)

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        study.optimize(value_of, n_trials=trials)
    finally:
        optuna.logging.set_verbosity(before)
    done = [{"settings": dict(trial.params), "value": trial.value} for trial in study.trials]
    return {"settings": dict(study.best_params), "value": study.best_value, "trials": done}


def _suggest(trial: Any, name: str, values: Range) -> Any:
    if isinstance(values, tuple) and len(values) == 3 and values[2] in ("log", "linear"):
        return trial.suggest_float(name, values[0], values[1], log=values[2] == "log")
    if isinstance(values, list) and values:
        return trial.suggest_categorical(name, values)
    raise InvalidInputError(
        f"Expected a list of values or (low, high, 'log' or 'linear') for {name!r}, got {values!r}."
    )
