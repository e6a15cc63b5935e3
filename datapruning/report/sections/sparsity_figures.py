"""Figures of the pruned weights: accuracy against the share that was removed, and the share that each layer keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datapruning.report.comparison import Compared
from datapruning.report.figures import INK, MARKERS, MUTED, PANEL, SERIES, Drawing, draw, headline, legend, percent, readable
from datapruning.report.format import removed_text
from datapruning.report.groups import Group
from datapruning.report.sections.accuracy import slug
from datapruning.report.setups import NO_METHOD, Setup
from datapruning.report.sparsity import MeanLayer, Thinned, mean_layers

DASHES = ("-", (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (7, 2)))
MOST_LETTERS = 22
"""Of a layer's name; of a longer one the end is shown, which tells layers apart."""
LINE, ROOM = 0.155, 1.0
"""Inches that a layer's bar takes, and the title and axis."""
LOGARITHMIC = 6


@dataclass(frozen=True)
class Line:
    """A line of a panel: a criterion with a self-distillation, its points by the share that was removed (0: dense)."""

    by: str
    method: str
    points: tuple[tuple[float, Group], ...]


def dense_of(setup: Setup, family: Sequence[Compared]) -> Compared | None:
    """The set-up that differs in nothing but the pruning; None: there is none, or it is `setup` itself."""
    own = {k: v for k, v in setup.settings.items() if not k.startswith("sparsity.")}
    return next((c for c in family if setup.removed and c.setup.settings == own), None)


def find_lines(family: Sequence[Compared], kind: tuple[float, str, str]) -> list[Line]:
    """The lines of one panel.

    Args:
        family: set-ups that differ only in pruning and self-distillation.
        kind: (fraction, scorer, way of KD) of the panel.
    """

    def points(compared: Compared) -> list[tuple[float, Group]]:
        return [(compared.setup.removed, g) for g in compared.groups if (g.fraction, g.scorer, g.kd) == kind]

    same: dict[tuple[tuple[str, str], ...], list[Compared]] = {}
    for compared in family:
        if compared.setup.removed:
            key = tuple(sorted((k, repr(v)) for k, v in compared.setup.settings.items() if k != "sparsity.sparsity"))
            same.setdefault(key, []).append(compared)
    lines = []
    for mine in same.values():
        setup = mine[0].setup
        pruned = [p for compared in mine for p in points(compared)]
        dense = dense_of(setup, family)
        by = ", ".join([setup.prune_by, *(d for d in setup.details if d.startswith("sparsity."))])
        method = ", ".join([setup.method, *(d for d in setup.details if not d.startswith("sparsity."))])
        if pruned:
            before = points(dense) if dense else []
            lines.append(Line(by, method, tuple(sorted([*before, *pruned], key=lambda p: p[0]))))
    return lines


def share_drawings(family: Sequence[Compared]) -> list[Drawing]:
    """A panel for each fraction, scorer and way of KD in which there is something to compare."""
    kinds = {(g.fraction, g.scorer, g.kd): g for c in family for g in c.groups if c.setup.removed}
    drawn = []
    for kind in sorted(kinds, key=lambda k: (k[0], k[1], kinds[k].has_kd, k[2])):
        lines, group = find_lines(family, kind), kinds[kind]
        if len(lines) < 2 and all(len(line.points) < 2 for line in lines):
            continue
        data = "all the data" if group.is_full else f"{group.scorer}, keeping {percent(group.fraction)}"
        name = f"pruned{family[0].setup.tag}-{slug(f'{data} {group.kd}'.replace('.', 'p'))}"
        words = f"{data}, {group.kd}"
        alt = f"Test accuracy against the share of the weights that is removed: {words}"
        drawn.append(draw(name, alt, partial(_paint_lines, lines=lines, words=words), height=3.3))
    return drawn


def _paint_lines(figure: Figure, lines: Sequence[Line], words: str) -> None:
    axes = figure.add_subplot()
    criteria = list(dict.fromkeys(line.by for line in lines))
    methods = list(dict.fromkeys(line.method for line in lines))
    for line in lines:
        colour = SERIES[criteria.index(line.by) % len(SERIES)]
        number = methods.index(line.method)
        alone = line.method == NO_METHOD
        label = line.by if methods == [NO_METHOD] else f"{line.by}, {'no self-distillation' if alone else line.method}"
        taught = [method for method in methods if method != NO_METHOD]
        axes.errorbar(
            [1 - removed for removed, _ in line.points], [g.mean for _, g in line.points],
            [g.sd or 0 for _, g in line.points], label=label, color=colour, marker=MARKERS[number % len(MARKERS)],
            linestyle=(0, (4, 2)) if alone else DASHES[taught.index(line.method) % len(DASHES)],
            markerfacecolor=PANEL if alone else colour, markeredgecolor=colour, elinewidth=1, zorder=3,
        )  # fmt: skip
    _removed_axis(axes, sorted({removed for line in lines for removed, _ in line.points}))
    axes.set_ylabel("test accuracy, %")
    headline(axes, words)
    legend(figure, axes)


def _removed_axis(axes: Axes, shares: Sequence[float]) -> None:
    """Across: the share that is kept, falling, and labelled by what is removed: 90%, 99% and 99.9% are as far apart."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    kept = [1 - share for share in shares]
    if kept[0] > LOGARITHMIC * kept[-1]:
        axes.set_xscale("log")
        axes.set_xlim(kept[0] * 1.25, kept[-1] / 1.25)
    else:
        room = 0.06 * (kept[0] - kept[-1]) or 0.05
        axes.set_xlim(kept[0] + room, kept[-1] - room)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_major_formatter(FixedFormatter(readable(axes, kept, [removed_text(share) for share in shares])))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("share of the weights that is removed")


def layer_drawing(setup: Setup, runs: Sequence[Thinned]) -> Drawing | None:
    """Bars of what each layer keeps, mean over the runs; None where the runs do not say it."""
    if not runs:
        return None
    layers = mean_layers(runs)
    whole = sum(each.kept for each in layers) / sum(each.layer.total for each in layers)
    paint = partial(_paint_layers, layers=layers, whole=whole, words=setup.short_words)
    alt = f"Share of its weights that each layer keeps: {setup.short_words}"
    return draw(f"layers{setup.tag}", alt, paint, height=ROOM + LINE * max(len(layers), 4))


def _paint_layers(figure: Figure, layers: Sequence[MeanLayer], whole: float, words: str) -> None:
    axes = figure.add_subplot()
    places = range(len(layers))
    shares = [100 * each.share for each in layers]
    errors = [100 * (each.sd or 0) for each in layers]
    axes.barh(places, shares, 0.72, color=SERIES[0], xerr=errors if any(errors) else None,
              error_kw={"elinewidth": 1, "ecolor": INK, "capsize": 1.5})  # fmt: skip
    axes.axvline(100 * whole, color=MUTED, linestyle=":", linewidth=1.2)
    for place, share, error in zip(places, shares, errors, strict=True):
        axes.annotate(f"{share:.3g}%", (share + error, place), (3, 0), textcoords="offset points", va="center",
                      fontsize=7, color=INK)  # fmt: skip
    names = [each.layer.name.removesuffix(".weight") for each in layers]
    axes.set_yticks(places, [n if len(n) <= MOST_LETTERS else f"…{n[1 - MOST_LETTERS :]}" for n in names], fontsize=7.5)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_xlim(0, 1.18 * max(s + e for s, e in zip(shares, errors, strict=True)) or 1)
    axes.grid(False, axis="y")
    axes.set_xlabel("weights kept, %")
    headline(axes, words)
