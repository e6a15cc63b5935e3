"""Files of out-of-fold class probabilities, as cleanlab reads them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import new_meta
from datapruning.config.recipe import plain
from datapruning.errors import BadFile, OutputTaken
from datapruning.io.npz import read_npz, write_npz
from datapruning.runs.context import Context
from datapruning.utils.console import say

KIND = "datapruning.probs"


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
