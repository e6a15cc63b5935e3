"""A student's run as the report reads it: its result.json, its config.toml and what follows from them."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datapruning.artifacts.metadata import ScoresMetadata
from datapruning.artifacts.subset import Subset, load_subset
from datapruning.config.recipe import ENVIRONMENT_TABLE
from datapruning.errors import DataPruningError
from datapruning.runs.result import StudentResult, TeacherRecord
from datapruning.runs.run import CONFIG

NO_KD, AUTO = "no KD", "KD auto"
ALL = "all the data"
VARIANT_TABLES = ("self_distill", "sparsity")
"""Tables of config.toml, and of result.json, for self-distillation and for pruned weights."""


@dataclass(frozen=True)
class RunRecord:
    """A finished student.

    Attributes:
        folder: The run folder. It may be gone, where a sweep recorded the result.
        result: The content of result.json.
        config: The tables of config.toml; empty where the file is gone.
        selection: What tells its subset from others of the same scorer; see `name_selections`.
    """

    folder: Path
    result: StudentResult
    config: Mapping[str, Any]
    selection: str = ""

    @property
    def fraction(self) -> float:
        """The requested fraction; for a subset of plain ids, which has none, the fraction that was kept."""
        return self.result.kept / self.result.total if self.result.fraction is None else self.result.fraction

    @property
    def is_full(self) -> bool:
        """Whether it was trained on all the data."""
        return self.result.kept == self.result.total

    @property
    def scorer(self) -> str:
        """The scorer, with the strategy, the class balance and the selection as needed; `ALL` without data pruning."""
        if self.is_full:
            return ALL
        result = self.result
        strategy = " ".join([result.strategy or "", *(result.strategy_settings or ())]).strip()
        balance = "class-balanced" if result.balance not in (None, "none") else ""
        return ", ".join(part for part in (result.scorer, strategy, balance, self.selection) if part)

    @property
    def kd(self) -> str:
        """The kind of KD: "no KD", "KD auto" or with its weight, as in "KD 0.9"."""
        requested = self.config.get("run", {}).get("kd_weight")
        if requested == "auto" or (requested is None and self.result.kd_weight_search is not None):
            return AUTO
        return f"KD {self.result.kd_weight:g}" if self.result.kd_weight else NO_KD

    @property
    def teachers(self) -> Sequence[TeacherRecord]:
        """The teachers; empty without KD."""
        return self.result.teacher if self.kd != NO_KD else ()

    @property
    def candidates(self) -> Sequence[TeacherRecord]:
        """The teachers of which one was chosen for this run; empty where none was."""
        return self.result.teacher_candidates or () if self.kd != NO_KD else ()

    @property
    def workspaces(self) -> list[Path]:
        """The workspaces that it and its teachers lie in, as far as they lie in one."""
        folders = [self.folder, *(Path(teacher.folder) for teacher in self.teachers)]
        return [folder.parent.parent for folder in folders if folder.parent.name in ("students", "teachers")]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What runs must share to be drawn as one curve, as "table.key" -> value.

        All of [train] and [views], and where they have an effect [cutmix], [mixup], [self_distill] and [sparsity]. Where
        config.toml is gone, what result.json records of them.
        """
        result = self.result
        if "train" in self.config and "views" in self.config:
            names = ("train", "views", "cutmix", "mixup", *VARIANT_TABLES)
            tables = {name: dict(self.config.get(name, {})) for name in names}
            for name in ("cutmix", "mixup"):
                tables[name] = tables[name] if tables[name].get("prob") else {}
        else:
            epochs = {"epochs": result.epochs} if result.budget == "epochs" else {}
            tables = {"train": {"model": result.model, "budget": result.budget, **epochs}}
            if result.self_distill:
                tables["self_distill"] = {"method": result.self_distill.method, **result.self_distill.settings}
            if result.sparsity:
                tables["sparsity"] = result.sparsity.settings.to_dict()
        if result.init is not None:
            tables["train"] = {**tables["train"], "init": result.init.weights}
        return {f"{table}.{key}": value for table, values in tables.items() for key, value in values.items()}

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for runs that are the same run, done twice."""
        if not self.config:
            return (str(self.folder.resolve()),)
        tables = {name: table for name, table in self.config.items() if name != ENVIRONMENT_TABLE}
        return (json.dumps(tables, sort_keys=True), *(teacher.weights for teacher in self.teachers))

    @property
    def kd_settings(self) -> dict[str, Any]:
        """The [kd] settings that this run read: T for a given KD weight, those of the search otherwise."""
        table = dict(self.config.get("kd", {}))
        if self.kd == AUTO:
            return table
        temperature = table.get("temperature", self.result.temperature)
        return {} if self.kd == NO_KD or temperature is None else {"T": temperature}

    @cached_property
    def subset(self) -> Subset | None:
        """The samples that it kept; None where the file cannot be read."""
        try:
            return load_subset(self.folder / "subset.npz")
        except DataPruningError:
            return None

    @property
    def subset_scores(self) -> ScoresMetadata | None:
        """The metadata of the scores that the subset was selected by; None where it names none or cannot be read."""
        return None if self.subset is None else self.subset.meta.scores


def read_config(folder: Path) -> dict[str, Any]:
    """The tables of a run's config.toml; empty where there is none that can be read."""
    try:
        return tomllib.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
