"""Saving what a command made: never over anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datapruning.errors import BadFile, OutputTaken
from datapruning.progress import say
from datapruning.scores import Scores, load_scores
from datapruning.subsets import Subset, load_subset


def save_new(made: Scores | Subset, path: Path) -> None:
    """Save to `path`, unless the very same content is there already.

    Raises:
        OutputTaken: something else is there; it is left as it is.
    """
    if not path.exists():
        made.save(path)
    elif _holds(path, made):
        say(f"{path} is there already, with the same content")
    else:
        raise OutputTaken(f"{path} holds something else; name another --out")


def _holds(path: Path, made: Scores | Subset) -> bool:
    try:
        there = load_scores(path) if isinstance(made, Scores) else load_subset(path)
    except BadFile:
        return False
    if there.meta["fingerprint"] != made.meta["fingerprint"]:
        return False
    if isinstance(there, Scores) and isinstance(made, Scores):
        return there.scorer == made.scorer and np.array_equal(there.values, made.values)
    return isinstance(there, Subset) and isinstance(made, Subset) and np.array_equal(there.indices, made.indices)
