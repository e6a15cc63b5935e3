"""The examples of a day's jobs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RunExample = Callable[[str], dict[str, Any]]


def test_an_own_folder_is_scored_and_half_of_it_trains_a_student(run_example: RunExample) -> None:
    values = run_example("own_folder")
    assert values["student"].test_accuracy > 80
    rows = Path("half.csv").read_text().splitlines()
    assert len(rows) == 601
    assert "train/0/" in rows[1]


def test_the_list_of_a_colleague_trains_a_student_and_wrong_ids_are_refused(run_example: RunExample) -> None:
    values = run_example("colleague_list")
    assert sorted(values["picked"]) == values["subset"].indices.tolist()
    assert len(values["students"]) == 2
    assert values["refused"] == "wrong.txt: id 1438 is not in 0..1437, the training samples of digits (1 such id)"


def test_corrected_labels_keep_the_scores_of_the_other_samples(
    run_example: RunExample, capsys: pytest.CaptureFixture[str]
) -> None:
    values = run_example("corrected_labels")
    assert values["right"] > 30
    relabelled = [row.id for row in values["issues"].rows]
    assert "40 of 1,438 samples have another label, 0 are new" in capsys.readouterr().err
    assert not np.intersect1d(values["subset"].indices, relabelled).size


def test_two_datasets_share_a_workspace_and_their_files_are_not_mixed(
    run_example: RunExample, capsys: pytest.CaptureFixture[str]
) -> None:
    values = run_example("two_datasets")
    assert values["refused"].startswith("this subset was made from another dataset: odd-even (1,438 samples, ")
    assert values["report"].runs == 1
    assert "on another dataset, digits" in capsys.readouterr().err
    assert Path("odd-even.html").is_file()


@pytest.mark.slow
def test_a_killed_grid_resumes_and_is_reported_on(run_example: RunExample) -> None:
    values = run_example("killed_sweep")
    assert 1 <= len(values["before"]) < 4
    assert values["report"].runs == 4
    after = values["finished"]()
    assert len(after) == 4
    assert {name: after[name] for name in values["before"]} == values["before"], "trained once"
    assert f"{len(values['before'])} of 4 done" in values["messages"]
