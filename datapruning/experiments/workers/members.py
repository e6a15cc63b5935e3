"""Training the members of a subset ensemble by several workers; a scorer that reads the ensemble finds them done."""

from collections.abc import Sequence
from pathlib import Path

from datapruning.artifacts.scorer import Samples, Scorer
from datapruning.errors import DataPruningError, IncompatibleInputs, InvalidValue
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.members import open_member_trials
from datapruning.experiments.workers.launcher import Launcher, has_device
from datapruning.experiments.workers.monitor import watch
from datapruning.experiments.workers.status import StoreStatus
from datapruning.experiments.workers.task import Task, check_reopens, make_task
from datapruning.io.trial_store import FailedTrial, Trial, TrialFn, TrialStore
from datapruning.runs.context import Context
from datapruning.utils.console import info

ENTRY = "datapruning.experiments.workers.members:open_members"


def check_members(context: Context, scorers: Sequence[Scorer], jobs: int) -> None:
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


def train_members(
    context: Context, seed: int = 0, *, jobs: int = 1, launcher: Launcher | None = None, data_root: str | Path | None = None
) -> None:
    """Train the members of the recipe's ensemble that are missing, by `jobs` workers.

    It can be stopped at any moment and called again; members that failed are tried again.

    Args:
        context: dataset, recipe, and device of the workers.
        seed: random seed of the ensemble, as for `dp.score`.
        jobs: number of workers, each with the context's thread count.
        launcher: where they run; default: on this machine.
        data_root: folder where workers find torchvision's sets, if not the default one.

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
    task = make_task(context, store, configs, data_root, ENTRY, seed=seed)
    with (launcher or Launcher()).open_pool(min(jobs, len(status.remaining)), store.folder, info, context) as pool:
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
        raise IncompatibleInputs(f"{task.data} is another dataset here than the one that {task.store} was made for")
    return store, train
