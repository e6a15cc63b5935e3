"""Scores: one float32 per sample, higher = keep first, with metadata about their origin."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import ScoresMetadata, parse_metadata
from datapruning.errors import InvalidFile
from datapruning.io.npz import read_npz, write_npz


@dataclass(frozen=True)
class Scores:
    """Scores of all training samples.

    Attributes:
        values: float32 [N], higher = keep first; may be infinite.
        meta: how they were made.
        stderr: float32 [N], standard error of each; None: the scorer does not estimate one.
    """

    values: NDArray[np.float32]
    meta: ScoresMetadata
    stderr: NDArray[np.float32] | None = None

    @property
    def scorer(self) -> str:
        """The name of the scorer that made them."""
        return self.meta.scorer

    def save(self, path: str | Path) -> Path:
        """Write them as `.npz` with the arrays `score`, `stderr` and `meta`, atomically."""
        arrays = {"score": self.values} | ({} if self.stderr is None else {"stderr": self.stderr})
        write_npz(Path(path), arrays, self.meta.to_json())
        return Path(path)


def load_scores(path: str | Path) -> Scores:
    """Read and check a scores file.

    Raises:
        InvalidFile: missing, truncated, another kind or version, broken metadata, of the wrong length, or with a NaN.
    """
    path = Path(path)
    arrays, value = read_npz(path, "a scores", ("score", "stderr"))
    meta = parse_metadata(ScoresMetadata, value, path)
    if "score" not in arrays:
        raise InvalidFile(f"{path} is no scores file: 'score' is missing")
    for name, array in arrays.items():
        if array.dtype != np.float32 or array.shape != (meta.total,):
            raise InvalidFile(f"{path}: '{name}' is {array.dtype} {list(array.shape)}; float32 [{meta.total}] is needed")
        nan_ids = np.flatnonzero(np.isnan(array))
        if nan_ids.size:
            raise InvalidFile(f"{path}: '{name}' is NaN for {nan_ids.size:,} samples, the first is id {nan_ids[0]}")
    return Scores(arrays["score"], meta, arrays.get("stderr"))
