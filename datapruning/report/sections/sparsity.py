"""Pruned weights: accuracy against the share that was removed, what it saves and costs, and what each layer keeps."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from datapruning.report.comparison import Compared, Inputs
from datapruning.report.figures import Drawing, percent
from datapruning.report.format import plural, removed_text, seconds_text, spread
from datapruning.report.groups import Group
from datapruning.report.html import Markup, Section, figures, folded, join, paragraph, table, tag
from datapruning.report.sections.cost_figures import short
from datapruning.report.sections.sparsity_figures import dense_of, layer_drawing, share_drawings
from datapruning.report.sections.summary import names_of
from datapruning.report.setups import Setup
from datapruning.report.sparsity import Thinned, mean_layers, thinned_of

MOST_SHOWN = 6
"""Pictures of layers that are not folded away."""


def section(inputs: Inputs) -> Section | None:
    """Each family with a pruned student; None where nothing was pruned."""
    parts, drawings = list[Markup](), list[Drawing]()
    families = [family for family in inputs.families if any(c.setup.removed for c in family)]
    for family in families:
        if len(inputs.families) > 1:
            parts.append(tag("h3", names_of(family)))
        drawn = share_drawings(family)
        layers = [d for c in family if (d := layer_drawing(c.setup, _thinned(c.setup))) is not None]
        parts += [figures(drawn)] if drawn else []
        parts += [_table(family), *_layers(family, layers)]
        drawings += [*drawn, *layers]
    if not parts:
        return None
    return Section("pruned", "Pruned weights", join([*_caption(families), *parts]), drawings)


def _thinned(setup: Setup) -> list[Thinned]:
    return [told for student in setup.students if (told := thinned_of(student)) is not None]


def _caption(families: Sequence[Sequence[Compared]]) -> list[Markup]:
    zeros = (
        "Weights of convolutions and linear layers were set to zero before training, and stay zero. Single zeros save "
        "weights, not time: the usual kernels multiply by them as by any number. What a network would need if zeros were "
        "skipped is given in FLOPs (multiplications and additions) for one picture."
    )
    reading = (
        "Bars: ± one standard deviation over seeds. At 0% nothing is removed: lines of one self-distillation begin there "
        "together. Against dense: minus the run that differs in nothing but the pruning, mean ± standard deviation over the "
        "pairs of seeds."
    )
    runs = [told for family in families for c in family for told in _thinned(c.setup)]
    protected = sorted({name for told in runs for name in told.protected})
    more = f" Layers that would have been cut to nothing, and kept their strongest weight: {', '.join(protected)}."
    return [paragraph(zeros), paragraph(reading + (more if protected else ""), class_="note")]


def _table(family: Sequence[Compared]) -> Markup:
    several = len(family) > 1
    head = ("weights removed", "self-distillation", "data", "scorer", "KD", "accuracy", "n", "against dense",
            "weights kept", "FLOPs", "zeros skipped", "pruning took")  # fmt: skip
    rows, breaks = list[list[object]](), list[int]()
    for compared in family:
        breaks += [len(rows)] if rows else []
        rows += [[*([compared.setup.name] if several else []), *_row(compared, i, family)]
                 for i in range(len(compared.groups))]  # fmt: skip
    first = 6 if several else 5
    whole = (*(["set-up"] if several else []), *head)
    return table(whole, rows, numbers=range(first, first + 7), label="Pruned weights", breaks=breaks)


def _row(compared: Compared, number: int, family: Sequence[Compared]) -> list[object]:
    setup, group, cost = compared.setup, compared.groups[number], compared.costs[number]
    by = ", ".join([f"{removed_text(setup.removed)} by {setup.prune_by}" if setup.removed else "none", *setup.details])
    told = [t for student in group.students if (t := thinned_of(student)) is not None]
    saved: list[object] = ["", "", ""]
    if told:
        dense, sparse = told[0].flops[0], statistics.mean(t.flops[1] for t in told)
        saved = [f"{statistics.mean(t.kept for t in told):,.0f} of {told[0].total:,}", short(dense), short(sparse)]
    gains = against_dense(group, compared, family)
    gain = spread(statistics.mean(gains), statistics.stdev(gains) if len(gains) > 1 else None, len(gains), sign=True) \
        if gains else ""  # fmt: skip
    took = f"{seconds_text(cost.prune.seconds)} s" if cost.prune.seconds else ""
    data = "all" if group.is_full else percent(group.fraction)
    accuracy = spread(group.mean, group.sd, group.n)
    scorer = "" if group.is_full else group.scorer
    return [by, setup.method, data, scorer, group.kd, accuracy, group.n, gain, *saved, took]


def against_dense(group: Group, compared: Compared, family: Sequence[Compared]) -> list[float]:
    """Accuracy of each run minus that of the dense one with the same data, KD, self-distillation and seed, in points."""
    dense = dense_of(compared.setup, family)
    same = (g for g in (dense.groups if dense else []) if _kind(g) == _kind(group))
    base = {s.seed: s.accuracy for g in same for s in g.students}
    return [s.accuracy - base[s.seed] for s in group.students if s.seed in base]


def _kind(group: Group) -> tuple[float, str, str]:
    return group.fraction, group.scorer, group.kd


def _layers(family: Sequence[Compared], drawn: Sequence[Drawing]) -> list[Markup]:
    if not drawn:
        return []
    pruned = [c.setup for c in family if _thinned(c.setup)]
    mixed = sorted({len(c.groups) for c in family if c.setup.removed})[-1] > 1
    words = "The share of its weights that each layer keeps, mean ± standard deviation over the runs"
    words += " of a set-up, with whatever data and KD" if mixed else ""
    parts = [tag("h3", "What each layer keeps"), paragraph(f"{words}. Dotted line: the whole network.", class_="note")]
    parts.append(figures(drawn[:MOST_SHOWN]))
    if len(drawn) > MOST_SHOWN:
        parts.append(folded(f"{plural(len(drawn) - MOST_SHOWN, 'more picture')}", figures(drawn[MOST_SHOWN:])))
    tables = (join([tag("h4", setup.short_words), _layer_table(_thinned(setup))]) for setup in pruned)
    parts.append(folded("The same as tables, with FLOPs", *tables))
    return parts


def _layer_table(runs: Sequence[Thinned]) -> Markup:
    rows: list[list[object]] = []
    for each in mean_layers(runs):
        layer = each.layer
        share = spread(100 * each.share, None if each.sd is None else 100 * each.sd, len(runs))
        flops = 2 * layer.positions
        rows.append(
            [layer.name.removesuffix(".weight"), " x ".join(map(str, layer.shape)), f"{layer.total:,}", f"{each.kept:,.0f}",
             share, short(flops * layer.total), short(flops * each.kept)]
        )  # fmt: skip
    dense, kept = runs[0], statistics.mean(run.kept for run in runs)
    sparse = statistics.mean(run.flops[1] for run in runs)
    rows.append(["all", "", f"{dense.total:,}", f"{kept:,.0f}", f"{100 * kept / dense.total:.2f}", short(dense.flops[0]),
                 short(sparse)])  # fmt: skip
    head = ("layer", "shape", "weights", "kept", "kept, %", "FLOPs", "zeros skipped")
    return table(head, rows, numbers=range(2, 7), label="Layers", breaks=[len(rows) - 1])
