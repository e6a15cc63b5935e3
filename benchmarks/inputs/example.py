"""A generated input with what is right, and what is wrong with how it is opened."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from datapruning.errors import UserError

NAMES = (
    "cat", "Cat", "10", "9", "2", "日本", "العربية", "हिन्दी", "🦊", "a b", "ß", "train set", "x.y",
    "#1", "Ünï", "'q'", "-dash",
)  # fmt: skip
"""Of classes."""


@dataclass
class Example:
    """An example, and what is right: `expected` arrays by name, or the texts that the one line of a refusal has.

    `open` returns what was read, by the same names.
    """

    kind: str
    open: Callable[[], dict[str, Any]]
    expected: dict[str, Any] = field(default_factory=dict)
    culprit: tuple[str, ...] = ()


def find_fault(example: Example) -> str:
    """What is wrong with how an example is opened; empty if nothing is."""
    try:
        opened = example.open()
    except UserError as error:
        line = str(error)
        if not example.culprit:
            return f"{example.kind}: refused, although nothing is wrong: {line}"
        missing = [text for text in example.culprit if text not in line]
        if missing or len(line.splitlines()) != 1:
            return f"{example.kind}: the line does not name {missing}: {line!r}"
        return ""
    except Exception:
        return f"{example.kind}: {traceback.format_exc()}"
    if example.culprit:
        return f"{example.kind}: accepted, although {example.culprit} is wrong"
    for name, expected in example.expected.items():
        if not _is_equal(opened[name], expected):
            return f"{example.kind}: {name} is {opened[name]!r}, and should be {expected!r}"
    return ""


def _is_equal(opened: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return opened.keys() == expected.keys() and all(_is_equal(opened[key], expected[key]) for key in expected)
    if isinstance(expected, torch.Tensor):
        return torch.equal(opened, expected)
    if isinstance(expected, np.ndarray):
        return opened.dtype == expected.dtype and np.array_equal(opened, expected)
    return bool(opened == expected)
