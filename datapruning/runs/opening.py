"""Opening a context: from a dataset, from the name of one, or from a context, which stays as it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack, cast

from datapruning import recipes
from datapruning.config.recipe import Recipe, read_recipe
from datapruning.data.dataset import Dataset
from datapruning.data.dataset_spec import DEFAULT_SIZE, parse_dataset_spec
from datapruning.data.registry import is_image_files, open_dataset
from datapruning.errors import InvalidValue
from datapruning.runs.context import WORKSPACE, Context, make_context
from datapruning.runs.process_group import current_group
from datapruning.runs.trackers.factory import find_tools

DatasetOrContext = Dataset | Context | str | Path
"""What a function takes where it needs a dataset: an open dataset, its name or path, or a context."""


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


def load_recipe(name: str | None, data: Dataset, changes: Sequence[str] = ()) -> Recipe:
    """A recipe by name or path (None: the dataset's own) with `changes` ("table.key=value") applied.

    Raises:
        UnknownName, InvalidFile, InvalidValue: no such recipe, or a mistake in it.
    """
    path = recipes.path_of(name or recipes.default_for(data.name, files=data.train_paths is not None))
    return read_recipe(path, changes)[0]


def validate_recipe(dataset: str, recipe: str | None, changes: Sequence[str] = ()) -> None:
    """Refuse a wrong recipe, or views larger than the images, before image files are decoded.

    Args:
        dataset: as `open_dataset` takes it; nothing is checked of a dataset that does not consist of image files.
        recipe: a name or a path; None: the dataset's own.
        changes: "table.key=value" each.

    Raises:
        UnknownName, InvalidFile, InvalidValue: no such recipe, a mistake in it, or its `views.size` is too large.
    """
    spec = parse_dataset_spec(dataset)
    if is_image_files(spec.name):
        folder = Path(spec.name.removeprefix("hf:")).expanduser().resolve().name
        views = read_recipe(recipes.path_of(recipe or recipes.default_for(folder, files=True)), changes)[0].views
        side = spec.size or DEFAULT_SIZE
        views.output_shape((side, side, 3))


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
    """What verbs work with; pass it to several verbs to open loaders only once.

    Args:
        data: from `open_dataset`.
        recipe: a name, a path ending in .toml, or a `Recipe`; default: the dataset's own.
        changes: "table.key=value" each.
        device: "auto", "cpu", "cuda".
        loader: "auto", "ffcv", "mmap", "memory".
        workspace: folder for caches, evidence, scores, teachers and students.
        threads: torch threads; default: the recipe's, else torch's own.
        log: experiment trackers: "tensorboard", "wandb", "mlflow" (docs/tracking.md).
    """
    _check_settings(threads, log)
    loaded_recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, data, changes)
    return make_context(data, loaded_recipe, device=device, loader=loader, workspace=workspace, threads=threads, log=log)


def as_context(data: DatasetOrContext, **settings: Unpack[ContextSettings]) -> Context:
    """The context of a function's first argument.

    Args:
        data: a dataset, its name or path (as `open_dataset` takes it), or a context, which is returned as it is.
        settings: see `ContextSettings`.

    Raises:
        InvalidValue: settings in addition to a context, or a value out of its range.
        UnknownName, InvalidFile, MissingPackage: see `open_dataset` and `open_context`.
    """
    if isinstance(data, Context):
        if settings:
            given = ", ".join(settings)
            raise InvalidValue(f"a context has its own settings: give {given} to open_context, or pass a dataset")
        return data
    root, download = settings.pop("data_root", None), settings.pop("download", False)
    open_settings = cast(OpenSettings, settings)
    if isinstance(data, Dataset):
        if root is not None or download:
            raise InvalidValue("data_root and download are for a dataset that is opened by its name; this one is open")
        return open_context(data, **open_settings)
    _check_settings(settings.get("threads"), settings.get("log", ()))
    group = current_group()
    if group is not None and root is not None:
        group.data_root = str(Path(root).resolve())
    recipe = settings.get("recipe")
    if not isinstance(recipe, Recipe):
        validate_recipe(str(data), recipe, settings.get("changes", ()))
    dataset = open_dataset(str(data), root=root, download=download, workspace=settings.get("workspace", WORKSPACE))
    return open_context(dataset, **open_settings)


def _check_settings(threads: int | None, log: Sequence[str]) -> None:
    find_tools(log)
    if threads is not None and threads < 1:
        raise InvalidValue(f"at least 1 thread is needed, got {threads}", parameter="threads")
