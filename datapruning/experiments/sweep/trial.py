"""One row of a sweep: one student, trained by the same verb as by `dprune train`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datapruning.artifacts.scorer import Scorer
from datapruning.artifacts.scores import Scores
from datapruning.experiments.sweep.grid import weight_text
from datapruning.experiments.sweep.shared_artifacts import (
    SCORE_SEED,
    find_scorers,
    needs_evidence,
    prepare,
    scorer_names,
)
from datapruning.experiments.sweep.variants import context_of_row
from datapruning.experiments.workers.task import Task
from datapruning.io.trial_store import RowStore, Work
from datapruning.runs.context import Context
from datapruning.utils.console import hushed
from datapruning.utils.hashing import digest

RUNS = "runs"
ENTRY = "datapruning.experiments.sweep.trial:open_students"


def run_folder(config: Mapping[str, Any], kept: int) -> str:
    """A row's run folder inside the sweep's, named for people and by the row's digest."""
    who = config["scorer"] or "all"
    weight = weight_text(config["kd_weight"])
    itself = f"-{config['self_distill']['method']}" if "self_distill" in config else ""
    pruned = f"-{config['sparsity']['criterion']}-{config['sparsity']['sparsity']:g}" if "sparsity" in config else ""
    return f"{RUNS}/{who}-{kept}-kd-{weight}{itself}{pruned}-seed{config['seed']}-{digest(config, 8)}"


class Students:
    """Does rows; scores are computed once a process.

    Args:
        context: of this process.
        folder: the sweep's.
        teachers: hash of a teacher's weights -> its run folder.
        scorers: by name.
    """

    def __init__(self, context: Context, folder: Path, teachers: Mapping[str, str], scorers: Mapping[str, Scorer]) -> None:
        self._context, self._folder, self._teachers, self._scorers = context, folder, teachers, scorers
        self._scores: dict[str, Scores] = {}

    def train(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The run's result.json, and `folder`: where the run lies, relative to the sweep's folder, so that a sweep can be
        moved as a whole.
        """
        from datapruning.api.train import train
        from datapruning.utils.fraction import kept_count

        place = run_folder(config, kept_count(config["fraction"], self._context.data.total))
        teacher = config["teacher"]
        with hushed():
            finished = train(
                context_of_row(self._context, config),
                fraction=config["fraction"],
                scorer=config["scorer"] or "random",
                scores=self._shared_scores(config["scorer"]),
                teacher=None if teacher is None else self._teachers[teacher],
                kd_weight=config["kd_weight"],
                seed=config["seed"],
                out=self._folder / place,
            )
        return {**finished.result, "folder": place}

    def _shared_scores(self, name: str | None) -> Scores | None:
        from datapruning.api.score import score

        if name is None or not needs_evidence(self._scorers[name]):
            return None
        if name not in self._scores:
            with hushed():
                self._scores[name] = score(self._context, name, seed=SCORE_SEED)
        return self._scores[name]


def open_students(task: Task, context: Context) -> tuple[RowStore, Work]:
    """The store of a sweep, and what trains one of its students: the entry of a worker's task."""
    store = RowStore(Path(task.folder), {**task.about, "fingerprint": context.data.fingerprint})
    scorers = find_scorers(scorer_names(task.configs))
    if task.prepares:
        rows = [(config, store.get(config)) for config in task.configs]
        prepare(context, [c for c, row in rows if row is None], scorers, [row for _, row in rows if row is not None])
    return store, Students(context, store.folder, task.teachers, scorers).train
