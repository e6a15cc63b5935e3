"""The layers: there are no upward or circular imports, and the checks detect them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datapruning.utils.system import PROJECT_ROOT

STRUCTURE = (sys.executable, PROJECT_ROOT / "scripts" / "structure.py")
CONTRACT = (sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache")
PLANTED = {
    "an upward import": (
        {"scorers/random.py": "from datapruning.api.score import score"},
        "upward imports: 1", "datapruning.scorers.random imports datapruning.api.score",
    ),
    "an upward import inside a function": (
        {"scorers/random.py": "def later():\n    import datapruning.cli.main"},
        "upward imports: 1", "datapruning.scorers.random imports datapruning.cli.main",
    ),
    "an import between packages of one layer": (
        {"datapruning/tools/inspect.py": "from datapruning.analysis import influence"},
        "upward imports: 1", "datapruning.tools.inspect imports datapruning.analysis.influence",
    ),
    "a circle of two files": (
        {
            "scorers/random.py": "from datapruning.scorers import el2n",
            "scorers/el2n.py": "from datapruning.scorers import random",
        },
        "circles of files: 1", "datapruning.scorers.el2n <-> datapruning.scorers.random",
    ),
    "a circle of two packages, not of files": (
        {
            "datapruning/data/augment/crops.py": "from datapruning.data.loaders import split_loaders",
            "datapruning/data/loaders/prefetch.py": "from datapruning.data.augment import numba_kernels",
        },
        "circles of packages: 1", "datapruning.data.augment <-> datapruning.data.loaders",
    ),
}  # fmt: skip


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, timeout=100)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a copy of the package and its contract."""
    shutil.copy(PROJECT_ROOT / "pyproject.toml", tmp_path)
    for name in ("datapruning", "scorers", "teachers", "recipes"):
        shutil.copytree(PROJECT_ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_there_are_no_upward_or_circular_imports() -> None:
    process = run(*STRUCTURE, cwd=PROJECT_ROOT)
    assert process.returncode == 0, process.stdout
    for title in ("upward imports", "circles of files", "circles of packages"):
        assert f"\n{title}: 0\n" in process.stdout
    counted = sum(len(path.read_text("utf-8").splitlines()) for path in (PROJECT_ROOT / "scorers").glob("*.py"))
    assert re.search(rf"^scorers +{counted} ", process.stdout, re.MULTILINE)


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED)
def test_a_planted_import_is_noticed(planted: tuple[dict[str, str], str, str], checkout: Path) -> None:
    codes, count, problem = planted
    for name, code in codes.items():
        with (checkout / name).open("a", encoding="utf-8") as file:
            file.write(f"\n{code}\n")
    process = run(*STRUCTURE, checkout, cwd=checkout)
    assert process.returncode == 1, process.stderr
    assert count in process.stdout
    assert problem in process.stdout
    contract = run(*CONTRACT, cwd=checkout)
    assert contract.returncode == 1, contract.stdout
    assert "BROKEN" in contract.stdout
