"""Comparisons: runs that may be drawn as one curve, because they share the dataset, the network, the budget and the views.

The page calls a comparison a set-up. Comparisons that differ only in how weights were pruned and in self-distillation are
a family.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from string import ascii_uppercase
from typing import Any

from datapruning.errors import IncompatibleInputs
from datapruning.report.format import format_sparsity
from datapruning.report.groups import Group, kd_labels, make_groups, pivot
from datapruning.report.run_records import VARIANT_TABLES, RunRecord
from datapruning.utils.plural import plural

NO_METHOD = "none"
BUDGET_KEYS = ("train.budget", "train.samples", "train.epochs")
SPARSITY, CRITERION, METHOD = "sparsity.sparsity", "sparsity.criterion", "self_distill.method"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs that compare with each other.

    Attributes:
        name: "A", "B", ...; empty for the only one.
        settings: What the runs share, as in "train.epochs" -> 40.
        differing: Those of the settings in which the comparisons of this report differ.
        runs: The runs.
        groups: The same runs, in groups that differ in their seed alone.
    """

    name: str
    settings: Mapping[str, Any]
    differing: Mapping[str, Any]
    runs: Sequence[RunRecord]
    groups: Sequence[Group] = field(default_factory=list)

    @property
    def suffix(self) -> str:
        """For names of files: "" or "-a"."""
        return f"-{self.name.lower()}" if self.name else ""

    @property
    def full_data(self) -> Group | None:
        """The runs on all the data without KD: what everything is measured against."""
        return next((group for group in self.groups if group.is_full and not group.has_kd), None)

    @property
    def main_kd(self) -> str | None:
        """The one kind of KD that stands for all where there is room for one: auto, else the weight with the most runs.

        Never chosen by accuracy: that would be a choice on the test set.
        """
        kinds = pivot((group for group in self.groups if group.has_kd), lambda group: group.kd)
        ranks = {kd: (gs[0].is_auto, sum(g.n for g in gs), gs[-1].runs[0].result.kd_weight) for kd, gs in kinds.items()}
        return max(ranks, key=lambda kd: ranks[kd]) if ranks else None

    @property
    def sparsity(self) -> float:
        """Share of the weights that was removed before training; 0: dense."""
        return float(self.settings.get(SPARSITY, 0.0))

    @property
    def criterion(self) -> str:
        """By which the weights were removed; empty: dense."""
        return str(self.settings.get(CRITERION, "")) if self.sparsity else ""

    @property
    def method(self) -> str:
        """The method of self-distillation, or "none"."""
        return str(self.settings.get(METHOD, NO_METHOD))

    @property
    def family(self) -> Hashable:
        """The same for comparisons of one family."""
        return _key({key: value for key, value in self.settings.items() if not _is_variant(key)})

    @property
    def shared_description(self) -> str:
        """Return the most important settings that a family shares."""
        result, settings = self.runs[0].result, self.settings
        parts = [f"network {result.model}", self.budget]
        for key, name in (("train.batch_size", "batch size"), ("train.lr", "learning rate")):
            parts += [f"{name} {settings[key]:g}"] if key in settings else []
        num_views = settings.get("views.num_views")
        parts += [] if num_views is None else [plural(num_views, "view")]
        return ", ".join(parts)

    @property
    def budget(self) -> str:
        """How long its students train, as in "40 epochs" and "3,000,000 samples"."""
        result, settings = self.runs[0].result, self.settings
        samples, epochs = settings.get("train.samples"), settings.get("train.epochs", result.epochs)
        if result.budget == "epochs":
            return plural(epochs, "epoch")
        if result.budget == "samples" and samples != "full":
            return f"{result.samples_seen if samples is None else samples:,} samples"
        return f"as many {result.budget} as {epochs} epochs of all the data"

    @property
    def description(self) -> str:
        """The settings that matter most."""
        method = f"self-distillation {self.method}" if self.method != NO_METHOD else ""
        removed = self._removed(" of the weights removed") if self.sparsity else ""
        return ", ".join(filter(None, [self.shared_description, method, removed]))

    @property
    def short_label(self) -> str:
        """Pruning and, where it differs, self-distillation, as in "95% removed by snip, cs-kd"."""
        method = self.method if METHOD in self.differing and self.method != NO_METHOD else ""
        removed = self._removed(" removed") if self.sparsity else "none removed"
        return ", ".join(filter(None, [removed, method, *self.details]))

    @property
    def removed_label(self) -> str:
        """What was removed and the other settings that differ, for a cell of a table."""
        return ", ".join([self._removed("") if self.sparsity else "none", *self.details])

    @property
    def details(self) -> list[str]:
        """Settings of the variant that differ, without sparsity, criterion and method, as in "sparsity.inner_steps = 10"."""
        named = (SPARSITY, CRITERION, METHOD)
        return [f"{k} = {v}" for k, v in self.differing.items() if _is_variant(k) and k not in named and v != "off"]

    @property
    def differences(self) -> str:
        """The settings that differ, as a recipe has them; sparsity and self-distillation in words."""
        unnamed = BUDGET_KEYS if {"train.budget", "train.samples"} & set(self.differing) else ()
        parts = [self.budget] if unnamed else []
        parts += [f"{k} = {value}" for k, value in self.differing.items() if not _is_variant(k) and k not in unnamed]
        if SPARSITY in self.differing or CRITERION in self.differing:
            parts.append(self._removed(" of the weights removed") if self.sparsity else "dense")
        if METHOD in self.differing:
            parts.append(f"self-distillation {self.method}" if self.method != NO_METHOD else "no self-distillation")
        return ", ".join(parts + self.details)

    def _removed(self, words: str) -> str:
        return f"{format_sparsity(self.sparsity)}{words} by {self.criterion}"


def check_one_dataset(runs: Sequence[RunRecord]) -> None:
    """Refuse runs on different datasets, unless one is named: their accuracies do not belong in one figure.

    Raises:
        IncompatibleInputs: Names the datasets and one run on each.
    """
    datasets = pivot(runs, lambda run: run.result.fingerprint)
    if len(datasets) > 1:
        parts = "; ".join(
            f"{members[0].result.dataset} ({members[0].result.total:,} samples, fingerprint {fingerprint[:12]}): "
            f"{plural(len(members), 'run')}, such as {members[0].folder}"
            for fingerprint, members in datasets.items()
        )
        raise IncompatibleInputs(
            f"these runs are on {len(datasets)} datasets and do not compare: {parts}; name the dataset of this report",
            parameter="data",
        )


def compare(runs: Sequence[RunRecord]) -> list[Comparison]:
    """The comparisons between runs on one dataset.

    Families with the most runs come first; in each the dense students, then the share of removed weights rising.
    """
    by_settings = list(pivot(runs, lambda run: _key(run.settings)).values())
    unnamed = [Comparison("", members[0].settings, {}, members) for members in share_full_data(by_settings)]
    unnamed.sort(key=lambda c: len(c.runs), reverse=True)
    families = {family: [run for c in members for run in c.runs] for family, members in by_family(unnamed).items()}
    ranks = {family: rank for rank, family in enumerate(sorted(families, key=lambda f: -len(families[f])))}
    unnamed.sort(key=lambda c: (ranks[c.family], c.sparsity, c.method != NO_METHOD, c.criterion, c.method))
    labels = {
        run.folder: label
        for members in families.values() for run, label in zip(members, kd_labels(members), strict=True)
    }  # fmt: skip
    keys = _differing_keys([comparison.settings for comparison in unnamed])
    return [
        replace(
            comparison, name=_name(i) if len(unnamed) > 1 else "",
            differing={key: comparison.settings.get(key, _default(key)) for key in keys},
            groups=make_groups((run, labels[run.folder]) for run in comparison.runs),
        )
        for i, comparison in enumerate(unnamed)
    ]  # fmt: skip


def share_full_data(members: Sequence[Sequence[RunRecord]]) -> list[list[RunRecord]]:
    """Add runs on all the data to the sets of `members` that differ in the budget alone: there it is the same training.

    So it is under the budgets "epochs", "steps" and "samples" = "full". A set of nothing else, of which another set has
    all runs now, is left out.
    """
    related = pivot((runs for runs in members if _follows_epochs(runs[0])), lambda runs: _without_budget(runs[0]))
    shared = []
    for runs in members:
        others = related.get(_without_budget(runs[0]), []) if _follows_epochs(runs[0]) else []
        if all(run.is_full for run in runs) and any(not run.is_full for other in others for run in other):
            continue
        present = {(run.kd, run.result.seed) for run in runs if run.is_full}
        full = [run for other in others for run in other if run.is_full and other is not runs]
        by_seed = {(run.kd, run.result.seed): run for run in full}
        shared.append([*runs, *(run for key, run in by_seed.items() if key not in present)])
    return shared


def _follows_epochs(run: RunRecord) -> bool:
    """Whether a run on all the data, with the settings of this one, would train for as many epochs as they name."""
    return run.result.budget != "samples" or run.settings.get("train.samples") == "full"


def _without_budget(run: RunRecord) -> Hashable:
    return _key({key: value for key, value in run.settings.items() if key not in ("train.budget", "train.samples")})


def by_family(comparisons: Sequence[Comparison]) -> dict[Hashable, list[Comparison]]:
    """Comparisons that differ only in pruned weights and self-distillation, together."""
    return pivot(comparisons, lambda comparison: comparison.family)


def dense_comparison(comparison: Comparison, family: Sequence[Comparison]) -> Comparison | None:
    """The comparison that differs only in its weights not being pruned; None for a dense one, or where there is none."""
    settings = {k: v for k, v in comparison.settings.items() if not k.startswith("sparsity.")}
    return next((c for c in family if comparison.sparsity and c.settings == settings), None)


def family_name(family: Sequence[Comparison]) -> str:
    """As in "Set-ups B to F"."""
    return f"Set-ups {family[0].name} to {family[-1].name}" if len(family) > 1 else f"Set-up {family[0].name}"


def _key(settings: Mapping[str, Any]) -> Hashable:
    return tuple(sorted((key, repr(value)) for key, value in settings.items()))


def _is_variant(key: str) -> bool:
    return key.split(".")[0] in VARIANT_TABLES


def _differing_keys(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Settings that are not the same everywhere. Of a variant's details only comparisons that have the variant count."""
    keys = []
    for key in dict.fromkeys(key for values in settings for key in values):
        everywhere = not _is_variant(key) or key in (SPARSITY, METHOD)
        values = {repr(values.get(key)) for values in settings if everywhere or key in values}
        keys += [key] if len(values) > 1 else []
    return keys


def _default(key: str) -> str:
    return "off" if key.split(".")[0] in ("cutmix", "mixup", *VARIANT_TABLES) else "not recorded"


def _name(number: int) -> str:
    return ascii_uppercase[number % 26] + (str(number // 26) if number >= 26 else "")
