"""The report's arithmetic: break-even, one-time costs, rank correlations."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from datapruning.artifacts.metadata import ScoresMetadata, common_fields
from datapruning.artifacts.scores import Scores
from datapruning.config.training import TrainConfig
from datapruning.data.dataset import Dataset
from datapruning.report.costs import RecordedCost, break_even, group_cost
from datapruning.report.dataset_files import find_scores, runs_selected_by
from datapruning.report.find_runs import find_runs
from datapruning.report.run_records import AUTO
from tests.report.test_find_runs import FORWARD_FLOPS, cost_of, write_run

PRICES = st.integers(1, 10**6)


@given(repeated=PRICES, one_time=st.integers(0, 10**7), full=PRICES)
def test_break_even_is_the_first_number_of_students_that_is_cheaper(repeated: int, one_time: int, full: int) -> None:
    k = break_even(repeated, one_time, full)
    assert k is not None
    if k == math.inf:
        assert repeated >= full
        return
    assert one_time + k * repeated < k * full
    assert k == 1 or one_time + (k - 1) * repeated >= (k - 1) * full


def test_what_is_not_known_stays_unknown() -> None:
    assert break_even(None, 1, 2) is None
    assert break_even(1, None, 2) is None
    assert break_even(1, 0, None) is None
    assert break_even(2, None, 2) == math.inf, "whatever is paid once"
    assert RecordedCost(1.0, None) + RecordedCost(2.0, 3.0) == RecordedCost(3.0, None)


def test_a_student_s_cost_is_training_search_and_soft_labels(tmp_path: Path, digits: Dataset) -> None:
    costs = {
        "train": cost_of(10, 3, 1.0),
        "search": cost_of(5, 6, 2.0),
        "prune": cost_of(0, 3, 0.5),
        "self_teacher": cost_of(20, 0, 4.0),
        "self_soft_labels": cost_of(0, 30, 0.5),
        "teacher": cost_of(7, 0, 3.0),
        "soft_labels": cost_of(0, 9, 0.25),
        "scoring": cost_of(100, 30, 5.0),
    }
    first = write_run(tmp_path / "w" / "students" / "a", digits, kd=AUTO, scorer="el2n", costs=costs)
    less = {"teacher": cost_of(6, 0, 9.0)}
    second = write_run(tmp_path / "w" / "students" / "b", digits, kd=AUTO, scorer="el2n", seed=1, costs=costs | less)
    runs = find_runs([first, second]).runs
    cost = group_cost(runs)

    def passes(trained: float, seconds: float) -> RecordedCost:
        return RecordedCost(3 * FORWARD_FLOPS * trained, seconds)

    own = passes(11 + 7 + 1 + 20 + 10, 8.0)
    assert cost.repeated == own
    assert cost.per_student == own + passes(3, 0.25), "a student needs its soft labels, which others may share"
    assert (cost.search, cost.prune) == (passes(7, 2.0), passes(1, 0.5))
    assert cost.shared == {"teacher": passes(7, 9.0), "soft labels": passes(3, 0.25), "scoring": passes(110, 5.0)}
    assert cost.one_time == passes(120, 14.25)


def test_what_is_shared_is_free_or_unknown_where_no_run_records_it(tmp_path: Path, digits: Dataset) -> None:
    costs = {"teacher": cost_of(0, 0, 0.0), "soft_labels": None}
    meta = ScoresMetadata(**common_fields(digits), scorer="custom", seed=0)
    for name, scorer, scores in (("a", "random", None), ("b", "custom", meta), ("c", "custom", None)):
        run = write_run(tmp_path / name, digits, kd=0.9, scorer=scorer, scores=scores, costs=costs)
        shared = group_cost(find_runs([run]).runs).shared
        assert shared["teacher"] == RecordedCost(0.0, None), "a file of weights does not say how long its training took"
        assert shared["soft labels"] == RecordedCost(None, None)
        assert shared.get("scoring") == (RecordedCost(None, None) if name == "c" else None)


def test_scores_are_found_once_with_the_runs_that_use_them(tmp_path: Path, digits: Dataset, small_dataset: Dataset) -> None:
    values = np.linspace(0, 1, digits.total, dtype=np.float32)
    folder = tmp_path / "w" / "scores"
    metas = [
        ScoresMetadata(**common_fields(digits), scorer=s, seed=k)
        for s, k in (("random", 0), ("random", 1), ("el2n", 0), ("el2n", 1))
    ]
    for i, meta in enumerate(metas):
        Scores(values, meta).save(folder / f"{i}.npz")
    Scores(values, metas[2].model_copy(update={"created": "another day"})).save(folder / "again.npz")
    Scores(
        np.zeros(small_dataset.total, np.float32), ScoresMetadata(**common_fields(small_dataset), scorer="el2n", seed=0)
    ).save(folder / "other.npz")
    (folder / "broken.npz").write_bytes(b"PK")
    run = write_run(tmp_path / "w" / "students" / "a", digits, scorer="el2n", scores=metas[3])
    runs = find_runs([run])
    files, left_out = find_scores([], runs.roots, digits.fingerprint)
    assert [f.name for f in files] == ["random", "el2n, seed 0", "el2n, seed 1"]
    assert len(left_out) == 1
    assert [len(runs_selected_by(f, runs.runs)) for f in files] == [0, 0, 1]


def test_scores_of_one_scorer_and_seed_have_different_names(tmp_path: Path, digits: Dataset) -> None:
    values = np.linspace(0, 1, digits.total, dtype=np.float32)
    for epochs in (3, 20):
        meta = ScoresMetadata(**common_fields(digits), scorer="el2n", seed=0, proxy=TrainConfig(epochs=epochs))
        Scores(values, meta).save(tmp_path / "scores" / f"{epochs}.npz")
    files, _ = find_scores([], [tmp_path], digits.fingerprint)
    assert len({file.name for file in files}) == 2
    assert all(re.fullmatch(r"el2n, seed 0, [0-9a-f]{4}", file.name) for file in files)
