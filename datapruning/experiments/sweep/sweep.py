"""`sweep`: a student for every combination of settings, each a trial of a store."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Unpack

from datapruning.api.student_request import Teachers
from datapruning.api.train_settings import student_settings
from datapruning.errors import InvalidValue
from datapruning.evidence.collect import check_evidence
from datapruning.experiments.sweep.grid import make_grid
from datapruning.experiments.sweep.live_table import SweepDisplay, live_table
from datapruning.experiments.sweep.shared_artifacts import (
    name_teachers,
    open_store,
    prepare_shared,
    teacher_folders,
)
from datapruning.experiments.sweep.status import SweepStatus
from datapruning.experiments.sweep.summary import print_plan, sweep_seconds
from datapruning.experiments.sweep.table import make_caption, make_csv, make_table, markdown
from datapruning.experiments.sweep.trial import ENTRY, student_trials
from datapruning.experiments.sweep.variants import check_variants, find_variants
from datapruning.experiments.workers.launcher import (
    LOCAL,
    Launcher,
    find_launcher,
    local_context,
    open_worker_context,
)
from datapruning.experiments.workers.monitor import watch
from datapruning.experiments.workers.pool import WorkerPool
from datapruning.experiments.workers.task import Task, check_reopens, record_context
from datapruning.io.atomic import write_text
from datapruning.io.trial_store import FailedTrial, Trial
from datapruning.runs.opening import ContextSettings, DatasetOrContext
from datapruning.scorers import get_scorer
from datapruning.utils.console import console, info, quiet
from datapruning.utils.predicted_time import announce_time, predict_time

TABLE, ROWS = "table.md", "rows.csv"


@dataclass(frozen=True)
class Sweep:
    """The outcome of a sweep.

    Attributes:
        folder: Where its trials, runs and tables lie.
        trials: Finished trials, in the order of the grid; `trial.result` is the run's result.json and `folder`, the run
            folder relative to the sweep's.
        failures: Trials that failed.
        table: Markdown.
    """

    folder: Path
    trials: tuple[Trial, ...]
    failures: tuple[FailedTrial, ...]
    table: str


def sweep(
    data: DatasetOrContext,
    *,
    fractions: str | Sequence[float | str] = "0.1,0.3,1",
    scorers: str | Sequence[str] = "random",
    kd_weights: str | Sequence[float | str] = "0,auto",
    seeds: str | int | Sequence[int] = 3,
    teachers: Teachers = (),
    allow_weak_teacher: bool = False,
    sparsity: str | Sequence[float | str] | None = None,
    criterion: str | Sequence[str] | None = None,
    self_distill: str | Sequence[str] | None = None,
    model: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    budget: str | None = None,
    samples: int | str | None = None,
    out: str | Path | None = None,
    jobs: int | None = None,
    retry_failed: bool = False,
    launcher: str | Launcher = LOCAL,
    **settings: Unpack[ContextSettings],
) -> Sweep:
    """Train a student for every combination; each is a trial that runs once, in whichever process.

    It can be stopped and called again: finished trials are kept, a begun run continues from its checkpoint. Called with a
    larger grid, it trains what is new. Called from several processes, they share the trials.

    Args:
        data: A dataset, its name or path, or a context.
        fractions: The shares that are kept; lists may be text, separated by commas.
        scorers: Names. One that needs evidence scores once, for all seeds; others (random) draw anew for every seed.
        kd_weights: Numbers in 0..1, and "auto".
        seeds: A list, or how many: 3 means 0, 1, 2.
        teachers: Runs or run folders, each a value of its dimension; default: the recipe's teacher, trained if missing.
        allow_weak_teacher: see `train`.
        sparsity: Shares of the students' weights that are removed before training, 0 for none; default: the recipe's.
        criterion: Criteria of that ("epsd", "snip", ...); a dense student is trained once, whatever they are.
        self_distill: Methods, "none" included; default: the recipe's.
        model: The students' network; default, as with the next four: the recipe's.
        epochs: Number of training epochs of a student.
        batch_size: Samples that go through a student together.
        lr: Peak learning rate of students.
        budget: "epochs", "steps" or "samples", see `train`.
        samples: number of samples that a student sees, see `train`.
        out: The sweep's folder; default: one in the workspace, the same for every grid of the same settings.
        jobs: Workers, each with the context's thread count; None: this process runs the trials itself, or launches one.
        retry_failed: Try trials again that failed before.
        launcher: Where workers run: "local" (processes of this machine), "slurm", "ray", or one that `find_launcher` made
            with settings (docs/launchers.md); no part of the sweep's identity.
        settings: See `ContextSettings`; not beside a context.

    Raises:
        InvalidValue, UnknownName, InvalidFile, IncompatibleInputs, OutputExists, MissingPackage: The user's mistakes,
            before anything is written.
        DataPruningError: All workers died before the end.
    """
    workers = find_launcher(launcher) if isinstance(launcher, str) else launcher
    changes = student_settings(
        settings.get("changes", ()), model=model, epochs=epochs, batch_size=batch_size, lr=lr, budget=budget, samples=samples
    )
    context = open_worker_context(data, workers, **settings)
    context = context.with_train(**changes)
    if jobs is not None and jobs < 1:
        raise InvalidValue(f"at least 1 worker is needed, got {jobs}", parameter="jobs")
    jobs = jobs or (1 if workers.is_remote else None)
    if jobs is not None:
        check_reopens(context)
    grid = make_grid(context.data.total, fractions, scorers, kd_weights, seeds)
    check_evidence(context, [get_scorer(name) for name in grid.scorers])
    if any(weight != 0 for weight in grid.kd_weights) and not teacher_folders(teachers):
        context.check_networks("teacher")
    context, variants = find_variants(context, sparsity, criterion, self_distill)
    local = local_context(context)
    with quiet():
        check_variants(local, variants, grid.kd_weights)
    named = name_teachers(local, teacher_folders(teachers), allow_weak=allow_weak_teacher)
    grid = replace(grid, variants=variants, teachers={key: name for key, (name, _) in named.items()})
    identity = {
        "dataset": context.data.name, "fingerprint": context.data.fingerprint, "recipe": context.recipe.to_dict(),
        "threads": context.threads, "device": context.device.type,
    }  # fmt: skip
    folder = Path(out) if out is not None else context.artifact_path("sweeps", context.recipe.train.model, identity)
    status = SweepStatus(open_store(folder, identity), grid, context.recipe.train)
    num_retried = status.clear_failures() if retry_failed else 0
    print_plan(local, status, 0 if workers.is_remote else jobs or 1, num_retried)
    teacher_paths = {key: str(path) for key, (_, path) in named.items()}
    with nullcontext() if workers.is_remote else predict_time(partial(sweep_seconds, context, status, jobs)):
        if status.remaining and not workers.is_remote:
            prepare_shared(context, status.remaining_students, status.trials(), allow_weak_teacher=allow_weak_teacher)
        if status.remaining and jobs is None:
            display = SweepDisplay(status, console())
            train_student = student_trials(context, folder, teacher_paths)
            for _ in status.store.run_remaining(status.remaining, train_student):
                display.update(status.refresh())
        elif status.remaining:
            record = record_context(context, settings.get("data_root"))
            task = Task(
                entry=ENTRY, store=str(folder), trials=tuple(map(dict, status.configs)), about=identity, context=record,
                teachers=teacher_paths, prepare_shared=workers.is_remote, allow_weak_teacher=allow_weak_teacher,
            )  # fmt: skip
            announce_time()
            _run_workers(status, workers.open_pool(min(jobs or 1, len(status.remaining)), folder, info, context), task)
    table = f"{markdown(make_table(status))}\n\n{make_caption(status, context.data.name)}"
    write_text(folder / TABLE, table + "\n")
    write_text(folder / ROWS, make_csv(status))
    return Sweep(folder, tuple(status.trials()), tuple(status.failures()), table)


def _run_workers(status: SweepStatus, workers: WorkerPool, task: Task) -> None:
    with workers as pool:
        pool.submit(task)
        with live_table(status) as display:
            pool.info = display.line
            watch(status, pool, display.update)
