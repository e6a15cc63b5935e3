"""Members of a subset ensemble by several workers; a scorer that reads the ensemble finds them done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datapruning.artifacts.scorer import Samples, Scorer
from datapruning.errors import DataPruningError, IncompatibleInputs, InvalidValue
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.members import rows_of
from datapruning.experiments.workers.launcher import Launcher, is_here
from datapruning.experiments.workers.monitor import watch
from datapruning.experiments.workers.status import Board
from datapruning.experiments.workers.task import Task, check_reopens, task_of
from datapruning.io.trial_store import Failure, Row, RowStore, Work
from datapruning.runs.context import Context
from datapruning.utils.console import say

ENTRY = "datapruning.experiments.workers.members:open_members"


class Lines:
    """A line a member."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def line(self, text: str) -> None:
        """A line."""
        say(text)

    def update(self, news: Sequence[Row | Failure]) -> None:
        """What ended."""
        for each in news:
            done = f"member: {len(self._board.done)} of {len(self._board.configs)} done"
            say(f"{done}, {each.seconds:.0f} s" if isinstance(each, Row) else f"{done}; one failed: {each.error}")


def check_members(context: Context, scorers: Sequence[Scorer], jobs: int) -> None:
    """Refuse workers that would have nothing to do, and what is left for this machine if it has not the device for it.

    Raises:
        InvalidValue: none of the scorers reads an ensemble, or one needs more than that; or there is no worker.
    """
    if jobs < 1:
        raise InvalidValue(f"--jobs is at least 1, got {jobs}")
    if not any(scorer.needs is SubsetEnsemble for scorer in scorers):
        names = ", ".join(scorer.name for scorer in scorers)
        raise InvalidValue(f"--jobs and --launcher share out the members of an ensemble; {names} read none; leave them out")
    others = [scorer.name for scorer in scorers if scorer.needs not in (SubsetEnsemble, Samples)]
    if others and not is_here(context.device.type):
        raise InvalidValue(
            f"{', '.join(others)}: their proxies are trained by this command, and there is no GPU here; leave them out"
        )


def train_members(
    context: Context, seed: int = 0, *, jobs: int = 1, launcher: Launcher | None = None, data_root: str | Path | None = None
) -> None:
    """Train the members of the recipe's ensemble that are missing, by `jobs` workers.

    Stop it however you like and call it again; members that failed are tried again.

    Args:
        context: dataset, recipe, device of the workers.
        seed: of the ensemble, as `dp.score` has it.
        jobs: how many workers, each with the context's thread count.
        launcher: where they run; default: on this machine.
        data_root: where workers find torchvision's sets, if not under the default root.

    Raises:
        InvalidValue: a dataset that workers cannot open by its name.
        DataPruningError: a member failed, or all workers died.
    """
    check_reopens(context)
    launcher = launcher or Launcher()
    store, configs, _ = rows_of(context, seed)
    board = Board(store, configs)
    board.forget_failures()
    if not board.left:
        return
    say(f"ensemble: {len(board.left)} of {len(configs)} members to train, in {store.folder}")
    board.refresh()
    task = task_of(context, store.folder, configs, data_root, ENTRY, seed=seed)
    with launcher.crew(min(jobs, len(board.left)), store.folder, say, context) as crew:
        crew.go(task)
        watch(board, crew, Lines(board))
    failed = board.failures()
    if failed:
        raise DataPruningError(
            f"{len(failed)} of {len(configs)} members failed, the first: {failed[0].error} "
            f"(all in {store.folder / 'failed'}); the same command tries them again"
        )


def open_members(task: Task, context: Context) -> tuple[RowStore, Work]:
    """The store of a subset ensemble, and what trains one of its members: the entry of a worker's task.

    Raises:
        IncompatibleInputs: the dataset of that name is not the one that the store was made for.
    """
    store, _, train = rows_of(context, task.seed)
    if store.folder != Path(task.folder):
        raise IncompatibleInputs(f"{task.data} is another dataset here than the one that {task.folder} was made for")
    return store, train
