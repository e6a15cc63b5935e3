"""`score_all`: several scorers at once; workers may train the members of an ensemble."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Unpack

from datapruning.api.score import (
    EmbeddingsSource,
    check_no_proxy_settings,
    resolve_scorers,
    score,
    with_evidence_model,
)
from datapruning.api.score_paths import find_reused_scores, resolve_score_paths, scores_path
from datapruning.artifacts.save import save_if_new
from datapruning.artifacts.scorer import Samples, Scorer
from datapruning.artifacts.scores import load_scores
from datapruning.errors import DataPruningError, IncompatibleInputs, InvalidValue
from datapruning.evidence.collect import check_reads_embeddings, evidence_seconds, print_evidence_cost
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.members import open_member_trials
from datapruning.evidence.own_embeddings import open_embeddings
from datapruning.experiments.workers.launcher import LOCAL, Launcher, find_launcher, has_device, open_worker_context
from datapruning.experiments.workers.monitor import StoreStatus, watch
from datapruning.experiments.workers.pool import start_seconds
from datapruning.experiments.workers.task import Task, check_reopens, record_context
from datapruning.io.trial_store import FailedTrial, Trial, TrialFn, TrialStore
from datapruning.runs.context import Context
from datapruning.runs.opening import ContextSettings, DatasetOrContext
from datapruning.scorers import get_scorer
from datapruning.utils.console import info
from datapruning.utils.predicted_time import announce_time, predict_time
from datapruning.utils.processes import num_processes
from datapruning.utils.system import available_cpus

ENTRY = "datapruning.experiments.workers.score_all:open_members"


def score_all(
    data: DatasetOrContext,
    scorers: str | Sequence[str] = "all",
    *,
    model: str | None = None,
    init: str | Path | None = None,
    embeddings: EmbeddingsSource | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    jobs: int | None = None,
    launcher: str | Launcher = LOCAL,
    **settings: Unpack[ContextSettings],
) -> dict[str, Path]:
    """Score every training sample by several scorers, and return the scores file of each.

    Args:
        data: A dataset, its name or path, or a context.
        scorers: Names, as a list or separated by commas; "all": every scorer.
        model: The network of proxies and members of an ensemble; default: the recipe's.
        init: File of weights, or a run, that the proxies start from; default: a random initialisation.
        embeddings: Of a network of your own, see `score`.
        seed: Random seed of the evidence.
        out: A file if it ends in .npz, else a folder; default: named files in the workspace.
        jobs: Workers that train the members of an ensemble; None: this process alone.
        launcher: Where workers run: "local", "slurm", "ray", or one that `find_launcher` made with settings.
        settings: See `ContextSettings`; not beside a context.

    Raises:
        InvalidValue, UnknownName, InvalidFile, OutputExists, MissingPackage: The user's mistakes, before anything is
            trained.
    """
    names = resolve_scorers(scorers, embeddings=embeddings is not None)
    resolve_score_paths(Path, names, out)  # before the dataset is opened
    resolved_launcher = find_launcher(launcher) if isinstance(launcher, str) else launcher
    use_workers = jobs is not None or resolved_launcher.is_remote
    if use_workers and num_processes() > 1:
        raise InvalidValue("under torchrun its processes share the work: leave jobs and launcher out")
    context = open_worker_context(data, resolved_launcher, **settings)
    selected = [get_scorer(name) for name in names]
    context = with_evidence_model(context, model, selected, init)
    if use_workers:
        _check_members(context, selected, 1 if jobs is None else jobs)
    opened = None
    if embeddings is not None:
        check_no_proxy_settings(model, init)
        check_reads_embeddings(selected)
        opened = open_embeddings(embeddings, context.data.total)
    paths = resolve_score_paths(lambda name: scores_path(context, name, seed, opened), names, out)
    reused = {name: path for name in names if (path := find_reused_scores(context, name, seed, opened)) is not None}
    missing = [scorer for scorer in selected if scorer.name not in reused and opened is None]
    print_evidence_cost(context, missing)
    workers = min(jobs or 1, max(1, available_cpus() // context.threads)) if use_workers else 1

    def seconds() -> dict[str, float]:
        start = {"start of the workers": start_seconds()} if use_workers else {}
        parts = start | evidence_seconds(context, missing, seed)
        return {name: value / workers if name == "ensemble" else value for name, value in parts.items()}

    with nullcontext() if resolved_launcher.is_remote else predict_time(seconds):
        if use_workers:
            _train_members(context, seed, jobs or 1, resolved_launcher, settings.get("data_root"))
        for name, path in paths.items():
            if name not in reused:
                score(context, name, seed=seed, embeddings=opened, out=path)
            elif out is not None:
                save_if_new(load_scores(reused[name]), path)
    return {**paths, **reused} if out is None else paths


def _check_members(context: Context, scorers: Sequence[Scorer], jobs: int) -> None:
    """Check that workers have members to train, and that this machine has the device for what is left to it.

    Raises:
        InvalidValue: there is no worker, none of the scorers reads an ensemble, or one needs training on a device that is
        not here.
    """
    if jobs < 1:
        raise InvalidValue(f"at least 1 worker is needed, got {jobs}", parameter="jobs")
    if not any(scorer.needs is SubsetEnsemble for scorer in scorers):
        names = ", ".join(scorer.name for scorer in scorers)
        raise InvalidValue(f"workers share the members of an ensemble; {names} read none; leave jobs and launcher out")
    others = [scorer.name for scorer in scorers if scorer.needs not in (SubsetEnsemble, Samples)]
    if others and not has_device(context.device.type):
        raise InvalidValue(
            f"{', '.join(others)}: their proxies are trained by this command, and there is no GPU here; leave them out"
        )


def _train_members(context: Context, seed: int, jobs: int, launcher: Launcher, data_root: str | Path | None) -> None:
    """Train the members of the recipe's ensemble that are missing, by `jobs` workers; failed ones are tried again.

    Raises:
        InvalidValue: a dataset that workers cannot open by its name.
        DataPruningError: a member failed, or all workers died.
    """
    check_reopens(context)
    store, configs, _ = open_member_trials(context, seed)
    status = StoreStatus(store, configs)
    status.clear_failures()
    if not status.remaining:
        return
    info(f"ensemble: {len(status.remaining)} of {len(configs)} members to train, in {store.folder}")
    task = Task(
        entry=ENTRY, store=str(store.folder), trials=tuple(map(dict, configs)), context=record_context(context, data_root),
        seed=seed,
    )  # fmt: skip
    announce_time()
    with launcher.open_pool(min(jobs, len(status.remaining)), store.folder, info, context) as pool:
        pool.submit(task)
        watch(status, pool, lambda news: _print_progress(status, news))
    failures = status.failures()
    if failures:
        raise DataPruningError(
            f"{len(failures)} of {len(configs)} members failed, the first: {failures[0].error} "
            f"(all in {store.folder / 'failed'}); the same command tries them again"
        )


def _print_progress(status: StoreStatus, news: Sequence[Trial | FailedTrial]) -> None:
    progress = f"member: {len(status.done)} of {len(status.configs)} done"
    for outcome in news:
        result = f", {outcome.seconds:.0f} s" if isinstance(outcome, Trial) else f"; one failed: {outcome.error}"
        info(f"{progress}{result}")


def open_members(task: Task, context: Context) -> tuple[TrialStore, TrialFn]:
    """The store of a subset ensemble, and the function that trains one member: the entry of a worker's task.

    Raises:
        IncompatibleInputs: the dataset of that name is not the one that the store was made for.
    """
    store, _, train = open_member_trials(context, task.seed)
    if store.folder != Path(task.store):
        raise IncompatibleInputs(f"{task.context.data} is another dataset here than the one that {task.store} was made for")
    return store, train
