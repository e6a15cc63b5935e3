"""Sliding windows over epochs."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def window_means(values: Array, length: int) -> Array:
    """Mean over every run of `length` rows: [rows, n] -> [rows - length + 1, n]."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(0)])
    return np.asarray((sums[length:] - sums[:-length]) / length)


def window_squares(values: Array, length: int) -> Array:
    """Sum of squared distances from the window's own mean, of every run of `length` rows: -> [rows - length + 1, n].

    By running sums, around each sample's overall mean, so that nothing cancels but what is equal.
    """
    centred = values - values.mean(0)
    means = window_means(centred, length)
    return np.maximum(window_means(centred**2, length) * length - length * means**2, 0)


def window_std(values: Array, length: int) -> Array:
    """Standard deviation (n - 1) of every run of `length` rows; 0 where a window is one row."""
    return np.asarray(np.sqrt(window_squares(values, length) / max(length - 1, 1)))
