"""CONTRIBUTING.md shows the layers as they are."""

from __future__ import annotations

import re
import tomllib

from datapruning.utils.system import PROJECT_ROOT

PACKAGE = PROJECT_ROOT / "datapruning"


def test_the_tree_of_layers_is_the_contract_and_names_everything() -> None:
    text = (PROJECT_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = text.partition("```\ndatapruning/\n")[2].partition("```")[0].splitlines()
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
        "robustness", "docs", "helpers", "scripts", "__pycache__",
    }, "tests mirror the packages"  # fmt: skip
