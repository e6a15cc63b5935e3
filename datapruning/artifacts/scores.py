"""Scores: one float32 per sample, higher = keep first, with the story of how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import check_format
from datapruning.errors import InvalidFile
from datapruning.io.npz import read_npz, write_npz

KIND = "datapruning.scores"


@dataclass(frozen=True)
class Scores:
    """`values` float32 [N], higher = keep first; `stderr` float32 [N] where the scorer can say it; `meta` the story."""

    values: NDArray[np.float32]
    meta: Mapping[str, Any]
    stderr: NDArray[np.float32] | None = None

    @property
    def scorer(self) -> str:
        """The name of the scorer that made them."""
        return str(self.meta["scorer"])

    def save(self, path: str | Path) -> Path:
        """Write `scores.npz` (design: `score`, `stderr`, `meta`), whole or not at all."""
        arrays = {"score": self.values} | ({} if self.stderr is None else {"stderr": self.stderr})
        write_npz(Path(path), arrays, self.meta)
        return Path(path)


def load_scores(path: str | Path) -> Scores:
    """Read and check a scores file.

    Raises:
        InvalidFile: missing, truncated, another kind or version, of the wrong length, or with a NaN.
    """
    path = Path(path)
    arrays, meta = read_npz(path, "a scores", ("score", "stderr"))
    check_format(path, meta, KIND)
    columns = {}
    for name in ("score", "stderr"):
        if name not in arrays:
            continue
        column = columns[name] = arrays[name]
        if column.dtype != np.float32 or column.shape != (meta["total"],):
            raise InvalidFile(
                f"{path}: '{name}' is {column.dtype} {list(column.shape)}; float32 [{meta['total']}] is needed"
            )
        bad = np.flatnonzero(np.isnan(column))
        if bad.size:
            raise InvalidFile(f"{path}: '{name}' is NaN for {bad.size:,} samples, the first is id {bad[0]}")
    if "score" not in columns or not isinstance(meta.get("scorer"), str):
        raise InvalidFile(f"{path} is not a scores file: 'score' or the scorer's name is missing")
    return Scores(columns["score"], meta, columns.get("stderr"))
