"""The examples that use what was trained, or start from what exists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datapruning as dp
from tests.helpers.read_only import read_only

RunExample = Callable[[str], dict[str, Any]]


def test_a_student_is_used_on_pictures_and_exported_with_equal_outputs(run_example: RunExample) -> None:
    values = run_example("use_student")
    digits = values["digits"]
    assert len(values["labels"]) == 5
    assert (values["labels"] == digits.test.labels[:5]).mean() >= 0.6
    assert values["difference"] < 1e-3
    assert np.abs(values["onnx_logits"]).max() > 1


def test_fine_tuning_from_a_weights_file_helps_where_few_samples_are_kept(
    run_example: RunExample, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracies = run_example("fine_tune")["accuracies"]
    assert accuracies["odd-even.pth"] > accuracies[None] + 5
    assert "2 classes there, 10 classes here" in capsys.readouterr().err


def test_a_selection_by_own_embeddings_trains_nothing(run_example: RunExample) -> None:
    values = run_example("own_embeddings")
    assert len(values["subset"]) == len(values["kept"]) == 431
    assert values["subset"].meta.embeddings.path == "emb.npy"
    assert 0 < len(values["pairs"]) == len(Path("near-duplicates.csv").read_text().splitlines()) - 1
    assert not np.intersect1d(values["kept"].indices, values["second"]).size
    assert not Path("dprune-runs").exists()


def test_a_read_only_teacher_teaches_and_its_missing_labels_are_one_s_own(run_example: RunExample, tmp_path: Path) -> None:
    theirs = dp.open_context(
        dp.open_dataset("digits"), changes=["teacher.epochs=4", "train.epochs=4"], workspace=Path("colleague")
    )  # fmt: skip
    dp.train(theirs, fraction=0.1, kd_weight=0.5)
    before = sorted(Path("colleague").rglob("*"))
    with read_only(tmp_path / "colleague"):
        values = run_example("read_only_teacher")
    assert Path(values["teacher"].folder).parent == Path("colleague/teachers")
    assert values["student"].result.soft_labels_computed == 4 * (431 - 144)
    assert [path.parent.parent for path in Path("my-workspace").rglob("logits.npy")] == [Path("my-workspace/soft-labels")]
    assert sorted(Path("colleague").rglob("*")) == before
