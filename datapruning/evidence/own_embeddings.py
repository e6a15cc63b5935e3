"""Embeddings that were computed elsewhere: an array, or a `.npy` file, with a row for each training sample."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import EmbeddingsRecord
from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue, first_line
from datapruning.io.npy import READ_ERRORS, open_npy_memmap

BLOCK_ROWS = 1 << 14
PARAMETER = "embeddings"


@dataclass(frozen=True)
class OwnEmbeddings:
    """Embeddings of somebody's own network.

    Attributes:
        features: float16 or float32 [N, width], a memory map if they come from a file.
        record: where they come from, and the hash of their content.
    """

    features: NDArray[Any]
    record: EmbeddingsRecord


def open_embeddings(source: "OwnEmbeddings | NDArray[Any] | str | Path", total: int) -> OwnEmbeddings:
    """Check embeddings of a training set of `total` samples.

    Args:
        source: float16, float32 or float64 [N, width], in the order of the sample ids, or a `.npy` file of them. Numbers of
            float64 are rounded to float32.
        total: N.

    Raises:
        InvalidFile: no such file, or no `.npy`. IncompatibleInputs: another number of rows than N.
        InvalidValue: another type or shape, or a number that is NaN or infinite (in float32).
    """
    if isinstance(source, OwnEmbeddings):
        return source
    where, features = ("these embeddings", np.asarray(source)) if not isinstance(source, str | Path) else _read(Path(source))
    if features.dtype not in (np.float16, np.float32, np.float64) or features.ndim != 2 or not features.shape[1]:
        raise InvalidValue(
            f"{where}: embeddings are float16, float32 or float64 [samples, width], these are {features.dtype} "
            f"{list(features.shape)}",
            parameter=PARAMETER,
        )
    if len(features) != total:
        raise IncompatibleInputs(
            f"{where}: {len(features):,} embeddings, and the training set has {total:,} samples; a row for each is needed, "
            "in the order of the sample ids",
            parameter=PARAMETER,
        )
    if features.dtype == np.float64:
        with np.errstate(over="ignore"):
            features = features.astype(np.float32)
    content = hashlib.sha256(f"{features.dtype.str} {list(features.shape)}".encode())
    for start in range(0, total, BLOCK_ROWS):
        block = np.ascontiguousarray(features[start : start + BLOCK_ROWS])
        bad = np.flatnonzero(~np.isfinite(block).all(1))
        if bad.size:
            raise InvalidValue(
                f"{where}: the embedding of sample id {start + bad[0]} has numbers that are NaN or infinite",
                parameter=PARAMETER,
            )
        content.update(block.data)
    path = str(source) if isinstance(source, str | Path) else None
    record = EmbeddingsRecord(path=path, sha256=content.hexdigest(), width=features.shape[1], dtype=str(features.dtype))
    return OwnEmbeddings(features, record)


def _read(path: Path) -> tuple[str, NDArray[Any]]:
    if not path.is_file():
        raise InvalidFile(f"{path} is not there; a .npy file of embeddings is needed", parameter=PARAMETER)
    try:
        return str(path), open_npy_memmap(path)
    except READ_ERRORS as error:
        raise InvalidFile(f"{path} cannot be read as .npy: {first_line(error)}", parameter=PARAMETER) from None
