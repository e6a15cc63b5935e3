"""One trial of a sweep: a student, trained by the same verb as by `dprune train`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datapruning.artifacts.scores import Scores
from datapruning.experiments.sweep.shared_artifacts import SCORE_SEED, needs_evidence, prepare_shared
from datapruning.experiments.sweep.spec import StudentSpec
from datapruning.experiments.sweep.variants import student_context
from datapruning.experiments.workers.task import Task
from datapruning.io.trial_store import TrialConfig, TrialFn, TrialStore
from datapruning.runs.context import Context
from datapruning.scorers import get_scorer
from datapruning.utils.console import quiet
from datapruning.utils.fraction import kept_count

ENTRY = "datapruning.experiments.sweep.trial:open_students"


def student_trials(context: Context, folder: Path, teachers: Mapping[str, str]) -> Callable[[TrialConfig], dict[str, Any]]:
    """The function that trains a student of the sweep in `folder`; `teachers`: run folders by the hash of the weights.

    It returns the run's result.json, and `folder`: its run folder relative to the sweep's, which may be moved as a whole.
    Scores are computed once.
    """
    from datapruning.api.score import score
    from datapruning.api.train import train

    evidence_scores: dict[str, Scores] = {}

    def train_student(config: TrialConfig) -> dict[str, Any]:
        spec = StudentSpec.from_config(config)
        run_folder = spec.run_folder(kept_count(spec.fraction, context.data.total))
        scores = None
        with quiet():
            if spec.scorer is not None and needs_evidence(get_scorer(spec.scorer)):
                if spec.scorer not in evidence_scores:
                    evidence_scores[spec.scorer] = score(context, spec.scorer, seed=SCORE_SEED)
                scores = evidence_scores[spec.scorer]
            run = train(
                student_context(context, spec), fraction=spec.fraction, scores=scores,
                scorer=spec.scorer if scores is None else None, kd_weight=spec.kd_weight, seed=spec.seed,
                teacher=None if spec.teacher is None else teachers[spec.teacher], out=folder / run_folder,
                allow_weak_teacher=True,  # the sweep has checked them
            )  # fmt: skip
        return {**run.result.to_json(), "folder": run_folder}

    return train_student


def open_students(task: Task, context: Context) -> tuple[TrialStore, TrialFn]:
    """Return the store of a sweep and the function that runs one of its trials: the entry of a worker's task."""
    store = TrialStore(Path(task.store), {**task.about, "fingerprint": context.data.fingerprint})
    students = [StudentSpec.from_config(config) for config in task.trials]
    if task.prepare_shared:
        trials = [store.get(config) for config in task.trials]
        remaining = [spec for spec, trial in zip(students, trials, strict=True) if trial is None]
        finished = [trial for trial in trials if trial is not None]
        prepare_shared(context, remaining, finished, allow_weak_teacher=task.allow_weak_teacher)
    return store, student_trials(context, store.folder, task.teachers)
