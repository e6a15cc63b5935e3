"""Set-ups: runs that may be drawn as one curve share the dataset, the network, the budget and the views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from datapruning.errors import Mismatch
from datapruning.report.student import Student


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
        first = self.students[0].result
        epochs = self.settings.get("train.epochs", first.get("epochs"))
        parts = [f"network {first['model']}", f"{epochs} epochs", f"budget “{first['budget']}”"]
        for key, word in (("train.batch_size", "batch size"), ("train.lr", "learning rate")):
            if key in self.settings:
                parts.append(f"{word} {self.settings[key]:g}")
        if "views.count" in self.settings:
            count = self.settings["views.count"]
            parts.append(f"{count} views" if count != 1 else "1 view")
        if "self_distill.method" in self.settings:
            parts.append(f"self-distillation {self.settings['self_distill.method']}")
        return ", ".join(parts)

    @property
    def what_differs(self) -> str:
        """The differing settings, as they are written in a recipe."""
        return ", ".join(f"{key} = {value}" for key, value in self.differing.items())


def check_one_dataset(students: Sequence[Student]) -> None:
    """Refuse runs on different datasets: their accuracies are no points of one picture.

    Raises:
        Mismatch: with the datasets and one run on each.
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
        raise Mismatch(f"these runs are on {len(first)} datasets and do not compare; make one report for each. {each}")


def find_setups(students: Sequence[Student]) -> list[Setup]:
    """The set-ups among runs on one dataset, those with the most runs first."""
    same: dict[tuple[tuple[str, str], ...], list[Student]] = {}
    for student in students:
        key = tuple(sorted((k, repr(v)) for k, v in student.settings.items()))
        same.setdefault(key, []).append(student)
    found = sorted(same.values(), key=len, reverse=True)
    settings = [runs[0].settings for runs in found]
    keys = [k for k in {k: None for s in settings for k in s} if len({repr(s.get(k)) for s in settings}) > 1]
    return [
        Setup(
            name=_name(i) if len(found) > 1 else "",
            settings=shared,
            differing={k: shared.get(k, "off" if k.startswith(("mix.", "self_distill.")) else "not recorded") for k in keys},
            students=runs,
        )
        for i, (shared, runs) in enumerate(zip(settings, found, strict=True))
    ]


def _name(number: int) -> str:
    letter = ascii_uppercase[number % 26]
    return letter if number < 26 else f"{letter}{number // 26}"
