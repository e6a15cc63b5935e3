"""Which classes have no sample in a split, a subset, or what is left of either."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datapruning.utils.console import info

Labels = NDArray[np.int64] | NDArray[np.int32]
MAX_SHOWN_CLASSES = 5


def missing_classes(labels: Labels, class_names: Sequence[str]) -> str:
    """The classes without a sample, as in "2 of 10 classes (cat, dog)"; empty where every class has one.

    Args:
        labels: int64 [n], of the samples there are.
        class_names: of all classes, by label.
    """
    counts = np.bincount(labels, minlength=len(class_names))
    missing = [name for name, count in zip(class_names, counts.tolist(), strict=True) if not count]
    if not missing:
        return ""
    shown = ", ".join(missing[:MAX_SHOWN_CLASSES]) + (", ..." if len(missing) > MAX_SHOWN_CLASSES else "")
    return f"{len(missing):,} of {len(class_names):,} classes ({shown})"


def announce_lost_classes(labels: Labels, class_names: Sequence[str]) -> None:
    """Print which classes a subset with these `labels` has no sample of."""
    missing = missing_classes(labels, class_names)
    if missing:
        info(f"subset: {missing} have no sample in it; class balance keeps some of each")
