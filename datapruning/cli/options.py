"""Options that several commands share: a dataclass for each group, and a decorator that makes typer parameters of it."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from datapruning.errors import escape_control_chars

if TYPE_CHECKING:
    from datapruning.artifacts.metadata import Metadata
    from datapruning.data.dataset import Dataset
    from datapruning.runs.context import Context
    from datapruning.runs.opening import ContextSettings

MAX_SEED = 2**32 - 1
DEFAULT_WORKSPACE = Path("dprune-runs")
DEFAULT_DATA = "digits"
StrategySettings = Annotated[
    list[str] | None,
    typer.Option("--strategy-set", help="A setting of the strategy: key=value, e.g. cutoff=0.2. Repeatable."),
]
Seed = Annotated[int, typer.Option(help="Random seed.", min=0, max=MAX_SEED)]
Budget = Annotated[
    str | None,
    typer.Option(
        help="epochs; steps: as many training steps as on the full data; samples: see --samples.",
        show_default="the recipe's",
    ),
]
NumSamples = Annotated[
    str | None,
    typer.Option("--samples", help="Number of samples that a student sees, repeats counted; full: as on all the data."),
]
StudentModel = Annotated[str | None, typer.Option("--model", help="The student's network.", show_default="the recipe's")]
Epochs = Annotated[int | None, typer.Option(help="Number of training epochs.", show_default="the recipe's")]
BatchSize = Annotated[
    int | None, typer.Option(help="Samples that go through the network together.", show_default="the recipe's")
]
LearningRate = Annotated[float | None, typer.Option("--lr", help="The peak learning rate.", show_default="the recipe's")]
Init = Annotated[
    Path | None,
    typer.Option(
        "--init", help="Start from these weights (a file as --teacher takes it, or a run folder).", show_default="at random"
    ),
]
AllowWeakTeacher = Annotated[
    bool, typer.Option("--allow-weak-teacher", help="Take a teacher although it is near chance on the test set.")
]
RunFolder = Annotated[Path | None, typer.Option("--out", help="The run folder.", show_default="in the workspace")]
DATA_HELP = "digits; a torchvision dataset such as cifar10 or svhn; a folder of images; hf:FOLDER; or the path of an .npz."


@dataclass(frozen=True)
class DatasetOptions:
    """Which dataset, and how its images and labels are read."""

    data: Annotated[str | None, typer.Option(help=DATA_HELP, show_default="that of the file or run")] = None
    image_size: Annotated[
        int | None, typer.Option(help="Side in pixels that image files are decoded to.", show_default="64")
    ] = None
    holdout: Annotated[
        float | None,
        typer.Option(
            help="Fraction of each class that becomes the test set, for a folder without one.", show_default="test/ or val/"
        ),
    ] = None
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be decoded as images.")
    ] = False
    image_format: Annotated[
        str | None,
        typer.Option(
            help="How decoded images are stored: raw, jpg or jpg:QUALITY (a tenth of the space of raw).", show_default="raw"
        ),
    ] = None
    layout: Annotated[
        str | None,
        typer.Option(help="Order of the axes of an .npz's images: nhwc, or nchw (channels first).", show_default="nhwc"),
    ] = None
    labels_from: Annotated[int | None, typer.Option(help="The smallest label in an .npz.", show_default="0")] = None
    pixel_range: Annotated[
        str | None,
        typer.Option(
            help="LOW..HIGH, the values of black and white, such as 0..1 or 0..4095, in pixels that are not 8-bit numbers.",
            show_default="what the file says",
        ),
    ] = None
    allow_empty_classes: Annotated[
        bool, typer.Option("--allow-empty-classes", help="Take classes without a training sample.")
    ] = False
    corrected_labels: Annotated[
        str | None,
        typer.Option(
            help="A CSV with the columns id and corrected: other labels of some training samples.", show_default="none"
        ),
    ] = None
    data_root: Annotated[
        Path | None, typer.Option(help="Folder of the torchvision datasets.", show_default="$DPRUNE_DATA, else ./data")
    ] = None

    @property
    def name(self) -> str | None:
        """The dataset with its options in one string, as `open_dataset` takes it.

        Raises:
            InvalidValue: options without a dataset, or outside what is allowed.
        """
        from datapruning.data.dataset_spec import OPTIONS, DatasetSpec, parse_dataset_spec
        from datapruning.errors import InvalidValue

        options = {field: getattr(self, field) for field in OPTIONS}
        if self.data is None:
            given = next(iter(DatasetSpec("").with_options(options).options), None)
            if given is not None:
                raise InvalidValue("an option of a dataset needs the dataset: name it with --data", parameter=given)
            return None
        return str(parse_dataset_spec(self.data).with_options(options))


@dataclass(frozen=True)
class DataOptions(DatasetOptions):
    """A dataset that is opened."""

    download: Annotated[bool, typer.Option("--download", help="Let torchvision download a dataset that is missing.")] = False
    workspace: Annotated[Path, typer.Option(help="Folder of caches, evidence, scores, teachers and students.")] = (
        DEFAULT_WORKSPACE
    )

    def open_dataset(self, name: str) -> Dataset:
        """Open a dataset by its name."""
        from datapruning.data.registry import open_dataset

        return open_dataset(name, root=self.data_root, download=self.download, workspace=self.workspace)

    def open_named(self) -> Dataset | None:
        """The dataset that is named, or None."""
        name = self.name
        return None if name is None else self.open_dataset(name)

    def open_recorded(self, meta: Metadata) -> Dataset | None:
        """The dataset that is named, else that of a file's metadata, or None where it is not there."""
        from datapruning.errors import UserError, first_line
        from datapruning.utils.console import info

        if self.name is not None:
            return self.open_named()
        try:
            return self.open_dataset(meta.spec or meta.dataset)
        except UserError as error:
            info(f"no images: {first_line(error)}; name the dataset with --data")
            return None


@dataclass(frozen=True)
class ContextOptions(DataOptions):
    """Everything that a context is opened from."""

    data: Annotated[str | None, typer.Option(help=DATA_HELP, show_default=DEFAULT_DATA)] = None
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="A recipe's name, or the path of a .toml.", show_default="the dataset's own"),
    ] = None
    reuse: Annotated[
        list[Path] | None,
        typer.Option(help="Another workspace, which may be read-only: what is finished there is used. Repeatable."),
    ] = None
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting: table.key=value, e.g. train.lr=0.05. Repeatable.")
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto"
    loader: Annotated[str, typer.Option("--loader", help="auto, ffcv, mmap or memory.")] = "auto"
    threads: Annotated[
        int | None, typer.Option(help="torch threads; changes float sums.", show_default="by cores and network")
    ] = None
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same bits again on a GPU in attention, too: slow for transformers.")
    ] = False

    def open_dataset(self, name: str) -> Dataset:
        """Open a dataset by its name."""
        from datapruning.data.registry import open_dataset

        return open_dataset(
            name, root=self.data_root, download=self.download, workspace=self.workspace, reuse=self.reuse or ()
        )

    @property
    def settings(self) -> ContextSettings:
        """The keyword arguments of `as_context`."""
        changes = [*(self.changes or ()), *(["train.deterministic=true"] if self.deterministic else [])]
        return {
            "recipe": self.recipe, "changes": changes, "device": self.device, "loader": self.loader,
            "workspace": self.workspace, "reuse": self.reuse or (),
            "threads": self.threads, "data_root": self.data_root, "download": self.download,
        }  # fmt: skip

    def named_data(self, samples: Path | None = None, *paths: Path | None) -> str:
        """The dataset: named, else that of the run whose config.toml is the recipe, of the files, or the default.

        Raises:
            InvalidValue, IncompatibleInputs: see `dataset_for`.
        """
        from datapruning.runs.recorded_dataset import dataset_for
        from datapruning.runs.run_config import read_run_options

        run = read_run_options(self.recipe) if self.name is None else None
        return run.data if run is not None else dataset_for(self.name, samples, DEFAULT_DATA, paths)

    def open_context(self) -> Context:
        """Open the dataset and everything around it."""
        from datapruning.runs.opening import as_context

        return as_context(self.named_data(), **self.settings)


@dataclass(frozen=True)
class RunOptions(ContextOptions):
    """A context whose runs are shown by other tools."""

    log: Annotated[
        list[str] | None,
        typer.Option("--log", help="Show runs in tensorboard, wandb or mlflow. Repeatable, or separated by commas."),
    ] = None

    @property
    def settings(self) -> ContextSettings:
        """The keyword arguments of `as_context`."""
        return {**super().settings, "log": self.log or ()}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer calls it: the fields of its parameter of a dataclass become parameters after its own."""
    hints = get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters.values()
    group = next((p.name for p in parameters if is_dataclass(hints[p.name])), None)
    if group is None:
        return command
    kind = hints[group]
    group_hints = get_type_hints(kind, include_extras=True)

    @functools.wraps(command)
    def call(**values: Any) -> None:
        options = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        command(**values, **{group: options})

    command_parameters = [p.replace(annotation=hints[p.name]) for p in parameters if p.name != group]
    option_parameters = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=group_hints[f.name])
        for f in fields(kind)
    ]
    signature = inspect.Signature(
        [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in command_parameters), *option_parameters]
    )
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def print_result(line: str) -> None:
    """Print a result on stdout: what a script wants to read."""
    sys.stdout.write(escape_control_chars(line) + "\n")
