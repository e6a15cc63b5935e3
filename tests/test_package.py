"""The package: cheap to import, and usable from a plain checkout."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import datapruning as dp
from datapruning.utils.system import PROJECT_ROOT

MODULES = sorted(p for top in ("datapruning", "scorers", "teachers", "recipes") for p in (PROJECT_ROOT / top).rglob("*.py"))
OUTSIDE = {"scorers", "teachers", "recipes"}


def name_of(module: Path) -> str:
    """datapruning/cli/main.py"""
    return module.relative_to(PROJECT_ROOT).as_posix()


def imported(tree: ast.AST) -> set[str]:
    """Return the top-level packages that a module imports, except under TYPE_CHECKING."""
    imports: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            imports |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            imports.add((node.module or "").partition(".")[0])
        imports |= imported(node)
    return imports


def test_the_plain_installation_needs_no_compiler_and_everything_that_is_imported() -> None:
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    plain = {re.split(r"[<>=;\[ ]", requirement)[0] for requirement in project["dependencies"]}
    assert "ffcv" not in plain, "it is built from source"
    assert {"numba", "onnx", "onnxscript", "pillow", "safetensors", "torch"} <= plain
    assert any(requirement.startswith("ffcv") for requirement in project["optional-dependencies"]["ffcv"])


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_modules_have_docstrings_and_allowed_imports(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "every module has a docstring"
    imports = imported(tree)
    assert not imports & {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal"}
    assert not imports & OUTSIDE, "a second copy of each would be loaded: import datapruning.scorers and so on"


def test_no_module_imports_the_linked_folders_at_top_level() -> None:
    sources = {
        path: path.read_text(encoding="utf-8")
        for folder in ("tests", "benchmarks", "scripts")
        for path in (PROJECT_ROOT / folder).rglob("*.py")
    }
    for page in [PROJECT_ROOT / "README.md", PROJECT_ROOT / "CONTRIBUTING.md", *(PROJECT_ROOT / "docs").glob("*.md")]:
        blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        sources[page] = "\n".join(blocks)
    assert len(sources) > 150
    for path, source in sources.items():
        assert not imported(ast.parse(source)) & OUTSIDE, path


@pytest.mark.slow
def test_mypy_sees_through_the_links(tmp_path: Path) -> None:
    """It uses the mypy cache of `make check`, without which it takes a minute."""
    calls = {
        "from datapruning.scorers import get_scorer": ("get_scorer(3)", "arg-type"),
        "from datapruning.teachers.load import load_teacher": ("load_teacher(context=3)", "call-arg"),
        "from datapruning.recipes import FOLDER": ("FOLDER.nothing", "attr-defined"),
    }
    (tmp_path / "wrong.py").write_text("\n".join([*calls, *(call for call, _ in calls.values())]) + "\n")
    command = [sys.executable, "-m", "mypy", str(tmp_path / "wrong.py")]
    process = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=280)
    assert re.findall(r"wrong\.py:(\d): error: .*\[([\w-]+)\]", process.stdout) == [
        (str(line), code) for line, (_, code) in enumerate(calls.values(), len(calls) + 1)
    ], process.stdout


def test_all_public_names_resolve() -> None:
    for name in dp.__all__:
        assert getattr(dp, name) is not None
    assert len(set(dp.__all__)) == len(dp.__all__)
    with pytest.raises(AttributeError, match="no attribute 'scoer'"):
        dp.scoer  # noqa: B018


def test_dir_lists_the_public_names() -> None:
    assert dir(dp) == sorted(dp.__all__)
    assert {"__version__", "score", "select", "train", "UserError"} <= set(dir(dp))


@pytest.mark.parametrize("module", ["datapruning", "datapruning.api", "datapruning.config", "datapruning.errors"])
def test_importing_loads_no_heavy_package(module: str) -> None:
    code = (
        f"import sys; import {module}; import datapruning; assert datapruning.__version__;"
        "print({'torch', 'scipy', 'ffcv', 'sklearn', 'typer', 'pydantic'} & set(sys.modules))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert process.stdout == "set()\n"


def test_a_checkout_that_was_never_installed_works(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(PROJECT_ROOT)!r})\n"
        "import importlib.metadata as metadata\n"
        "metadata.entry_points = lambda **query: ()\n"
        "from datapruning.cli.main import run\n"
        "sys.exit(run(['score', '--scorer', 'random', '--loader', 'memory', '--out', 's.npz']) or run(['recipes']))"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("random: s.npz\n")
    assert len(dp.load_scores(tmp_path / "s.npz").values) == 1438
