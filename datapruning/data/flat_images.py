"""Decoded images that are all nearly black, or all of one colour: something was lost before, or while, they were decoded."""

from datapruning.data.dataset import Dataset
from datapruning.data.pixel_range import MAX_DARK
from datapruning.utils.console import info

IMAGES_AT_ONCE = 1024


def announce_flat_images(data: Dataset) -> None:
    """Print that no training image of a dataset of image files is brighter than `MAX_DARK`, or has anything on it.

    Class masks of 0 and 1 that were saved as images are such. The sums of pixels, which are known, rule out nearly all
    others, so that images are read in case of suspicion alone.
    """
    if data.pixel_sums is None or not len(data.valid_ids):
        return
    count = len(data.valid_ids) * data.train.shape[0] * data.train.shape[1]
    sums, squares = data.pixel_sums
    if all(square * count == total * total for total, square in zip(sums, squares, strict=True)):
        info(f"{data.name}: every training image is the same, of one colour {tuple(total // count for total in sums)}")
    elif max(squares) <= MAX_DARK**2 * count and _largest(data) <= MAX_DARK:
        info(
            f"{data.name}: no training image is brighter than {_largest(data)} of 255: nearly black; if that is white in "
            "these files, scale them"
        )


def _largest(data: Dataset) -> int:
    ids = data.valid_ids
    return max(int(data.train.images[ids[k : k + IMAGES_AT_ONCE]].max()) for k in range(0, len(ids), IMAGES_AT_ONCE))
