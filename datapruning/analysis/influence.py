"""`influence`: which training samples help which test samples, estimated from the subset ensemble."""

from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.influence import Influence
from datapruning.artifacts.metadata import InfluenceMetadata, common_fields
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue
from datapruning.evidence.collect import print_evidence_cost
from datapruning.evidence.members import open_ensemble
from datapruning.evidence.membership_counts import MembershipCounts, count_members
from datapruning.io.disk_space import check_writable
from datapruning.runs.opening import ContextSettings, DatasetOrContext, as_context
from datapruning.scorers import get_scorer
from datapruning.utils.hashing import hash_permutation

PAIRS = ("same-class", "all")
MIN_MEMORIZATION, MIN_INFLUENCE = 0.25, 0.15
"""Thresholds of a pair of high influence (Feldman and Zhang 2020, section 3)."""
NUM_PERMUTATIONS, PERMUTATION_KEY = 10, 0x1F1
MAX_PAIRS = 2_000_000
"""Pairs of high influence that are kept: the strongest."""
ROUNDING = 1e-9
Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


def influence(
    data: DatasetOrContext,
    *,
    top: int = 10,
    pairs: str = "same-class",
    least_memorization: float = MIN_MEMORIZATION,
    least_influence: float = MIN_INFLUENCE,
    permutations: int = NUM_PERMUTATIONS,
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Unpack[ContextSettings],
) -> Influence:
    """Estimate the influence of every training sample on every test sample, and keep what is large.

    Members of the ensemble that are missing are trained. With few members, the largest of so many differences are large by
    chance alone: `meta.expected` is the number of pairs of high influence if no sample had any influence, the mean over
    permutations of which member classified the test set correctly.

    Args:
        data: A dataset, its name or path, or a context.
        top: Number of training samples that are kept for each test sample, at most.
        pairs: "same-class", as in the authors' own files, or "all".
        least_memorization: Threshold for the training sample of a pair of high influence.
        least_influence: Threshold of a pair of high influence.
        permutations: Number of permutations that chance is estimated from; 0: it is not.
        seed: Random seed of the ensemble and of the permutations.
        out: An .npz to write, or a folder for a file named by its content; default: none.
        settings: Recipe, device and others, see `ContextSettings`; not beside a context.

    Raises:
        InvalidValue: Too few members for an error bar, or an argument out of its range.
        OutputExists: `out` holds something else.
    """
    _check_arguments(top, pairs, permutations)
    if out is not None:
        check_writable(out)
    context = as_context(data, **settings)
    print_evidence_cost(context, [get_scorer("memorization")])
    ensemble = open_ensemble(context, seed)
    counts = count_members(ensemble, len(context.data.test))
    groups = list(_groups(context.data, pairs))
    influences = _TopInfluences(len(context.data.test), top)
    for train, test in groups:
        for block in counts.blocks(train, test):
            memorized = counts.memorization[block] >= least_memorization - ROUNDING
            influences.add(block, test, *counts.block(block, test), memorized, least_influence)
    by_chance = [
        _count_by_chance(
            counts, groups, least_memorization, least_influence,
            hash_permutation(np.arange(counts.num_members), PERMUTATION_KEY, seed, k),
        )
        for k in range(permutations)
    ]  # fmt: skip
    train_id, test_id, strength, stderr = influences.high_pairs()
    memorization = counts.memorization.astype(np.float32)
    meta = InfluenceMetadata(
        **common_fields(context.data), tests=len(context.data.test), pairs=pairs, top=top,
        least_memorization=least_memorization, least_influence=least_influence,
        members=counts.num_members, num_pairs_found=influences.count, kept=len(train_id),
        considered=sum(len(train) * len(test) for train, test in groups),
        expected=float(np.mean(by_chance)) if by_chance else None,
        expected_sd=float(np.std(by_chance, ddof=1)) if len(by_chance) > 1 else None, permutations=permutations, seed=seed,
        source="Feldman and Zhang 2020, sections 2 and 3", ensemble=context.recipe.ensemble,
        ensemble_member=context.recipe.ensemble_member, costs=ensemble.cost,
    )  # fmt: skip
    result = Influence(
        train_id, test_id, strength, stderr, memorization[train_id], influences.top_id,
        influences.top_influence.astype(np.float32), influences.top_stderr.astype(np.float32), memorization, meta,
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _check_arguments(top: int, pairs: str, permutations: int) -> None:
    if top < 1:
        raise InvalidValue(f"top is how many training samples are kept of each test sample, at least 1; got {top}")
    if pairs not in PAIRS:
        raise InvalidValue(f"pairs is one of {', '.join(PAIRS)}; got '{pairs}'")
    if permutations < 0:
        raise InvalidValue(f"permutations is at least 0, got {permutations}")


def _groups(data: Dataset, pairs: str) -> Iterator[tuple[Ids, Ids]]:
    """Yield (training ids, test ids) whose pairs are considered."""
    if pairs == "all":
        yield data.valid_ids, np.arange(len(data.test))
        return
    for label in range(data.classes):
        train, test = (np.flatnonzero(split.labels == label) for split in (data.train, data.test))
        train = np.setdiff1d(train, data.corrupt_ids)
        if train.size and test.size:
            yield train, test


def _count_by_chance(
    counts: MembershipCounts, groups: list[tuple[Ids, Ids]], least_memorization: float, least_influence: float, order: Ids
) -> int:
    """Count pairs of high influence where the test results are those of other members."""
    num_pairs = 0
    for train, test in groups:
        memorized = train[counts.memorization[train] >= least_memorization - ROUNDING]
        for block in counts.blocks(memorized, test):
            num_pairs += int((counts.block(block, test, order)[0] >= least_influence - ROUNDING).sum())
    return num_pairs


class _TopInfluences:
    """Collects, block by block, the strongest influences on each test sample and the pairs of high influence."""

    def __init__(self, num_tests: int, top: int) -> None:
        self.count = 0
        self.top_id = np.full((num_tests, top), -1, np.int64)
        self.top_influence = np.zeros((num_tests, top))
        self.top_stderr = np.zeros((num_tests, top))
        self._pairs: list[tuple[Ids, Ids, Floats, Floats]] = []

    def add(
        self, train: Ids, test: Ids, strength: Floats, stderr: Floats, memorized: NDArray[np.bool_], threshold: float
    ) -> None:
        """Add influences and their standard errors, both [train, test]; the blocks of a test sample have rising ids."""
        rows, columns = np.nonzero((strength >= threshold - ROUNDING) & memorized[:, None])
        self.count += len(rows)
        self._pairs.append((train[rows], test[columns], strength[rows, columns], stderr[rows, columns]))
        if sum(len(train_id) for train_id, *_ in self._pairs) > 2 * MAX_PAIRS:
            self._pairs = [self._strongest()]
        # earlier ids come first, so that of equal influences the lower id is kept
        ids = np.concatenate([self.top_id[test].T, np.repeat(train[:, None], len(test), 1)])
        values = np.concatenate([self.top_influence[test].T, strength])
        errors = np.concatenate([self.top_stderr[test].T, stderr])
        order = np.argsort(-values, axis=0, kind="stable")[: self.top_id.shape[1]]
        best = np.take_along_axis(values, order, 0).T
        positive = best > ROUNDING
        self.top_influence[test] = np.where(positive, best, 0)
        self.top_id[test] = np.where(positive, np.take_along_axis(ids, order, 0).T, -1)
        self.top_stderr[test] = np.where(positive, np.take_along_axis(errors, order, 0).T, 0)

    def high_pairs(self) -> tuple[Ids, Ids, NDArray[np.float32], NDArray[np.float32]]:
        """Return (training ids, test ids, influence, standard error) of at most `MAX_PAIRS`, the strongest first."""
        train, test, strength, stderr = self._strongest()
        return train, test, strength.astype(np.float32), stderr.astype(np.float32)

    def _strongest(self) -> tuple[Ids, Ids, Floats, Floats]:
        train, test, strength, stderr = (np.concatenate([pair[k] for pair in self._pairs]) for k in range(4))
        order = np.lexsort((test, train, -strength))[:MAX_PAIRS]
        return train[order], test[order], strength[order], stderr[order]
