"""The output of inspect for files and run folders, and refused files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import datapruning as dp
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile
from datapruning.io.json import first_difference
from datapruning.io.tensors import save_tensors
from datapruning.runs.context import Context
from datapruning.runs.run import FinishedRun, Run
from datapruning.tools.inspect import describe


@pytest.fixture
def finished(make_context: Callable[..., Context], small_dataset: Dataset) -> FinishedRun:
    """Train a student without a teacher."""
    return dp.train(make_context(small_dataset), fraction=0.5, kd_weight=0)


def test_inspect_describes_scores_and_subsets(tmp_path: Path, small_dataset: Dataset) -> None:
    scores = dp.score(small_dataset, "random", seed=7, out=tmp_path / "scores.npz")
    dp.select(scores, 0.25, balance="class", data=small_dataset, out=tmp_path / "subset.npz")
    description = "\n".join(describe(tmp_path / "scores.npz"))
    assert "a scores file, intact" in description
    assert "scorer random" in description
    assert f"highest {scores.values.max():.4g}" in description
    assert "seed 7" in description
    assert small_dataset.fingerprint in description
    description = "\n".join(describe(tmp_path / "subset.npz"))
    assert "a subset file, intact" in description
    assert "of 120; scorer random, strategy top, balance class" in description
    selection = {"strategy": "ccs", "settings": {"cutoff": 0.25}}
    dp.select(scores, 0.25, out=tmp_path / "ccs.npz", **selection)  # type: ignore[arg-type]
    description = "\n".join(describe(tmp_path / "ccs.npz"))
    assert "strategy ccs (cutoff=0.25, strata=50), balance none" in description, "those that were not given too"
    dp.subset_from_ids(np.arange(5), small_dataset, "by hand").save(tmp_path / "ids.npz")
    assert "keeping 5 of 120; scorer ids, strategy ids" in "\n".join(describe(tmp_path / "ids.npz"))


def test_a_finished_run_has_its_result(finished: FinishedRun) -> None:
    description = "\n".join(describe(finished.folder))
    assert "a finished run, intact" in description
    for key in ("test_accuracy", "kept", "total", "scorer", "budget", "dataset"):
        assert f"  {key}: {getattr(finished.result, key)}" in description
    assert re.search(r"\n  made with threads \d+, device cpu, data generated, torch [^,{}]+, loader memory$", description)


def test_an_unfinished_run_has_its_progress(finished: FinishedRun) -> None:
    (finished.folder / "result.json").unlink()
    description = "\n".join(describe(finished.folder))
    assert "not finished" in description
    assert "checkpoint" not in description
    save_tensors(Run(finished.folder).checkpoint_path(), {}, {"state": '{"epoch": 3}'})
    assert "(checkpoint after epoch 3)" in "\n".join(describe(finished.folder))


def test_broken_runs_are_refused(finished: FinishedRun) -> None:
    weights = finished.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(InvalidFile, match=r"model\.safetensors"):
        describe(finished.folder)
    (finished.folder / "result.json").write_text("{")
    with pytest.raises(InvalidFile, match=r"result\.json"):
        describe(finished.folder)
    (finished.folder / "config.toml").unlink()
    with pytest.raises(InvalidFile, match="no run folder"):
        describe(finished.folder)


def test_inspect_refuses_unknown_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing of ours")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04")
    np.savez(tmp_path / "plain.npz", x=np.arange(3))
    np.savez(tmp_path / "theirs.npz", meta='{"format": "theirs"}')
    (tmp_path / "folder").mkdir()
    for path in [*tmp_path.iterdir(), tmp_path / "absent.npz"]:
        with pytest.raises(InvalidFile, match=path.name):
            describe(path)


def test_the_first_difference_is_named_by_its_path() -> None:
    stored, current = {"a": 1, "b": {"c": [1], "d": None}}, {"a": 1, "b": {"c": [2], "d": 3}}
    assert first_difference(stored, current) == "b.c is [1] there, [2] here"
    assert first_difference({"x": 1}, {}) == "x is 1 there, None here"
