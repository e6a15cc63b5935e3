"""Recipes: complete, copyable TOML files, one a dataset."""

from __future__ import annotations

from pathlib import Path

from datapruning.errors import UnknownName

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def path_of(name: str) -> Path:
    """The file of a recipe, by its name or by its path (ending in .toml).

    Raises:
        UnknownName: no recipe of that name comes with the package.
    """
    if name.endswith(".toml"):
        return Path(name)
    if name not in names():
        raise UnknownName("recipe", name, [*names(), "a path ending in .toml"])
    return FOLDER / f"{name}.toml"


def default_for(dataset: str) -> str:
    """The recipe for a dataset when none is named: its own, else "default"."""
    return dataset if dataset in names() else {"cifar10": "cifar", "cifar100": "cifar"}.get(dataset, "default")
