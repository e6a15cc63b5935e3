"""Selection: nested in the fraction, exact counts, and a function of the scores only."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datapruning as dp
from datapruning.artifacts.metadata import VERSION
from datapruning.artifacts.scores import Scores
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidValue, UnknownName
from datapruning.selection.select import select
from datapruning.utils.fraction import kept_count
from tests.helpers.strategy_cases import make_scores

RANKING = ("top", "random", "window")
"""Strategies that only rank, so that any score will do; the others have tests of their own."""
LAW = settings(max_examples=60)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Scores, Any]:
    """Make scores with ties, and imbalanced labels with a class of one."""
    count = draw(st.integers(2, 60))
    values = draw(st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 0.25, 3.0, np.inf]), min_size=count, max_size=count))
    labels = draw(st.lists(st.sampled_from([0, 0, 0, 1, 1, 4]), min_size=count, max_size=count))
    labels[draw(st.integers(0, count - 1))] = 7
    return make_scores(values), np.array(labels, np.int64)


FRACTIONS = st.fractions(0, 1).filter(lambda f: f > 0).map(str)


@LAW
@given(problems(), FRACTIONS, FRACTIONS, st.sampled_from(RANKING), st.sampled_from(["none", "class"]), st.integers(0, 3))
def test_smaller_fractions_are_nested_in_larger_ones(
    problem: tuple[Scores, Any], a: str, b: str, strategy: str, balance: Any, seed: int
) -> None:
    scores, labels = problem
    few, many = sorted((a, b), key=Fraction)
    if balance == "none" and kept_count(few, len(labels)) == 0:
        return
    kept = [
        select(scores, f, strategy=strategy, balance=balance, labels=labels, seed=seed).indices.tolist() for f in (few, many)
    ]
    assert set(kept[0]) <= set(kept[1])


@LAW
@given(problems(), FRACTIONS, st.sampled_from(RANKING))
def test_each_class_keeps_its_rounded_fraction_and_at_least_one(
    problem: tuple[Scores, Any], fraction: str, strategy: str
) -> None:
    scores, labels = problem
    kept = select(scores, fraction, strategy=strategy, balance="class", labels=labels).indices
    for label in np.unique(labels):
        assert (labels[kept] == label).sum() == max(1, kept_count(fraction, int((labels == label).sum())))


@LAW
@given(problems(), FRACTIONS)
def test_top_keeps_the_highest_and_of_equals_the_lower_ids(problem: tuple[Scores, Any], fraction: str) -> None:
    scores, _ = problem
    count = kept_count(fraction, len(scores.values))
    if count == 0:
        with pytest.raises(InvalidValue, match="keeps nothing"):
            select(scores, fraction)
        return
    order = sorted(range(len(scores.values)), key=lambda i: (-scores.values[i], i))
    kept = select(scores, fraction).indices
    assert kept.dtype == np.int64
    assert kept.tolist() == sorted(order[:count])


@LAW
@given(st.permutations(range(30)), FRACTIONS, st.sampled_from(["none", "class"]))
def test_permuted_samples_give_the_permuted_subset(order: list[int], fraction: str, balance: Any) -> None:
    moved = np.array(order)
    values, labels = np.linspace(-1, 1, 30) ** 3, np.arange(30) % 4
    if balance == "none" and kept_count(fraction, 30) == 0:
        return
    kept = select(make_scores(values), fraction, balance=balance, labels=labels).indices
    after = select(make_scores(values[moved]), fraction, balance=balance, labels=labels[moved]).indices
    assert sorted(moved[after]) == kept.tolist()


@settings(max_examples=20)
@given(st.integers(0, 100), st.sampled_from(["0.01", "0.3", "0.77", "1"]))
def test_the_strategy_random_is_the_top_of_the_scorer_random(small_dataset: Dataset, seed: int, fraction: str) -> None:
    by_scorer = select(dp.score(small_dataset, "random", seed=seed), fraction)
    by_strategy = select(dp.score(small_dataset, "random", seed=99), fraction, strategy="random", seed=seed)
    assert by_scorer.indices.tolist() == by_strategy.indices.tolist()
    assert by_scorer.meta.scorer == by_strategy.meta.scorer == "random"


def test_random_subsets_differ_by_seed_and_are_uniform() -> None:
    scores = make_scores(np.arange(50))
    kept = [select(scores, 0.5, strategy="random", seed=seed).indices for seed in range(200)]
    times = np.bincount(np.concatenate(kept), minlength=50)
    assert times.sum() == 200 * 25
    assert times.min() > 60, "expected 100, standard deviation 7"
    assert times.max() < 140


@pytest.mark.parametrize("strategy", RANKING)
@pytest.mark.parametrize("balance", ["none", "class"])
def test_fraction_one_keeps_all_samples(strategy: str, balance: Any) -> None:
    subset = select(
        make_scores(np.arange(9)), 1, strategy=strategy, balance=balance, labels=np.array([0, 1, 1, 2, 2, 2, 2, 2, 2])
    )
    assert subset.indices.tolist() == list(range(9))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fraction": 30}, InvalidValue, "did you mean 0.3"),
        ({"fraction": 0.01}, InvalidValue, "keeps nothing; the least is 0.05"),
        ({"strategy": "bottom"}, UnknownName, "strategy"),
        ({"balance": "clas"}, UnknownName, "did you mean 'class'"),
        ({"balance": "class"}, InvalidValue, "labels"),
    ],
)
def test_invalid_arguments_are_refused(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        select(make_scores(np.arange(10)), **{"fraction": 0.5, **arguments})


def test_labels_of_another_dataset_are_refused() -> None:
    with pytest.raises(IncompatibleInputs, match="9 labels, but the scores are of 10 samples"):
        select(make_scores(np.arange(10)), 0.5, balance="class", labels=np.zeros(9, np.int64))


def test_scores_of_another_dataset_are_refused(small_dataset: Dataset, digits: Dataset) -> None:
    with pytest.raises(IncompatibleInputs, match="generated"):
        dp.select(dp.score(small_dataset, "random"), 0.5, data=digits)


def test_the_metadata_is_complete(small_dataset: Dataset) -> None:
    scores = dp.score(small_dataset, "random", seed=3)
    meta = dp.select(scores, "0.29", balance="class", data=small_dataset, seed=5).meta
    written = meta.to_json()
    assert {key: written[key] for key in ("format", "version", "dataset", "fingerprint", "total", "package_version")} == {
        "format": "datapruning.subset", "version": VERSION, "dataset": "generated", "fingerprint": small_dataset.fingerprint,
        "total": 120, "package_version": dp.__version__,
    }  # fmt: skip
    assert {key: written[key] for key in ("scorer", "fraction", "balance", "strategy", "seed")} == {
        "scorer": "random", "fraction": 0.29, "balance": "class", "strategy": "top", "seed": 5,
    }  # fmt: skip
    assert meta.kept == sum(kept_count("0.29", int(n)) for n in np.bincount(small_dataset.train.labels))
    assert meta.scores == scores.meta
    assert scores.meta.seed == 3
    assert meta.created.endswith("+00:00")
    assert not {"settings", "recording"} & set(written), "top has none"
    weighted = dp.select(scores, 0.5, strategy="weighted", settings={"temperature": "2"}).meta
    assert (weighted.strategy, weighted.settings, weighted.scorer) == ("weighted", {"temperature": 2.0}, "random")


@LAW
@given(problems(), FRACTIONS, st.sampled_from(RANKING), st.sampled_from(["none", "class"]), st.data())
def test_excluded_samples_are_not_kept_and_the_fraction_stays_one_of_all(
    problem: tuple[Scores, Any], fraction: str, strategy: str, balance: Any, data: st.DataObject
) -> None:
    scores, labels = problem
    exclude = np.array(data.draw(st.lists(st.integers(0, len(labels) - 1), unique=True)), np.int64)
    options: dict[str, Any] = {"strategy": strategy, "balance": balance, "labels": labels}
    if balance == "none" and kept_count(fraction, len(labels)) == 0:
        return
    plain = select(scores, fraction, **options)
    classes = labels if balance == "class" else np.zeros_like(labels)
    pools = [np.flatnonzero(classes == label) for label in np.unique(classes)]
    least = int(balance == "class")
    if any(max(least, kept_count(fraction, len(ids))) > len(np.setdiff1d(ids, exclude)) for ids in pools):
        with pytest.raises(InvalidValue, match="are left without the excluded ones"):
            select(scores, fraction, **options, exclude=exclude)
        return
    subset = select(scores, fraction, **options, exclude=exclude)
    assert not set(subset.indices) & set(exclude.tolist())
    assert len(subset) == len(plain)
    assert subset.meta.excluded == len(exclude)
    if not set(plain.indices) & set(exclude.tolist()) and strategy == "top":
        assert np.array_equal(subset.indices, plain.indices)


def test_exclusion_from_files(dprune: Any, expect_refusal: Any, tmp_path: Path, digits: Dataset) -> None:
    scores = dp.score(digits, "random", out=tmp_path / "s.npz")
    first = dp.select(scores, 0.3, out=tmp_path / "first.npz")
    (tmp_path / "ids.txt").write_text("".join(f"{k}\n" for k in first.indices))
    for name in ("first.npz", "ids.txt"):
        command = dprune("select", "--scores", "s.npz", "--fraction", "0.3", "--exclude", name, "--out", f"of-{name}.npz")
        assert command.code == 0, command.err
        assert not set(dp.load_subset(tmp_path / f"of-{name}.npz").indices) & set(first.indices)
    message = expect_refusal("select", "--scores", "s.npz", "--fraction", "0.8", "--exclude", "first.npz", "--out", "x.npz")
    assert "keeps 1,150 of 1,438 samples, of which 1,007 are left without the excluded ones" in message
    (tmp_path / "bad.txt").write_text("1438\n")
    assert "bad.txt" in expect_refusal(
        "select", "--scores", "s.npz", "--fraction", "0.3", "--exclude", "bad.txt", "--out", "x.npz"
    )
