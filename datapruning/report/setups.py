"""Set-ups: runs that may be drawn as one curve share the dataset, the network, the budget and the views.

Set-ups that differ in nothing but how their students were pruned and learn from themselves are a family.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any

from datapruning.errors import IncompatibleInputs
from datapruning.report.format import removed_text
from datapruning.report.student import VARIANTS, Student

OFF, NO_METHOD = "off", "none"
ALWAYS = ("sparsity.sparsity", "self_distill.method")
"""Of the tables of a variant, what is said where some set-ups do not have the table."""


@dataclass(frozen=True)
class Setup:
    """Runs that compare with each other.

    Attributes:
        name: "A", "B", ...; empty if it is the only one.
        settings: what they share, "train.epochs" -> 40 and so on.
        differing: those of the settings in which the set-ups of this report differ.
        students: the runs.
    """

    name: str
    settings: dict[str, Any]
    differing: dict[str, Any]
    students: list[Student]

    @property
    def tag(self) -> str:
        """For names of files and anchors: "" or "-a"."""
        return f"-{self.name.lower()}" if self.name else ""

    @property
    def words(self) -> str:
        """The settings that matter most, in words."""
        parts = [self.shared_words, *([f"self-distillation {self.method}"] if self.method != NO_METHOD else [])]
        return ", ".join([*parts, *([self.pruned_words] if self.removed else [])])

    @property
    def shared_words(self) -> str:
        """Those of them that a whole family shares."""
        first = self.students[0].result
        epochs = self.settings.get("train.epochs", first.get("epochs"))
        parts = [f"network {first['model']}", f"{epochs} epochs", f"budget “{first['budget']}”"]
        for key, word in (("train.batch_size", "batch size"), ("train.lr", "learning rate")):
            if key in self.settings:
                parts.append(f"{word} {self.settings[key]:g}")
        if "views.num_views" in self.settings:
            count = self.settings["views.num_views"]
            parts.append(f"{count} views" if count != 1 else "1 view")
        return ", ".join(parts)

    @property
    def removed(self) -> float:
        """Share of the weights that was removed before training; 0: dense."""
        return float(self.settings.get("sparsity.sparsity", 0.0))

    @property
    def prune_by(self) -> str:
        """The criterion of that; empty: dense."""
        return str(self.settings.get("sparsity.criterion", "")) if self.removed else ""

    @property
    def pruned_words(self) -> str:
        """As in "95% of the weights removed by snip"; "dense"."""
        return f"{removed_text(self.removed)} of the weights removed by {self.prune_by}" if self.removed else "dense"

    @property
    def short_words(self) -> str:
        """Pruning and, where it differs, self-distillation: as in "95% removed by snip, cs-kd"."""
        method = [self.method] if "self_distill.method" in self.differing and self.method != NO_METHOD else []
        removed = f"{removed_text(self.removed)} removed by {self.prune_by}" if self.removed else "none removed"
        return ", ".join([removed, *method, *self.details])

    @property
    def method(self) -> str:
        """Of self-distillation; "none"."""
        return str(self.settings.get("self_distill.method", NO_METHOD))

    @property
    def family(self) -> tuple[tuple[str, str], ...]:
        """All settings but those of the variant: set-ups of one family have the same."""
        return tuple(sorted((k, repr(v)) for k, v in self.settings.items() if not _varied(k)))

    @property
    def details(self) -> list[str]:
        """The differing settings of the variant beside criterion, share and method, "sparsity.inner_steps = 10"."""
        said = (*ALWAYS, "sparsity.criterion")
        return [f"{k} = {v}" for k, v in self.differing.items() if _varied(k) and k not in said and v != OFF]

    @property
    def what_differs(self) -> str:
        """The differing settings, as they are written in a recipe; pruning and self-distillation in words."""
        parts = [f"{key} = {value}" for key, value in self.differing.items() if not _varied(key)]
        if any(key in self.differing for key in ("sparsity.sparsity", "sparsity.criterion")):
            parts.append(self.pruned_words)
        if "self_distill.method" in self.differing:
            parts.append(f"self-distillation {self.method}" if self.method != NO_METHOD else "no self-distillation")
        return ", ".join(parts + self.details)


def _varied(key: str) -> bool:
    return key.split(".")[0] in VARIANTS


def check_one_dataset(students: Sequence[Student]) -> None:
    """Refuse runs on different datasets: their accuracies are no points of one picture.

    Raises:
        IncompatibleInputs: with the datasets and one run on each.
    """
    first: dict[str, list[Student]] = {}
    for student in students:
        first.setdefault(str(student.result["fingerprint"]), []).append(student)
    if len(first) > 1:
        each = "; ".join(
            f"{runs[0].result['dataset']} ({runs[0].total:,} samples, fingerprint {fingerprint[:12]}): {len(runs)} runs, "
            f"such as {runs[0].folder}"
            for fingerprint, runs in first.items()
        )
        raise IncompatibleInputs(
            f"these runs are on {len(first)} datasets and do not compare; make one report for each. {each}"
        )


def find_setups(students: Sequence[Student]) -> list[Setup]:
    """The set-ups among runs on one dataset: families with the most runs first, in each the dense students, the weights
    removed rising.
    """
    same: dict[tuple[tuple[str, str], ...], list[Student]] = {}
    for student in students:
        key = tuple(sorted((k, repr(v)) for k, v in student.settings.items()))
        same.setdefault(key, []).append(student)
    bare = [Setup("", runs[0].settings, {}, runs) for runs in sorted(same.values(), key=len, reverse=True)]
    sizes = Counter[tuple[tuple[str, str], ...]]()
    for setup in bare:
        sizes[setup.family] += len(setup.students)
    ranks = {family: rank for rank, (family, _) in enumerate(sizes.most_common())}
    bare.sort(key=lambda s: (ranks[s.family], s.removed, s.method != NO_METHOD, s.prune_by, s.method))
    keys = _differing([setup.settings for setup in bare])
    return [
        replace(s, name=_name(i) if len(bare) > 1 else "", differing={k: _value(s.settings, k) for k in keys})
        for i, s in enumerate(bare)
    ]


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Settings that are not the same everywhere. Where some have no variant at all, its details count among the others."""
    found = []
    for key in {k: None for s in settings for k in s}:
        values = [s.get(key) for s in settings if key in s or not _varied(key) or key in ALWAYS]
        found += [key] if len({repr(value) for value in values}) > 1 else []
    return found


def _value(settings: Mapping[str, Any], key: str) -> Any:
    return settings.get(key, OFF if key.startswith(("cutmix.", "self_distill.", "sparsity.")) else "not recorded")


def _name(number: int) -> str:
    letter = ascii_uppercase[number % 26]
    return letter if number < 26 else f"{letter}{number // 26}"
