"""Configuration: plain dataclasses, filled from a recipe's TOML, with every key and type checked.

A recipe has the tables [views], [mix], [train], [teacher], [score], [evidence], [ensemble], [member], [kd],
[self_distill] and [epsd]; [teacher], [score] and [member] start from [train] and say only what differs.
`--set train.lr=0.05` changes one value.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from datapruning.blame import blamed, in_line
from datapruning.data.policy import MixPolicy, ViewPolicy
from datapruning.errors import BadFile, BadValue, UnknownName, reason
from datapruning.files import LONGEST_TOML, parse_toml, read_text
from datapruning.self_distillation.settings import SelfDistill
from datapruning.sparsity.settings import EPSD
from datapruning.training.settings import ADDED, STUDENT_ONLY, within, without_unused
from datapruning.training.settings import Training as Training


@dataclass(frozen=True)
class Evidence:
    """What is recorded for the scorers.

    Attributes:
        runs: independent proxies; EL2N is their mean (its paper recommends 10).
        full_runs: how many of them train to the end (forgetting and `el2n-online` read those); the others stop at
            `early_epoch`.
        early_epoch: after so many epochs the whole training set is evaluated, for EL2N.
    """

    runs: int = 5
    full_runs: int = 1
    early_epoch: int = 2

    def __post_init__(self) -> None:
        within("runs", self.runs, 1, 100_000)
        within("full_runs", self.full_runs, 0, self.runs)
        within("early_epoch", self.early_epoch, 1, 1_000_000)


@dataclass(frozen=True)
class Ensemble:
    """The subset ensemble that memorization is read from; [member] says how a member is trained.

    Attributes:
        members: how many. More give shorter error bars; those that are there are kept.
        inside: share of the samples that a member is trained on (Feldman and Zhang 2020: 0.7), as parts of at most 20.
        views: train members on augmented views. Without, they fit their samples in fewer epochs.
    """

    members: int = 40
    inside: float = 0.7
    views: bool = False

    def __post_init__(self) -> None:
        within("members", self.members, 2, 100_000)
        within("inside", self.inside, 0.05, 0.95)


@dataclass(frozen=True)
class KD:
    """Distillation: temperature T, and how `--kd-weight auto` searches.

    Attributes:
        temperature: T of the objective where the KD weight is a number.
        temperatures: that `auto` tries; it begins with the first.
        trust: under `auto`, a label counts only as far as the teacher believes it; where the KD weight is a number, every
            sample has that weight.
        grid: KD weights that probes try.
        ladder: networks that `--teacher auto` trains as teachers and chooses from; it begins with the first.
        fork: share of the epochs after which the run is forked for the probes.
        search: what the search may cost, in trainings, where a training sees 100,000 samples or more; small ones may pay
            up to 0.8.
        validation: samples that judge the probes, at most.
    """

    temperature: float = 4.0
    temperatures: tuple[float, ...] = (2.0, 4.0)
    trust: bool = True
    grid: tuple[float, ...] = (0.3, 0.6, 0.9)
    ladder: tuple[str, ...] = ()
    fork: float = 0.5
    search: float = 0.25
    validation: int = 5000

    def __post_init__(self) -> None:
        within("temperature", self.temperature, 1e-3, 1e6)
        within("fork", self.fork, 0, 1)
        within("search", self.search, 1e-6, 1e6)
        within("validation", self.validation, 1, 10**9)
        if not self.grid:
            raise BadValue("kd.grid is empty; name at least one KD weight")
        if not self.temperatures:
            raise BadValue("kd.temperatures is empty; name at least one temperature")
        for temperature in self.temperatures:
            within("temperatures", temperature, 1e-3, 1e6)
        for weight in self.grid:
            check_kd_weight(weight)


@dataclass(frozen=True)
class Recipe:
    """Everything a job needs beside its data.

    `name` says where it came from. `threads` is the torch thread count where the command names none; 0: as torch has
    them. Small networks run no faster on several threads, and much slower where another program wants a core.
    """

    name: str
    threads: int = 0
    views: ViewPolicy = field(default_factory=ViewPolicy)
    mix: MixPolicy = field(default_factory=MixPolicy)
    train: Training = field(default_factory=Training)
    teacher: Training = field(default_factory=Training)
    score: Training = field(default_factory=Training)
    evidence: Evidence = field(default_factory=Evidence)
    ensemble: Ensemble = field(default_factory=Ensemble)
    member: Training = field(default_factory=Training)
    kd: KD = field(default_factory=KD)
    self_distill: SelfDistill = field(default_factory=SelfDistill)
    epsd: EPSD = field(default_factory=EPSD)

    def __post_init__(self) -> None:
        for table in INHERITS:
            for key in STUDENT_ONLY:
                if getattr(getattr(self, table), key) != getattr(Training, key):
                    raise BadValue(f"in [{table}]: {key} is for students, set it in [train]; all others see every sample")


TABLES: dict[str, type] = {
    "views": ViewPolicy,
    "mix": MixPolicy,
    "train": Training,
    "teacher": Training,
    "score": Training,
    "evidence": Evidence,
    "ensemble": Ensemble,
    "member": Training,
    "kd": KD,
    "self_distill": SelfDistill,
    "epsd": EPSD,
}
INHERITS = ("teacher", "score", "member")
LONGEST_SHOWN = 200
"""Letters of a wrong value that a message repeats."""
RUN_TABLE, ENVIRONMENT_TABLE = "run", "environment"
"""A run folder's config.toml has these beside a recipe's tables: the command's options, so that it can be rerun, and
what the run was made with, which is a record and no setting."""


def check_kd_weight(weight: float) -> float:
    """A KD weight a, 0 <= a <= 1.

    Raises:
        BadValue: outside, or NaN.
    """
    if not 0 <= weight <= 1:
        raise BadValue(f"the KD weight lies in 0..1 (0: labels alone, 1: teacher alone), or is 'auto'; got {weight}")
    return weight


def read_recipe(path: Path, changes: Sequence[str] = ()) -> tuple[Recipe, dict[str, Any]]:
    """Read a recipe file; returns it and its [run] table (empty for a plain recipe).

    Args:
        path: a TOML file.
        changes: "table.key=value" each, value in TOML, a bare word being a string.

    Raises:
        BadFile: not there, no TOML, an unknown key (the nearest is named) or a wrong type.
        BadValue: a value outside what is allowed.
    """
    try:
        text = read_text(path, LONGEST_TOML)
        tables = parse_toml(text)
    except FileNotFoundError:
        raise BadFile(f"recipe {path} is not there") from None
    except (OSError, ValueError) as error:
        raise BadFile(f"recipe {path} cannot be read: {reason(error)}") from None
    for change in changes:
        _apply_change(tables, change)
    run = tables.pop(RUN_TABLE, {})
    if not isinstance(run, dict):
        raise BadFile(f"{path}{in_line(text, RUN_TABLE)}: '{RUN_TABLE}' is a table")
    name = str(tables.pop("name", path.stem))
    threads = tables.pop("threads", 0)
    if type(threads) is not int or threads < 0:
        where = f"{path}{in_line(text, 'threads')}"
        raise BadValue(f"{where}: threads is a whole number, 0 for as many as torch has; got {threads!r}")
    tables.pop("about", None)
    tables.pop(ENVIRONMENT_TABLE, None)
    for table, values in tables.items():
        if table not in TABLES:
            raise BadFile(f"{path}{in_line(text, table)}: {UnknownName('table', table, TABLES)}")
        if not isinstance(values, dict):
            raise BadFile(f"{path}{in_line(text, table)}: '{table}' is a table; write [{table}] and its keys below")
    alone = (*STUDENT_ONLY, *(ADDED if run else ()))  # a run wrote all that its tables say: what is not there is default
    base = {key: value for key, value in tables.get("train", {}).items() if key not in alone}
    try:
        parts: dict[str, Any] = {
            table: build(kind, {**(base if table in INHERITS else {}), **tables.get(table, {})}, table)
            for table, kind in TABLES.items()
        }
        return Recipe(name, threads, **parts), run
    except (UnknownName, BadValue) as error:
        line = blamed(text, str(error), _wrong_alone, guess=not changes)
        raise (BadFile if isinstance(error, UnknownName) else BadValue)(f"{path}{line}: {error}") from None


def _wrong_alone(table: str, key: str, value: Any) -> str:
    """What is wrong with one key of a recipe by itself; "" for nothing."""
    try:
        build(TABLES.get(table, Training), {key: value}, table)
    except (UnknownName, BadValue) as error:
        return str(error)
    return ""


def _apply_change(tables: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    table, dot, name = key.strip().partition(".")
    if not (equals and dot and name):
        raise BadValue(f"--set takes table.key=value (for example train.lr=0.05), got '{change}'")
    if table not in TABLES:
        raise UnknownName("table", table, TABLES)
    try:
        value = parse_toml(f"value = {text.strip()}")["value"]
    except ValueError:
        value = text.strip()
    tables.setdefault(table, {})[name] = value


Config = TypeVar("Config")


def build(kind: type[Config], values: Mapping[str, Any], where: str) -> Config:
    """An instance of a configuration dataclass, every key known and every value of its type.

    Raises:
        UnknownName: a key it does not have. BadValue: a value of the wrong type.
    """
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    ready = {}
    for key, value in values.items():
        if key not in known:
            raise UnknownName(f"key in [{where}]", key, known)
        ready[key] = _of_type(value, hints[key], f"{where}.{key}")
    try:
        return kind(**ready)
    except (BadValue, UnknownName) as error:
        raise BadValue(f"in [{where}]: {error}") from None


def _of_type(value: Any, hint: Any, where: str) -> Any:
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise BadValue(f"{where} is a list, got {_shown(value)}")
        return tuple(_of_type(v, get_args(hint)[0], where) for v in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise BadValue(f"{where} is a number, got {_shown(value)}") from None
    if type(value) is not hint:
        raise BadValue(f"{where} is {_TYPE_WORDS[hint]}, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


_TYPE_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def plain(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """The recipe's tables as plain data: what manifests and config.toml hold.

    [mix] is left out where nothing is mixed, so that such runs are what they were before there was mixing. Likewise keys
    of a training (`Training.unused`) and of the views (`ViewPolicy.used`) that say nothing, [epsd] where nothing is pruned,
    and [self_distill]; of that, only what its method reads is there.
    """
    values = dataclasses.asdict(recipe)
    for table in ("train", *INHERITS):
        values[table] = without_unused(getattr(recipe, table), values[table])
    values["self_distill"] = recipe.self_distill.used
    values["views"] = recipe.views.used
    left_out = {"mix": not recipe.mix.cutmix, "self_distill": not recipe.self_distill.on, "epsd": not recipe.epsd.removed}
    return {table: values[table] for table in TABLES if not left_out.get(table, False)}


def to_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """TOML text of one level of tables of plain values; None is left out."""
    lines = []
    for table, values in tables.items():
        lines.append(f"[{table}]")
        lines += [f"{key} = {_toml_value(value)}" for key, value in values.items() if value is not None]
        lines.append("")
    return "\n".join(lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON's escapes are TOML's, but for DEL
