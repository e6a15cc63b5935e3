"""Scores files: they round-trip, and invalid files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from datapruning.artifacts.metadata import ScoresMetadata, common_fields
from datapruning.artifacts.scores import Scores, load_scores
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile
from datapruning.io.npz import write_npz

FINITE = st.floats(width=32, allow_nan=False)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays.arrays(np.float32, 120, elements=FINITE), st.none() | arrays.arrays(np.float32, 120, elements=FINITE))
def test_scores_round_trip(tmp_path: Path, small_dataset: Dataset, values: Any, stderr: Any) -> None:
    scores = Scores(values, ScoresMetadata(**common_fields(small_dataset), scorer="custom"), stderr)
    loaded = load_scores(scores.save(tmp_path / "s.npz"))
    assert loaded.meta == scores.meta
    assert loaded.scorer == "custom"
    np.testing.assert_array_equal(loaded.values, values)
    assert (loaded.stderr is None) == (stderr is None)
    if stderr is not None:
        np.testing.assert_array_equal(loaded.stderr, stderr)


def test_numpy_reads_the_file(tmp_path: Path, small_dataset: Dataset) -> None:
    Scores(np.zeros(120, np.float32), ScoresMetadata(**common_fields(small_dataset), scorer="custom")).save(
        tmp_path / "s.npz"
    )
    with np.load(tmp_path / "s.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["meta", "score"]
        assert (file["score"].dtype, file["score"].shape) == (np.float32, (120,))


GOOD = np.arange(120, dtype=np.float32)
HOLED = np.where(GOOD == 17, np.float32(np.nan), GOOD)


@pytest.mark.parametrize(
    ("columns", "meta", "message"),
    [
        ({"score": HOLED}, {}, "first is id 17"),
        ({"score": GOOD, "stderr": HOLED}, {}, "'stderr' is NaN"),
        ({"score": GOOD[:-1]}, {}, r"\[119\]"),
        ({"score": GOOD[:, None]}, {}, r"\[120, 1\]"),
        ({"score": GOOD.astype(np.float64)}, {}, "float64"),
        ({"score": GOOD, "stderr": GOOD[:3]}, {}, "stderr"),
        ({"values": GOOD}, {}, "'score'"),
        ({"score": GOOD}, {"scorer": None}, "scorer"),
        ({"score": GOOD}, {"total": 121}, "121"),
        ({"score": GOOD}, {"total": "120"}, "total"),
        ({"score": GOOD}, {"total": True}, "total"),
        ({"score": GOOD}, {"fingerprint": 3}, "fingerprint"),
        ({"score": GOOD}, {"dataset": None}, "dataset"),
        ({"score": GOOD}, {"version": 2}, "format version 2"),
        ({"score": GOOD}, {"format": "datapruning.subset"}, "its format is 'datapruning.subset'"),
        ({"score": GOOD}, {"format": "theirs"}, "'theirs'"),
        ({"score": GOOD}, {"sead": 1}, "unknown key 'sead': did you mean 'seed'"),
        ({"score": GOOD}, {"costs": {"seconds": "long"}}, "costs.seconds"),
    ],
)
def test_invalid_scores_are_refused(
    tmp_path: Path, small_dataset: Dataset, columns: dict[str, Any], meta: dict[str, Any], message: str
) -> None:
    write_npz(
        tmp_path / "s.npz", columns, {**ScoresMetadata(**common_fields(small_dataset), scorer="custom").to_json(), **meta}
    )
    with pytest.raises(InvalidFile, match=message):
        load_scores(tmp_path / "s.npz")
