"""The values of black and white in pixels that are not 8-bit numbers, `LOW..HIGH`."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-6
"""Of the range, by which computed pixels may lie outside."""
MAX_DARK = 16
"""Of 255: images that reach no more are nearly black, unless white is less."""


def parse_range(text: str) -> tuple[float, float]:
    """The two numbers of "LOW..HIGH".

    Raises:
        ValueError: it is something else.
    """
    low, _, high = text.partition("..")
    bounds = float(low), float(high)
    if not all(map(math.isfinite, bounds)) or bounds[0] >= bounds[1]:
        raise ValueError(f"'{text}' is no LOW..HIGH")
    return bounds


def format_range(bounds: tuple[float, float]) -> str:
    """The text that `parse_range` takes, without decimals that are 0."""
    return "..".join(repr(float(bound)).removesuffix(".0") for bound in bounds)


def scale_to_8_bits(pixels: NDArray[Any], bounds: tuple[float, float]) -> NDArray[np.uint8]:
    """Pixels of any real type as uint8: the lower bound becomes 0, the upper 255.

    Raises:
        ValueError: pixels that are not finite, or lie outside by more than rounding.
    """
    low, high = float(pixels.min(initial=bounds[1])), float(pixels.max(initial=bounds[0]))
    slack = ROUNDING * (bounds[1] - bounds[0])
    if not (bounds[0] - slack <= low and high <= bounds[1] + slack):  # NaN is neither
        raise ValueError(f"pixels reach from {low:g} to {high:g}, outside {format_range(bounds)}")
    scaled = (pixels.astype(np.float64) - bounds[0]) * (255 / (bounds[1] - bounds[0]))
    return np.floor(scaled.clip(0, 255) + 0.5).astype(np.uint8)
