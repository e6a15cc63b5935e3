"""The tables [run] and [environment] of a run folder's config.toml: the request and the environment of the run."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from datapruning.config.recipe import ENVIRONMENT_TABLE, RUN_TABLE
from datapruning.io.text import MAX_TOML_BYTES, parse_toml, read_text
from datapruning.utils.records import Record, parse_record

DEFAULT_DATASET = "digits"


class NumericsKey(Record):
    """What float sums are rounded by, and hence part of the identity of whatever is computed from them.

    `threads` are torch's on the CPU; `device` is "cpu" or "cuda"; `processes` share the work (None: one).
    """

    threads: Annotated[int, Field(ge=1)]
    device: str
    processes: Annotated[int, Field(ge=2)] | None = None


class Environment(NumericsKey):
    """Where a run was made: the [environment] table of its config.toml; `device` may have the number of a GPU.

    `data` is the path or the name of the dataset, `torch` the version of torch, `loader` the kind of the loader, `init` the
    file of the weights that the training started from (None: at random).
    """

    data: str
    torch: str
    loader: str
    init: str | None = None


class RunOptions(Record):
    """The request for a run: the [run] table of its config.toml. Defaults apply to hand-written tables.

    `verb` is "train" for a student, "teach" for a teacher. `data` and `fingerprint` are of the dataset; `subset` is the
    hash of the sample ids. `fraction` is the share of the training set that was asked for (None: ids were given, or it is a
    teacher). `kd_weight` is 0 to 1, or "auto"; `teacher` are run folders, "auto" before them where one of them is chosen
    (None: the recipe's teacher). `strategy` and its settings, as "name=value", stand where the scorer alone does not say
    how the samples were chosen. `held` are settings that the user had set, so that a search for the KD weight does not
    change them. `init` is the hash of the weights that the training started from (None: at random).
    """

    verb: Literal["train", "teach"] = "train"
    data: str = DEFAULT_DATASET
    fingerprint: str | None = None
    fraction: float | None = None
    scorer: str | None = None
    balance: str | None = None
    subset: str | None = None
    kd_weight: float | str | None = None
    seed: int = 0
    teacher: tuple[str, ...] | None = None
    strategy: str | None = None
    strategy_settings: tuple[str, ...] | None = None
    held: tuple[str, ...] | None = None
    init: str | None = None


def read_run_options(recipe: str | Path | None) -> RunOptions | None:
    """The options of the run whose config.toml is given as the recipe; None for any other recipe.

    `data` is where the dataset was, and `init` where the initial weights were, as [environment] records it.

    Raises:
        InvalidFile: an unknown option, or one of a wrong type.
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
    places = {key: environment[key] for key in ("data", "init") if key in environment}
    return parse_record(RunOptions, {**run, **places}, f"{path}: in [{RUN_TABLE}]")
