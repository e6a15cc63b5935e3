"""The installed package: from a wheel, from a source distribution, and as an editable install."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from datapruning.utils.system import PROJECT_ROOT
from datapruning.version import __version__
from tests.conftest import fast_options

pytestmark = pytest.mark.slow

PROJECT_FILES = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
PACKAGE_FOLDERS = ("datapruning", "scorers", "teachers", "recipes")
ENVIRONMENT = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
TIMEOUT_SECONDS = 120
PACKAGED_SCORER = '''"""A scorer of somebody else's package."""
import numpy as np
from datapruning import scorer
from datapruning.artifacts.scorer import Samples

@scorer("constant", needs=Samples, source="a test", cost="none", sign="none")
def constant(samples):
    """The same score for every sample."""
    return np.ones(samples.total)
'''
PACKAGED_SCORER_PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "constant-scorer"
version = "1.0"
[project.entry-points."datapruning.scorers"]
constant = "constant_scorer:constant"
[tool.setuptools]
py-modules = ["constant_scorer"]
"""


def run(*command: object, cwd: Path) -> str:
    """Run a program, which must succeed. Returns what it printed."""
    process = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert process.returncode == 0, f"{command}: {process.stdout[-2000:]}{process.stderr[-4000:]}"
    return process.stdout


def copy_project(folder: Path) -> Path:
    """Copy what the package is built from, so that no build/ or *.egg-info of the checkout takes part."""
    folder.mkdir()
    for name in PROJECT_FILES:
        shutil.copy(PROJECT_ROOT / name, folder)
    for name in PACKAGE_FOLDERS:
        shutil.copytree(PROJECT_ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def build(project: Path, kind: str, folder: Path) -> Path:
    """Build a `wheel`, an `sdist` or an `editable` wheel as pip would, with the setuptools of this environment."""
    folder.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(folder)!r}))"
    return folder / run(sys.executable, "-W", "ignore", "-c", code, cwd=project).splitlines()[-1]


class Installation:
    """An environment that holds wheels, and finds their dependencies among the packages of this environment."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.uv = shutil.which("uv", path=f"{PROJECT_ROOT / '.uv' / 'bin'}{os.pathsep}{os.environ['PATH']}")
        venv.create(folder, symlinks=True, with_pip=not self.uv)
        (self.site_packages,) = folder.glob("lib/python*/site-packages")

    def install(self, wheel: Path) -> set[str]:
        """Install a wheel. Returns the names of the new files and folders in site-packages."""
        before = set(os.listdir(self.site_packages))
        python = self.bin / "python"
        pip = [self.uv, "pip", "install", "--offline", "--quiet", "--python", python]
        run(*(pip if self.uv else [python, "-m", "pip", "install", "-q"]), "--no-index", "--no-deps", wheel, cwd=self.bin)
        return set(os.listdir(self.site_packages)) - before

    def add_dependencies(self) -> None:
        """Make the packages of this environment importable, without running its *.pth files."""
        paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (self.site_packages / "dependencies.pth").write_text("\n".join(sorted(paths)) + "\n")

    def link_dependencies(self, wheel: Path) -> set[str]:
        """Make importable what the wheel declares and what that needs, and nothing else of this environment.

        Returns the names of these distributions.
        """
        (metadata,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
        required = [
            line.removeprefix("Requires-Dist: ")
            for line in zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
            if line.startswith("Requires-Dist: ")
        ]
        linked: set[str] = set()
        while required:
            requirement = required.pop()
            name = re.match(r"[\w.-]+", requirement)
            assert name is not None
            if "extra ==" in requirement or name[0].lower().replace("_", "-") in linked:
                continue
            try:
                distribution = importlib.metadata.distribution(name[0])
            except importlib.metadata.PackageNotFoundError:  # of another system or Python
                continue
            linked.add(name[0].lower().replace("_", "-"))
            required += distribution.requires or ()
            tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
            for top in tops:
                target = self.site_packages / top
                if not target.exists():
                    target.symlink_to(Path(str(distribution.locate_file(top))))
        return linked


def user_folder(folder: Path) -> Path:
    """A working folder in which a user keeps modules that are named like our top-level folders."""
    folder.mkdir()
    stop = "raise SystemExit('the file of the user was imported')\n"
    (folder / "scorers.py").write_text(stop)
    for name in ("teachers", "recipes"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(stop)
    return folder


def check_commands(folder: Path, *command: object) -> None:
    """Score, list the recipes and train, from a folder with modules named like ours."""
    run(*command, "score", "--scorer", "random,el2n", "--out", "scores", *fast_options(), cwd=folder)
    assert sorted(path.name for path in (folder / "scores").iterdir()) == ["el2n.npz", "random.npz"]
    assert "digits" in run(*command, "recipes", cwd=folder)
    train = ("train", "--fraction", "0.1", "--kd-weight", "0.5", "--out", "student", *fast_options())
    run(*command, *train, cwd=folder)
    assert (folder / "student" / "result.json").is_file()


def packaged_files(project: Path) -> set[str]:
    """What a wheel must hold, as paths in site-packages: every file of the four folders."""
    links = {"scorers", "teachers", "recipes"}
    return {
        f"{'datapruning/' if top in links else ''}{path.relative_to(project).as_posix()}"
        for top in PACKAGE_FOLDERS
        for path in (project / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not any(p.is_symlink() for p in path.parents)
    }


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_the_installed_distribution_is_one_package(kind: str, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    expected = packaged_files(project)
    if kind == "sdist":
        shutil.unpack_archive(build(project, "sdist", tmp_path / "sdist"), tmp_path / "unpacked", filter="data")
        (project,) = (tmp_path / "unpacked").iterdir()
        assert not (project / "tests").exists()
    wheel = build(project, "wheel", tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == expected

    environment = Installation(tmp_path / "environment")
    assert environment.install(wheel) == {"datapruning", f"datapruning_toolkit-{__version__}.dist-info"}
    environment.add_dependencies()
    check_commands(user_folder(tmp_path / "user"), environment.bin / "dprune")


def test_a_scorer_of_another_installed_package_is_found(tmp_path: Path) -> None:
    environment = Installation(tmp_path / "environment")
    environment.install(build(copy_project(tmp_path / "project"), "wheel", tmp_path / "wheel"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "constant_scorer.py").write_text(PACKAGED_SCORER)
    (other / "pyproject.toml").write_text(PACKAGED_SCORER_PROJECT)
    new = environment.install(build(other, "wheel", tmp_path / "other-wheel"))
    assert {"constant_scorer.py", "constant_scorer-1.0.dist-info"} <= new
    environment.add_dependencies()
    user = user_folder(tmp_path / "user")
    run(environment.bin / "dprune", "score", "--scorer", "constant", "--out", "s.npz", *fast_options(), cwd=user)
    assert (user / "s.npz").is_file()


def test_an_editable_install_finds_the_scorer_of_contributing(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    environment = Installation(tmp_path / "environment")
    environment.install(build(project, "editable", tmp_path / "wheel"))
    environment.add_dependencies()
    user = user_folder(tmp_path / "user")
    # `python -m` puts the working folder first on the path, with the user's modules in it
    check_commands(user, environment.bin / "python", "-m", "datapruning")
    page = (PROJECT_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    (project / "scorers" / "low_confidence.py").write_text(code, encoding="utf-8")
    assert "low-confidence" in run(environment.bin / "dprune", "score", "--list", cwd=user)


def test_the_declared_dependencies_are_enough(tmp_path: Path) -> None:
    environment = Installation(tmp_path / "environment")
    wheel = build(copy_project(tmp_path / "project"), "wheel", tmp_path / "wheel")
    environment.install(wheel)
    linked = environment.link_dependencies(wheel)
    assert {"torch", "numpy", "numba", "typer"} <= linked
    assert not linked & {"ffcv", "pandas", "pytest", "timm", "transformers"}
    dprune, user = environment.bin / "dprune", user_folder(tmp_path / "user")
    assert __version__ in run(dprune, "--version", cwd=user)
    check_commands(user, dprune)
    run(dprune, "export", "student", "--out", "student.onnx", cwd=user)
    run(dprune, "report", "student", cwd=user)
    assert (user / "report.html").is_file()


@pytest.mark.parametrize("version", ["3.11", "3.14"])
def test_every_python_gets_all_dependencies_as_wheels(version: str, tmp_path: Path) -> None:
    """So `pip install .` needs no compiler; `python -m benchmarks.install` does it."""
    uv = shutil.which("uv", path=f"{PROJECT_ROOT / '.uv' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        pytest.skip("uv, which asks the package index, is not installed")
    command = [uv, "pip", "compile", "pyproject.toml", "--python-version", version, "--only-binary", ":all:", "--quiet"]
    process = subprocess.run(
        [*command, "-o", str(tmp_path / "resolved.txt")],
        cwd=PROJECT_ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS,
    )  # fmt: skip
    if process.returncode and re.search(r"connect|dns|resolve host|timed out|fetch", process.stderr, re.IGNORECASE):
        pytest.skip(f"no package index is reachable: {process.stderr.strip().splitlines()[-1]}")
    assert process.returncode == 0, process.stderr
    resolved = (tmp_path / "resolved.txt").read_text()
    assert "torch==" in resolved
    assert "ffcv==" not in resolved
