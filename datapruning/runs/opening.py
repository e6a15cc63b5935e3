"""Opening a context: the dataset, its name or a context that a function is called with becomes a context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast

from datapruning import recipes
from datapruning.config.recipe import ENVIRONMENT_TABLE, RUN_TABLE, Recipe, read_recipe
from datapruning.data.dataset import Dataset
from datapruning.data.dataset_spec import DEFAULT_SIZE, parse_dataset_spec
from datapruning.data.registry import is_image_files, open_dataset
from datapruning.errors import InvalidFile, InvalidValue
from datapruning.io.text import MAX_TOML_BYTES, parse_toml, read_text
from datapruning.runs.context import WORKSPACE, Context, make_context
from datapruning.runs.process_group import current_group
from datapruning.runs.trackers.factory import find_tools

DatasetOrContext = Dataset | Context | str | Path
"""What a function takes where it needs a dataset: one that is open, its name or path, or a context."""


DEFAULT_DATASET = "digits"
RUN_OPTION_TYPES: dict[str, type | tuple[type, ...]] = {
    "data": str, "seed": int, "kd_weight": (int, float, str), "teacher": list,
}  # fmt: skip


class OpenSettings(TypedDict, total=False):
    """The keyword arguments of `open_context`."""

    recipe: str | Recipe | None
    changes: Sequence[str]
    device: str
    loader: str
    workspace: str | Path
    threads: int | None
    log: Sequence[str]


class ContextSettings(OpenSettings, total=False):
    """Settings that a function takes with a dataset or its name.

    Those of `open_context`, and for a dataset that is opened by its name `data_root` (folder of the torchvision datasets)
    and `download`.
    """

    data_root: str | Path | None
    download: bool


def load_recipe(name: str | None, data: Dataset, changes: Sequence[str] = ()) -> tuple[Recipe, dict[str, Any]]:
    """A recipe by name or path (default: the dataset's own) with `changes` applied, and its [run] table.

    Raises:
        UnknownName, InvalidFile, InvalidValue: no such recipe, or something in it is wrong.
    """
    return read_recipe(recipes.path_of(name or recipes.default_for(data.name, files=data.train_paths is not None)), changes)


def validate_recipe(name: str, recipe: str | None, changes: Sequence[str] = ()) -> None:
    """Refuse a recipe that is wrong, or whose views are larger than the pictures, before pictures are decoded for it.

    Args:
        name: of the dataset, as `open_dataset` takes it; nothing is checked of one that is not made of picture files.
        recipe: a name or a path; None: the dataset's own.
        changes: "table.key=value" each.

    Raises:
        UnknownName, InvalidFile, InvalidValue: no such recipe, something in it is wrong, or its `views.size` is too large.
    """
    place = parse_dataset_spec(name)
    if is_image_files(place.name):
        folder = Path(place.name.removeprefix("hf:")).expanduser().resolve().name
        loaded_recipe, _ = read_recipe(recipes.path_of(recipe or recipes.default_for(folder, files=True)), changes)
        side = place.size or DEFAULT_SIZE
        loaded_recipe.views.output_shape((side, side, 3))


def open_context(
    data: Dataset,
    *,
    recipe: str | Recipe | None = None,
    changes: Sequence[str] = (),
    device: str = "auto",
    loader: str = "auto",
    workspace: str | Path = WORKSPACE,
    threads: int | None = None,
    log: Sequence[str] = (),
) -> Context:
    """Everything a verb needs beside its own arguments; pass it to several verbs to open loaders only once.

    Args:
        data: from `open_dataset`.
        recipe: a name, a path ending in .toml, or a `Recipe`; default: the dataset's own.
        changes: "table.key=value" each.
        device: "auto", "cpu", "cuda".
        loader: "auto", "ffcv", "mmap", "memory".
        workspace: folder for caches, evidence, scores, teachers and students.
        threads: torch threads; default: the recipe's, else as torch has them.
        log: tools that show runs: "tensorboard", "wandb", "mlflow" (docs/tracking.md).
    """
    _check_settings(threads, log)
    loaded_recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, data, changes)[0]
    return make_context(data, loaded_recipe, device=device, loader=loader, workspace=workspace, threads=threads, log=log)


def as_context(data: DatasetOrContext, **settings: Unpack[ContextSettings]) -> Context:
    """Open what is not open yet.

    Args:
        data: a dataset, its name or path (as `open_dataset` takes it), or a context, which has its settings already.
        settings: see `ContextSettings`.

    Raises:
        InvalidValue: settings beside a context, or a setting outside what is allowed.
        UnknownName, InvalidFile, MissingPackage: see `open_dataset` and `open_context`.
    """
    if isinstance(data, Context):
        if settings:
            given = ", ".join(settings)
            raise InvalidValue(f"a context has its own settings: give {given} to open_context, or pass a dataset")
        return data
    root, download = settings.pop("data_root", None), settings.pop("download", False)
    others = cast(OpenSettings, settings)
    if isinstance(data, Dataset):
        if root is not None or download:
            raise InvalidValue("data_root and download are for a dataset that is opened by its name; this one is open")
        return open_context(data, **others)
    _check_settings(settings.get("threads"), settings.get("log", ()))
    group = current_group()
    if group is not None and root is not None:
        group.data_root = str(Path(root).resolve())
    recipe = settings.get("recipe")
    if not isinstance(recipe, Recipe):
        validate_recipe(str(data), recipe, settings.get("changes", ()))
    opened = open_dataset(str(data), root=root, download=download, workspace=settings.get("workspace", WORKSPACE))
    return open_context(opened, **others)


@dataclass(frozen=True)
class RunOptions:
    """What a run records of how it was asked for: the [run] table of its config.toml.

    Attributes:
        data: the dataset, as `open_dataset` takes it.
        seed: random seed.
        kd_weight: 0..1, or "auto".
        teacher: run folders, or None for the recipe's teacher.
    """

    data: str
    seed: int
    kd_weight: float | str
    teacher: list[str] | None


def read_run_options(recipe: str | Path | None) -> RunOptions | None:
    """The options of the run whose config.toml is given as the recipe; None for any other recipe.

    Raises:
        InvalidFile: an option of the wrong type.
    """
    path = Path(recipe or "")
    if path.suffix != ".toml" or not path.is_file():
        return None
    try:
        tables = parse_toml(read_text(path, MAX_TOML_BYTES))
    except (OSError, ValueError):
        return None  # the reader of recipes says what is wrong
    run, environment = tables.get(RUN_TABLE), tables.get(ENVIRONMENT_TABLE, {})
    if not isinstance(run, dict) or not run or not isinstance(environment, dict):
        return None
    if "data" in environment:
        run["data"] = environment["data"]  # where the dataset of that name was
    defaults: dict[str, Any] = {"data": DEFAULT_DATASET, "seed": 0, "kd_weight": "auto", "teacher": None}
    for key, kinds in RUN_OPTION_TYPES.items():
        if key in run and not isinstance(run[key], kinds):
            raise InvalidFile(f"{path}: {key} in [run] is {run[key]!r}, which no run has written")
    return RunOptions(**{key: run.get(key, default) for key, default in defaults.items()})


def _check_settings(threads: int | None, log: Sequence[str]) -> None:
    find_tools(log)
    if threads is not None and threads < 1:
        raise InvalidValue(f"at least 1 thread is needed, got {threads}", parameter="threads")
