"""Where two manifests differ, in words: what every refusal to mix them says."""

from __future__ import annotations

from typing import Any


def first_difference(there: Any, here: Any, where: str = "") -> str:
    """The first value, in the order of the keys, that two nested dictionaries do not share."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in {**there, **here}:
            if there.get(key) != here.get(key):
                return first_difference(there.get(key), here.get(key), f"{where}.{key}".lstrip("."))
    return f"{where} is {there!r} there, {here!r} here"
