"""An influence file: pairs of training and test samples, with metadata on how they were found."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import InfluenceMetadata, parse_metadata
from datapruning.artifacts.save import check_output_path, out_path
from datapruning.errors import InvalidFile
from datapruning.io.npz import read_npz, write_npz
from datapruning.utils.console import info

PER_PAIR_ARRAYS = ("train_id", "test_id", "influence", "stderr", "memorization")


@dataclass(frozen=True)
class Influence:
    """Pairs of high influence, the strongest first, and of every test sample the strongest training samples.

    Attributes:
        train_id: int64 [pairs].
        test_id: int64 [pairs].
        influence: float32 [pairs], P[right about the test sample | trained on the other] - P[... | not].
        stderr: float32 [pairs], its standard error.
        memorization: float32 [pairs], of the training sample.
        top_train_id: int64 [test samples, top], strongest first; -1: no further one has an influence above 0.
        top_influence: float32 [test samples, top].
        top_stderr: float32 [test samples, top].
        train_memorization: float32 [N].
        meta: ensemble, thresholds, the number of pairs of high influence, and the number expected by chance.
    """

    train_id: NDArray[np.int64]
    test_id: NDArray[np.int64]
    influence: NDArray[np.float32]
    stderr: NDArray[np.float32]
    memorization: NDArray[np.float32]
    top_train_id: NDArray[np.int64]
    top_influence: NDArray[np.float32]
    top_stderr: NDArray[np.float32]
    train_memorization: NDArray[np.float32]
    meta: InfluenceMetadata

    def __len__(self) -> int:
        return len(self.train_id)

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """All but `meta`, by name."""
        return {name: getattr(self, name) for name in ARRAYS}

    def output_path(self, out: str | Path) -> Path:
        """Return the file that `save(out)` writes: `out`, or in that folder a file named by dataset, pairs and content."""
        digest = hashlib.sha256(b"".join(array.tobytes() for array in self.arrays.values())).hexdigest()[:8]
        return out_path(out, f"{self.meta.dataset}-{self.meta.pairs}-{digest}.npz")

    def _same(self, other: Influence) -> bool:
        same_dataset = other.meta.fingerprint == self.meta.fingerprint
        return same_dataset and all(np.array_equal(other.arrays[name], array) for name, array in self.arrays.items())

    def save(self, out: str | Path) -> Path:
        """Write the arrays and `meta` as one `.npz`, unless the same are there already; return the file's path.

        Args:
            out: The file if it ends in .npz, else a folder.

        Raises:
            OutputExists: Something else is there; it is left as it is.
        """
        path = self.output_path(out)
        if check_output_path(path, "influences", lambda: self._same(load_influence(path))):
            write_npz(path, self.arrays, self.meta.to_json())
        else:
            info(f"{path} is there already, with the same content")
        return path


ARRAYS = tuple(field.name for field in fields(Influence) if field.name != "meta")


def load_influence(path: str | Path) -> Influence:
    """Read and check an influence file.

    Raises:
        InvalidFile: missing, truncated, of another kind or version, or with arrays that do not fit each other.
    """
    path = Path(path)
    arrays, value = read_npz(path, "an influence", ARRAYS)
    meta = parse_metadata(InfluenceMetadata, value, path)
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise InvalidFile(f"{path} is no influence file: '{missing[0]}' is missing")
    pairs = len(arrays["train_id"].reshape(-1))
    for name in ARRAYS:
        shape = (
            (pairs,)
            if name in PER_PAIR_ARRAYS
            else (meta.total,)
            if name == "train_memorization"
            else (meta.tests, meta.top)
        )
        dtype = np.dtype(np.int64 if name.endswith("_id") else np.float32)
        if arrays[name].shape != shape or arrays[name].dtype != dtype:
            raise InvalidFile(
                f"{path}: '{name}' is {arrays[name].dtype} {list(arrays[name].shape)}; {dtype} {list(shape)} is needed"
            )
    for name, count in (("train_id", meta.total), ("test_id", meta.tests), ("top_train_id", meta.total)):
        least = -1 if name == "top_train_id" else 0
        if arrays[name].size and not least <= arrays[name].min() <= arrays[name].max() < count:
            raise InvalidFile(f"{path}: '{name}' has ids outside {least}..{count - 1}")
    return Influence(**{name: arrays[name] for name in ARRAYS}, meta=meta)
