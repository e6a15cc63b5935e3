"""A user's folder that is named like one of ours never runs as ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from datapruning.house import HOME, beside

SOURCE = "import pathlib; pathlib.Path('was-run').touch()\n"
CALL = """
import datapruning as dp
from datapruning.errors import UserError
try:
    dp.score(dp.open_dataset("digits"), "random")
except UserError as error:
    print(error)
"""


def python(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in `folder`, which comes first on its path, as in a notebook."""
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = ['', {str(HOME)!r}]\n{code}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_foreign_scorers_are_named_and_never_run(tmp_path: Path) -> None:
    (tmp_path / "scorers").mkdir()
    (tmp_path / "scorers" / "__init__.py").write_text(SOURCE)
    answer = python(tmp_path, CALL)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("\n") == 1
    assert str(tmp_path / "scorers" / "__init__.py") in answer.stdout
    assert str(HOME / "scorers") in answer.stdout
    assert not (tmp_path / "was-run").exists()


def test_a_foreign_package_that_is_imported_already_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "scorers").mkdir()
    (tmp_path / "scorers" / "__init__.py").write_text("def get_scorer(name):\n    raise SystemExit('the wrong one')\n")
    code = (
        "import scorers\nfrom datapruning.house import UserError, beside\n"
        "try:\n    beside('scorers')\nexcept UserError as error:\n    print(error)"
    )
    answer = python(tmp_path, code)
    assert answer.returncode == 0, answer.stderr
    assert str(tmp_path / "scorers") in answer.stdout
    assert str(HOME / "scorers") in answer.stdout


def test_a_plain_folder_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "other.py").write_text(SOURCE)
    answer = python(tmp_path, "from datapruning.house import beside; print(beside('recipes').names())")
    assert "digits" in answer.stdout, answer.stderr
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("foreign", ["recipes/__init__.py", "recipes.py"])
def test_the_command_line_says_it_in_one_line(tmp_path: Path, foreign: str) -> None:
    (tmp_path / foreign).parent.mkdir(exist_ok=True)
    (tmp_path / foreign).write_text(SOURCE)
    answer = python(tmp_path, "from datapruning.cli.main import run\nsys.exit(run(['recipes']))")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith("dprune: 'recipes' of datapruning is hidden by ")
    assert str(tmp_path / foreign) in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("name", ["scorers", "teachers", "recipes", "teachers.train"])
def test_ours_are_found_beside_the_package(name: str) -> None:
    assert Path(beside(name).__file__ or "").is_relative_to(HOME / name.partition(".")[0])
