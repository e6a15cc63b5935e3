"""What is asked of a sweep, with all that can be refused checked before anything is trained or written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datapruning.api.student_request import Teachers
from datapruning.artifacts.scorer import Scorer
from datapruning.errors import InvalidValue
from datapruning.experiments.sweep.grid import Grid, make_grid
from datapruning.experiments.sweep.shared_artifacts import (
    check_evidence,
    find_scorers,
    name_teachers,
    teacher_folders,
)
from datapruning.experiments.sweep.variants import check_variants, find_variants
from datapruning.experiments.workers.launcher import Launcher, local_context
from datapruning.experiments.workers.task import check_reopens
from datapruning.runs.context import Context
from datapruning.utils.console import quiet


@dataclass(frozen=True)
class SweepRequest:
    """What is asked.

    Attributes:
        context: Of the students, without their variants, on the workers' device.
        local_context: The same on a device of this machine.
        grid: The dimensions.
        scorers: By name.
        teachers: Hash of a teacher's weights -> its run folder.
        launcher: Where workers run.
        jobs: Number of workers; None: this process runs the trials itself.
    """

    context: Context
    local_context: Context
    grid: Grid
    scorers: Mapping[str, Scorer]
    teachers: Mapping[str, str]
    launcher: Launcher
    jobs: int | None

    @property
    def identity(self) -> dict[str, Any]:
        """All that the trials depend on beside their own settings, as plain data."""
        context = self.context
        return {
            "dataset": context.data.name, "fingerprint": context.data.fingerprint, "recipe": context.recipe.to_dict(),
            "threads": context.threads, "device": context.device.type,
        }  # fmt: skip

    @property
    def local_jobs(self) -> int:
        """Processes of this machine that train; 0: the workers are remote."""
        return 0 if self.launcher.is_remote else self.jobs or 1


def resolve_request(
    context: Context,
    fractions: str | Sequence[float | str],
    scorers: str | Sequence[str],
    kd_weights: str | Sequence[float | str],
    seeds: str | int | Sequence[int],
    teachers: Teachers,
    sparsity: str | Sequence[float | str] | None,
    criterion: str | Sequence[str] | None,
    self_distill: str | Sequence[str] | None,
    jobs: int | None,
    launcher: Launcher,
) -> SweepRequest:
    """Check the arguments of `sweep`, which describes them.

    Raises:
        InvalidValue, UnknownName, InvalidFile, IncompatibleInputs, MissingPackage: The user's mistakes.
    """
    if jobs is not None and jobs < 1:
        raise InvalidValue(f"at least 1 worker is needed, got {jobs}", parameter="jobs")
    jobs = jobs or (1 if launcher.is_remote else None)
    if jobs is not None:
        check_reopens(context)
    grid = make_grid(context.data.total, fractions, scorers, kd_weights, seeds)
    context, variants = find_variants(context, sparsity, criterion, self_distill)
    local = local_context(context)
    with quiet():
        check_variants(local, variants, grid.kd_weights)
    found_scorers = find_scorers(grid.scorers)
    check_evidence(context, found_scorers.values())
    named: dict[str, tuple[str, Path]] = name_teachers(local, teacher_folders(teachers))
    grid = replace(grid, variants=variants, teachers={key: name for key, (name, _) in named.items()})
    folders = {key: str(folder) for key, (_, folder) in named.items()}
    return SweepRequest(context, local, grid, found_scorers, folders, launcher, jobs)
