"""What tests of the documentation share."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datapruning.utils.system import PROJECT_ROOT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Examples run as they do for users, whose teachers may not be near chance."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.weak_teachers)


@pytest.fixture
def run_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Run an example by its name, in an empty folder; returns its variables."""
    monkeypatch.chdir(tmp_path)
    return lambda name: runpy.run_path(str(PROJECT_ROOT / "examples" / f"{name}.py"))
