"""The examples of training loops that are not ours."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from datapruning.utils.system import PROJECT_ROOT


def test_the_search_in_an_own_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(PROJECT_ROOT / "examples" / "own_loop_search.py"))
    assert names["accuracy"] > 0.85
    assert str(names["decision"]) in capsys.readouterr().out
    assert not names["validation"].held_out_ids.size
    assert not any(tmp_path.iterdir())
