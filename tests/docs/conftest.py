"""What tests of the documentation share."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datapruning.utils.system import PROJECT_ROOT


@pytest.fixture
def run_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Run an example by its name, in an empty folder; returns its variables."""
    monkeypatch.chdir(tmp_path)
    return lambda name: runpy.run_path(str(PROJECT_ROOT / "examples" / f"{name}.py"))
