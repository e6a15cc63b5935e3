"""A student's run as the report reads it: its result.json, its config.toml and what follows from them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from datapruning.artifacts.subset import load_subset
from datapruning.config.recipe import ENVIRONMENT_TABLE
from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.config.sparsity import SparsityConfig
from datapruning.errors import DataPruningError, InvalidFile
from datapruning.runs.run import CONFIG

NO_KD, AUTO = "no KD", "KD auto"
ALL = "all the data"
NUMBERS = ("test_accuracy", "kept", "total", "kd_weight")
TEXTS = ("dataset", "fingerprint", "scorer", "model", "budget")
VARIANT_TABLES = ("self_distill", "sparsity")
"""Tables of config.toml, and of result.json, for self-distillation and for pruned weights."""


@dataclass(frozen=True)
class RunRecord:
    """A finished student.

    Attributes:
        folder: The run folder. It may be gone, where a sweep recorded the result.
        result: The content of result.json.
        config: The tables of config.toml; empty where the file is gone.
    """

    folder: Path
    result: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def accuracy(self) -> float:
        """Test accuracy in percent."""
        return float(self.result["test_accuracy"])

    @property
    def kept(self) -> int:
        """The number of samples it was trained on."""
        return int(self.result["kept"])

    @property
    def total(self) -> int:
        """The number of training samples of the dataset."""
        return int(self.result["total"])

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return int(self.result.get("seed", 0))

    @property
    def weight(self) -> float:
        """The KD weight it was trained with."""
        return float(self.result["kd_weight"])

    @property
    def fraction(self) -> float:
        """The requested fraction; for a subset of plain ids, which has none, the fraction that was kept."""
        requested = self.result.get("fraction")
        return self.kept / self.total if requested is None else float(requested)

    @property
    def is_full(self) -> bool:
        """Whether it was trained on all the data."""
        return self.kept == self.total

    @property
    def scorer(self) -> str:
        """The scorer, with the strategy and the class balance where there were any; `ALL` without data pruning."""
        if self.is_full:
            return ALL
        strategy = " ".join(
            [str(self.result.get("strategy") or ""), *map(str, self.result.get("strategy_settings") or [])]
        ).strip()
        balanced = self.result.get("balance") not in (None, "none")
        return str(self.result["scorer"]) + (f", {strategy}" if strategy else "") + (", class-balanced" if balanced else "")

    @property
    def search(self) -> Mapping[str, Any] | None:
        """The search for the KD weight; None where the weight was given."""
        found = self.result.get("kd_weight_search")
        if not isinstance(found, dict):
            return None
        trials = _whole(found.get("trials"), ("weight", "accuracy"))
        return {**found, "trials": trials, "curve": _whole(found.get("curve"), ("weight", "accuracy", "low", "high"))}

    @property
    def kd(self) -> str:
        """The kind of KD: "no KD", "KD auto" or with its weight, as in "KD 0.9"."""
        requested = self.config.get("run", {}).get("kd_weight")
        if requested == "auto" or (requested is None and self.search is not None):
            return AUTO
        return NO_KD if self.weight == 0 else f"KD {self.weight:g}"

    @property
    def teachers(self) -> list[Mapping[str, Any]]:
        """What result.json records of each teacher; empty without KD."""
        return list(self.result.get("teacher") or []) if self.kd != NO_KD else []

    @property
    def candidates(self) -> list[Mapping[str, Any]]:
        """The teachers of which one was chosen for this run; empty where none was."""
        return list(self.result.get("teacher_candidates") or []) if self.kd != NO_KD else []

    @property
    def workspaces(self) -> list[Path]:
        """The workspaces that it and its teachers lie in, as far as they lie in one."""
        folders = [self.folder, *(Path(str(teacher["folder"])) for teacher in self.teachers if "folder" in teacher)]
        return [folder.parent.parent for folder in folders if folder.parent.name in ("students", "teachers")]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What runs must share to be drawn as one curve, as "table.key" -> value.

        All of [train] and [views], and where they have an effect [cutmix], [self_distill] and [sparsity]. Where
        config.toml is gone, what result.json records of them.
        """
        if "train" in self.config and "views" in self.config:
            tables = {name: dict(self.config.get(name, {})) for name in ("train", "views", "cutmix", *VARIANT_TABLES)}
            tables["cutmix"] = {key: value for key, value in tables["cutmix"].items() if value}
        else:
            train = {"model": self.result["model"], "budget": self.result["budget"], "epochs": self.result.get("epochs")}
            if train["budget"] == "steps":
                del train["epochs"]
            tables = {"train": train, **self._recorded_variant}
        return {f"{table}.{key}": value for table, values in tables.items() for key, value in values.items()}

    @property
    def _recorded_variant(self) -> dict[str, dict[str, Any]]:
        """The tables of the variant, as result.json records them."""
        kinds = zip(VARIANT_TABLES, (SelfDistillConfig, SparsityConfig), strict=True)
        records = {table: self.result[table] for table in VARIANT_TABLES if self.result.get(table)}
        values = {table: {**record, **record.get("settings", {})} for table, record in records.items()}
        return {
            table: {f.name: values[table][f.name] for f in fields(kind) if f.name in values[table]}
            for table, kind in kinds if table in values
        }  # fmt: skip

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal for runs that are the same run, done twice."""
        if not self.config:
            return (str(self.folder.resolve()),)
        tables = {name: table for name, table in self.config.items() if name != ENVIRONMENT_TABLE}
        return (json.dumps(tables, sort_keys=True), *(str(teacher.get("weights")) for teacher in self.teachers))

    @property
    def kd_settings(self) -> dict[str, Any]:
        """The [kd] settings that this run read: T for a given KD weight, those of the search otherwise."""
        table = dict(self.config.get("kd", {}))
        temperature = table.pop("temperature", self.result.get("temperature"))
        if self.kd == AUTO:
            method = (self.search or {}).get("method")
            return {**table, **({"method": method} if method else {})}
        return {} if self.kd == NO_KD or temperature is None else {"T": temperature}

    @cached_property
    def subset_meta(self) -> Mapping[str, Any]:
        """The metadata of subset.npz; empty where the file cannot be read."""
        try:
            return dict(load_subset(self.folder / "subset.npz").meta)
        except DataPruningError:
            return {}


def _whole(entries: Any, numbers: Sequence[str]) -> list[Mapping[str, Any]]:
    """Those of the entries that have these numbers."""
    found = entries if isinstance(entries, list) else []
    return [e for e in found if isinstance(e, dict) and all(isinstance(e.get(n), int | float) for n in numbers)]


def check_result(result: Mapping[str, Any], where: str) -> None:
    """Refuse what is no student's result.

    Raises:
        InvalidFile: with what is missing, or what it is instead.
    """
    if result.get("role") == "teacher":
        raise InvalidFile(f"{where} is a teacher; a report is about students")
    for key in NUMBERS:
        if not isinstance(result.get(key), int | float) or isinstance(result.get(key), bool):
            raise InvalidFile(f"{where} is no student's run: result.json has no number '{key}'")
    for key in TEXTS:
        if not isinstance(result.get(key), str):
            raise InvalidFile(f"{where} is no student's run: result.json does not say '{key}'")
    if not 0 < result["kept"] <= result["total"]:
        raise InvalidFile(f"{where}: result.json keeps {result['kept']} of {result['total']}")


def read_config(folder: Path) -> dict[str, Any]:
    """The tables of a run's config.toml; empty where there is none that can be read."""
    try:
        return tomllib.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
