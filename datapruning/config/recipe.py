"""A recipe: every setting of the toolkit in tables, read from a TOML file.

A recipe has the tables [views], [cutmix], [mixup], [train], [teacher], [proxy], [evidence], [ensemble], [ensemble_member],
[kd], [self_distill] and [sparsity]; [teacher], [proxy] and [ensemble_member] start from [train] and say only what differs.
"table.key=value" (`train.lr=0.05`) changes one value.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from datapruning.config.augmentation import AugmentPolicy, CutMixPolicy, MixupPolicy
from datapruning.config.ensemble import EnsembleConfig
from datapruning.config.evidence import EvidenceConfig
from datapruning.config.kd import KDConfig
from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.config.sparsity import SparsityConfig
from datapruning.config.table import InvalidSetting, Table, between
from datapruning.config.toml import at_line, parse_toml, read_toml
from datapruning.config.training import NOT_INHERITED, STUDENT_ONLY, TeacherConfig, TrainConfig
from datapruning.errors import InvalidFile, InvalidValue, UnknownName

INHERIT_FROM_TRAIN = ("teacher", "proxy", "ensemble_member")
RUN_TABLE, ENVIRONMENT_TABLE = "run", "environment"
"""A run folder's config.toml has these beside a recipe's tables: the command's options, so that it can be rerun, and
what the run was made with, which is a record and no setting."""


class Recipe(Table):
    """All settings of a job.

    Attributes:
        name: where the recipe came from.
        threads: torch threads where the command names none, at most the cores that it may use; 0: by cores and networks.
            Small networks run no faster on several threads, and much slower where another program wants a core.
    """

    name: str
    threads: Annotated[int, between(0, 100_000)] = 0
    views: AugmentPolicy = AugmentPolicy()
    cutmix: CutMixPolicy = CutMixPolicy()
    mixup: MixupPolicy = MixupPolicy()
    train: TrainConfig = TrainConfig()
    teacher: TeacherConfig = TeacherConfig()
    proxy: TrainConfig = TrainConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    ensemble: EnsembleConfig = EnsembleConfig()
    ensemble_member: TrainConfig = TrainConfig()
    kd: KDConfig = KDConfig()
    self_distill: SelfDistillConfig = SelfDistillConfig()
    sparsity: SparsityConfig = SparsityConfig()

    def model_post_init(self, _: object) -> None:
        """Refuse [teacher], [proxy] and [ensemble_member] that skip samples, and more mixed images than there are."""
        for table in INHERIT_FROM_TRAIN:
            for key in STUDENT_ONLY:
                if getattr(getattr(self, table), key) != TrainConfig.model_fields[key].default:
                    raise InvalidSetting(
                        f"{table}.{key}", f" is for students, set {key} in [train]; all other networks see every sample"
                    )
        if self.cutmix.prob + self.mixup.prob > 1:
            probs = f"{self.mixup.prob:g} and {self.cutmix.prob:g}"
            raise InvalidSetting(
                "mixup.prob", f" and cutmix.prob add up to 1 at most, an image is mixed by one of them; got {probs}"
            )

    @classmethod
    def from_tables(cls, name: object, threads: object, tables: Mapping[str, Mapping[str, object]]) -> Self:
        """A recipe from plain data; tables and keys that are missing have their defaults.

        Raises:
            InvalidSetting: an unknown key (the nearest is named), a wrong type, or a value out of its range.
        """
        parts: dict[str, object] = {}
        for table, kind in TABLES.items():
            try:
                parts[table] = kind(**tables.get(table, {}))
            except InvalidSetting as error:
                raise error.in_table(table) from None
        return cls.model_validate({"name": name, "threads": threads, **parts})

    def with_settings(self, table: str, **changes: object) -> Self:
        """The same recipe with other values in one table.

        Raises:
            InvalidSetting: a value that cannot be.
        """
        try:
            values = getattr(self, table).replace(**changes)
        except InvalidSetting as error:
            raise error.in_table(table) from None
        return self.replace(**{table: values})

    def to_dict(self) -> dict[str, object]:
        """The tables as plain data, as config.toml holds them: without tables and keys that have no effect."""
        tables = {name: getattr(self, name) for name in TABLES}
        return {name: table.to_dict() for name, table in tables.items() if table.enabled}

    def identity(self, *tables: str) -> dict[str, object]:
        """What defines a piece of work that depends on these tables alone: plain data for `Context.artifact_path`.

        Two recipes have the same identity exactly if no setting that has an effect differs in these tables.
        """
        return {name: values for name, values in self.to_dict().items() if name in tables}


TABLES: dict[str, type[Table]] = {
    name: field.annotation
    for name, field in Recipe.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Table)
}


def read_recipe(path: Path, changes: Sequence[str] = ()) -> tuple[Recipe, dict[str, Any]]:
    """Read a recipe file; returns it and its [run] table (empty for a plain recipe).

    Args:
        path: a TOML file.
        changes: "table.key=value" each, value in TOML, a bare word being a string.

    Raises:
        InvalidFile: not there, no TOML, or an unknown table.
        InvalidValue: an unknown key (the nearest is named), a wrong type, or a value out of its range.
    """
    text, tables = read_toml(path, "recipe")
    changed = {_apply_change(tables, change) for change in changes}
    run = tables.pop(RUN_TABLE, {})
    if not isinstance(run, dict):
        raise InvalidFile(f"{path}{at_line(text, RUN_TABLE)}: '{RUN_TABLE}' is a table")
    name, threads = tables.pop("name", path.stem), tables.pop("threads", 0)
    for key in ("about", ENVIRONMENT_TABLE):
        tables.pop(key, None)
    for table, values in tables.items():
        if table not in TABLES:
            raise InvalidFile(f"{path}{at_line(text, table)}: {UnknownName('table', table, TABLES)}")
        if not isinstance(values, dict):
            raise InvalidFile(f"{path}{at_line(text, table)}: '{table}' is a table; write [{table}] and its keys below")
    inherited = {key: value for key, value in tables.get("train", {}).items() if key not in NOT_INHERITED}
    for table in INHERIT_FROM_TRAIN:
        tables[table] = {**inherited, **tables.get(table, {})}
    try:
        return Recipe.from_tables(name, threads, tables), run
    except InvalidSetting as error:
        table, _, key = error.key.partition(".")
        if error.key in changed:
            raise InvalidValue(str(error), parameter="set") from None
        raise InvalidValue(f"{path}{at_line(text, table, key)}: {error}") from None


def _apply_change(tables: dict[str, Any], change: str) -> str:
    key, equals, text = change.partition("=")
    table, dot, name = key.strip().partition(".")
    if not (equals and dot and name):
        raise InvalidValue(
            f"a changed setting is table.key=value (for example train.lr=0.05), got '{change}'", parameter="set"
        )
    if table not in TABLES:
        raise UnknownName("table", table, TABLES)
    try:
        value = parse_toml(f"value = {text.strip()}")["value"]
    except ValueError:
        value = text.strip()
    tables.setdefault(table, {})[name] = value
    return f"{table}.{name}"
