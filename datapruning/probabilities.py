"""Out-of-sample class probabilities of the training samples: what cleanlab and confident learning read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.config import plain
from datapruning.context import Context
from datapruning.data.dataset import Dataset
from datapruning.errors import BadFile, OutputTaken
from datapruning.evidence.members import open_ensemble
from datapruning.files import read_npz, write_npz
from datapruning.meta import new_meta
from datapruning.opening import context_of
from datapruning.progress import say

KIND = "datapruning.probs"


def pred_probs(data: Dataset | Context, seed: int = 0) -> NDArray[np.float32]:
    """Out-of-sample class probabilities of the training samples from the subset ensemble, float32 [N, classes].

    Of each sample the mean over members that were not trained on it; members that are missing are trained. This is what
    cleanlab calls `pred_probs`.

    Raises:
        BadValue: an ensemble so small that every member saw some sample.
    """
    return open_ensemble(context_of(data), seed).pred_probs()


def ensemble_story(context: Context) -> dict[str, Any]:
    """How the ensemble was made, for meta."""
    return {"ensemble": asdict(context.recipe.ensemble), "member": plain(context.recipe)["member"]}


def probs_are_new(path: Path, probs: NDArray[np.float32], context: Context) -> bool:
    """Whether `save_probs` has anything to write: False where the same probabilities are there already.

    Raises:
        OutputTaken: something else is there.
    """
    if not path.exists():
        return True
    try:
        arrays, there = read_npz(path, "a probabilities", ("pred_probs", "labels"))
    except BadFile:
        arrays, there = {}, {}
    if there.get("fingerprint") != context.data.fingerprint or not np.array_equal(arrays.get("pred_probs", ()), probs):
        raise OutputTaken(f"{path} holds something else; name another --probs")
    return False


def save_probs(path: Path, probs: NDArray[np.float32], context: Context, seed: int) -> None:
    """Write `pred_probs` float32 [N, classes], `labels` int64 [N] and `meta`, unless they are there already.

    Raises:
        OutputTaken: something else is there.
    """
    if probs_are_new(path, probs, context):
        meta = new_meta(KIND, context.data, seed=seed, **ensemble_story(context))
        write_npz(path, {"pred_probs": probs, "labels": context.data.train.labels}, meta)
    else:
        say(f"{path} is there already, with the same content")


def best_other(probs: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The most probable class other than the label, int64 [N], of probabilities [N, classes]; the lower one of equals."""
    others = probs.copy()
    others[np.arange(len(labels)), labels] = -1
    return np.asarray(others.argmax(1), np.int64)


def confident_others(probs: NDArray[np.float32], labels: NDArray[np.int64]) -> int:
    """How many samples are confidently of another class than their label: the count of confident learning.

    Northcutt et al. 2021, section 3.1: a sample counts for the most probable of the classes whose probability reaches
    that class's mean over the samples with its label. This is the sum off the diagonal of the confident joint, before any
    calibration.

    Args:
        probs: float32 [N, classes], out-of-sample.
        labels: int64 [N].
    """
    classes = probs.shape[1]
    own = probs[np.arange(len(labels)), labels].astype(np.float64)
    counts = np.bincount(labels, minlength=classes)
    thresholds = np.where(counts > 0, np.bincount(labels, own, classes) / np.maximum(counts, 1), np.inf)
    confident = np.where(probs >= thresholds, probs, -1.0)
    return int(((confident.max(1) >= 0) & (confident.argmax(1) != labels)).sum())
