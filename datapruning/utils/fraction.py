"""Fractions: how many samples are kept. Never a pruning rate: 0.3 keeps 30%."""

import math
from fractions import Fraction

from datapruning.errors import InvalidValue


def parse_fraction(value: float | str) -> Fraction:
    """Read a fraction f, 0 < f <= 1, exactly as it is written (0.29 is 29/100, not the nearest binary number).

    Raises:
        InvalidValue: not a number, NaN, or outside (0, 1].
    """
    message = f"fraction is the share of the training set that is kept, 0 < fraction <= 1; got {value}"
    text = str(value)
    try:
        if "/" not in text and not 0 < float(text) < math.inf:  # before a huge exponent is written out in full
            raise InvalidValue(message)
        exact = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise InvalidValue(message) from None
    if not 0 < exact <= 1:
        hint = f" (did you mean {float(exact) / 100:g}?)" if 1 < exact <= 100 else ""
        raise InvalidValue(message + hint)
    return exact


def kept_count(fraction: float | str | Fraction, total: int) -> int:
    """floor(f * N + 1/2), in exact arithmetic. May be 0."""
    exact = fraction if isinstance(fraction, Fraction) else parse_fraction(fraction)
    return math.floor(exact * total + Fraction(1, 2))


def describe_kept(kept: int, total: int) -> str:
    """The words every message uses."""
    return f"keeping {kept:,} of {total:,}"
