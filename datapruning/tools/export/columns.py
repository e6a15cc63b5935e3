"""Scores and subsets as plain columns and lists of ids."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset
from datapruning.io.npy import Array
from datapruning.selection.draw import rank_descending

Columns = dict[str, Array | Sequence[str]]


def make_columns(artifact: Scores | Subset, paths: Sequence[str] | None = None) -> Columns:
    """Return columns of all N samples in the order of their ids: `id` int64, `path` if it is given, and the content.

    The content of scores is `score` float32 and, where the scorer gives it, `stderr` float32; of a subset, `kept` bool.
    """
    total = len(artifact.values) if isinstance(artifact, Scores) else artifact.total
    columns: Columns = {"id": np.arange(total), **({} if paths is None else {"path": paths})}
    if isinstance(artifact, Subset):
        return {**columns, "kept": np.isin(np.arange(total), artifact.indices)}
    return {**columns, "score": artifact.values, **({} if artifact.stderr is None else {"stderr": artifact.stderr})}


def ordered_ids(artifact: Scores | Subset) -> NDArray[np.int64]:
    """Return int64 ids: of a subset the kept ones, rising; of scores all, the highest first, of equals the lower id first.

    Images that cannot be read are left out: they are never selected.
    """
    if isinstance(artifact, Subset):
        return artifact.indices
    order = rank_descending(artifact.values)
    return order[~np.isin(order, artifact.meta.unreadable or ())]
