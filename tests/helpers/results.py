"""Complete results of runs, for tests that need a result.json."""

from __future__ import annotations

from typing import Any

from datapruning.config.sparsity import SparsityConfig
from datapruning.data.dataset import Dataset
from datapruning.runs.result import StudentResult, TeacherResult
from datapruning.runs.training_records import PrunedLayer, SparsityRecord
from datapruning.utils.cost import ComputeCost


def teacher_result(data: Dataset | None = None, **changes: Any) -> TeacherResult:
    """Make a teacher's result on `data`, or on a dataset of 40 samples."""
    return TeacherResult(**{**_common_values(data), **changes})


def student_result(data: Dataset | None = None, **changes: Any) -> StudentResult:
    """Make a student's result on `data`, or on a dataset of 40 samples."""
    values = {"scorer": "random", "balance": "none", "subset": "subset.npz", "kd_weight": 0.0, **_common_values(data)}
    return StudentResult(**{**values, **changes})


def _common_values(data: Dataset | None) -> dict[str, Any]:
    return {
        "test_accuracy": 50.0, "model": "tinynet8", "classes": data.classes if data else 3,
        "dataset": data.name if data else "generated", "fingerprint": data.fingerprint if data else "f",
        "samples_seen": 80, "package_version": "0", "fraction": 1.0, "kept": data.total if data else 40,
        "total": data.total if data else 40, "budget": "epochs", "epochs": 2, "steps": 4, "seed": 0, "device": "cpu",
        "threads": 1, "processes": 1,
    }  # fmt: skip


def sparsity_record(**changes: Any) -> SparsityRecord:
    """Make the record of a one-layer network with half of its weights pruned."""
    layer = PrunedLayer(name="0.weight", shape=(4, 3), total=12, kept=6, positions=1)
    values: dict[str, Any] = {
        "settings": SparsityConfig(sparsity=0.5, criterion="snip"), "rounds": 1, "kept": 6, "total": 12, "masks": "abc",
        "protected": (), "flops": 24, "flops_without_zeros": 12, "layers": (layer,),
    }  # fmt: skip
    return SparsityRecord(**{**values, **changes})


NO_COST = ComputeCost()
