"""The set-up that the many-run benchmarks share: Fashion-MNIST, a network that trains in seconds, wrong labels on request."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

import datapruning as dp
from benchmarks.common import data_folder
from datapruning.context import Context
from datapruning.data.dataset import Dataset, Split
from datapruning.hashing import shuffled

STUDENT = "tinynet16"
SETTINGS = tuple(
    [f"{table}.model={STUDENT}" for table in ("train", "teacher", "score")]
    + [f"{table}.batch_size=64" for table in ("train", "teacher", "score")]
    + ["views.count=8"]
)
WRONG = 0.2
WRONG_KEY = 0x3A0B6


def with_wrong_labels(data: Dataset, share: float, seed: int = 0) -> Dataset:
    """The same pictures with `share` of the training labels replaced by another class, uniformly. The test set stays clean."""
    chosen = shuffled(np.arange(data.total), WRONG_KEY, seed)[: round(share * data.total)]
    random = np.random.default_rng([WRONG_KEY, seed])
    labels = data.train.labels.copy()
    labels[chosen] = (labels[chosen] + random.integers(1, data.classes, len(chosen))) % data.classes
    return dataclasses.replace(
        data, name=f"{data.name}-{share:.0%}-wrong".replace("%", ""), train=Split(data.train.images, labels)
    )


def open_tiny(workspace: Path, *, wrong: bool = False, changes: tuple[str, ...] = ()) -> Context:
    """A context on one thread of the CPU: benchmarks run several processes side by side."""
    data = dp.open_dataset("fashion-mnist", root=data_folder())
    if wrong:
        data = with_wrong_labels(data, WRONG)
    return dp.open_context(
        data,
        recipe="fashion-mnist",
        device="cpu",
        loader="resident",
        workspace=workspace,
        threads=1,
        changes=(*SETTINGS, *changes),
    )
