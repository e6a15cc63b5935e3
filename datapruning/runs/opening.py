"""Opening a context: from a dataset, from the name of one, or from a context, which stays as it is."""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack, cast

from datapruning import recipes
from datapruning.config.recipe import Recipe, read_recipe
from datapruning.data.batching import MIN_BATCH_SIZE
from datapruning.data.dataset import Dataset
from datapruning.data.dataset_spec import DEFAULT_SIZE, parse_dataset_spec
from datapruning.data.loaders.factory import check_names, resolve_device
from datapruning.data.registry import is_image_files, open_dataset
from datapruning.errors import InvalidFile, InvalidValue, UserError
from datapruning.models import check_builtin_name, check_model
from datapruning.runs.context import WORKSPACE, Context
from datapruning.runs.hardware import Hardware
from datapruning.runs.trackers.trackers import Trackers, find_tools
from datapruning.utils.console import info
from datapruning.utils.names import expand_user

DatasetOrContext = Dataset | Context | str | Path
"""What a function takes where it needs a dataset: an open dataset, its name or path, or a context."""


class OpenSettings(TypedDict, total=False):
    """The keyword arguments of `open_context`."""

    recipe: str | Recipe | None
    changes: Sequence[str]
    device: str
    loader: str
    workspace: str | Path
    reuse: Sequence[str | Path]
    threads: int | None
    log: Sequence[str]


class ContextSettings(OpenSettings, total=False):
    """Settings that a function takes with a dataset or its name.

    Those of `open_context`, and for a dataset that is opened by its name `data_root` (folder of the torchvision datasets)
    and `download`.
    """

    data_root: str | Path | None
    download: bool


def validate_recipe(dataset: str, recipe: str | None, changes: Sequence[str] = (), device: str = "auto") -> None:
    """Refuse a wrong recipe, or views larger than the images, before image files are decoded.

    Of a `dataset` (as `open_dataset` takes it) that does not consist of image files, nothing is checked.

    Raises:
        UnknownName, InvalidFile, InvalidValue: no such recipe, a mistake in it, its `views.size` is too large, or there is
            no such `device`.
    """
    spec = parse_dataset_spec(dataset)
    if is_image_files(spec.name):
        folder = os.path.basename(os.path.realpath(expand_user(spec.name.removeprefix("hf:"))))
        side = spec.image_size or DEFAULT_SIZE
        shape = (side, side, 3)
        name = recipe or _default_recipes(folder, True, shape, device)[0]
        read_recipe(recipes.path_of(name), changes)[0].views.check_images(shape)


def open_context(
    data: Dataset,
    *,
    recipe: str | Recipe | None = None,
    changes: Sequence[str] = (),
    device: str = "auto",
    loader: str = "auto",
    workspace: str | Path = WORKSPACE,
    reuse: Sequence[str | Path] = (),
    threads: int | None = None,
    log: Sequence[str] = (),
) -> Context:
    """What verbs work with; pass it to several verbs to open loaders only once.

    Args:
        data: from `open_dataset`.
        recipe: a name, a path ending in .toml, or a `Recipe`; default: the dataset's own, and for images of 32x32 in colour
            on a CPU a fast one (`recipes.ON_CPU`), which is announced.
        changes: to a recipe that is named, "table.key=value" each.
        device: "auto", "cpu", "cuda".
        loader: "auto", "ffcv", "mmap", "memory".
        workspace: folder for caches, evidence, scores, teachers and students.
        reuse: other workspaces, which may be read-only: their finished caches, evidence, scores, teachers and students are
            used where `workspace` has none.
        threads: torch threads; default: the recipe's, else by cores and networks (docs/reproducibility.md).
        log: experiment trackers: "tensorboard", "wandb", "mlflow" (docs/tracking.md).

    Raises:
        InvalidValue: a mistake in the recipe, or a device that this machine lacks. Whether networks take these images is
            checked where they are used (`Context.check_networks`).
        UnknownName, InvalidFile: no such recipe, loader, model or tracker, or no workspace there to reuse.
        MissingPackage: a tracker without its package.
    """
    _check_settings(device, loader, threads, log, reuse)
    held: set[str] = set()
    if not isinstance(recipe, Recipe):
        recipe, run_table = read_recipe(recipes.path_of(recipe or _default_recipe(data, device)), changes)
        held = {change.partition("=")[0].strip() for change in changes} | set(run_table.get("held") or ())
    if len(data.valid_ids) < MIN_BATCH_SIZE:
        raise InvalidValue(
            f"{data.name} has {len(data.valid_ids)} readable training samples; {MIN_BATCH_SIZE} or more are needed"
        )
    recipe.views.check_images(data.train.shape)
    for training in (recipe.train, recipe.teacher, recipe.proxy, recipe.ensemble_member):
        check_builtin_name(training.model)
    for model in recipe.kd.teacher_candidates:
        check_builtin_name(model)
    shape = recipe.views.output_shape(data.train.shape)
    hardware = Hardware(device, loader, threads, data, recipe.threads, partial(_batch_flops, recipe, shape, data.classes))
    loggers = Trackers(find_tools(log), Path(workspace))
    return Context(
        data, recipe, hardware, Path(workspace), loggers=loggers, held=frozenset(held), reuse=tuple(map(Path, reuse)),
    )  # fmt: skip


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
    recipe, device, reuse = settings.get("recipe"), settings.get("device", "auto"), settings.get("reuse", ())
    _check_settings(device, settings.get("loader", "auto"), settings.get("threads"), settings.get("log", ()), reuse)
    if not isinstance(recipe, Recipe):
        validate_recipe(str(data), recipe, settings.get("changes", ()), device)
    workspace = settings.get("workspace", WORKSPACE)
    dataset = open_dataset(str(data), root=root, download=download, workspace=workspace, reuse=reuse)
    return open_context(dataset, **open_settings)


def _default_recipe(data: Dataset, device: str) -> str:
    """The name of the default recipe; where it depends on the device, a line says so."""
    chosen, usual = _default_recipes(data.name, data.train_paths is not None, data.train.shape, device)
    if chosen != usual:
        model = read_recipe(recipes.path_of(chosen))[0].train.model
        info(f"recipe: {chosen}, whose {model} suits 32x32 images on a CPU; for the recipe of a GPU, name '{usual}'")
    return chosen


def _default_recipes(dataset: str, files: bool, shape: tuple[int, int, int], device: str) -> tuple[str, str]:
    """(The name of the default recipe on this device, that on a GPU); the device is resolved only where they may differ."""
    usual, on_cpu = (recipes.default_for(dataset, files=files, shape=shape, on_cpu=on_cpu) for on_cpu in (False, True))
    return on_cpu if on_cpu != usual and resolve_device(device).type == "cpu" else usual, usual


def _batch_flops(recipe: Recipe, shape: tuple[int, int, int], classes: int) -> int:
    """Operations of the forward pass of a batch through the largest of a recipe's networks that take such images."""
    from datapruning.models.flops import forward_flops

    largest = 0
    for training in (recipe.train, recipe.teacher, recipe.proxy, recipe.ensemble_member):
        with suppress(UserError):  # a network that is not used may be one that cannot be
            check_model(training.model, shape, classes)
            largest = max(largest, training.batch_size * forward_flops(training.model, shape, classes))
    return largest


def _check_settings(device: str, loader: str, threads: int | None, log: Sequence[str], reuse: Sequence[str | Path]) -> None:
    check_names(device, loader)
    if device.startswith("cuda"):
        resolve_device(device)  # it has to be there
    find_tools(log)
    for workspace in reuse:
        if not Path(workspace).is_dir():
            raise InvalidFile(f"workspace {workspace} is not there", parameter="reuse")
    if threads is not None and threads < 1:
        raise InvalidValue(f"at least 1 thread is needed, got {threads}", parameter="threads")
