"""CONTRIBUTING.md lists the layers of the import contract, and its example of a scorer works."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from datapruning import scorers
from datapruning.utils.system import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "datapruning"
TEXT = (PROJECT_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_layers_match_the_import_contract() -> None:
    tree = TEXT.partition("```\ndatapruning/\n")[2].partition("```")[0].splitlines()
    described = [re.fullmatch(r"  (\w+)(/|\.py) +(\S.{6,})", line) for line in tree]
    assert all(described), tree
    names = [match[1] for match in described if match]
    contracts = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert names == [name for layer in layers for name in re.split(r" [|:] ", layer)]
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert set(names) == packages | {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    for match in filter(None, described):
        path = PACKAGE / match[1] if match[2] == "/" else PACKAGE / f"{match[1]}.py"
        assert path.exists()
        for subpackage in re.findall(r"(?<![\w/])(\w+)/", match[3]):
            assert (path / subpackage).is_dir() or subpackage == match[1]
    assert not {path.name for path in (PROJECT_ROOT / "tests").iterdir() if path.is_dir()} - packages - {
        "robustness", "pretend_gpu", "docs", "helpers", "scripts", "__pycache__",
    }, "tests mirror the packages"  # fmt: skip


def test_the_example_scorer_is_found_and_passes_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer_code, test_code = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    folder = tmp_path / "scorers"
    folder.mkdir()
    (folder / "low_confidence.py").write_text(scorer_code, encoding="utf-8")
    monkeypatch.setattr(scorers, "__path__", [*scorers.__path__, str(folder)])
    try:
        names: dict[str, Any] = {}
        exec(compile(test_code, "test_low_confidence.py", "exec"), names)
        names["test_low_confidence_is_minus_the_mean_label_probability"](tmp_path)
    finally:
        sys.modules.pop("datapruning.scorers.low_confidence", None)
