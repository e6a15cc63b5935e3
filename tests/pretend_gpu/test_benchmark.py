"""The benchmark of a GPU on the pretend one: its rows are made, and steps as graphs end with the weights of eager ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu as gpu_benchmark
from benchmarks.committed import CommittedRows
from benchmarks.gpu import Bench, run_rows
from tests.pretend_gpu.pretend import PretendGPU

pytestmark = pytest.mark.slow
ROWS: list[dict[str, Any]] = [
    *({"row": "speed", "batch": 128, "mode": "plain", "steps": steps} for steps in ("eager", "graph")),
    {"row": "speed", "batch": 128, "mode": "bare loop", "steps": "eager"},
    *({"row": "equal", "mode": mode} for mode in ("plain", "masks")),
    {"row": "mask", "criterion": "snip"},
]


def test_the_rows_of_a_gpu_are_made(gpu: PretendGPU, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_benchmark, "STEPS", {128: 2})
    monkeypatch.setattr(gpu_benchmark, "EPOCHS", 3)
    monkeypatch.setattr(gpu_benchmark, "EQUAL", (8, 6))
    bench, rows = Bench(tmp_path, toy=False, graph=False), CommittedRows("gpu", tmp_path)
    bench.network = "tinynet8"
    run_rows(ROWS, bench, rows, 600)
    results = {str(row["config"]): row["result"] for row in rows.read().values()}
    assert not [result for result in results.values() if "error" in result]
    assert len(results) == len(ROWS)
    for config, result in results.items():
        if "equal" in config:
            assert result["again"]["same_bits"]
            assert result["graph"]["same_bits"]
