"""Data pruning with distillation: score samples, keep a fraction, train on it with cached soft labels.

    import datapruning as dp
    student = dp.train("digits", fraction=0.3, scorer="el2n", kd_weight="auto")
    print(student.test_accuracy)

or step by step:

    data = dp.open_dataset("digits")
    scores = dp.score(data, "el2n")
    subset = dp.select(scores, fraction=0.3)
    student = dp.train(data, subset)

The public names are listed in `__init__.pyi`. Each is loaded when it is first used, so that importing the package costs
nothing.
"""

import ast
import importlib
from pathlib import Path
from typing import Any

_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_MODULES = {name.name: node.module for node in _STUB.body if isinstance(node, ast.ImportFrom) for name in node.names}
"""The module of each public name."""

__all__ = [*_MODULES]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'datapruning' has no attribute '{name}'")
    return getattr(importlib.import_module(str(_MODULES[name])), name)
