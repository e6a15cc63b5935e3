"""Influence: the formula against plain loops, the selected pairs, the number expected by chance, and the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datapruning as dp
from datapruning.analysis import influence as influencing
from datapruning.artifacts.influence import ARRAYS, load_influence
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile, InvalidValue, OutputExists
from datapruning.evidence import membership_counts as counting
from datapruning.evidence.ensemble import Member, SubsetEnsemble, write_member
from datapruning.evidence.membership_counts import MembershipCounts, count_members
from datapruning.io.npz import write_npz
from datapruning.runs.context import Context
from datapruning.utils.cost import ComputeCost
from tests.conftest import FAST, CommandResult

Bits = np.ndarray[Any, np.dtype[np.bool_]]
MEMBERS, TRAIN, TEST = 21, 30, 17


def ensemble_of(folder: Path, labels: Any, inside: Bits, correct: Bits, right: Bits) -> SubsetEnsemble:
    """Make an ensemble from bool [members, N], [members, N] and [members, test samples]."""
    nothing = np.zeros(inside.shape[1], np.float32)
    for k in range(len(inside)):
        outside = np.ones((int((~inside[k]).sum()), 2), np.float16)
        member = Member(inside[k], correct[k], nothing, nothing, outside, right[k], ComputeCost())
        write_member(folder / f"{k}.npz", member, k)
    return SubsetEnsemble(tuple(folder / f"{k}.npz" for k in range(len(inside))), np.asarray(labels), ComputeCost())


def bits(seed: int = 0, members: int = MEMBERS, train: int = TRAIN, test: int = TEST) -> tuple[Bits, Bits, Bits]:
    """Make random bits in which two thirds of the members include each sample."""
    rng = np.random.default_rng(seed)
    inside = rng.permuted(np.arange(members)[:, None].repeat(train, 1) % 3 > 0, axis=0)
    return inside, rng.random((members, train)) < 0.7, rng.random((members, test)) < 0.6


def by_loops(inside: Bits, right: Bits, i: int, j: int) -> tuple[float, float]:
    """Return influence and its standard error for one pair, by plain loops."""
    shares, variance = [], 0.0
    for these in (inside[:, i], ~inside[:, i]):
        hits, n = int(right[these, j].sum()), int(these.sum())
        shares.append(hits / n)
        smoothed = (hits + 0.5) / (n + 1)
        variance += smoothed * (1 - smoothed) / n
    return shares[0] - shares[1], variance**0.5


def test_influence_and_memorization_are_those_of_plain_loops(tmp_path: Path) -> None:
    inside, correct, right = bits()
    counted = count_members(ensemble_of(tmp_path, np.zeros(TRAIN), inside, correct, right), TEST)
    strength, stderr = counted.block(np.arange(TRAIN), np.arange(TEST))
    for i in range(TRAIN):
        for j in range(TEST):
            assert (strength[i, j], stderr[i, j]) == pytest.approx(by_loops(inside, right, i, j), abs=1e-12)
        assert counted.memorization[i] == pytest.approx(by_loops(inside, correct, i, i)[0], abs=1e-12)
    some_train, some_test = np.array([7, 2]), np.array([16, 0, 3])
    np.testing.assert_array_equal(counted.block(some_train, some_test)[0], strength[np.ix_(some_train, some_test)])
    order = np.random.default_rng(1).permutation(MEMBERS)
    permuted = counted.block(np.arange(TRAIN), np.arange(TEST), order)[0]
    assert permuted[3, 4] == pytest.approx(by_loops(inside, right[order], 3, 4)[0])


def test_too_few_members_or_other_test_samples_are_refused(tmp_path: Path) -> None:
    inside, correct, right = bits()
    ensemble = ensemble_of(tmp_path, np.zeros(TRAIN), inside, correct, right)
    with pytest.raises(InvalidValue, match="evaluated on 17 test samples, and there are 18"):
        count_members(ensemble, TEST + 1)
    inside[:, 5] = True
    inside[0, 5] = False
    ensemble = ensemble_of(tmp_path, np.zeros(TRAIN), inside, correct, right)
    with pytest.raises(InvalidValue, match=r"sample id 5 has 20 and 1: add members \(ensemble\.num_members\)"):
        count_members(ensemble, TEST)


@pytest.fixture
def counted_from(
    tmp_path: Path, small_dataset: Dataset, make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Context]:
    """Make a context with an ensemble of these bits."""

    def make(inside: Bits, correct: Bits, right: Bits) -> Context:
        ensemble = ensemble_of(tmp_path / "members", small_dataset.train.labels, inside, correct, right)
        monkeypatch.setattr(influencing, "open_ensemble", lambda context, seed: ensemble)
        return make_context(small_dataset)

    return make


def full(seed: int = 0, members: int = MEMBERS) -> tuple[Bits, Bits, Bits]:
    """Make random bits for 120 training and 60 test samples."""
    return bits(seed, members, 120, 60)


@pytest.mark.parametrize("pairs", ["same-class", "all"])
@pytest.mark.parametrize("cells", [1, 500, 1 << 21])
def test_kept_pairs_equal_those_of_a_full_sort(
    counted_from: Callable[..., Context], monkeypatch: pytest.MonkeyPatch, small_dataset: Dataset, pairs: str, cells: int
) -> None:
    inside, correct, right = full()
    right[:, 7] = True  # no sample has influence on it
    context = counted_from(inside, correct, right)
    monkeypatch.setattr(counting, "MAX_PAIRS", cells)
    result = dp.influence(context, top=5, pairs=pairs, permutations=0, least_influence=0.3)
    counts = inside.T.astype(float) @ right, (~inside).T.astype(float) @ right
    strength = counts[0] / inside.sum(0)[:, None] - counts[1] / (~inside).sum(0)[:, None]
    memorization = (inside & correct).sum(0) / inside.sum(0) - (~inside & correct).sum(0) / (~inside).sum(0)
    allowed = np.ones((120, 60), bool)
    if pairs == "same-class":
        allowed = small_dataset.train.labels[:, None] == small_dataset.test.labels
    high = allowed & (memorization[:, None] >= 0.25 - 1e-9) & (strength >= 0.3 - 1e-9)
    assert high.any()
    assert {*zip(result.train_id, result.test_id, strict=True)} == {*zip(*np.nonzero(high), strict=True)}
    assert np.all(np.diff(result.influence) <= 0)
    np.testing.assert_allclose(result.influence, strength[result.train_id, result.test_id], rtol=1e-6)
    np.testing.assert_allclose(result.memorization, memorization[result.train_id], rtol=1e-6)
    np.testing.assert_allclose(result.train_memorization, memorization, atol=1e-6)
    assert (result.meta.num_pairs_found, result.meta.considered) == (high.sum(), allowed.sum())
    for j in range(60):
        ranked = sorted((-round(strength[i, j], 9), i) for i in range(120) if allowed[i, j] and strength[i, j] > 1e-9)[:5]
        ids = [i for _, i in ranked] + [-1] * (5 - len(ranked))
        assert result.top_train_id[j].tolist() == ids, "the strongest, of equals the lower id"
        np.testing.assert_allclose(result.top_influence[j, : len(ranked)], [-s for s, _ in ranked], rtol=1e-6)
        assert not result.top_influence[j, len(ranked) :].any()
        for index, i in enumerate(result.top_train_id[j, : len(ranked)]):
            assert result.top_stderr[j, index] == pytest.approx(by_loops(inside, right, int(i), j)[1], rel=1e-5)
    assert result.top_train_id[7].tolist() == [-1] * 5


def test_thresholds_are_inclusive(tmp_path: Path) -> None:
    inside = np.arange(40)[:, None] < 20
    right = (np.arange(40) % 20 < np.where(np.arange(40) < 20, 7, 4))[:, None]  # 0.35 - 0.2 is a bit less than 0.15
    counted = count_members(ensemble_of(tmp_path, [0], inside, right, right), 1)
    one = np.array([0])
    assert counted.block(one, one)[0] < 0.15 < counted.block(one, one)[0] + influencing.ROUNDING
    result = influencing._TopInfluences(1, 1)
    result.add(one, one, *counted.block(one, one), np.array([True]), 0.15)
    assert result.count == 1


def test_only_the_strongest_pairs_are_kept_and_all_are_counted(
    counted_from: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = counted_from(*full())
    all_pairs = dp.influence(context, permutations=0)
    monkeypatch.setattr(influencing, "MAX_PAIRS", 4)
    monkeypatch.setattr(counting, "MAX_PAIRS", 50)
    few = dp.influence(context, permutations=0)
    assert (few.meta.num_pairs_found, few.meta.kept) == (all_pairs.meta.num_pairs_found, 4)
    for name in ("train_id", "test_id", "influence", "stderr"):
        np.testing.assert_array_equal(getattr(few, name), getattr(all_pairs, name)[:4])


def test_without_influence_pairs_are_explained_by_chance(counted_from: Callable[..., Context]) -> None:
    meta = dp.influence(counted_from(*full(3, 30)), permutations=20).meta
    assert meta.num_pairs_found > 50
    assert abs(meta.num_pairs_found - (meta.expected or 0)) < 4 * (meta.expected_sd or 0)


def test_planted_influence_is_found_beyond_chance(counted_from: Callable[..., Context], small_dataset: Dataset) -> None:
    inside, correct, right = full(4, 60)
    planted = {}
    for label in range(4):
        i, j = np.flatnonzero(small_dataset.train.labels == label)[0], np.flatnonzero(small_dataset.test.labels == label)[0]
        correct[:, i], right[:, j] = inside[:, i], inside[:, i]
        planted[int(j)] = int(i)
    pairs = dp.influence(counted_from(inside, correct, right), least_influence=0.6)
    assert {int(j): int(i) for i, j in zip(pairs.train_id, pairs.test_id, strict=True)} == planted
    assert pairs.influence.tolist() == [1, 1, 1, 1]
    assert pairs.memorization.tolist() == [1, 1, 1, 1]
    assert pairs.meta.expected is not None
    assert pairs.meta.expected < 1
    assert all(pairs.top_train_id[j, 0] == i for j, i in planted.items())


def test_results_are_reproducible_and_permutations_depend_on_the_seed(counted_from: Callable[..., Context]) -> None:
    context = counted_from(*full())
    first, repeated, other = (dp.influence(context, seed=seed).meta for seed in (0, 0, 1))
    assert first.expected == repeated.expected != other.expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"top": 0}, "at least 1; got 0"), ({"pairs": "some"}, "one of same-class, all"), ({"permutations": -1}, "got -1")],
)
def test_invalid_arguments_are_refused(small_dataset: Dataset, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        dp.influence(small_dataset, **arguments)


def test_the_file_reads_back_and_is_never_written_over(counted_from: Callable[..., Context], tmp_path: Path) -> None:
    path = tmp_path / "i.npz"
    context = counted_from(*full())
    influence = dp.influence(context, out=path)
    pairs = dp.load_influence(path)
    for name in ARRAYS:
        np.testing.assert_array_equal(pairs.arrays[name], influence.arrays[name])
    assert pairs.meta == influence.meta
    with np.load(path, allow_pickle=False) as file:
        assert file["train_id"].dtype == np.int64
    stamp = path.stat().st_mtime_ns
    dp.influence(context, out=path)
    assert path.stat().st_mtime_ns == stamp
    with pytest.raises(OutputExists, match="holds other influences"):
        dp.influence(context, top=3, out=path)
    path.write_text("custom")
    with pytest.raises(OutputExists, match="holds something else"):
        dp.influence(context, out=path)
    assert path.read_text() == "custom"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_id": None}, "'train_id' is missing"),
        ({"influence": np.zeros(2, np.float32)}, r"'influence' is float32 \[2\]"),
        ({"top_stderr": np.zeros((60, 10))}, r"'top_stderr' is float64 \[60, 10\]"),
        ({"top_train_id": np.full((60, 10), 120)}, r"'top_train_id' has ids outside -1\.\.119"),
        ({"format": "datapruning.scores"}, "its format is 'datapruning.scores'"),
        ({"tests": "many"}, "'tests' is 'many'"),
    ],
)
def test_broken_files_are_refused(
    counted_from: Callable[..., Context], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    influence = dp.influence(counted_from(*full()), permutations=0)
    arrays, meta = influence.arrays, influence.meta.to_json()
    for name, value in change.items():
        (arrays if name in arrays else meta)[name] = value
    write_npz(tmp_path / "i.npz", {name: a for name, a in arrays.items() if a is not None}, meta)
    with pytest.raises(InvalidFile, match=message):
        load_influence(tmp_path / "i.npz")


def test_no_pairs_is_not_an_error(counted_from: Callable[..., Context], tmp_path: Path) -> None:
    influence = dp.influence(counted_from(*full()), least_influence=1.1, out=tmp_path / "i.npz")
    assert (len(influence), influence.meta.num_pairs_found, influence.meta.expected) == (0, 0, 0)
    assert len(load_influence(tmp_path / "i.npz")) == 0


def test_counts_do_not_depend_on_the_number_of_bytes() -> None:
    for members in (7, 8, 9):
        inside = np.packbits(np.ones((1, members), bool), axis=1)
        counted = MembershipCounts(members, inside, inside, np.array([members - 2]), np.zeros(1))
        assert counted._bits(inside).sum() == members


# ---- the command

SETTINGS = (*FAST, "ensemble.num_members=10", "ensemble_member.epochs=1", "ensemble_member.model=tinynet8")


def words(*more: str) -> list[str]:
    """Return the arguments of the command with settings that take a second."""
    return ["influence", "--loader", "memory", *(w for s in SETTINGS for w in ("--set", s)), *more]


def test_the_command_prints_pairs_and_their_expected_number(
    dprune: Callable[..., CommandResult], digits: Dataset, tmp_path: Path
) -> None:
    command = dprune(*words("--top", "3"))
    assert command.code == 0, command.err
    lines = command.out.splitlines()
    path = Path(lines[-1].removeprefix("influence: "))
    pairs = dp.load_influence(path)
    assert lines[0].startswith(f"{pairs.meta.num_pairs_found:,} pairs of high influence")
    assert lines[1].startswith("By chance alone, if no training sample had any influence: ")
    assert pairs.meta.members == 10
    assert pairs.top_train_id.shape == (359, 3)
    np.testing.assert_array_equal(digits.train.labels[pairs.train_id], digits.test.labels[pairs.test_id])
    assert "an influence file, intact" in dprune("inspect", path).out
    repeated = dprune(*words("--top", "3"))
    assert (repeated.out, "with the same content" in repeated.err) == (command.out, True)
    context = dp.open_context(digits, loader="memory", device="cpu", changes=SETTINGS)
    np.testing.assert_array_equal(dp.influence(context, top=3).influence, pairs.influence)
    every = dprune(*words("--pairs", "all", "--out", "folder"))
    assert every.out.splitlines()[-1].startswith("influence: folder/digits-all-")
    (tmp_path / "custom.npz").write_text("custom")
    taken = dprune(*words("--out", "custom.npz"))
    assert (taken.code, taken.out) == (2, "")
    assert taken.err.splitlines()[-1] == "dprune: custom.npz holds something else; name another output path (--out)"


def test_an_ensemble_too_small_for_an_error_bar_is_one_line(dprune: Callable[..., CommandResult]) -> None:
    command = dprune(*words("--set", "ensemble.num_members=3"))
    assert (command.code, command.out) == (2, "")
    assert command.err.splitlines()[-1].endswith("add members (ensemble.num_members)")


def test_invalid_arguments_are_refused_before_training(expect_refusal: Callable[..., str]) -> None:
    assert "at least 1; got 0" in expect_refusal("influence", "--top", "0")
    assert "one of same-class, all; got 'some'" in expect_refusal("influence", "--pairs", "some")


def test_a_list_of_other_data_is_not_the_same(counted_from: Callable[..., Context], tmp_path: Path) -> None:
    influence = dp.influence(counted_from(*full()), permutations=0, out=tmp_path / "i.npz")
    other = replace(influence, meta=influence.meta.model_copy(update={"fingerprint": "another"}))
    with pytest.raises(OutputExists, match="holds other influences"):
        other.save(tmp_path / "i.npz")
