"""Messages of the core name things, not options, which the command line adds: users of the Python API have none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from datapruning.utils.system import PROJECT_ROOT

NO_MESSAGES = ("report/figures.py", "report/sections/runs.py", "runs/trackers/tensorboard.py")
"""Files with CSS variables, or with whole commands for a terminal."""
OPTION = re.compile(r"(^|[\s('\"])--[a-z]")
PACKAGE = PROJECT_ROOT / "datapruning"
FILES = sorted(
    path
    for folder in (PACKAGE, *(PROJECT_ROOT / name for name in ("scorers", "teachers", "recipes")))
    for path in folder.rglob("*.py")
    if not path.is_relative_to(PACKAGE / "cli") and path not in [PACKAGE / name for name in NO_MESSAGES]
)


def literals(source: str) -> Iterator[tuple[int, str]]:
    """(line number, text) of every string literal that is not a docstring; of an f-string its literal parts."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('raise ValueError(f"leave {name} or --recording out")', True),
        ('"""Docs of --data."""\nx = "--data"', True),
        ('def f():\n    """Docs of --data."""\n    x = "a--b, 1 -- 2, ---"', False),
    ],
)
def test_options_are_found(source: str, message: bool) -> None:
    assert any(OPTION.search(text) for _, text in literals(source)) == message


def test_no_message_of_the_core_names_an_option() -> None:
    assert len(FILES) > 100
    message = [
        f"{path.relative_to(PROJECT_ROOT)}:{line}: {text!r}"
        for path in FILES
        for line, text in literals(path.read_text())
        if OPTION.search(text)
    ]
    assert message == []
