"""What a sweep costs: samples to train beforehand, and the time left once rows are finished."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from datapruning.config.training import TrainConfig
from datapruning.experiments.sweep.grid import AUTO, Grid
from datapruning.experiments.sweep.variants import method_of
from datapruning.io.trial_store import Row
from datapruning.runs.context import Context
from datapruning.training.schedules import planned_epochs, planned_samples
from datapruning.utils.cost import FORWARD

SHARED_PHASES = ("teacher", "soft_labels")
"""Phases of a run that a later row does not pay again."""


def samples_of(training: TrainConfig, grid: Grid, configs: Iterable[Mapping[str, Any]]) -> int:
    """Samples that all these rows see."""
    return sum(planned_samples(training, grid.kept(c["fraction"]), grid.total) for c in configs)


def passes_of(context: Context, grid: Grid, configs: Sequence[Mapping[str, Any]]) -> float:
    """What these rows cost in training passes of a sample: their training and, with self-distillation, what that adds.

    A self teacher is a training of its own, once for the rows that share samples and seed, with a forward pass for every
    soft label. Searches for the KD weight and the few looks of the pruning stage are not counted.
    """
    training, views = context.recipe.train, context.recipe.views.num_views
    passes, self_taught = 0.0, set()
    for config in configs:
        how = method_of(context, config)
        passes += samples_of(training, grid, [config]) * how.compute
        if how.method == "tf-kd-self":
            self_taught.add((config["fraction"], config["scorer"], config["seed"]))
    for fraction, _, _ in self_taught:
        epochs = planned_epochs(training, grid.kept(fraction), grid.total)
        labels = grid.kept(fraction) * min(views, epochs)
        passes += samples_of(training, grid, [{"fraction": fraction}]) + FORWARD * labels
    return passes


def seconds_left(training: TrainConfig, grid: Grid, done: Sequence[Row], left: Sequence[Mapping[str, Any]]) -> float | None:
    """Seconds of one process for the rows that are left, from those that are done; None as long as none is.

    Seconds a sample are the median of rows of the same kind: labels alone, a KD weight that is given, one that is
    searched; each with the same self-distillation and pruned by the same criterion. (A process's first row also warms it
    up.) A kind of which no row is done yet counts as the slowest so far.
    """
    rates = {}
    for kind in {_kind(row.config) for row in done}:
        mine = [row for row in done if _kind(row.config) == kind]
        rates[kind] = statistics.median(_own_seconds(row) / samples_of(training, grid, [row.config]) for row in mine)
    if not rates:
        return None
    slowest = max(rates.values())
    return sum(rates.get(_kind(c), slowest) * samples_of(training, grid, [c]) for c in left)


def _kind(config: Mapping[str, Any]) -> tuple[str, ...]:
    weight = "searched" if config["kd_weight"] == AUTO else "given" if config["kd_weight"] else "labels alone"
    own = ((config.get("self_distill") or {}).get("method"), (config.get("sparsity") or {}).get("criterion"))
    return (weight, *(name or "" for name in own))


def _own_seconds(row: Row) -> float:
    phases: Mapping[str, float] = row.result.get("seconds", {})
    return max(row.seconds - sum(phases.get(phase, 0.0) for phase in SHARED_PHASES), 0.0)


def duration(seconds: float) -> str:
    """75 -> "1 min"; 7300 -> "2 h 2 min"."""
    if seconds < 60:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
