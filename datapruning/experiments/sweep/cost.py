"""What a sweep costs: samples to train beforehand, and the time left once trials are finished."""

import statistics
from collections.abc import Iterable, Mapping, Sequence

from datapruning.config.training import TrainConfig
from datapruning.experiments.sweep.grid import Grid
from datapruning.experiments.sweep.spec import AUTO, StudentSpec
from datapruning.io.trial_store import Trial
from datapruning.runs.context import Context
from datapruning.training.schedules import planned_epochs, planned_samples
from datapruning.utils.cost import FORWARD_PASS_COST

SHARED_PHASES = ("teacher", "soft_labels")
"""Phases of a run that a later trial does not repeat."""


def estimate_samples(training: TrainConfig, grid: Grid, students: Iterable[StudentSpec]) -> int:
    """Estimate the samples that all these students see, with repeats."""
    return sum(planned_samples(training, grid.kept(spec.fraction), grid.total) for spec in students)


def estimate_passes(context: Context, grid: Grid, students: Sequence[StudentSpec]) -> float:
    """Estimate the cost in training passes of a sample: the students' training, with what self-distillation adds.

    A self teacher is a training of its own, once for the students that share samples and seed, with a forward pass for
    every soft label. Searches for the KD weight and the few batches of the pruning stage are not counted.
    """
    training, num_views = context.recipe.train, context.recipe.views.num_views
    passes, self_taught = 0.0, set()
    for spec in students:
        self_distillation = spec.self_distillation or context.recipe.self_distill
        passes += estimate_samples(training, grid, [spec]) * self_distillation.compute
        if self_distillation.method == "tf-kd-self":
            self_taught.add((spec.fraction, spec.scorer, spec.seed))
    for fraction, _, _ in self_taught:
        kept = grid.kept(fraction)
        num_labels = kept * min(num_views, planned_epochs(training, kept, grid.total))
        passes += planned_samples(training, kept, grid.total) + FORWARD_PASS_COST * num_labels
    return passes


def estimate_seconds(
    training: TrainConfig, grid: Grid, finished: Sequence[Trial], remaining: Sequence[StudentSpec]
) -> float | None:
    """Estimate the seconds of one process for the remaining students from the finished trials; None without any.

    The rate is the median of the seconds per sample of finished trials of the same kind: KD weight 0, given or searched,
    with the same self-distillation and pruned by the same criterion. (A process's first trial also warms it up.) A kind
    without a finished trial has the slowest rate.
    """
    rates: dict[tuple[str, ...], list[float]] = {}
    for trial in finished:
        spec = StudentSpec.from_config(trial.config)
        rates.setdefault(_kind(spec), []).append(_unshared_seconds(trial) / estimate_samples(training, grid, [spec]))
    if not rates:
        return None
    medians = {kind: statistics.median(values) for kind, values in rates.items()}
    slowest = max(medians.values())
    return sum(medians.get(_kind(spec), slowest) * estimate_samples(training, grid, [spec]) for spec in remaining)


def _kind(spec: StudentSpec) -> tuple[str, ...]:
    weight = "searched" if spec.kd_weight == AUTO else "given" if spec.kd_weight else "0"
    method = spec.self_distillation.method if spec.self_distillation is not None else ""
    return weight, method, spec.pruning.criterion if spec.pruning is not None else ""


def _unshared_seconds(trial: Trial) -> float:
    phases: Mapping[str, float] = trial.result.get("seconds", {})
    return max(trial.seconds - sum(phases.get(phase, 0.0) for phase in SHARED_PHASES), 0.0)


def format_duration(seconds: float) -> str:
    """Format 75 as "1 min", and 7300 as "2 h 2 min"."""
    if seconds < 60:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
