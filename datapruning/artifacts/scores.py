"""Scores: one float32 per sample, higher = keep first, with metadata about their origin."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import ScoresMetadata, check_same_dataset, parse_metadata
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile
from datapruning.io.npz import read_npz, write_npz
from datapruning.utils.console import info


@dataclass(frozen=True)
class Scores:
    """Scores of all training samples.

    Attributes:
        values: float32 [N], higher = keep first; may be infinite.
        meta: how they were made.
        stderr: float32 [N], standard error of each; None: the scorer does not estimate one.
        labels: int32 [N], the labels that they were made with, -1 where the label has changed since (see `use_for`); None:
            the labels are not known, because a training loop outside this package recorded the evidence.
    """

    values: NDArray[np.float32]
    meta: ScoresMetadata
    stderr: NDArray[np.float32] | None = None
    labels: NDArray[np.int32] | None = None

    @property
    def scorer(self) -> str:
        """The name of the scorer that made them."""
        return self.meta.scorer

    def save(self, path: str | Path) -> Path:
        """Write them as `.npz` with the arrays `score`, `stderr`, `labels` and `meta`, atomically."""
        arrays = {"score": self.values, "stderr": self.stderr, "labels": self.labels}
        write_npz(Path(path), {name: array for name, array in arrays.items() if array is not None}, self.meta.to_json())
        return Path(path)

    def use_for(self, data: Dataset) -> Self:
        """The scores for a dataset that may have other labels than the one that they were made from.

        The scores of samples whose label has changed are set aside: they come last, and one line counts them. A scorer that
        read nothing, such as "random", keeps all.

        Raises:
            IncompatibleInputs: the scores are of other images, or of other classes.
        """
        meta = self.meta
        if meta.fingerprint == data.fingerprint:
            return self
        if self.labels is None or meta.images is None or meta.images != data.images_hash:
            check_same_dataset("these scores", meta, data)
        assert self.labels is not None
        is_changed = self.labels != data.train.labels
        count, values, stderr = int(is_changed.sum()), self.values.copy(), self.stderr
        if not count:
            info("scores: the test set has changed since they were made, the training set has not: they are used")
        elif meta.costs is None and meta.embeddings is None:
            info(f"scores: {count:,} of {data.total:,} labels have changed; '{meta.scorer}' reads none, all are used")
        else:
            others = values[~is_changed]
            lowest = others.min() if others.size else np.float32(0)
            values[is_changed] = np.nextafter(lowest, np.float32(-np.inf))
            stderr = None if stderr is None else np.where(is_changed, np.float32(0), stderr)
            info(
                f"scores: the labels of {count:,} of {data.total:,} samples have changed since they were scored: those are "
                "set aside and come last, the scores of the others are used"
            )
        labels = np.where(is_changed, -1, self.labels).astype(np.int32)
        changed = meta.model_copy(update={"dataset": data.name, "fingerprint": data.fingerprint, "relabelled": count})
        return replace(self, values=values, stderr=stderr, labels=labels, meta=changed)


def load_scores(path: str | Path) -> Scores:
    """Read and check a scores file.

    Raises:
        InvalidFile: missing, truncated, another kind or version, broken metadata, of the wrong length, or with a NaN.
    """
    path = Path(path)
    arrays, value = read_npz(path, "a scores", ("score", "stderr", "labels"))
    meta = parse_metadata(ScoresMetadata, value, path)
    if "score" not in arrays:
        raise InvalidFile(f"{path} is no scores file: 'score' is missing")
    labels = arrays.pop("labels", None)
    if labels is not None and (labels.dtype != np.int32 or labels.shape != (meta.total,) or labels.min() < -1):
        raise InvalidFile(
            f"{path}: 'labels' is {labels.dtype} {list(labels.shape)}; classes int32 [{meta.total}] are needed"
        )
    for name, array in arrays.items():
        if array.dtype != np.float32 or array.shape != (meta.total,):
            raise InvalidFile(f"{path}: '{name}' is {array.dtype} {list(array.shape)}; float32 [{meta.total}] is needed")
        nan_ids = np.flatnonzero(np.isnan(array))
        if nan_ids.size:
            raise InvalidFile(f"{path}: '{name}' is NaN for {nan_ids.size:,} samples, the first is id {nan_ids[0]}")
    return Scores(arrays["score"], meta, arrays.get("stderr"), labels)
