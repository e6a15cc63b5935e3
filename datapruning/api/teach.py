"""`teach`: train a teacher on the full data."""

from __future__ import annotations

from pathlib import Path

from datapruning.data.dataset import Dataset
from datapruning.runs.context import Context
from datapruning.runs.opening import context_of
from datapruning.runs.result import TeacherResult
from datapruning.runs.run import FinishedRun
from datapruning.teachers.train import train_teacher


def teach(data: Dataset | Context, *, seed: int = 0, out: str | Path | None = None) -> FinishedRun[TeacherResult]:
    """Train a teacher on the full data, or find the same one finished.

    Raises:
        OutputExists: `out` holds something else.
    """
    return train_teacher(context_of(data), seed, Path(out) if out else None)
