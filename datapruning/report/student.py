"""A student run as the report sees it: its result.json, its config.toml, and words for what it is."""

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
VARIANTS = ("self_distill", "sparsity")
"""Tables of config.toml, and of result.json, that say how a student learns from itself and how it was pruned."""
TEXTS = ("dataset", "fingerprint", "scorer", "model", "budget")


@dataclass(frozen=True)
class Student:
    """A finished student: where it lies, what result.json says, the tables of config.toml (empty if it is not there)."""

    folder: Path
    result: Mapping[str, Any]
    config: Mapping[str, Any]

    @property
    def accuracy(self) -> float:
        """On the test set, in percent."""
        return float(self.result["test_accuracy"])

    @property
    def kept(self) -> int:
        """How many samples it was trained on."""
        return int(self.result["kept"])

    @property
    def total(self) -> int:
        """N."""
        return int(self.result["total"])

    @property
    def fraction(self) -> float:
        """The share that was asked for; where none was (plain ids), the share that was kept."""
        asked = self.result.get("fraction")
        return float(asked) if isinstance(asked, int | float) else self.kept / self.total

    @property
    def is_full(self) -> bool:
        """Whether nothing was pruned away."""
        return self.kept == self.total

    @property
    def scorer(self) -> str:
        """Who ranked, the strategy and the class balance if there was one; "all the data" where nothing was pruned away."""
        if self.is_full:
            return ALL
        balanced = self.result.get("balance") not in (None, "none")
        chosen = " ".join([str(self.result.get("strategy") or ""), *map(str, self.result.get("with") or [])]).strip()
        return str(self.result["scorer"]) + (f", {chosen}" if chosen else "") + (", class-balanced" if balanced else "")

    @property
    def weight(self) -> float:
        """The KD weight it was trained with."""
        return float(self.result["kd_weight"])

    @property
    def search(self) -> Mapping[str, Any] | None:
        """How the KD weight was found, for `--kd-weight auto`; of `trials` and `curve` those entries that are whole."""
        found = self.result.get("kd_weight_search")
        if not isinstance(found, dict):
            return None
        trials = _whole(found.get("trials"), ("weight", "accuracy"))
        return {**found, "trials": trials, "curve": _whole(found.get("curve"), ("weight", "accuracy", "low", "high"))}

    @property
    def kd(self) -> str:
        """One of "no KD", "KD auto" and, say, "KD 0.9"."""
        asked = self.run_table.get("kd_weight")
        if asked == "auto" or (asked is None and self.search is not None):
            return AUTO
        return NO_KD if self.weight == 0 else f"KD {self.weight:g}"

    @property
    def teachers(self) -> list[Mapping[str, Any]]:
        """What result.json says of each teacher; empty without KD."""
        found = self.result.get("teacher")
        return [t for t in found if isinstance(t, dict)] if isinstance(found, list) and self.kd != NO_KD else []

    @property
    def candidates(self) -> list[Mapping[str, Any]]:
        """The teachers of which one was chosen for this run; empty where none was."""
        found = self.result.get("teacher_candidates")
        return [t for t in found if isinstance(t, dict)] if isinstance(found, list) and self.kd != NO_KD else []

    @property
    def seed(self) -> int:
        """Of the run."""
        return int(self.result.get("seed", 0))

    @property
    def run_table(self) -> Mapping[str, Any]:
        """The command's options, as config.toml has them."""
        return dict(self.config.get("run", {}))

    @property
    def workspaces(self) -> list[Path]:
        """The workspaces that it and its teachers lie in, as far as they lie in one."""
        places = [self.folder, *(Path(str(t.get("folder"))) for t in self.teachers)]
        return [place.parent.parent for place in places if place.parent.name in ("students", "teachers")]

    @property
    def settings(self) -> dict[str, Any]:
        """What runs must share to be drawn as one curve: all of [train] and [views], and where they do something
        [cutmix], [self_distill] and [sparsity].
        """
        tables = {name: self.config[name] for name in ("train", "views") if isinstance(self.config.get(name), dict)}
        mixed = {key: value for key, value in dict(self.config.get("cutmix", {})).items() if value}
        if len(tables) == 2:
            tables["cutmix"] = mixed
            tables |= {table: dict(self.config.get(table, {})) for table in VARIANTS}
        else:
            known = {"train.model": self.result["model"], "train.budget": self.result["budget"]}
            known |= {} if self.result["budget"] == "steps" else {"train.epochs": self.result.get("epochs")}
            return known | self._told_variant
        return {f"{table}.{key}": value for table, values in tables.items() for key, value in values.items()}

    @property
    def _told_variant(self) -> dict[str, Any]:
        """How it was pruned and learnt from itself, as far as result.json alone says it."""
        told = {table: self.result.get(table) for table in VARIANTS}
        keys = {
            "sparsity": {f.name for f in fields(SparsityConfig)},
            "self_distill": {f.name for f in fields(SelfDistillConfig)},
        }
        return {
            f"{table}.{key}": value
            for table, values in told.items() if isinstance(values, dict)
            for key, value in values.items() if key in keys[table]
        }  # fmt: skip

    @property
    def identity(self) -> tuple[Any, ...]:
        """Two runs that agree in this are one run, done twice."""
        if not self.config:
            return (str(self.folder.resolve()),)
        weights = tuple(str(t.get("weights")) for t in self.teachers)
        return (json.dumps({k: v for k, v in self.config.items() if k != ENVIRONMENT_TABLE}, sort_keys=True), weights)

    @property
    def kd_settings(self) -> dict[str, Any]:
        """Those of the [kd] settings that this run read: T where the KD weight was given, the search's where it was not."""
        table = dict(self.config.get("kd", {}))
        temperature = table.pop("temperature", self.result.get("temperature"))
        if self.kd == AUTO:
            method = (self.search or {}).get("method")
            return {**table, **({"method": method} if method else {})}
        return {} if self.kd == NO_KD or temperature is None else {"T": temperature}

    @cached_property
    def subset_meta(self) -> Mapping[str, Any]:
        """The story in subset.npz; empty if the file cannot be read."""
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
    """The tables of config.toml; empty if there is none that can be read."""
    try:
        return tomllib.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
