"""Files of out-of-fold class probabilities, as cleanlab reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import PredProbsMetadata, parse_metadata
from datapruning.artifacts.save import check_output_path
from datapruning.errors import InvalidFile
from datapruning.io.npz import read_npz, write_npz
from datapruning.utils.console import info


@dataclass(frozen=True)
class PredProbs:
    """Out-of-fold class probabilities of all training samples.

    Attributes:
        probs: float32 [N, classes].
        labels: int64 [N].
        meta: how they were made.
    """

    probs: NDArray[np.float32]
    labels: NDArray[np.int64]
    meta: PredProbsMetadata

    def check_output_path(self, path: Path) -> bool:
        """Whether `save(path)` has anything to write: False where the same probabilities are there already.

        Raises:
            OutputExists: something else is there.
        """
        return check_output_path(path, "probabilities", lambda: self._same(load_pred_probs(path)), "probs")

    def _same(self, other: PredProbs) -> bool:
        return self.meta.fingerprint == other.meta.fingerprint and np.array_equal(self.probs, other.probs)

    def save(self, path: Path) -> Path:
        """Write them as `.npz` with the arrays `pred_probs`, `labels` and `meta`, unless they are there already.

        Raises:
            OutputExists: something else is there; it is left as it is.
        """
        if self.check_output_path(path):
            write_npz(path, {"pred_probs": self.probs, "labels": self.labels}, self.meta.to_json())
        else:
            info(f"{path} is there already, with the same content")
        return path


def load_pred_probs(path: Path) -> PredProbs:
    """Read and check a file of probabilities.

    Raises:
        InvalidFile: missing, truncated, of another kind or version, or with arrays that cannot be probabilities.
    """
    arrays, value = read_npz(path, "a probabilities", ("pred_probs", "labels"))
    meta = parse_metadata(PredProbsMetadata, value, path)
    probs, labels = (arrays.get(name, np.empty(0)) for name in ("pred_probs", "labels"))
    if probs.dtype != np.float32 or probs.ndim != 2 or len(probs) != meta.total or not np.isfinite(probs).all():
        raise InvalidFile(f"{path} holds no probabilities of {meta.total} samples")
    if labels.dtype != np.int64 or labels.shape != (meta.total,):
        raise InvalidFile(f"{path} holds no labels of {meta.total} samples")
    return PredProbs(probs, labels, meta)
