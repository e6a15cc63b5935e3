"""Options that several verbs share, with one wording."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datapruning.errors import escape_control_chars

if TYPE_CHECKING:
    from datapruning.artifacts.scorer import Scorer
    from datapruning.runs.context import Context

Data = Annotated[
    str | None,
    typer.Option(
        help="digits; a torchvision set such as cifar10 or svhn; a folder of pictures; hf:FOLDER; or the path of an .npz.",
        show_default="digits",
    ),
]
DataRoot = Annotated[
    Path | None, typer.Option(help="Folder of the torchvision sets.", show_default="$DPRUNE_DATA, else ./data")
]
Download = Annotated[bool, typer.Option("--download", help="Let torchvision fetch a set that is missing.")]
RecipeName = Annotated[
    str | None, typer.Option("--recipe", help="A recipe's name, or the path of a .toml.", show_default="the dataset's own")
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="Change a setting: table.key=value, e.g. train.lr=0.05. Repeatable.")
]
With = Annotated[
    list[str] | None,
    typer.Option("--strategy-set", help="A setting of the strategy: key=value, e.g. cutoff=0.2. Repeatable."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
LoaderName = Annotated[str, typer.Option("--loader", help="auto, ffcv, mmap or memory.")]
Workspace = Annotated[Path, typer.Option(help="Folder of caches, evidence, scores, teachers and students.")]
Threads = Annotated[
    int | None, typer.Option(help="torch threads; changes float sums.", show_default="the recipe's, else torch's own")
]
Log = Annotated[
    list[str] | None, typer.Option("--log", help="Show runs in tensorboard, wandb or mlflow. Repeatable, or commas between.")
]
MAX_SEED = 2**32 - 1
Seed = Annotated[int, typer.Option(help="Seed of all that is random.", min=0, max=MAX_SEED)]
DEFAULT_WORKSPACE = Path("dprune-runs")
DEFAULT_DATA = "digits"
RUN_OPTIONS: dict[str, tuple[type, ...]] = {
    "data": (str,),
    "seed": (int,),
    "kd_weight": (int, float, str),
    "teacher": (list,),
}
"""What a rerun takes from the [run] table of a config.toml."""


def context_from(
    data: str | None,
    root: Path | None,
    download: bool,
    recipe: str | None,
    changes: list[str] | None,
    device: str,
    loader: str,
    workspace: Path,
    threads: int | None,
    log: list[str] | None = None,
) -> Context:
    """Open the dataset and everything around it."""
    from datapruning.data.registry import open_dataset
    from datapruning.errors import InvalidValue
    from datapruning.runs.opening import check_before_decoding, open_context
    from datapruning.runs.process_group import current
    from datapruning.runs.trackers.factory import find_tools

    find_tools(log or ())  # before pictures are decoded
    if threads is not None and threads < 1:
        raise InvalidValue(f"--threads is at least 1, got {threads}")
    team = current()
    if team is not None and root is not None:
        team.data_root = str(root.resolve())
    name = data or run_table(recipe).get("data") or DEFAULT_DATA
    check_before_decoding(name, recipe, changes or ())
    found = open_dataset(name, root=root, download=download, workspace=workspace)
    return open_context(
        found, recipe=recipe, changes=changes or (), device=device, loader=loader, workspace=workspace, threads=threads,
        log=log or (),
    )  # fmt: skip


def say_price(context: Context, scorers: Sequence[Scorer]) -> None:
    """What the evidence of several scorers costs, where it is not there yet."""
    from datapruning.evidence.estimate import estimate_evidence_cost
    from datapruning.utils.console import say

    estimate = estimate_evidence_cost(context, scorers)
    if estimate.samples:
        see = "sees" if str(estimate) == "1 proxy" else "see"
        say(f"evidence: {estimate} {see} {estimate.samples:,} samples with repeats, less what is there already")


def run_table(recipe: str | None) -> dict[str, Any]:
    """The options of the run whose config.toml is given as the recipe; empty for any other recipe.

    Raises:
        InvalidFile: an option of the wrong type.
    """
    from datapruning.errors import InvalidFile

    if not recipe or not recipe.endswith(".toml") or not Path(recipe).is_file():
        return {}
    try:
        tables = tomllib.loads(Path(recipe).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # the recipe's own reader says what is wrong
    run, environment = tables.get("run", {}), tables.get("environment", {})
    if not isinstance(run, dict) or not isinstance(environment, dict):
        return {}
    if run and "data" in environment:
        run["data"] = environment["data"]  # where the dataset of that name lay
    for key, kinds in RUN_OPTIONS.items():
        if key in run and not isinstance(run[key], kinds):
            raise InvalidFile(f"{recipe}: {key} in [run] is {run[key]!r}, which no run has written")
    return run


def result(line: str) -> None:
    """A result, on stdout: what a script wants to read."""
    sys.stdout.write(escape_control_chars(line) + "\n")
