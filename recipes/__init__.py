"""Recipes: complete, copyable TOML files, one a dataset."""

import tomllib
from pathlib import Path

from datapruning.errors import OutputExists, UnknownName
from datapruning.io.atomic import write_text

FOLDER = Path(__file__).parent
OF_DATASETS = {
    **dict.fromkeys(("kmnist", "emnist-balanced", "emnist-digits", "emnist-letters", "qmnist", "usps"), "mnist"),
    "tiny-imagenet-200": "tiny-imagenet",
    "stl10": "folder",
}
"""Datasets that use the recipe of another name."""
ON_CPU = {
    "cifar10": "cifar10-fast", "cifar100": "cifar100-fast", "svhn": "svhn-fast",
    "default": "cifar10-fast", "folder": "cifar10-fast",
}  # fmt: skip
"""What stands in for a default recipe where CIFAR-sized images are trained on a CPU."""
CIFAR_SHAPE = (32, 32, 3)
"""(height, width, channels) of CIFAR-sized images."""


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


def about(name: str) -> str:
    """What a recipe that comes with the package is for, in a line.

    Raises:
        UnknownName: no recipe of that name.
    """
    return str(tomllib.loads(path_of(name).read_text(encoding="utf-8"))["about"])


def copy(name: str, to: str | Path | None = None) -> Path:
    """Copy a recipe to change it, to NAME.toml in the current folder unless `to` says where; returns the path of the copy.

    Raises:
        UnknownName: no recipe of that name. OutputExists: `to` exists.
    """
    path = Path(to or f"{name}.toml")
    text = path_of(name).read_text(encoding="utf-8")
    if path.exists():
        raise OutputExists(f"{path} exists; name another file")
    write_text(path, text)
    return path


def default_for(
    dataset: str, *, files: bool = False, shape: tuple[int, int, int] | None = None, on_cpu: bool = False
) -> str:
    """Return the default recipe of a dataset: its own, else "folder" for image files and "default" for all others.

    Args:
        dataset: name of the dataset.
        files: whether it consists of image files.
        shape: (height, width, channels) of its images; for CIFAR-sized ones there are fast recipes.
        on_cpu: whether networks are trained on a CPU, where these are what is affordable.
    """
    name = dataset if dataset in names() else OF_DATASETS.get(dataset, "folder" if files else "default")
    return ON_CPU.get(name, name) if on_cpu and shape == CIFAR_SHAPE else name
