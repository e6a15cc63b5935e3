"""One trial of a sweep: a student, trained by the same verb as by `dprune train`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datapruning.artifacts.scorer import Scorer
from datapruning.artifacts.scores import Scores
from datapruning.experiments.sweep.shared_artifacts import SCORE_SEED, needs_evidence, prepare_shared, scorer_names
from datapruning.experiments.sweep.spec import StudentSpec
from datapruning.experiments.sweep.variants import student_context
from datapruning.experiments.workers.task import Task
from datapruning.io.trial_store import TrialConfig, TrialFn, TrialStore
from datapruning.runs.context import Context
from datapruning.scorers import get_scorer
from datapruning.utils.console import quiet
from datapruning.utils.fraction import kept_count

ENTRY = "datapruning.experiments.sweep.trial:open_students"


class StudentTrials:
    """Runs the trials of a sweep in this process; scores are computed once.

    Args:
        context: Of this process.
        folder: The sweep's.
        teachers: Hash of a teacher's weights -> its run folder.
        scorers: By name.
    """

    def __init__(self, context: Context, folder: Path, teachers: Mapping[str, str], scorers: Mapping[str, Scorer]) -> None:
        self._context, self._folder, self._teachers, self._scorers = context, folder, teachers, scorers
        self._scores: dict[str, Scores] = {}

    def train(self, config: TrialConfig) -> dict[str, Any]:
        """Train a student.

        Returns:
            The run's result.json, and `folder`: its run folder relative to the sweep's, which may be moved as a whole.
        """
        from datapruning.api.train import train

        spec = StudentSpec.from_config(config)
        run_folder = spec.run_folder(kept_count(spec.fraction, self._context.data.total))
        scores = self._evidence_scores(spec.scorer)
        with quiet():
            run = train(
                student_context(self._context, spec), fraction=spec.fraction, scores=scores,
                scorer=spec.scorer if scores is None else None, kd_weight=spec.kd_weight, seed=spec.seed,
                teacher=None if spec.teacher is None else self._teachers[spec.teacher], out=self._folder / run_folder,
            )  # fmt: skip
        return {**run.result.to_json(), "folder": run_folder}

    def _evidence_scores(self, name: str | None) -> Scores | None:
        from datapruning.api.score import score

        if name is None or not needs_evidence(self._scorers[name]):
            return None
        if name not in self._scores:
            with quiet():
                self._scores[name] = score(self._context, name, seed=SCORE_SEED)
        return self._scores[name]


def open_students(task: Task, context: Context) -> tuple[TrialStore, TrialFn]:
    """Return the store of a sweep and the function that runs one of its trials: the entry of a worker's task."""
    store = TrialStore(Path(task.store), {**task.about, "fingerprint": context.data.fingerprint})
    students = [StudentSpec.from_config(config) for config in task.trials]
    scorers = {name: get_scorer(name) for name in scorer_names(students)}
    if task.prepare_shared:
        trials = [store.get(config) for config in task.trials]
        remaining = [spec for spec, trial in zip(students, trials, strict=True) if trial is None]
        prepare_shared(context, remaining, scorers, [trial for trial in trials if trial is not None])
    return store, StudentTrials(context, store.folder, task.teachers, scorers).train
