"""The messages of a sweep before it starts: how many trials there are, how many are finished, and what the others cost."""

import math
import os
from collections.abc import Iterable

from datapruning.experiments.sweep.cost import estimate_passes, estimate_samples
from datapruning.experiments.sweep.live_table import status_line
from datapruning.experiments.sweep.request import SweepRequest
from datapruning.experiments.sweep.shared_artifacts import estimate_shared
from datapruning.experiments.sweep.spec import AUTO, StudentSpec
from datapruning.experiments.sweep.status import SweepStatus
from datapruning.experiments.sweep.variants import student_context
from datapruning.runs.context import Context
from datapruning.training.sparsity.prune import describe_plan as announce_pruning
from datapruning.utils.console import info


def print_plan(request: SweepRequest, status: SweepStatus, num_retried: int) -> None:
    """Print how many trials there are, how many are finished, and what the others will cost.

    Args:
        request: The sweep.
        status: Of its trials.
        num_retried: How many failures were cleared.
    """
    grid, context, jobs = status.grid, request.local_context, request.local_jobs
    dimensions = {
        "fractions": len(grid.fractions), "scorers": len(grid.scorers), "KD weights": len(grid.kd_weights),
        "seeds": len(grid.seeds), "teachers": max(len(grid.teachers), 1), "ways of pruning": len(grid.variants.pruning),
        "ways of self-distillation": len(grid.variants.self_distillation),
    }  # fmt: skip
    shape = " x ".join(f"{count} {name}" for name, count in dimensions.items() if count > 1) or "one of each"
    if math.prod(dimensions.values()) > len(status.configs):
        shape += " (no KD needs no teacher, keeping everything no scorer: such trials are one)"
    info(f"sweep: {len(status.configs)} trials, {shape}; {status_line(status)}; in {status.store.folder}")
    if num_retried:
        info(f"{num_retried} trials that failed before are tried again")
    elif status.failed:
        info(f"{len(status.failed)} trials failed before and are left alone (retry_failed tries them again)")
    students = status.remaining_students
    if not students:
        return
    samples, passes = estimate_samples(status.training, grid, students), round(estimate_passes(context, grid, students))
    num_searches = sum(spec.kd_weight == AUTO for spec in students)
    search = f", and the search for the KD weight in {num_searches} of them" if num_searches else ""
    extra = f" ({passes:,} with what self-distillation adds)" if passes != samples else ""
    info(f"to train: {len(students)} students, {samples:,} samples in all{extra}{search}")
    for line in _pruning_lines(context, students):
        info(line)
    for line in estimate_shared(context, students, request.scorers):
        by = "" if jobs else " (by one worker, the others wait for it)"
        info(f"shared by them, made once{by} if it does not exist: {line}")
    cores = os.cpu_count() or 1
    if jobs > 1 and jobs * context.threads > cores:
        info(f"{jobs} processes of {context.threads} threads share {cores} cores; `threads` sets how many each takes")


def _pruning_lines(context: Context, students: Iterable[StudentSpec]) -> list[str]:
    """How many weights the pruned students keep, a line for each share."""
    criteria: dict[str, list[str]] = {}
    for spec in students:
        recipe = student_context(context, spec).recipe
        if recipe.sparsity.sparsity:
            kept = announce_pruning(context.new_model(recipe.train.model, 0), recipe.sparsity)
            criteria.setdefault(kept, []).append(recipe.sparsity.criterion)
    return [
        f"students pruned before training: {kept}, by {', '.join(dict.fromkeys(names))}" for kept, names in criteria.items()
    ]
