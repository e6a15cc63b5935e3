"""The messages of a sweep before it starts: how many trials there are, how many are finished, and what the others cost."""

import math
from collections.abc import Sequence

from datapruning.api.train_seconds import label_seconds, student_seconds
from datapruning.evidence.collect import evidence_seconds
from datapruning.experiments.sweep.grid import Grid
from datapruning.experiments.sweep.live_table import status_line
from datapruning.experiments.sweep.shared_artifacts import SCORE_SEED, estimate_shared, evidence_scorers
from datapruning.experiments.sweep.spec import AUTO, StudentSpec
from datapruning.experiments.sweep.status import SweepStatus
from datapruning.experiments.sweep.variants import student_context
from datapruning.experiments.workers.pool import start_seconds
from datapruning.runs.context import Context
from datapruning.training.schedules import planned_epochs, planned_samples
from datapruning.utils.console import info
from datapruning.utils.cost import FORWARD_PASS_COST
from datapruning.utils.plural import plural
from datapruning.utils.system import available_cpus


def print_plan(context: Context, status: SweepStatus, local_jobs: int, num_retried: int) -> None:
    """Print how many trials there are, how many are finished or retried, and what the others will cost.

    The context is that of the students without their variants, on a device of this machine; `local_jobs` is the number of
    processes of this machine that train, 0 where the workers are remote.
    """
    grid = status.grid
    dimensions = {
        "fractions": len(grid.fractions), "scorers": len(grid.scorers), "KD weights": len(grid.kd_weights),
        "seeds": len(grid.seeds), "teachers": max(len(grid.teachers), 1), "ways of pruning": len(grid.prunings),
        "ways of self-distillation": len(grid.self_distillations),
    }  # fmt: skip
    shape = " x ".join(f"{count} {name}" for name, count in dimensions.items() if count > 1) or "one of each"
    if math.prod(dimensions.values()) > len(status.configs):
        shape += " (no KD needs no teacher, keeping everything no scorer: such trials are one)"
    info(f"sweep: {plural(len(status.configs), 'trial')}, {shape}; {status_line(status)}; in {status.store.folder}")
    if num_retried:
        info(f"{plural(num_retried, 'trial that failed before is', 'trials that failed before are')} tried again")
    elif status.failed:
        info(f"{plural(len(status.failed), 'trial')} failed before, left alone (retry_failed tries them again)")
    students = status.remaining_students
    if not students:
        return
    samples = sum(grid.samples_seen(status.training, spec) for spec in students)
    passes = round(estimate_passes(context, grid, students))
    num_searches = sum(spec.kd_weight == AUTO for spec in students)
    search = f", and the search for the KD weight in {num_searches} of them" if num_searches else ""
    extra = f" ({passes:,} with what self-distillation adds)" if passes != samples else ""
    info(f"to train: {plural(len(students), 'student')}, {samples:,} samples in all{extra}{search}")
    criteria: dict[str, list[str]] = {}  # by how many weights are kept
    for spec in students:
        recipe = student_context(context, spec).recipe
        if recipe.sparsity.sparsity:
            from datapruning.training.sparsity.prune import describe_plan

            kept = describe_plan(context.new_model(recipe.train.model, 0), recipe.sparsity)
            criteria.setdefault(kept, []).append(recipe.sparsity.criterion)
    for kept, names in criteria.items():
        info(f"students pruned before training: {kept}, by {', '.join(dict.fromkeys(names))}")
    for line in estimate_shared(context, students):
        by = "" if local_jobs else " (by one worker, the others wait for it)"
        info(f"shared by them, made once{by} if it does not exist: {line}")
    cores = available_cpus()
    if local_jobs > 1 and local_jobs * context.threads > cores:
        info(
            f"{plural(local_jobs, 'process', 'processes')} of {plural(context.threads, 'thread')} share "
            f"{plural(cores, 'core')}; `threads` sets how many each takes"
        )


def sweep_seconds(context: Context, status: SweepStatus, jobs: int | None) -> dict[str, float]:
    """Seconds of each part of a sweep that is left, with `jobs` workers on this machine; None: in this process."""
    start = 0.0 if jobs is None else start_seconds()
    students, grid, recipe = status.remaining_students, status.grid, context.recipe
    parts = evidence_seconds(context, evidence_scorers(students), SCORE_SEED)
    if any(spec.needs_recipe_teacher for spec in students):
        from datapruning.teachers.train import teacher_seconds

        parts["teacher"] = teacher_seconds(context, 0)
    workers = max(1, min(jobs or 1, len(students), available_cpus() // context.threads))
    of_students = dict.fromkeys(("soft labels", "student", "search", "self teacher"), 0.0)
    subsets = {(spec.teacher, spec.fraction, spec.scorer, spec.seed) for spec in students if spec.kd_weight != 0}
    for teacher in {teacher for teacher, *_ in subsets}:
        counts = [grid.kept(fraction) for other, fraction, *_ in subsets if other == teacher]
        num_views = min(recipe.views.num_views, planned_epochs(recipe.train, max(counts), grid.total))
        labels = num_views * min(sum(counts), grid.total)  # students of one teacher share them
        of_students["soft labels"] += label_seconds(context, recipe.teacher.model, labels)
    for spec in students:
        weight = None if isinstance(spec.kd_weight, str) else spec.kd_weight
        own = student_seconds(student_context(context, spec), grid.kept(spec.fraction), weight)
        for name, seconds in own.items():
            of_students[name] += seconds
    parts["start of the workers"] = start
    return parts | {name.replace("student", "students"): seconds / workers for name, seconds in of_students.items()}


def estimate_passes(context: Context, grid: Grid, students: Sequence[StudentSpec]) -> float:
    """Estimate the cost in training passes of a sample: the students' training, with what self-distillation adds.

    A self teacher is a training of its own, once for the students that share samples and seed, with a forward pass for
    every soft label. Searches for the KD weight and the few batches of the pruning stage are not counted.
    """
    training, num_views = context.recipe.train, context.recipe.views.num_views
    passes, self_taught = 0.0, set()
    for spec in students:
        self_distillation = spec.self_distillation or context.recipe.self_distill
        passes += grid.samples_seen(training, spec) * self_distillation.compute
        if self_distillation.method == "tf-kd-self":
            self_taught.add((spec.fraction, spec.scorer, spec.seed))
    for fraction, _, _ in self_taught:
        kept = grid.kept(fraction)
        num_labels = kept * min(num_views, planned_epochs(training, kept, grid.total))
        passes += planned_samples(training, kept, grid.total) + FORWARD_PASS_COST * num_labels
    return passes
