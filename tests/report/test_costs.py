"""Laws of the report's arithmetic: break-even, what is paid once, rank correlations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapruning.artifacts.metadata import new_meta
from datapruning.artifacts.scores import KIND, Scores
from datapruning.data.dataset import Dataset
from datapruning.report.costs import group_cost, pays_off_after
from datapruning.report.find_runs import find_students
from datapruning.report.groups import Group
from datapruning.report.recorded_cost import FORWARD, Price
from datapruning.report.score_files import find_scores, readers
from datapruning.report.student import AUTO
from tests.report.test_find_runs import write_run

PRICES = st.integers(1, 10**6)


@given(own=PRICES, once=st.integers(0, 10**7), full=PRICES)
def test_break_even_is_the_first_number_of_students_that_is_cheaper(own: int, once: int, full: int) -> None:
    k = pays_off_after(own, once, full)
    if k is None:
        assert own >= full
        return
    assert once + k * own < k * full
    assert k == 1 or once + (k - 1) * own >= (k - 1) * full


def test_what_is_not_known_stays_unknown() -> None:
    assert pays_off_after(None, 1, 2) is None
    assert pays_off_after(1, None, 2) is None
    assert Price(1.0, None) + Price(2.0, 3.0) == Price(3.0, None)


def test_a_student_pays_for_training_and_search_and_shares_the_rest(tmp_path: Path, digits: Dataset) -> None:
    teacher = tmp_path / "w" / "teachers" / "t"
    teacher.mkdir(parents=True)
    (teacher / "result.json").write_text(json.dumps({"samples_seen": 9000, "seconds": {"train": 12.0}}))
    evidence = {"runs": 2, "full_runs": 1, "early_epoch": 1}
    scores = new_meta(KIND, digits, scorer="el2n", seed=0, evidence=evidence, proxy={"epochs": 3})
    for number, samples in enumerate((3 * digits.total, digits.total)):
        run = tmp_path / "w" / "evidence" / "e" / f"run-{number:03d}"
        run.mkdir(parents=True)
        (run / "done.json").write_text(json.dumps({"samples_seen": samples, "seconds": 2.0}))
    run = write_run(tmp_path / "w" / "students" / "a", digits, kd=AUTO, scorer="el2n", scores=scores)
    found = find_students([run])
    student = found.students[0]
    cost = group_cost(Group("el2n", AUTO, 0.3, [student]), found.students, found.roots)
    judged = 3 * 300 * FORWARD
    assert cost.search == Price(300 + judged, 1.5)
    assert cost.own.samples == pytest.approx(2 * student.kept + 300 + judged)
    assert cost.shared["teacher"] == Price(9000, 12.0)
    assert cost.shared["scoring"].samples == pytest.approx(4 * digits.total + 2 * digits.total * FORWARD)
    assert cost.shared["scoring"].seconds == 4.0
    assert cost.shared["soft labels"].samples == pytest.approx(2 * student.kept * FORWARD), "two epochs, two of the views"
    assert cost.shared["soft labels"].seconds == pytest.approx(0.4 / 200 * 2 * student.kept)


def test_costs_that_the_run_states_count(tmp_path: Path, digits: Dataset) -> None:
    said = {
        "train": {"samples_seen": 10, "evaluated": 3, "seconds": 1.0},
        "search": {"samples_seen": 5, "evaluated": 6, "seconds": 2.0},
        "teacher": {"samples_seen": 7, "evaluated": 0, "seconds": 3.0},
    }
    found = find_students([write_run(tmp_path / "w" / "students" / "a", digits, kd=AUTO, costs=said)])
    cost = group_cost(Group("random", AUTO, 0.3, found.students), found.students, found.roots)
    assert cost.own == Price(18.0, 3.0)
    assert cost.shared["teacher"] == Price(7, 3.0), "its folder is not there, so the student's word counts"
    assert "scoring" not in cost.shared


def test_scores_are_found_once_and_know_their_readers(tmp_path: Path, digits: Dataset, small: Dataset) -> None:
    values = np.linspace(0, 1, digits.total, dtype=np.float32)
    folder = tmp_path / "w" / "scores"
    metas = [new_meta(KIND, digits, scorer=s, seed=k) for s, k in (("random", 0), ("random", 1), ("el2n", 0), ("el2n", 1))]
    for i, meta in enumerate(metas):
        Scores(values, meta).save(folder / f"{i}.npz")
    Scores(values, {**metas[2], "created": "another day"}).save(folder / "again.npz")
    Scores(np.zeros(small.total, np.float32), new_meta(KIND, small, scorer="el2n", seed=0)).save(folder / "other.npz")
    (folder / "broken.npz").write_bytes(b"PK")
    run = write_run(tmp_path / "w" / "students" / "a", digits, scorer="el2n", scores=metas[3])
    found = find_students([run])
    files, left_out = find_scores([], found.roots, digits.fingerprint)
    assert [f.name for f in files] == ["random", "el2n, seed 0", "el2n, seed 1"]
    assert len(left_out) == 1
    assert [len(readers(f, found.students)) for f in files] == [0, 0, 1]
