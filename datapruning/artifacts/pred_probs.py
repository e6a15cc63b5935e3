"""Files of out-of-fold class probabilities, as cleanlab reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import make_metadata
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile, OutputExists
from datapruning.io.npz import read_npz, write_npz
from datapruning.utils.console import info

KIND = "datapruning.probs"


def check_probs_path(path: Path, probs: NDArray[np.float32], data: Dataset) -> bool:
    """Whether `save_probs` has anything to write: False where the same probabilities are there already.

    Raises:
        OutputExists: something else is there.
    """
    if not path.exists():
        return True
    try:
        arrays, there = read_npz(path, "a probabilities", ("pred_probs", "labels"))
    except InvalidFile:
        arrays, there = {}, {}
    if there.get("fingerprint") != data.fingerprint or not np.array_equal(arrays.get("pred_probs", ()), probs):
        raise OutputExists(f"{path} holds something else; name another --probs")
    return False


def save_probs(path: Path, probs: NDArray[np.float32], data: Dataset, meta: Mapping[str, object]) -> None:
    """Write `pred_probs` float32 [N, classes], `labels` int64 [N] and `meta`, unless they are there already.

    Raises:
        OutputExists: something else is there.
    """
    if check_probs_path(path, probs, data):
        write_npz(path, {"pred_probs": probs, "labels": data.train.labels}, make_metadata(KIND, data, **meta))
    else:
        info(f"{path} is there already, with the same content")
