"""Embeddings of a network of one's own: every geometric scorer, near duplicates and the strategy d2 take them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import datapruning as dp
from datapruning.artifacts.subset import Subset
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue, OutputExists
from datapruning.evidence.embeddings import Embeddings
from datapruning.evidence.own_embeddings import open_embeddings
from datapruning.runs.context import Context
from datapruning.scorers import find_scorers
from tests.conftest import CommandResult, make_dataset

MakeContext = Callable[..., Context]
GEOMETRIC = sorted(name for name, scorer in find_scorers().items() if scorer.needs is Embeddings)
TOTAL = 120


def embeddings(width: int = 6, seed: int = 0) -> NDArray[np.float32]:
    """Make embeddings of the small dataset; samples 7 and 90 have those of 3, and 20 nearly those of 4."""
    features = np.random.default_rng(seed).normal(0, 1, (TOTAL, width)).astype(np.float32)
    features[[7, 90]] = features[3]
    features[20] = 1.5 * features[4] + np.float32(0.01)
    return features


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write them."""
    np.save(tmp_path / "emb.npy", embeddings())
    return tmp_path / "emb.npy"


def test_all_geometric_scorers_take_a_file_or_an_array_and_train_nothing(
    make_context: MakeContext, small_dataset: Dataset, file: Path
) -> None:
    assert GEOMETRIC == ["duplicates", "herding", "k-center", "knn", "moderate", "prototypicality"]
    context = make_context(small_dataset)
    paths = dp.score_all(context, "all", embeddings=file)
    assert sorted(paths) == GEOMETRIC
    assert not (context.workspace / "evidence").exists()
    evidence = Embeddings(embeddings(), small_dataset.train.labels)
    for name, path in paths.items():
        scores = dp.load_scores(path)
        np.testing.assert_array_equal(scores.values, find_scorers()[name](evidence)[0])
        np.testing.assert_array_equal(scores.values, dp.score(context, name, embeddings=embeddings()).values)
        record = scores.meta.embeddings
        assert record is not None
        assert (record.path, record.width, record.dtype, scores.meta.recording) == (str(file), 6, "float32", None)
    np.save(file, embeddings(seed=1))
    assert dp.score_all(context, "knn", embeddings=file)["knn"] != paths["knn"], "other content is other scores"


def test_d2_reads_the_embeddings_of_the_scores_or_those_that_are_named(
    make_context: MakeContext, small_dataset: Dataset, file: Path
) -> None:
    context = make_context(small_dataset)
    scores = dp.score(context, "knn", embeddings=file)

    def d2(**options: Any) -> Subset:
        return dp.select(scores, 0.3, strategy="d2", **options)

    subset = d2()
    assert subset.meta.embeddings == scores.meta.embeddings
    assert subset.meta.recording is None
    np.testing.assert_array_equal(subset.indices, d2(embeddings=embeddings()).indices)
    np.testing.assert_array_equal(subset.indices, d2(embeddings=embeddings().astype(np.float64)).indices)
    assert not np.array_equal(subset.indices, d2(embeddings=embeddings(seed=1)).indices)
    other = dp.score(context, "random")
    assert len(dp.select(other, 0.3, strategy="d2", embeddings=file)) == 36
    for options, message in (
        ({"strategy": "top", "embeddings": file}, "strategy 'top' reads no embeddings"),
        ({"strategy": "beta", "embeddings": file}, "strategy 'beta' reads no embeddings"),
        ({"strategy": "d2", "embeddings": file, "recording": "r"}, "leave one of them out"),
    ):
        with pytest.raises(InvalidValue, match=message):
            dp.select(scores, 0.3, **options)  # type: ignore[arg-type]
    np.save(file, embeddings(seed=1))
    with pytest.raises(IncompatibleInputs, match="was changed since these scores were made from it"):
        d2()
    student = dp.train(context, scores=dp.score(context, "knn", embeddings=file), fraction=0.3, strategy="d2", kd_weight=0)
    assert student.result.strategy == "d2"


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "length": (embeddings()[1:], IncompatibleInputs, "119 embeddings, and the training set has 120 samples"),
    "dtype": (embeddings().astype(np.int64), InvalidValue, r"are float16, float32 or float64 .*these are int64 \[120, 6\]"),
    "shape": (embeddings()[:, 0], InvalidValue, r"these are float32 \[120\]"),
    "width": (embeddings()[:, :0], InvalidValue, r"these are float32 \[120, 0\]"),
    "nan": (np.where(np.arange(TOTAL)[:, None] == 5, np.nan, embeddings()), InvalidValue, "sample id 5 has numbers that"),
    "large": (embeddings().astype(np.float64) * 1e60, InvalidValue, "sample id 0 has numbers that are NaN or infinite"),
}


@pytest.mark.parametrize(("features", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_embeddings_are_refused(tmp_path: Path, features: Any, error: type[Exception], message: str) -> None:
    np.save(tmp_path / "bad.npy", features)
    for source in (features, tmp_path / "bad.npy"):
        with pytest.raises(error, match=message) as raised:
            open_embeddings(source, TOTAL)
        assert "\n" not in str(raised.value)


def test_other_files_and_scorers_are_refused_in_one_line(
    dprune: Callable[..., CommandResult], expect_refusal: Callable[..., str], tmp_path: Path
) -> None:
    score = ("score", "--loader", "memory", "--scorer")
    assert "absent.npy is not there" in expect_refusal(*score, "knn", "--embeddings", "absent.npy")
    (tmp_path / "text.npy").write_text("no array")
    line = expect_refusal(*score, "knn", "--embeddings", "text.npy")
    assert "text.npy cannot be read as .npy: it is no .npy array (--embeddings)" in line
    np.save(tmp_path / "emb.npy", np.ones((1438, 2), np.float16))
    assert "'el2n' reads EarlyEvaluation, not emb" in expect_refusal(*score, "el2n", "--embeddings", "emb.npy")
    assert "no proxy is trained" in expect_refusal(*score, "knn", "--embeddings", "emb.npy", "--model", "tinynet8")
    assert "leave --embeddings" in expect_refusal("score", "--recording", "r", "--embeddings", "emb.npy")
    assert "in 0..2; got 3 (--distance)" in expect_refusal("duplicates", "--distance", 3)
    with pytest.raises(InvalidFile):
        open_embeddings(tmp_path, 3)


def test_near_duplicates_are_pairs_with_distances(
    make_context: MakeContext, small_dataset: Dataset, file: Path, tmp_path: Path
) -> None:
    context = make_context(small_dataset)
    found = dp.find_near_duplicates(context, 0.01, embeddings=file, out=tmp_path / "pairs.csv")
    features = embeddings().astype(np.float64)
    directions = features / np.linalg.norm(features, axis=1, keepdims=True)
    all_distances = 1 - directions @ directions.T
    by_hand = {(i, j) for i in range(TOTAL) for j in range(i + 1, TOTAL) if all_distances[i, j] <= 0.01} - {(7, 90)}
    assert {(3, 7), (3, 90), (4, 20)} <= by_hand
    assert set(map(tuple, found.ids.tolist())) == by_hand
    np.testing.assert_allclose(found.distances, all_distances[found.ids[:, 0], found.ids[:, 1]], atol=1e-6)
    assert found.ids[:2].tolist() == [[3, 7], [3, 90]]
    assert (np.diff(found.distances) >= 0).all()
    rows = list(csv.DictReader((tmp_path / "pairs.csv").read_text().splitlines()))
    assert rows[0]["distance"] == "0.000000"
    assert rows[0]["label"] == small_dataset.class_names[small_dataset.train.labels[3]]
    assert [(int(row["id"]), int(row["other_id"])) for row in rows] == list(map(tuple, found.ids.tolist()))
    assert found.save(tmp_path / "pairs.csv").exists(), "the same content is no mistake"
    with pytest.raises(OutputExists, match="holds other pairs"):
        dp.find_near_duplicates(context, 2, embeddings=file, out=tmp_path / "pairs.csv")


def test_copies_of_many_samples_are_one_pair_each(make_context: MakeContext) -> None:
    data = make_dataset()
    found = dp.find_near_duplicates(make_context(data), embeddings=np.ones((TOTAL, 2), np.float16))
    assert found.ids.tolist() == [[0, other] for other in range(1, TOTAL)]
    assert not found.distances.any()


def test_the_command_writes_the_pairs_of_a_proxy_s_embeddings(dprune: Callable[..., CommandResult], tmp_path: Path) -> None:
    np.save(tmp_path / "emb.npy", np.random.default_rng(0).normal(size=(1438, 8)))
    command = dprune("duplicates", "--loader", "memory", "--embeddings", "emb.npy", "--out", "pairs.csv")
    assert command.code == 0, command
    assert command.out.startswith(f"{len((tmp_path / 'pairs.csv').read_text().splitlines()) - 1:,} pairs, ")
