"""The record of the weights that a training started from."""

from datapruning.utils.records import Record


class InitRecord(Record):
    """What a training started from: `path` is the file, `weights` the hash of the weights that were taken from it.

    `left_out` are the names of the weights that began at random, because the file has them for other classes or not at all.
    """

    path: str
    weights: str
    left_out: tuple[str, ...] = ()
