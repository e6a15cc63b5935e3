"""Recipes: complete, copyable TOML files, one a dataset."""

from __future__ import annotations

from pathlib import Path

from datapruning.errors import UnknownName

FOLDER = Path(__file__).parent
OF_DATASETS = {
    **dict.fromkeys(("kmnist", "emnist-balanced", "emnist-digits", "emnist-letters", "qmnist", "usps"), "mnist"),
    "tiny-imagenet-200": "tiny-imagenet",
    "stl10": "folder",
}
"""Datasets that use the recipe of another name."""


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


def default_for(dataset: str, *, files: bool = False) -> str:
    """The recipe for a dataset when none is named: its own, else "folder" for picture files and "default" for all others."""
    if dataset in names():
        return dataset
    return OF_DATASETS.get(dataset, "folder" if files else "default")
