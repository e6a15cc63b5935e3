"""The examples of training loops that are not ours."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from datapruning.utils.system import PROJECT_ROOT

EXAMPLES = PROJECT_ROOT / "examples"


def test_the_search_in_an_own_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(EXAMPLES / "own_loop_search.py"))
    assert names["accuracy"] > 0.85
    assert str(names["decision"]) in capsys.readouterr().out
    assert not names["validation"].held_out_ids.size
    assert not any(tmp_path.iterdir())


def test_kd_in_an_own_loop_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "own_loop_kd.py"))["main"](teacher_epochs=1, epochs=1)
    assert [line.partition(",")[0] for line in capsys.readouterr().out.splitlines()] == ["teacher", "students", "students"]


@pytest.mark.slow
def test_kd_in_an_own_loop_helps(tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    output = subprocess.run(
        [sys.executable, EXAMPLES / "own_loop_kd.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    teacher, labels_alone, with_teacher = (float(number) for number in re.findall(r"([\d.]+)%", output))
    assert teacher > 97
    assert with_teacher > labels_alone > 80


@pytest.mark.slow
@pytest.mark.parametrize(("package", "name", "least"), [("lightning", "metrics", 0.75), ("transformers", "accuracy", 0.6)])
@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning")  # by lightning
@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
def test_distillation_in_other_frameworks(
    package: str, name: str, least: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    result = runpy.run_path(str(EXAMPLES / f"{package}_kd.py"))[name]
    assert (result["test accuracy"] if isinstance(result, dict) else result) > least
