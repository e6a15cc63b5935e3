"""Configuration: plain dataclasses, filled from a recipe's TOML, with every key and type checked.

A recipe has the tables [views], [cutmix], [train], [teacher], [proxy], [evidence], [ensemble], [ensemble_member], [kd],
[self_distill] and [sparsity]; [teacher], [proxy] and [ensemble_member] start from [train] and say only what differs.
`--set train.lr=0.05` changes one value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datapruning.config.augmentation import AugmentPolicy, CutMixPolicy
from datapruning.config.ensemble import EnsembleConfig
from datapruning.config.evidence import EvidenceConfig
from datapruning.config.kd import KDConfig
from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.config.sparsity import SparsityConfig
from datapruning.config.toml_lines import blamed, in_line
from datapruning.config.training import ADDED, STUDENT_ONLY, without_unused
from datapruning.config.training import TrainConfig as TrainConfig
from datapruning.config.validation import build
from datapruning.errors import InvalidFile, InvalidValue, UnknownName, first_line
from datapruning.io.text import LONGEST_TOML, parse_toml, read_text


@dataclass(frozen=True)
class Recipe:
    """Everything a job needs beside its data.

    `name` says where it came from. `threads` is the torch thread count where the command names none; 0: as torch has
    them. Small networks run no faster on several threads, and much slower where another program wants a core.
    """

    name: str
    threads: int = 0
    views: AugmentPolicy = field(default_factory=AugmentPolicy)
    cutmix: CutMixPolicy = field(default_factory=CutMixPolicy)
    train: TrainConfig = field(default_factory=TrainConfig)
    teacher: TrainConfig = field(default_factory=TrainConfig)
    proxy: TrainConfig = field(default_factory=TrainConfig)
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    ensemble_member: TrainConfig = field(default_factory=TrainConfig)
    kd: KDConfig = field(default_factory=KDConfig)
    self_distill: SelfDistillConfig = field(default_factory=SelfDistillConfig)
    sparsity: SparsityConfig = field(default_factory=SparsityConfig)

    def __post_init__(self) -> None:
        for table in INHERITS:
            for key in STUDENT_ONLY:
                if getattr(getattr(self, table), key) != getattr(TrainConfig, key):
                    raise InvalidValue(
                        f"in [{table}]: {key} is for students, set it in [train]; all others see every sample"
                    )


TABLES: dict[str, type] = {
    "views": AugmentPolicy,
    "cutmix": CutMixPolicy,
    "train": TrainConfig,
    "teacher": TrainConfig,
    "proxy": TrainConfig,
    "evidence": EvidenceConfig,
    "ensemble": EnsembleConfig,
    "ensemble_member": TrainConfig,
    "kd": KDConfig,
    "self_distill": SelfDistillConfig,
    "sparsity": SparsityConfig,
}


INHERITS = ("teacher", "proxy", "ensemble_member")


RUN_TABLE, ENVIRONMENT_TABLE = "run", "environment"
"""A run folder's config.toml has these beside a recipe's tables: the command's options, so that it can be rerun, and
what the run was made with, which is a record and no setting."""


def read_recipe(path: Path, changes: Sequence[str] = ()) -> tuple[Recipe, dict[str, Any]]:
    """Read a recipe file; returns it and its [run] table (empty for a plain recipe).

    Args:
        path: a TOML file.
        changes: "table.key=value" each, value in TOML, a bare word being a string.

    Raises:
        InvalidFile: not there, no TOML, an unknown key (the nearest is named) or a wrong type.
        InvalidValue: a value outside what is allowed.
    """
    try:
        text = read_text(path, LONGEST_TOML)
        tables = parse_toml(text)
    except FileNotFoundError:
        raise InvalidFile(f"recipe {path} is not there") from None
    except (OSError, ValueError) as error:
        raise InvalidFile(f"recipe {path} cannot be read: {first_line(error)}") from None
    for change in changes:
        _apply_change(tables, change)
    run = tables.pop(RUN_TABLE, {})
    if not isinstance(run, dict):
        raise InvalidFile(f"{path}{in_line(text, RUN_TABLE)}: '{RUN_TABLE}' is a table")
    name = str(tables.pop("name", path.stem))
    threads = tables.pop("threads", 0)
    if type(threads) is not int or threads < 0:
        where = f"{path}{in_line(text, 'threads')}"
        raise InvalidValue(f"{where}: threads is a whole number, 0 for as many as torch has; got {threads!r}")
    tables.pop("about", None)
    tables.pop(ENVIRONMENT_TABLE, None)
    for table, values in tables.items():
        if table not in TABLES:
            raise InvalidFile(f"{path}{in_line(text, table)}: {UnknownName('table', table, TABLES)}")
        if not isinstance(values, dict):
            raise InvalidFile(f"{path}{in_line(text, table)}: '{table}' is a table; write [{table}] and its keys below")
    alone = (*STUDENT_ONLY, *(ADDED if run else ()))  # a run wrote all that its tables say: what is not there is default
    base = {key: value for key, value in tables.get("train", {}).items() if key not in alone}
    try:
        parts: dict[str, Any] = {
            table: build(kind, {**(base if table in INHERITS else {}), **tables.get(table, {})}, table)
            for table, kind in TABLES.items()
        }
        return Recipe(name, threads, **parts), run
    except (UnknownName, InvalidValue) as error:
        line = blamed(text, str(error), _wrong_alone, guess=not changes)
        raise (InvalidFile if isinstance(error, UnknownName) else InvalidValue)(f"{path}{line}: {error}") from None


def _wrong_alone(table: str, key: str, value: Any) -> str:
    """What is wrong with one key of a recipe by itself; "" for nothing."""
    try:
        build(TABLES.get(table, TrainConfig), {key: value}, table)
    except (UnknownName, InvalidValue) as error:
        return str(error)
    return ""


def _apply_change(tables: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    table, dot, name = key.strip().partition(".")
    if not (equals and dot and name):
        raise InvalidValue(f"--set takes table.key=value (for example train.lr=0.05), got '{change}'")
    if table not in TABLES:
        raise UnknownName("table", table, TABLES)
    try:
        value = parse_toml(f"value = {text.strip()}")["value"]
    except ValueError:
        value = text.strip()
    tables.setdefault(table, {})[name] = value


def plain(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """The recipe's tables as plain data: what manifests and config.toml hold.

    [cutmix] is left out where nothing is mixed, so that such runs are what they were before there was mixing. Likewise keys
    of a training (`TrainConfig.unused`) and of the views (`AugmentPolicy.used`) that say nothing, [sparsity] where nothing
    is pruned, and [self_distill]; of that, only what its method reads is there.
    """
    values = dataclasses.asdict(recipe)
    for table in ("train", *INHERITS):
        values[table] = without_unused(getattr(recipe, table), values[table])
    values["self_distill"] = recipe.self_distill.used
    values["views"] = recipe.views.used
    left_out = {
        "cutmix": not recipe.cutmix.prob,
        "self_distill": not recipe.self_distill.on,
        "sparsity": not recipe.sparsity.sparsity,
    }
    return {table: values[table] for table in TABLES if not left_out.get(table, False)}
