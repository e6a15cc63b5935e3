"""The summary: a row for each scorer, way of KD and fraction."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from datapruning.report.comparison import Compared, Inputs
from datapruning.report.costs import GroupCost
from datapruning.report.figures import percent
from datapruning.report.format import count, removed_text, seconds_text, signed, spread
from datapruning.report.groups import Group, full_data, main_kd, paired
from datapruning.report.html import Markup, Section, bullets, join, paragraph, table, tag


def section(inputs: Inputs) -> Section:
    """The table, with what stands out in words above it."""
    parts: list[Markup] = []
    for family in inputs.families:
        if len(family) > 1 and len(inputs.families) > 1:
            parts.append(tag("h3", names_of(family)))
        elif family[0].setup.name and len(family) == 1:
            parts.append(tag("h3", f"Set-up {family[0].setup.name}: {family[0].setup.what_differs}"))
        parts += [*(_in_short(c, named=len(family) > 1) for c in family if not c.setup.removed), _table(family, inputs)]
    parts.append(
        paragraph(
            "Accuracy on the test set after the last epoch, in percent: mean ± standard deviation over n runs that differ "
            "in their seed. Against full data: minus the mean of the set-up's runs on all the data without KD. KD gain: "
            "minus the run without KD of the same scorer, fraction and seed, mean ± standard deviation over the pairs. "
            "Samples and seconds: of one student, the search for its KD weight and the pruning of its weights included.",
            class_="note",
        )
    )
    return Section("summary", "Summary", join(parts))


def names_of(family: Sequence[Compared]) -> str:
    """As in "Set-ups B to F"."""
    names = [c.setup.name for c in family]
    return f"Set-ups {names[0]} to {names[-1]}" if len(names) > 1 else f"Set-up {names[0]}"


def _in_short(compared: Compared, named: bool) -> Markup:
    """What stands out. The way of KD that is spoken of is not chosen by its accuracy. `named`: say in which set-up."""
    groups, items = compared.groups, []
    full, kd = full_data(groups), main_kd(groups)
    if full:
        items.append(f"On all the data, without KD: {spread(full.mean, full.sd, full.n)}%.")
    for fraction in sorted({g.fraction for g in groups if not g.is_full}):
        gains = [(g, p) for g in groups if (g.fraction, g.kd) == (fraction, kd) and (p := paired(g, groups))]
        if not gains:
            continue
        each = "; ".join(f"{g.scorer} {_gain(p)}" for g, p in gains)
        items.append(f"Keeping {percent(fraction)}, {kd} against no KD, in points of accuracy: {each}.")
    where = f"Set-up {compared.setup.name}, {compared.setup.what_differs}: " if named else ""
    return bullets(f"{where}{item}" for item in items)


def _table(family: Sequence[Compared], inputs: Inputs) -> Markup:
    """Of a family: set-ups that differ in pruned weights and self-distillation alone stand below each other."""
    named = len(family) > 1
    rows, breaks = list[list[object]](), list[int]()
    for compared in family:
        groups, full, setup = compared.groups, full_data(compared.groups), compared.setup
        breaks += [len(rows), *([] if named else _breaks(groups))]
        removed = f"{removed_text(setup.removed)} by {setup.prune_by}" if setup.removed else "none"
        which: list[object] = [setup.name, ", ".join([removed, *setup.details]), setup.method] if named else []
        rows += [
            [*which, *_row(g, c, full, groups, inputs)] for g, c in zip(groups, compared.costs, strict=True)
        ]  # fmt: skip
    head = (
        *(("set-up", "weights removed", "self-distillation") if named else ()),
        "kept",
        "scorer",
        "KD",
        "accuracy",
        "n",
        "against full data",
        "KD gain",
        "KD weights",
        "samples",
        "seconds",
        "runs",
    )
    numbers = [(3 if named else 0) + i for i in (3, 4, 5, 6, 8, 9)]
    return table(head, rows, numbers=numbers, label="Summary of all runs", breaks=breaks[1:])


def _row(group: Group, cost: GroupCost, full: Group | None, groups: Sequence[Group], inputs: Inputs) -> list[object]:
    kept = sorted({s.kept for s in group.students})
    kept_text = f"{kept[0]:,}" if len(kept) == 1 else f"{kept[0]:,} to {kept[-1]:,}"
    gains = paired(group, groups)
    return [
        f"{percent(group.fraction)} ({kept_text})",
        group.scorer,
        group.kd,
        spread(group.mean, group.sd, group.n),
        group.n,
        signed(group.mean - full.mean) if full and group is not full else "",
        _gain(gains),
        _weights(group) if group.has_kd else "",
        count(cost.own.samples),
        seconds_text(cost.own.seconds),
        links(group, inputs),
    ]


def _breaks(groups: Sequence[Group]) -> list[int]:
    """Rows with which another fraction begins."""
    return [i for i in range(1, len(groups)) if groups[i].fraction != groups[i - 1].fraction]


def _gain(gains: Sequence[float]) -> str:
    if not gains:
        return ""
    return spread(statistics.mean(gains), statistics.stdev(gains) if len(gains) > 1 else None, len(gains), sign=True)


def _weights(group: Group) -> str:
    weights = sorted({f"{s.weight:.3g}" for s in group.students}, key=float)
    return ", ".join(weights) if len(weights) <= 4 else f"{weights[0]} to {weights[-1]}"


def links(group: Group, inputs: Inputs) -> Markup:
    """The numbers of the runs, each leading to its line of the appendix."""
    numbers = [inputs.numbers[s.folder] for s in group.students]
    return join((tag("a", number, href=f"#run-{number}") for number in numbers), ", ")
