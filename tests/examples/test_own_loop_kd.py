"""`examples/own_loop_kd.py`: it runs as a script, and the teacher helps."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from datapruning.utils.system import PROJECT_ROOT

SCRIPT = PROJECT_ROOT / "examples" / "own_loop_kd.py"


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(SCRIPT))["main"](teacher_epochs=1, epochs=1)
    assert [line.partition(",")[0] for line in capsys.readouterr().out.splitlines()] == ["teacher", "student", "student"]


@pytest.mark.slow
def test_the_teacher_helps(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    output = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    teacher, labels_alone, with_teacher = (float(number) for number in re.findall(r"([\d.]+)%", output))
    assert teacher > 97
    assert with_teacher > labels_alone > 80
