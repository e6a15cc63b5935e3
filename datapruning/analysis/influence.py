"""The verb `influence`: which training samples helped which test samples, from the subset ensemble."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.analysis.pred_probs import ensemble_story
from datapruning.artifacts.influence import KIND, Influence
from datapruning.artifacts.metadata import new_meta
from datapruning.config.recipe import plain
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue
from datapruning.evidence.members import open_ensemble
from datapruning.evidence.membership_counts import Counted, count_members
from datapruning.io.disk_space import check_writable
from datapruning.runs.context import Context
from datapruning.runs.opening import context_of
from datapruning.utils.hashing import shuffled

PAIRS = ("same-class", "all")
MEMORIZATION, INFLUENCE = 0.25, 0.15
"""From which a pair counts as of high influence (Feldman and Zhang 2020, section 3)."""
PERMUTATIONS, PERMUTATION_KEY = 10, 0x1F1
MOST_PAIRS = 2_000_000
"""Pairs of high influence that are kept: the strongest."""
ROUNDING = 1e-9
Ids = NDArray[np.int64]


def influence(
    data: Dataset | Context,
    *,
    top: int = 10,
    pairs: str = "same-class",
    least_memorization: float = MEMORIZATION,
    least_influence: float = INFLUENCE,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    out: str | Path | None = None,
) -> Influence:
    """Estimate the influence of every training sample on every test sample, and keep what is large.

    Members of the ensemble that are missing are trained. The largest of so many differences are large by chance alone
    where members are few: `meta["expected"]` says how many pairs of high influence there would be if no sample had any,
    the mean over permutations of which member was right about the test set.

    Args:
        data: a dataset, or a context for other than default settings.
        top: training samples that are kept of each test sample, at most.
        pairs: "same-class", as the authors' own files have it, or "all".
        least_memorization: of the training sample of a pair of high influence.
        least_influence: of a pair of high influence.
        permutations: how many chance is estimated from, 0 for not at all.
        seed: of the ensemble and of the permutations.
        out: an .npz to write; default: none.

    Raises:
        InvalidValue: too few members for an error bar, or an argument outside what is allowed. OutputExists: `out` holds
        something else.
    """
    check_arguments(top, pairs, permutations)
    if out is not None:
        check_writable(out)
    context = context_of(data)
    ensemble = open_ensemble(context, seed)
    counted = count_members(ensemble, len(context.data.test))
    groups = list(_groups(context.data, pairs))
    found = _Found(len(context.data.test), top)
    for train, test in groups:
        for part in counted.blocks(train, test):
            high = counted.memorization[part] >= least_memorization - ROUNDING
            found.add(part, test, *counted.block(part, test), high, least_influence)
    chance = [
        _by_chance(counted, groups, least_memorization, least_influence, shuffled(np.arange(counted.members), *key))
        for key in ((PERMUTATION_KEY, seed, k) for k in range(permutations))
    ]
    train_id, test_id, strength, stderr = found.high_pairs()
    memorization = counted.memorization.astype(np.float32)
    meta = new_meta(
        KIND, context.data, tests=len(context.data.test), pairs=pairs, top=top, least_memorization=least_memorization,
        least_influence=least_influence, members=counted.members, found=found.count, kept=len(train_id),
        considered=sum(len(train) * len(test) for train, test in groups),
        expected=float(np.mean(chance)) if chance else None,
        expected_sd=float(np.std(chance, ddof=1)) if len(chance) > 1 else None, permutations=permutations, seed=seed,
        source="Feldman and Zhang 2020, sections 2 and 3", **ensemble_story(context), costs=asdict(ensemble.cost),
    )  # fmt: skip
    made = Influence(
        train_id, test_id, strength, stderr, memorization[train_id], found.top_id, found.top_influence.astype(np.float32),
        found.top_stderr.astype(np.float32), memorization, meta,
    )  # fmt: skip
    if out is not None:
        made.save(out)
    return made


def check_arguments(top: int, pairs: str, permutations: int = PERMUTATIONS) -> None:
    """What can be said of them before anything is trained.

    Raises:
        InvalidValue: outside what is allowed.
    """
    if top < 1:
        raise InvalidValue(f"top is how many training samples are kept of each test sample, at least 1; got {top}")
    if pairs not in PAIRS:
        raise InvalidValue(f"pairs is one of {', '.join(PAIRS)}; got '{pairs}'")
    if permutations < 0:
        raise InvalidValue(f"permutations is at least 0, got {permutations}")


def influence_place(context: Context, pairs: str, top: int, seed: int) -> Path:
    """Where an influence file lies in the workspace."""
    recipe = context.recipe
    made_with = {table: plain(recipe)[table] for table in ("views", "ensemble", "ensemble_member")}
    identity = {"top": top, "seed": seed, "threads": context.threads, "device": context.device.type, **made_with}
    place = context.place("influence", pairs, identity)
    return place.with_name(f"{place.name}.npz")


def _groups(data: Dataset, pairs: str) -> Iterator[tuple[Ids, Ids]]:
    """(training ids, test ids) whose pairs are looked at."""
    if pairs == "all":
        yield data.readable, np.arange(len(data.test))
        return
    for label in range(data.classes):
        train, test = (np.flatnonzero(split.labels == label) for split in (data.train, data.test))
        train = np.setdiff1d(train, data.unreadable)
        if train.size and test.size:
            yield train, test


def _by_chance(
    counted: Counted, groups: list[tuple[Ids, Ids]], least_memorization: float, least_influence: float, order: Ids
) -> int:
    """Pairs of high influence where the test results are those of other members."""
    count = 0
    for train, test in groups:
        high = train[counted.memorization[train] >= least_memorization - ROUNDING]
        for part in counted.blocks(high, test):
            count += int((counted.block(part, test, order)[0] >= least_influence - ROUNDING).sum())
    return count


class _Found:
    """What is kept while blocks come by: the strongest of each test sample, and the pairs of high influence."""

    def __init__(self, tests: int, top: int) -> None:
        self.count = 0
        self.top_id = np.full((tests, top), -1, np.int64)
        self.top_influence = np.zeros((tests, top))
        self.top_stderr = np.zeros((tests, top))
        self._pairs: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]] = []

    def add(
        self, train: Ids, test: Ids, strength: NDArray[np.float64], stderr: NDArray[np.float64], high: NDArray[np.bool_],
        least: float,
    ) -> None:  # fmt: skip
        """A block [train, test]; blocks of one test sample come with rising training ids."""
        rows, columns = np.nonzero((strength >= least - ROUNDING) & high[:, None])
        self.count += len(rows)
        self._pairs.append((train[rows], test[columns], strength[rows, columns], stderr[rows, columns]))
        if sum(len(part[0]) for part in self._pairs) > 2 * MOST_PAIRS:
            self._pairs = [self._strongest()]
        # earlier ones stand before later ones, so that of equals the lower id stays
        ids = np.concatenate([self.top_id[test].T, np.repeat(train[:, None], len(test), 1)])
        values = np.concatenate([self.top_influence[test].T, strength])
        errors = np.concatenate([self.top_stderr[test].T, stderr])
        places = np.argsort(-values, axis=0, kind="stable")[: self.top_id.shape[1]]
        best = np.take_along_axis(values, places, 0).T
        good = best > ROUNDING
        self.top_influence[test] = np.where(good, best, 0)
        self.top_id[test] = np.where(good, np.take_along_axis(ids, places, 0).T, -1)
        self.top_stderr[test] = np.where(good, np.take_along_axis(errors, places, 0).T, 0)

    def high_pairs(self) -> tuple[Ids, Ids, NDArray[np.float32], NDArray[np.float32]]:
        """(training ids, test ids, influence, standard error) of at most `MOST_PAIRS`, the strongest first."""
        train, test, strength, stderr = self._strongest()
        return train, test, strength.astype(np.float32), stderr.astype(np.float32)

    def _strongest(self) -> tuple[Ids, Ids, NDArray[np.float64], NDArray[np.float64]]:
        train, test, strength, stderr = (np.concatenate([part[k] for part in self._pairs]) for k in range(4))
        order = np.lexsort((test, train, -strength))[:MOST_PAIRS]
        return train[order], test[order], strength[order], stderr[order]
