"""Results of made-up runs, for tests that need a whole result.json."""

from __future__ import annotations

from typing import Any

from datapruning.config.sparsity import SparsityConfig
from datapruning.data.dataset import Dataset
from datapruning.runs.result import PrunedLayer, SparsityRecord, StudentResult, TeacherResult
from datapruning.utils.cost import ComputeCost


def teacher_result(data: Dataset | None = None, **changes: Any) -> TeacherResult:
    """A teacher's result on `data`, or on a made-up dataset of 40 samples."""
    return TeacherResult(**{**_trained(data), **changes})


def student_result(data: Dataset | None = None, **changes: Any) -> StudentResult:
    """A student's result on `data`, or on a made-up dataset of 40 samples."""
    values = {"scorer": "random", "balance": "none", "subset": "subset.npz", "kd_weight": 0.0, **_trained(data)}
    return StudentResult(**{**values, **changes})


def _trained(data: Dataset | None) -> dict[str, Any]:
    return {
        "test_accuracy": 50.0, "model": "tinynet8", "classes": data.classes if data else 3,
        "dataset": data.name if data else "made-up", "fingerprint": data.fingerprint if data else "f",
        "samples_seen": 80, "package_version": "0", "fraction": 1.0, "kept": data.total if data else 40,
        "total": data.total if data else 40, "budget": "epochs", "epochs": 2, "steps": 4, "seed": 0, "device": "cpu",
        "threads": 1, "processes": 1,
    }  # fmt: skip


def sparsity_record(**changes: Any) -> SparsityRecord:
    """Half of the weights of a network of one layer."""
    layer = PrunedLayer(name="0.weight", shape=(4, 3), total=12, kept=6, positions=1)
    values: dict[str, Any] = {
        "settings": SparsityConfig(sparsity=0.5, criterion="snip"), "rounds": 1, "kept": 6, "total": 12, "masks": "abc",
        "protected": (), "flops": 24, "flops_without_zeros": 12, "layers": (layer,),
    }  # fmt: skip
    return SparsityRecord(**{**values, **changes})


NO_COST = ComputeCost()
