"""What the students of a sweep share: made once, before the first trial, by one process; others wait for it."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datapruning.api.student_request import Teachers
from datapruning.artifacts.scorer import Samples, Scorer
from datapruning.errors import IncompatibleInputs, InvalidValue, OutputExists
from datapruning.evidence.collect import estimate_evidence_cost
from datapruning.experiments.sweep.grid import parse_list
from datapruning.experiments.sweep.spec import StudentSpec
from datapruning.io.trial_store import Trial, TrialStore
from datapruning.runs.context import Context
from datapruning.runs.run import FinishedRun
from datapruning.scorers import get_scorer
from datapruning.teachers.paths import check_teacher
from datapruning.training.schedules import planned_samples

SCORE_SEED = 0
"""Scores from evidence are made once, with this seed, for students of every seed. Scorers that need none draw anew."""
HASH_LENGTH = 16


def open_store(folder: Path, identity: Mapping[str, Any]) -> TrialStore:
    """Open the trial store of a sweep or an advice, in a new or empty folder or one that holds this store already.

    Raises:
        OutputExists: The folder holds something else.
        IncompatibleInputs: It is a store of other trials.
    """
    is_new = not folder.exists() or (folder.is_dir() and all(path.name.startswith(".") for path in folder.iterdir()))
    if not is_new and not (folder / "store.json").exists():
        raise OutputExists(f"{folder} holds something else (no store.json in it); name another folder", parameter="out")
    return TrialStore(folder, identity)


def teacher_folders(teachers: Teachers) -> list[Path]:
    """Return the run folders of teachers: one or several runs or paths, or text in which commas separate paths."""
    if isinstance(teachers, FinishedRun | Path):
        teachers = [teachers]
    elif isinstance(teachers, str):
        teachers = parse_list(teachers, "teachers")
    return [teacher.folder if isinstance(teacher, FinishedRun) else Path(teacher) for teacher in teachers]


def needs_evidence(scorer: Scorer) -> bool:
    """Whether a scorer reads more than the number of samples and a seed."""
    return scorer.needs is not Samples


def name_teachers(context: Context, folders: Sequence[Path], *, allow_weak: bool) -> dict[str, tuple[str, Path]]:
    """Return teachers by the hash of their weights: the name of each in tables, and its run folder.

    Raises:
        InvalidFile, IncompatibleInputs: One is no finished run on this data, or near chance, unless `allow_weak`.
        InvalidValue: The same network twice.
    """
    if not folders:
        return {}
    for folder in folders:
        check_teacher(folder)
    from datapruning.teachers.accuracy import check_accuracy
    from datapruning.teachers.prepare import load_teachers

    teachers: dict[str, tuple[str, Path]] = {}
    loaded = load_teachers(context, folders)
    if not allow_weak:
        check_accuracy(loaded, context.data, paths=folders)
    for teacher in loaded:
        key = teacher.weights_hash[:HASH_LENGTH]
        if key in teachers:
            raise InvalidValue(f"teachers {teachers[key][1]} and {teacher.record.path} are the same network; leave one out")
        names = {name for name, _ in teachers.values()}
        path = Path(teacher.record.path).resolve()
        teachers[key] = (path.name if path.name not in names else teacher.record.path, path)
    return teachers


def estimate_shared(context: Context, students: Sequence[StudentSpec]) -> list[str]:
    """Describe what these students share, a line each, with the samples it takes to train where it does not exist."""
    total, lines = context.data.total, []
    scorers = evidence_scorers(students)
    if scorers:
        estimate = estimate_evidence_cost(context, scorers)
        names = ", ".join(scorer.name for scorer in scorers)
        lines.append(f"evidence of {names} ({estimate}, {estimate.samples:,} samples)")
    if any(spec.needs_recipe_teacher for spec in students):
        lines.append(f"the recipe's teacher ({planned_samples(context.recipe.teacher, total, total):,} samples)")
    return lines


def prepare_shared(
    context: Context, students: Sequence[StudentSpec], finished: Iterable[Trial], *, allow_weak_teacher: bool
) -> None:
    """Make the FFCV cache, the evidence and the recipe's teacher, as far as these students need them and they do not exist.

    Soft labels are filled by the trials themselves. Where another process makes one of these, this one waits for it.

    Raises:
        IncompatibleInputs: The recipe's teacher is another network than the one that taught the finished trials, or is near
            chance, unless `allow_weak_teacher`.
    """
    from datapruning.api.cache import cache
    from datapruning.api.score import score
    from datapruning.api.score_paths import scores_path
    from datapruning.api.teach import teach

    if context.loader_kind == "ffcv":
        cache(context)
    for scorer in evidence_scorers(students):
        score(context, scorer.name, seed=SCORE_SEED, out=scores_path(context, scorer.name, SCORE_SEED))
    if any(spec.needs_recipe_teacher for spec in students):
        [key] = name_teachers(context, [folder := teach(context).folder], allow_weak=allow_weak_teacher)
        _check_same_teacher(folder, key, finished)


def _check_same_teacher(folder: Path, key: str, finished: Iterable[Trial]) -> None:
    """Refuse a teacher of the hash `key` in `folder` that is another network than the recipe's teacher of finished trials.

    It may have been trained again with other threads or in another workspace, which gives other weights.
    """
    taught = [trial for trial in finished if StudentSpec.from_config(trial.config).needs_recipe_teacher]
    for teacher in (teacher for trial in taught for teacher in trial.result.get("teacher", ())):
        if not teacher["weights"].startswith(key):
            raise IncompatibleInputs(
                f"{folder} is another network than the teacher of the trials that are finished ({teacher['folder']}); "
                "name the workspace that holds that one, or another output folder"
            )


def evidence_scorers(students: Iterable[StudentSpec]) -> list[Scorer]:
    names = dict.fromkeys(spec.scorer for spec in students if spec.scorer is not None)
    return [scorer for scorer in map(get_scorer, names) if needs_evidence(scorer)]
