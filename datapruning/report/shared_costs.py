"""What is paid once and shared by students: the teacher, its soft labels, the evidence of the scorer."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datapruning.errors import InvalidFile
from datapruning.io.json import read_json
from datapruning.report.recorded_cost import NOTHING, UNKNOWN, Price, said_of, seconds_of
from datapruning.report.student import Student
from datapruning.runs.run import RESULT
from datapruning.utils.cost import FORWARD


def teacher_cost(student: Student) -> Price:
    """Training of the teachers (of all candidates, where one was chosen), as the student or else their own runs say."""
    stated = said_of(student, "teacher")
    if stated is not None and stated != NOTHING:
        return stated
    whole = NOTHING
    for teacher in student.teachers:
        whole += _training_of(teacher_folder(student, teacher))
    return whole if student.teachers else UNKNOWN


def _training_of(folder: Path | None) -> Price:
    if folder is None:
        return UNKNOWN
    try:
        result = read_json(folder / RESULT)
    except InvalidFile:
        return UNKNOWN
    return Price(result.get("samples_seen"), (result.get("seconds") or {}).get("train"))


def teacher_folder(student: Student, teacher: Mapping[str, Any]) -> Path | None:
    """Where a teacher's run lies: as recorded, or in the student's own workspace, should that have moved."""
    recorded = Path(str(teacher.get("folder")))
    places = [recorded, *(root / "teachers" / recorded.name for root in student.workspaces)]
    return next((folder for folder in places if (folder / RESULT).exists()), None)


def soft_labels_cost(student: Student, everybody: Sequence[Student]) -> Price:
    """Of all labels that this student reads, from nothing.

    Older runs do not say: then in seconds at the pace at which the runs here made theirs.
    """
    stated = said_of(student, "soft_labels")
    if stated is not None:
        return stated
    views, epochs = student.settings.get("views.num_views"), student.result.get("epochs")
    if views is None or epochs is None:
        return UNKNOWN
    labels = student.kept * min(views, epochs) * len(student.teachers)
    paces = [pace for s in everybody if s.teachers == student.teachers and (pace := _labelled(s)) is not None]
    made, seconds = sum(p[0] for p in paces), sum(p[1] for p in paces)
    return Price(FORWARD * labels, labels * seconds / made if made else None)


def _labelled(student: Student) -> tuple[float, float] | None:
    """(labels computed, seconds) of the run itself."""
    count, seconds = student.result.get("soft_labels_computed"), seconds_of(student, "soft_labels")
    return (count, seconds) if count and seconds else None


def scoring_cost(student: Student, roots: Sequence[Path]) -> Price:
    """Of the evidence that the scorer reads, from nothing. Scorers that share evidence are charged all of it, each."""
    if student.is_full:
        return NOTHING
    stated = said_of(student, "scoring")
    if stated is not None:
        return stated
    scores = student.subset_meta.get("scores")
    if not isinstance(scores, dict):
        return NOTHING if student.result["scorer"] == "random" else UNKNOWN
    evidence, proxy = scores.get("evidence"), scores.get("proxy")
    if not isinstance(evidence, dict) or not isinstance(proxy, dict):
        return NOTHING  # made from the ids alone
    whole, runs = evidence["full_runs"], evidence["runs"]
    trained = student.total * (whole * proxy["epochs"] + (runs - whole) * evidence["early_epoch"])
    return Price(trained + FORWARD * student.total * runs, _evidence_seconds(roots, trained, runs))


def _evidence_seconds(roots: Sequence[Path], trained: int, runs: int) -> float | None:
    """Seconds of recorded evidence of that size, if there is any."""
    found = []
    for root in roots:
        for folder in sorted((root / "evidence").glob("*")):
            try:
                done = [read_json(run) for run in sorted(folder.glob("run-*/done.json"))]
            except InvalidFile:
                continue
            if len(done) == runs and sum(d.get("samples_seen", 0) for d in done) == trained:
                found.append(sum(float(d.get("seconds", 0)) for d in done))
    return statistics.mean(found) if found else None
