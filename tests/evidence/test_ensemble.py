"""Subset ensembles: members on disk, trained in any order, and out-of-sample probabilities."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from datapruning import scorers
from datapruning.api.score import score
from datapruning.config.ensemble import EnsembleConfig
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue
from datapruning.evidence.ensemble import Member, SubsetEnsemble, member_trials, read_member, record_ensemble
from datapruning.evidence.members import open_ensemble
from datapruning.io.npz import write_npz
from datapruning.runs.context import Context
from datapruning.utils.cost import ComputeCost
from datapruning.utils.system import PROJECT_ROOT
from tests.helpers.evidence_cases import MEMBER_CORRECT, MEMBER_MASKS, make_ensemble

SPAWN = multiprocessing.get_context("spawn")
LABELS = np.arange(40) % 4
SMALL = (
    "ensemble.num_members=4",
    "ensemble.subset_fraction=0.5",
    "ensemble_member.model=tinynet8",
    "ensemble_member.epochs=1",
)


def test_members_round_trip(tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((2, 13)) < 0.5  # 13: no whole number of bytes
    ensemble = make_ensemble(tmp_path, masks, ~masks, margins=np.arange(26).reshape(2, 13))
    assert (len(ensemble), ensemble.total) == (2, 13)
    for k, member in enumerate(ensemble):
        np.testing.assert_array_equal(member.in_subset, masks[k])
        np.testing.assert_array_equal(member.correct, ~masks[k])
        np.testing.assert_array_equal(member.loss, np.full(13, k))
        np.testing.assert_array_equal(member.margin, np.arange(13) + 13 * k)
        np.testing.assert_array_equal(member.test_correct, [True, False, True])
        assert member.oof_probs.shape == ((~masks[k]).sum(), 2)
        assert member.cost == ComputeCost(k, 2, 0.5)


def test_probabilities_are_of_members_that_never_saw_the_sample(tmp_path: Path) -> None:
    probs = np.random.default_rng(0).random((5, 4, 1))
    table = np.concatenate([probs, 1 - probs], 2).astype(np.float16).astype(np.float64)
    table[np.asarray(MEMBER_MASKS, bool)] = np.nan  # none of these may count
    pred_probs = make_ensemble(tmp_path, MEMBER_MASKS, MEMBER_CORRECT, table).pred_probs()
    assert (pred_probs.dtype, pred_probs.shape) == (np.float32, (4, 2))
    np.testing.assert_allclose(pred_probs, np.nanmean(table, axis=0), rtol=1e-3)
    np.testing.assert_allclose(pred_probs.sum(1), 1, rtol=1e-6)


def test_a_sample_that_all_members_saw_has_no_probabilities(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="saw sample id 1; add members"):
        make_ensemble(tmp_path, [[0, 1], [1, 1]], np.ones((2, 2))).pred_probs()


def test_a_broken_or_foreign_member_is_refused(tmp_path: Path) -> None:
    path = make_ensemble(tmp_path, MEMBER_MASKS, MEMBER_CORRECT).paths[0]
    with pytest.raises(InvalidFile, match="not an ensemble member of 5 samples"):
        read_member(path, 5)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InvalidFile, match=path.name):
        read_member(path, 4)
    meta = {"format": "datapruning.member", "version": 1, "member": 0, "total": 4, "num_test": 1}
    cost = {"samples_seen": 1, "evaluated": 2, "seconds": 3.0}
    for metadata, message in [
        ({**meta, "cost": cost}, "not a whole ensemble member; delete it"),
        (meta, "'cost' is missing"),
        ({**meta, "costs": cost}, "unknown key 'costs': did you mean 'cost'"),
    ]:
        write_npz(path, {"in_subset": np.zeros(1, np.uint8)}, metadata)
        with pytest.raises(InvalidFile, match=message):
            read_member(path, 4)
    path.unlink()
    with pytest.raises(InvalidFile, match=path.name):
        read_member(path, 4)


def made_member(number: int, ids: NDArray[np.int64]) -> Member:
    """Make a member as a pure function of its number and ids, without training."""
    inside = np.zeros(len(LABELS), bool)
    inside[ids] = True
    rng = np.random.default_rng(number)
    margin = rng.normal(size=len(LABELS)).astype(np.float32) + 2 * inside
    probs = rng.dirichlet(np.ones(4), int((~inside).sum())).astype(np.float16)
    return Member(inside, margin > 0, np.abs(margin), margin, probs, rng.random(9) < 0.5, ComputeCost(len(ids), 49, 0.0))


def fill(folder: Path, members: int, notes: Path | None = None) -> SubsetEnsemble:
    """Run in each process."""

    def train_member(number: int, ids: NDArray[np.int64]) -> Member:
        if notes is not None:
            (notes / f"{number}-{os.getpid()}").touch()
        return made_member(number, ids)

    settings = EnsembleConfig(num_members=members, subset_fraction=0.7)
    return record_ensemble(member_trials(folder, LABELS, settings, train_member, 5), LABELS)


def same(one: SubsetEnsemble, other: SubsetEnsemble) -> None:
    """Return every array of every member."""
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for f in fields(Member):
            np.testing.assert_array_equal(getattr(a, f.name), getattr(b, f.name), err_msg=f.name)


def test_two_processes_make_the_same_ensemble_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PROJECT_ROOT)  # so that workers find this file
    (tmp_path / "notes").mkdir()
    workers = [SPAWN.Process(target=fill, args=(tmp_path / "two", 12, tmp_path / "notes")) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(int(p.name.partition("-")[0]) for p in (tmp_path / "notes").iterdir()) == list(range(12)), "each once"
    one, two = fill(tmp_path / "one", 12), fill(tmp_path / "two", 12)
    same(one, two)
    assert one.cost == two.cost
    for name in ("memorization", "memorization-plain"):
        np.testing.assert_array_equal(scorers.get_scorer(name)(one)[0], scorers.get_scorer(name)(two)[0])


def test_adding_members_keeps_the_first_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = fill(tmp_path, 3)
    times = [path.stat().st_mtime_ns for path in few.paths]
    more = fill(tmp_path, 8)
    assert more.paths[:3] == few.paths
    assert [path.stat().st_mtime_ns for path in few.paths] == times
    same(SubsetEnsemble(more.paths[:3], LABELS, ComputeCost()), few)
    assert len(fill(tmp_path, 2)) == 2  # fewer are asked for: the others wait
    with pytest.raises(IncompatibleInputs, match="subset_fraction"):
        member_trials(tmp_path, LABELS, EnsembleConfig(num_members=3, subset_fraction=0.5), made_member, 5)


def test_a_real_ensemble_is_reused_extended_and_gives_every_scorer_its_due(
    make_context: Callable[..., Context], small_dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_context(small_dataset, *SMALL)
    scores = score(context, "memorization", seed=3)
    assert scores.stderr is not None
    assert scores.stderr.min() > 0
    assert scores.meta.ensemble == context.recipe.ensemble
    ensemble = open_ensemble(context, 3)
    assert scores.meta.costs is not None
    assert scores.meta.costs.samples_seen == 4 * 60
    assert scores.meta.costs.evaluated == 4 * (120 + 60)
    for member in ensemble:
        assert member.in_subset.sum() == pytest.approx(60, abs=2)
        np.testing.assert_allclose(member.oof_probs.astype(np.float64).sum(1), 1, atol=2e-3)
        assert len(member.test_correct) == 60
    probs = ensemble.pred_probs()
    assert probs.shape == (120, 4)
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    longer = open_ensemble(make_context(small_dataset, *SMALL, "ensemble.num_members=6"), 3)
    assert longer.paths[:4] == ensemble.paths
    monkeypatch.setattr("datapruning.training.trainer.Trainer", None)  # training again would fail
    np.testing.assert_array_equal(score(make_context(small_dataset, *SMALL), "memorization", seed=3).values, scores.values)
