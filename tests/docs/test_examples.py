"""Every example in README, docs and `--help` runs as it is, page by page in an empty folder; every link target exists.

Only the recipes are shorter than those that come with the package.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from PIL import Image

import datapruning as dp
from datapruning import recipes
from datapruning.cli.main import app
from datapruning.utils.system import PROJECT_ROOT

ROOT = PROJECT_ROOT
SHORTER = {
    "epochs": "2", "runs": "2", "early_epoch": "1", "num_members": "10",
    "model": '"tinynet8"', "teacher_candidates": '["tinynet8", "tinynet16"]',
}  # fmt: skip
"""What the examples' recipes say instead."""
SLOW_PAGES = {"README.md", "launchers.md", "report.md", "sweep.md"}
"""Pages whose examples take over 10 seconds."""
NOTEBOOK = ROOT / "docs" / "first-steps.ipynb"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

OTHERS = ("cleanlab", "datasets", "ffcv", "fiftyone", "lightning", "transformers")
"""Packages that some examples use and ours does not need: each such example runs by itself, where they are installed."""


MADE_BEFORE = (
    "score --scorer el2n --out el2n.npz",
    "score --scorer random --out random.npz",
    "select --scores el2n.npz --fraction 0.3 --out el2n-30.npz",
    "select --scores random.npz --fraction 0.3 --out random-30.npz",
    "train --fraction 0.3 --kd-weight 0 --out dprune-runs/students/my-run",
)
"""What makes the files that the examples in `--help` name."""


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def other_package(page: Path, block: str) -> str | None:
    """Return which of OTHERS an example imports, if any; examples of the page about FFCV run together."""
    if page.name == "ffcv.md":
        return None
    match = re.search(rf"^(?:from|import) ({'|'.join(OTHERS)})\b", block, re.MULTILINE)
    return match.group(1) if match else None


def examples_with_others() -> list[Any]:
    """Return (package, example) of all pages."""
    examples = [(page, other_package(page, block), block) for page in PAGES for block in blocks(page, "python")]
    return [pytest.param(package, block, id=f"{page.name}-{package}") for page, package, block in examples if package]


def steps(page: Path) -> list[str | list[str]]:
    """Return what a reader runs, in order: Python blocks, and the arguments of `dprune` lines in plain blocks."""
    steps_of_page: list[str | list[str]] = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        if language == "python" and not other_package(page, block):
            steps_of_page.append(block)
        elif not language:
            lines = [shlex.split(line, comments=True) for line in block.splitlines() if line.startswith("dprune ")]
            steps_of_page += [words[1:] for words in lines]
    return steps_of_page


@pytest.fixture
def short_recipes(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the recipes of the package by copies with the values of SHORTER."""
    folder = tmp_path_factory.mktemp("recipes")
    for path in recipes.FOLDER.glob("*.toml"):
        text = path.read_text(encoding="utf-8")
        for key, value in SHORTER.items():
            text = re.sub(rf"^{key} = .*", f"{key} = {value}", text, flags=re.MULTILINE)
        if "[ensemble]" not in text:
            text += f"\n[ensemble]\nnum_members = {SHORTER['num_members']}\n"
        (folder / path.name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(recipes, "FOLDER", folder)


@pytest.mark.usefixtures("short_recipes")
@pytest.mark.parametrize(
    "page", [pytest.param(p, id=p.name, marks=[pytest.mark.slow] * (p.name in SLOW_PAGES)) for p in PAGES if steps(p)]
)
def test_a_page_runs_from_top_to_bottom(page: Path, dprune: Callable[..., Any], tmp_path: Path) -> None:
    if page.name == "ffcv.md":
        pytest.importorskip("ffcv", reason="FFCV is not installed")
        dp.cache(dp.open_dataset("digits"), out=tmp_path / "cache")
        next((tmp_path / "cache").rglob("train.beton")).rename("train.beton")
    names: dict[str, Any] = {"__name__": "example"}
    for step in steps(page):
        if isinstance(step, str):
            exec(compile(step, str(page), "exec"), names)
        else:
            command = dprune(*step)
            assert command.code == 0, (step, command.err)


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["execution_count"], cell["outputs"]) == (None, []), "it is committed without outputs"
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
    assert names["report"].page.exists()
    assert len(names["labels"]) == 5


@pytest.mark.slow
@pytest.mark.usefixtures("short_recipes")
@pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning")  # by lightning
@pytest.mark.parametrize(("package", "block"), examples_with_others())
def test_examples_with_other_packages_run(package: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(block, package, "exec"), names)
    if "dp.record(" in block:
        assert names["scores"].values.shape == (40,)
        assert len(np.unique(names["scores"].values)) > 30


@pytest.mark.slow
@pytest.mark.usefixtures("short_recipes")
def test_the_example_in_every_help_runs(dprune: Callable[..., Any], tmp_path: Path) -> None:
    Image.new("RGB", (32, 24)).save(tmp_path / "photo.png")
    verbs = typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
    examples = [line for verb in verbs for line in re.findall(r"^Example: dprune (.*)$", verb.help, re.MULTILINE)]
    assert len(examples) == len(verbs)
    for example in [*MADE_BEFORE, *examples]:
        command = dprune(*shlex.split(example.replace("members=100", "members=10").replace("demo", "demo --seeds 1")))
        assert command.code == 0, (example, command.err)


@pytest.mark.parametrize("page", [*PAGES, NOTEBOOK], ids=lambda p: p.name)
def test_links_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target
