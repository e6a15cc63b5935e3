"""The setup shared by benchmarks on Fashion-MNIST: a network that trains in seconds, optional wrong labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

import datapruning as dp
from benchmarks.common import data_folder
from datapruning.data.dataset import Dataset, Split
from datapruning.runs.context import Context
from datapruning.utils.hashing import hash_permutation

STUDENT = "tinynet16"
SETTINGS = tuple(
    [f"{table}.model={STUDENT}" for table in ("train", "teacher", "proxy")]
    + [f"{table}.batch_size=64" for table in ("train", "teacher", "proxy")]
    + ["views.num_views=8", "views.crop=2"]  # as the recipe had them when the committed rows were made
)
WRONG = 0.2
"""Share of the training labels that are replaced where a benchmark has wrong labels."""
WRONG_KEY = 0x3A0B6


def with_wrong_labels(data: Dataset, share: float, seed: int = 0) -> Dataset:
    """Return the data with the fraction `share` of the training labels replaced uniformly by another class."""
    chosen = hash_permutation(np.arange(data.total), WRONG_KEY, seed)[: round(share * data.total)]
    random = np.random.default_rng([WRONG_KEY, seed])
    labels = data.train.labels.copy()
    labels[chosen] = (labels[chosen] + random.integers(1, data.classes, len(chosen))) % data.classes
    name = f"{data.name}-{round(100 * share)}-wrong"
    return dataclasses.replace(data, name=name, train=Split(data.train.images, labels))


def open_tiny(workspace: Path, *, changes: tuple[str, ...] = ()) -> Context:
    """Open a context on one thread of the CPU, because benchmarks run several processes in parallel."""
    data = dp.open_dataset("fashion-mnist", root=data_folder())
    return dp.open_context(
        data, recipe="fashion-mnist", device="cpu", loader="memory", workspace=workspace, threads=1,
        changes=(*SETTINGS, *changes),
    )  # fmt: skip
