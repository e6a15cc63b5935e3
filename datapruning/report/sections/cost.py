"""Accuracy against cost, with everything that is paid for, and after how many students the shared costs pay off."""

from __future__ import annotations

from collections.abc import Sequence

from datapruning.report.comparison import Compared, Inputs
from datapruning.report.costs import GroupCost, pays_off_after
from datapruning.report.figures import Drawing, percent
from datapruning.report.format import count, listed, plural, seconds_text, signed
from datapruning.report.groups import Group, full_data, main_kd
from datapruning.report.html import Markup, Section, bullets, figures, join, paragraph, table, tag
from datapruning.report.recorded_cost import Price
from datapruning.report.sections.cost_figures import break_even_drawings, cost_drawings
from datapruning.report.sections.summary import names_of
from datapruning.report.setups import NO_METHOD

HEAD = ("kept", "scorer", "KD", "one student", "of it search", "of it pruning", "teacher", "scoring", "soft labels",
        "pays off after (samples)", "(seconds)")  # fmt: skip


def section(inputs: Inputs) -> Section:
    """Figures, the break-even table, and the break-even in words."""
    parts, drawings = [_caption(inputs)], list[Drawing]()
    for compared in inputs.compared:
        setup = compared.setup
        if setup.removed:
            continue  # zeros save no time: what they cost more or less is in the table of the pruned
        if setup.name:
            parts.append(tag("h3", f"Set-up {setup.name}: {setup.what_differs}"))
        drawn = cost_drawings(compared)
        drawn_even = break_even_drawings(compared)
        parts += [figures(drawn), tag("h3", "When does it pay off?"), _in_words(compared)]
        if drawn_even:
            parts.append(figures(drawn_even))
        parts.append(_table(compared))
        drawings += [*drawn, *drawn_even]
    for family in inputs.families:
        if any(compared.setup.removed for compared in family):
            parts += _pruned(family, several=len(inputs.families) > 1)
    return Section("cost", "Accuracy against cost", join(parts), drawings)


def _caption(inputs: Inputs) -> Markup:
    devices = sorted({str(s.result.get("device")) for s in inputs.students})
    mixed = (
        f" Seconds were measured on different devices ({listed(devices)}) and hardly compare." if len(devices) > 1 else ""
    )
    return paragraph(
        "One student costs its training, the search for its KD weight and the pruning of its weights. Training the teacher, "
        "scoring the samples and computing the soft labels are paid once, however many students follow. A sample that is "
        "only passed forward counts as a third of one that is trained on. Soft labels are counted for all views of the kept "
        "samples, from nothing, and scorers that read the same evidence are charged all of it, each. Evaluation on the test "
        "set is left out."
        f"{mixed}",
        class_="note",
    )


def _in_words(compared: Compared) -> Markup:
    full, kd = full_data(compared.groups), main_kd(compared.groups)
    if full is None:
        return paragraph(
            "It cannot be said: there is no run on all the data without KD in this set-up to compare with "
            "(dprune train --fraction 1 --kd-weight 0 makes one).",
            class_="warn",
        )
    price = _own(compared, full)
    items = []
    for group, cost in zip(compared.groups, compared.costs, strict=True):
        if group is full or group.is_full or group.kd != kd:
            continue
        items.append(f"{group.scorer}, keeping {percent(group.fraction)}, {kd}: {_sentence(cost, price, group, full)}")
    return bullets(items) if items else paragraph("There are no runs with KD on part of the data.", class_="note")


def _sentence(cost: GroupCost, full: Price, group: Group, reference: Group) -> str:
    by_samples = pays_off_after(cost.own.samples, cost.once.samples, full.samples)
    by_seconds = pays_off_after(cost.own.seconds, cost.once.seconds, full.seconds)
    points = f"{signed(group.mean - reference.mean)} points against full data"
    if cost.own.samples is None or full.samples is None or cost.once.samples is None:
        return f"what was paid once is not known (a teacher or its run is gone), so it cannot be said; {points}."
    if by_samples is None:
        return f"never pays off: one student costs as much as a training on all the data, or more; {points}."
    seconds = ""
    if by_seconds is not None:
        seconds = f" (in seconds: after {by_seconds:,})"
    elif cost.own.seconds is not None and full.seconds is not None and cost.own.seconds >= full.seconds:
        seconds = " (in seconds: never)"
    return f"pays off after {plural(by_samples, 'student')}, counted in samples{seconds}; {points}."


def _own(compared: Compared, group: Group) -> Price:
    return compared.costs[compared.groups.index(group)].own


def _pruned(family: Sequence[Compared], several: bool) -> list[Markup]:
    """The costs of pruned students, in trainings of a dense one."""
    priced = [(full, c) for c in family if not c.setup.removed and (full := full_data(c.groups)) is not None]
    plain = next((pair for pair in priced if pair[1].setup.method == NO_METHOD), priced[0] if priced else None)
    price = _own(plain[1], plain[0]) if plain else Price(None, None)
    rows, breaks = list[Sequence[object]](), list[int]()
    for compared in (c for c in family if c.setup.removed):
        breaks.append(len(rows))
        name = compared.setup.short_words
        pairs = zip(compared.groups, compared.costs, strict=True)
        rows += [[name, *_row(group, cost, price, plain[0] if plain else None)] for group, cost in pairs]
    dense = f"set-up {plain[1].setup.name}" if plain else ""
    unit = f"in trainings on all the data without KD, dense ({dense})" if price.samples else "in samples"
    head = tag("h3", f"Pruned students{f', {names_of(family)}' if several else ''}")
    note = paragraph(
        f"Samples, {unit}, and seconds after the slash. A pruned student is trained with its zeros, so that it costs as "
        "much as a dense one, and its pruning besides.",
        class_="note",
    )
    return [
        head,
        note,
        table(("weights", *HEAD), rows, numbers=range(4, 12), label="Costs of the pruned", breaks=breaks[1:]),
    ]


def _table(compared: Compared) -> Markup:
    full = full_data(compared.groups)
    price = _own(compared, full) if full else Price(None, None)
    rows = [
        _row(group, cost, price, full)
        for group, cost in zip(compared.groups, compared.costs, strict=True)
    ]  # fmt: skip
    breaks = [i for i in range(1, len(rows)) if rows[i][0] != rows[i - 1][0]]
    unit = "in trainings on all the data without KD" if price.samples else "in samples"
    note = paragraph(f"Samples, {unit}, and seconds after the slash.", class_="note")
    return join([note, table(HEAD, rows, numbers=range(3, 11), label="Costs", breaks=breaks)])


def _row(group: Group, cost: GroupCost, price: Price, full: Group | None) -> Sequence[object]:
    parts: list[object] = [_both(cost.own, price)]
    parts += [_both(part, price) if part.samples else "" for part in (cost.search, cost.prune)]
    parts += [_both(cost.shared[p], price) if p in cost.shared else "" for p in ("teacher", "scoring", "soft labels")]
    ends: list[object] = ["", ""]
    if full is not None and not (group.is_full and not group.has_kd):
        ends = [_after(cost, price, name) for name in ("samples", "seconds")]
    return [percent(group.fraction), group.scorer, group.kd, *parts, *ends]


def _after(cost: GroupCost, price: Price, name: str) -> str:
    own, once, full = cost.own.measure(name), cost.once.measure(name), price.measure(name)
    k = pays_off_after(own, once, full)
    if k is not None:
        return f"{k:,}"
    return "never" if own is not None and full is not None and own >= full else "unknown"


def _both(cost: Price, price: Price) -> str:
    known = cost.samples is not None and price.samples
    samples = f"{(cost.samples or 0) / (price.samples or 1):.2f}" if known else count(cost.samples)
    return f"{samples} / {seconds_text(cost.seconds)} s" if cost.seconds is not None else f"{samples} / ?"
