"""Scores: one float32 per sample, higher = keep first, with metadata about their origin."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import ScoresMetadata, parse_metadata
from datapruning.artifacts.ready_made_scores import find_ready_made, scores_file
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
        labels: int32 [N], the labels that they were made with, -1 where the score was set aside (see `adapt_scores`).
        images: uint64 [N], a hash of each image. Labels and images are None where a training loop outside this package
            recorded the evidence, the images of ready-made scores too.
    """

    values: NDArray[np.float32]
    meta: ScoresMetadata
    stderr: NDArray[np.float32] | None = None
    labels: NDArray[np.int32] | None = None
    images: NDArray[np.uint64] | None = None

    @property
    def scorer(self) -> str:
        """The name of the scorer that made them."""
        return self.meta.scorer

    @property
    def complete_labels(self) -> NDArray[np.int64] | None:
        """The labels, int64 [N]; None: there are none, or some scores were set aside."""
        return None if self.labels is None or self.labels.min() < 0 else self.labels.astype(np.int64)

    def save(self, path: str | Path) -> Path:
        """Write them as `.npz` with the arrays `score`, `stderr`, `labels`, `images` and `meta`, atomically."""
        arrays = {"score": self.values, "stderr": self.stderr, "labels": self.labels, "images": self.images}
        write_npz(Path(path), {name: array for name, array in arrays.items() if array is not None}, self.meta.to_json())
        return Path(path)


def load_scores(path: str | Path) -> Scores:
    """Read and check a scores file, or ready-made scores by their name, such as "cifar100:forgetting".

    Raises:
        InvalidFile: missing, truncated, another kind or version, broken metadata, of the wrong length, or with a NaN.
        UnknownName: no ready-made scores of that name.
    """
    path = Path(path)
    if path.exists() and find_ready_made(path) is not None:
        info(f"{path} means the ready-made scores; the file of that name in this folder is {path.resolve()}")
    arrays, value = read_npz(scores_file(path), "a scores", ("score", "stderr", "labels", "images"))
    meta = parse_metadata(ScoresMetadata, value, path)
    if "score" not in arrays:
        raise InvalidFile(f"{path} is no scores file: 'score' is missing")
    labels, images = arrays.pop("labels", None), arrays.pop("images", None)
    for name, array, dtype in (("labels", labels, np.int32), ("images", images, np.uint64)):
        if array is not None and (array.dtype != dtype or array.shape != (meta.total,)):
            needed = f"{np.dtype(dtype)} [{meta.total}]"
            raise InvalidFile(f"{path}: '{name}' is {array.dtype} {list(array.shape)}; {needed} is needed")
    if labels is not None and not -1 <= labels.min() <= labels.max() < len(meta.class_names or ()):
        raise InvalidFile(f"{path}: 'labels' has a class outside the {len(meta.class_names or ())} in 'meta'")
    for name, array in arrays.items():
        if array.dtype != np.float32 or array.shape != (meta.total,):
            raise InvalidFile(f"{path}: '{name}' is {array.dtype} {list(array.shape)}; float32 [{meta.total}] is needed")
        nan_ids = np.flatnonzero(np.isnan(array))
        if nan_ids.size:
            raise InvalidFile(f"{path}: '{name}' is NaN for {nan_ids.size:,} samples, the first is id {nan_ids[0]}")
    return Scores(arrays["score"], meta, arrays.get("stderr"), labels, images)
