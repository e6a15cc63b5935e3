"""`dprune diff`: overlaps, orders and settings worked out by hand, and refused comparisons."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.artifacts.metadata import ScoresMetadata, common_fields
from datapruning.artifacts.rank_correlation import rank_correlation
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset, subset_from_ids
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs
from datapruning.io.npz import write_npz
from datapruning.tools.diff.diff import ComparedRun, compare_runs, diff
from datapruning.tools.diff.samples import MAX_CLASSES, class_table, compare_scores, compare_subsets, overlap_by_chance
from datapruning.utils.records import flatten
from tests.conftest import CommandResult, fast_options

Dprune = Callable[..., CommandResult]
ExpectRefusal = Callable[..., str]
IDS = st.lists(st.integers(0, 119), min_size=1, unique=True)


def subset_of(data: Dataset, ids: Any) -> Subset:
    """Make a subset of `data`."""
    return subset_from_ids(np.array(list(ids)), data, "by hand")


def scores_of(data: Dataset, values: Any) -> Scores:
    """Make scores of `data`."""
    return Scores(np.asarray(values, np.float32), ScoresMetadata(**common_fields(data), scorer="generated", seed=0))


@settings(max_examples=50)
@given(IDS, IDS)
def test_the_overlap_is_that_of_sets(small_dataset: Dataset, a: list[int], b: list[int]) -> None:
    lines = compare_subsets(subset_of(small_dataset, a), subset_of(small_dataset, b))
    both, either = len({*a} & {*b}), len({*a} | {*b})
    assert lines[2].startswith(f"in both: {both} ({both / len(a):.1%} of A, {both / len(b):.1%} of B); by chance ")
    assert lines[4].startswith(f"Jaccard (both / either): {both / either:.3f};")
    expected, stddev = overlap_by_chance(len(a), len(b), 120)
    assert overlap_by_chance(len(b), len(a), 120) == pytest.approx((expected, stddev), abs=1e-12)


def test_what_chance_gives_is_counted_over_all_subsets() -> None:
    counts = [len({0, 1, 2} & {*b}) for b in combinations(range(7), 4)]
    assert overlap_by_chance(3, 4, 7) == pytest.approx((float(np.mean(counts)), float(np.std(counts))))


def test_the_full_set_has_no_spread(small_dataset: Dataset) -> None:
    full_set = subset_of(small_dataset, range(120))
    lines = compare_subsets(full_set, subset_of(small_dataset, [4, 5]))
    assert lines[2] == "in both: 2 (1.7% of A, 100.0% of B); by chance 2.0 +- 0.0"


def test_the_description_of_a_subset(small_dataset: Dataset) -> None:
    lines = compare_subsets(subset_of(small_dataset, range(30)), subset_of(small_dataset, range(20, 60)))
    assert lines[0] == "A: keeping 30 of 120 (scorer ids)"
    assert lines[2].startswith("in both: 10 (33.3% of A, 25.0% of B); by chance 10.0 +- ")
    assert lines[3] == "only in A: 20; only in B: 30"
    assert lines[4] == "Jaccard (both / either): 0.167; by chance about 0.167"
    assert compare_subsets(subset_of(small_dataset, [1]), subset_of(small_dataset, [1, 2]))[-1] == "A is a subset of B"
    assert compare_subsets(subset_of(small_dataset, [1, 2]), subset_of(small_dataset, [1]))[-1] == "B is a subset of A"
    assert compare_subsets(subset_of(small_dataset, [1]), subset_of(small_dataset, [1]))[-1] == "the same samples"


def test_classes_are_described_by_the_kept_fraction(small_dataset: Dataset) -> None:
    of_class_0, of_class_3 = (np.flatnonzero(small_dataset.train.labels == label) for label in (0, 3))
    a, b = subset_of(small_dataset, of_class_0), subset_of(small_dataset, [*of_class_0, of_class_3[0]])
    lines = compare_subsets(a, b, small_dataset)
    assert lines[-6] == "share kept, by class, the largest difference first:"
    share = f"{1 / len(of_class_3):.1%}"
    assert lines[-4].split() == ["class", "3", "0.0%", share, f"+{share}"]
    assert lines[-3].split() == ["class", "0", "100.0%", "100.0%", "0.0%"]


def of_classes(small_dataset: Dataset, labels: list[int], classes: int) -> Dataset:
    """Make a dataset with these labels."""
    train = dataclasses.replace(
        small_dataset.train, images=small_dataset.train.images[: len(labels)], labels=np.array(labels)
    )
    return dataclasses.replace(small_dataset, train=train, class_names=tuple(f"c{i}" for i in range(classes)))


def test_classes_are_compared_by_their_means_and_empty_ones_are_left_out(small_dataset: Dataset) -> None:
    values = np.array([1.0, 0.0, 1.0])
    lines = class_table(values, np.zeros(3), of_classes(small_dataset, [0, 0, 2], 4), "share")
    assert [line.split() for line in lines[2:]] == [["c2", "100.0%", "0.0%", "-100.0%"], ["c0", "50.0%", "0.0%", "-50.0%"]]


def test_many_classes_end_in_one_line(small_dataset: Dataset) -> None:
    data = of_classes(small_dataset, list(range(50)), 50)
    lines = class_table(np.zeros(50), np.arange(50) / 100, data, "share")
    assert len(lines) == MAX_CLASSES + 3
    assert lines[2].split() == ["c49", "0.0%", "49.0%", "+49.0%"]
    assert lines[-1] == "  30 more classes, which differ by 29.0% at most"


def test_orders_are_compared_not_values(small_dataset: Dataset) -> None:
    values = np.random.default_rng(0).permutation(120).astype(np.float32)
    same_order = compare_scores(scores_of(small_dataset, values), scores_of(small_dataset, values**3))
    assert "Spearman's rank correlation: 1.0000" in same_order[2]
    assert same_order[-1] == "in the top 50% of both: 60 of 60 (100.0%); by chance 50.0%"
    turned = compare_scores(scores_of(small_dataset, values), scores_of(small_dataset, -values))
    assert "correlation: -1.0000" in turned[2]
    assert [line.split(": ")[1] for line in turned[3:6]] == [
        f"0 of {n} (0.0%); by chance {n / 120:.1%}".partition(": ")[0] for n in (1, 12, 36)
    ]


def test_equal_values_have_their_mean_rank() -> None:
    a, b = np.array([1, 1, 2], np.float32), np.array([1, 2, 3], np.float32)
    assert rank_correlation(a, b) == pytest.approx(1.5 / math.sqrt(1.5 * 2))
    assert rank_correlation(a, np.array([5, 5, np.inf], np.float32)) == pytest.approx(1)
    assert math.isnan(rank_correlation(a, np.zeros(3, np.float32)))


@pytest.mark.parametrize("which", ["A", "B", "A and of B"])
def test_scores_that_are_all_equal_have_no_correlation(small_dataset: Dataset, which: str) -> None:
    flat, rising = scores_of(small_dataset, np.ones(120)), scores_of(small_dataset, np.arange(120))
    lines = compare_scores(rising if which == "B" else flat, rising if which == "A" else flat)
    assert lines[2] == f"Spearman's rank correlation: none, since every sample of {which} has one score"


def test_infinite_scores_are_ranked(small_dataset: Dataset) -> None:
    values = np.arange(120, dtype=np.float32)
    lines = compare_scores(
        scores_of(small_dataset, values), scores_of(small_dataset, np.where(values > 118, np.inf, values))
    )
    assert "correlation: 1.0000" in lines[2]


def test_the_overlap_uses_the_ranking_of_select(small_dataset: Dataset) -> None:
    a, b = np.zeros(120), np.zeros(120)
    a[[0, 1, 3]], b[[1, 2, 3]] = (3, 3, 2), 5
    lines = compare_scores(scores_of(small_dataset, a), scores_of(small_dataset, b))
    assert lines[3].startswith("in the top 1% of both: 0 of 1 "), "A keeps 0, B 1"
    assert lines[4].startswith("in the top 10% of both: 12 of 12 "), "of equal scores the lower ids come first"


def test_classes_are_identified_by_their_index(small_dataset: Dataset) -> None:
    first = np.where(small_dataset.train.labels == 1, 1000, 0) - np.arange(120)
    lines = compare_scores(scores_of(small_dataset, -np.arange(120)), scores_of(small_dataset, first), small_dataset)
    assert lines[-6] == "mean rank (0%: kept first, 100%: last), by class, the largest difference first:"
    assert lines[-4].split()[:2] == ["class", "1"]
    assert lines[-4].split()[-1].startswith("-")


def test_settings_that_differ_are_listed_in_order() -> None:
    a = {"run": {"seed": 0, "gone": 1}, "train": {"lr": 0.1, "epochs": 3}}
    b = {"run": {"seed": 0}, "train": {"lr": 0.2, "epochs": 3}, "kd": {"search": ["views"]}}
    left, right = (ComparedRun(flatten(tables), None, None) for tables in (a, b))
    assert compare_runs(left, right)[2:] == [
        "settings that differ: 3",
        "  run.gone: 1 in A, missing in B",
        "  train.lr: 0.1 in A, 0.2 in B",
        "  kd.search: missing in A, ['views'] in B",
    ]
    assert compare_runs(left, left)[2:] == ["settings: the same"]


def test_two_runs(dprune: Dprune, expect_refusal: ExpectRefusal, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        arguments = ["--kd-weight", "0", "--seed", seed, "--out", name]
        assert dprune("train", "--fraction", "0.1", *arguments, *fast_options()).code == 0
    command = dprune("diff", "a", "b", "--data", "digits")
    assert (command.code, command.err) == (0, "")
    lines = command.out.splitlines()
    assert lines[0].startswith("A: test accuracy ")
    assert lines[2].startswith("test accuracy, B - A: ")
    assert any(line == "  run.seed: 0 in A, 1 in B" for line in lines)
    assert any(line.startswith("  in both: ") for line in lines)
    assert any(line.startswith("  share kept, by class") for line in lines)
    assert "settings: the same" in dprune("diff", "a", "a").out
    (tmp_path / "b" / "result.json").unlink()
    assert "B: not finished" in dprune("diff", "a", "b").out
    text = (tmp_path / "b" / "config.toml").read_text()
    (tmp_path / "b" / "config.toml").write_text(text.replace('fingerprint = "', 'fingerprint = "0'))
    assert "b from another dataset" in expect_refusal("diff", "a", "b")
    (tmp_path / "b" / "config.toml").write_text("[run\n")
    assert "config.toml cannot be read" in expect_refusal("diff", "a", "b")


def test_two_files_through_the_command_line(dprune: Dprune, tmp_path: Path, digits: Dataset) -> None:
    subset_of(digits, range(100)).save(tmp_path / "a.npz")
    subset_of(digits, range(50, 200)).save(tmp_path / "b.npz")
    command = dprune("diff", "a.npz", "b.npz", "--data", "digits")
    assert (command.code, command.err) == (0, "")
    assert "in both: 50 (50.0% of A, 33.3% of B)" in command.out
    assert len(command.out.splitlines()) == 5 + 12
    scores_of(digits, np.arange(1438)).save(tmp_path / "s.npz")
    assert "correlation: 1.0000" in dprune("diff", "s.npz", "s.npz", "--data", "digits").out
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".npz"], "nothing is written"


def test_files_of_different_datasets_are_not_compared(tmp_path: Path, small_dataset: Dataset) -> None:
    other = dataclasses.replace(small_dataset, class_names=("a", "b", "c", "d"))
    for make in (subset_of, scores_of):
        a, b = ((make(data, np.arange(120))).save(tmp_path / f"{i}.npz") for i, data in enumerate((small_dataset, other)))
        with pytest.raises(
            IncompatibleInputs, match=r"0\.npz was made from generated .*1\.npz from another dataset, generated"
        ):
            diff(a, b)
        with pytest.raises(IncompatibleInputs, match="another dataset"):
            diff(a, a, data=other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.npz", "absent.npz"], "absent.npz is not there"),
        (["a.npz", "scores.npz"], "a.npz is a subset file, scores.npz is a scores file: diff compares two of the same kind"),
        (["a.npz", "other.npz"], "other.npz from another dataset, generated"),
        (["a.npz", "a.npz", "--data", "no-such"], "unknown dataset"),
        (["other.npz", "other.npz", "--data", "digits"], "made from another dataset"),
        (["a.npz", "empty"], "empty is no run folder"),
        (["a.npz", "notes.txt"], "notes.txt"),
        (
            ["a.npz", "influence.npz"],
            "nor a subset file: its format is 'datapruning.influence'",
        ),
        (["a.npz"], "B"),
    ],
)
def test_invalid_comparisons_are_refused(
    expect_refusal: ExpectRefusal,
    tmp_path: Path,
    digits: Dataset,
    small_dataset: Dataset,
    arguments: list[str],
    message: str,
) -> None:
    subset_of(digits, range(3)).save(tmp_path / "a.npz")
    subset_of(small_dataset, range(3)).save(tmp_path / "other.npz")
    scores_of(digits, np.arange(1438)).save(tmp_path / "scores.npz")
    write_npz(tmp_path / "influence.npz", {}, {**common_fields(digits), "format": "datapruning.influence", "version": 1})
    (tmp_path / "notes.txt").write_text("nothing of ours")
    (tmp_path / "empty").mkdir()
    assert message in expect_refusal("diff", *arguments)
