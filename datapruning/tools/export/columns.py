"""Scores and subsets as plain columns, a row a sample or an entry a sample, for files that anybody reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset
from datapruning.io.npy import Array
from datapruning.selection.draw import front_first

Columns = dict[str, Array | Sequence[str]]


def table_of(made: Scores | Subset, paths: Sequence[str] | None = None) -> Columns:
    """All N samples in the order of their ids: `id` int64, `path` if it is given, and what the file says of each.

    Of scores that is `score` float32 and, where the scorer can say it, `stderr` float32; of a subset, `kept` bool.
    """
    total = len(made.values) if isinstance(made, Scores) else made.total
    columns: Columns = {"id": np.arange(total)}
    if paths is not None:
        columns["path"] = paths
    if isinstance(made, Subset):
        kept = np.zeros(total, np.bool_)
        kept[made.indices] = True
        return {**columns, "kept": kept}
    return {**columns, "score": made.values, **({} if made.stderr is None else {"stderr": made.stderr})}


def listed_ids(made: Scores | Subset) -> NDArray[np.int64]:
    """int64 ids: of a subset those that are kept, rising; of scores all, the highest first, of equals the lower id first.

    Pictures that cannot be read are left out: they are never selected.
    """
    if isinstance(made, Subset):
        return made.indices
    order = front_first(made.values)
    return order[~np.isin(order, made.meta.get("unreadable", ()))]
