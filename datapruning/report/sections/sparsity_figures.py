"""Figures of pruned weights: accuracy against the share that was removed, and the share that each layer keeps."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from datapruning.report.comparison import CRITERION, NO_METHOD, SPARSITY, Comparison, dense_comparison
from datapruning.report.figures import DASHED, INK, MARKERS, MUTED, SERIES, Figure, errorbar, plot, set_ticks
from datapruning.report.format import format_sparsity, percent, slug
from datapruning.report.groups import Group, pivot
from datapruning.runs.training_records import PrunedLayer, SparsityRecord

LINE_STYLES = ("-", (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)), (0, (7, 2)))
MAX_NAME_CHARS = 22
"""Of a layer's name; of a longer one the end is shown, which tells layers apart."""
BAR_INCHES, FRAME_INCHES = 0.155, 1.0
"""Height of a layer's bar, and of the title and the axis."""


@dataclass(frozen=True)
class Line:
    """A line of a panel: a criterion with a self-distillation, its points by the share that was removed (0: dense)."""

    criterion: str
    method: str
    points: Sequence[tuple[float, Group]]


def find_lines(family: Sequence[Comparison], key: tuple[float, str, str]) -> list[Line]:
    """The lines of one panel, whose fraction, scorer and kind of KD are `key`, in a family of comparisons."""

    def points(members: Sequence[Comparison]) -> list[tuple[float, Group]]:
        return [(c.sparsity, group) for c in members for group in c.groups if group.key == key]

    def settings(comparison: Comparison) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((k, repr(v)) for k, v in comparison.settings.items() if k != SPARSITY))

    table = CRITERION.split(".")[0]
    lines = []
    for members in pivot((comparison for comparison in family if comparison.sparsity), settings).values():
        pruned, first = points(members), members[0]
        dense = dense_comparison(first, family)
        criterion = [first.criterion, *(text for text in first.details if text.startswith(table))]
        method = [first.method, *(text for text in first.details if not text.startswith(table))]
        if pruned:
            both = [*(points([dense]) if dense else []), *pruned]
            lines.append(Line(", ".join(criterion), ", ".join(method), sorted(both, key=lambda point: point[0])))
    return lines


def sparsity_figures(family: Sequence[Comparison]) -> list[Figure]:
    """A panel for each fraction, scorer and kind of KD in which there is something to compare."""
    panels = {group.key: group for comparison in family for group in comparison.groups if comparison.sparsity}
    figures = []
    for key, group in sorted(panels.items(), key=lambda item: (*item[0][:2], item[1].has_kd, item[0][2])):
        lines = find_lines(family, key)
        if len(lines) > 1 or any(len(line.points) > 1 for line in lines):
            data = "all the data" if group.is_full else f"{group.scorer}, keeping {percent(group.fraction)}"
            name = f"pruned{family[0].suffix}-{slug(f'{data} {group.kd}'.replace('.', 'p'))}"
            figures.append(_line_figure(name, f"{data}, {group.kd}", lines))
    return figures


def _line_figure(name: str, title: str, lines: Sequence[Line]) -> Figure:
    """Across: the share that is kept, falling, labelled by what is removed: 90%, 99% and 99.9% are as far apart."""
    criteria = list(dict.fromkeys(line.criterion for line in lines))
    methods = list(dict.fromkeys(line.method for line in lines))
    distilled = [method for method in methods if method != NO_METHOD]

    def paint(axes: Axes) -> None:
        for line in lines:
            is_plain = line.method == NO_METHOD
            method = "no self-distillation" if is_plain else line.method
            style = DASHED if is_plain else LINE_STYLES[distilled.index(line.method) % len(LINE_STYLES)]
            errorbar(
                axes, [1 - removed for removed, _ in line.points], [group for _, group in line.points],
                f"{line.criterion}, {method}" if distilled else line.criterion,
                SERIES[criteria.index(line.criterion) % len(SERIES)],
                MARKERS[methods.index(line.method) % len(MARKERS)], style,
            )  # fmt: skip
        shares = sorted({removed for line in lines for removed, _ in line.points})
        labels = [format_sparsity(share) for share in shares]
        set_ticks(axes, [1 - share for share in shares], labels, "share of the weights that is removed")
        axes.set_ylabel("test accuracy, %")

    return plot(name, f"Test accuracy against the share of the weights that is removed: {title}", title, paint, height=3.3)


@dataclass(frozen=True)
class MeanLayer:
    """A layer over several runs: that of the first run, the mean number of kept weights, and the share kept in each run."""

    layer: PrunedLayer
    kept: float
    shares: Sequence[float]

    @property
    def name(self) -> str:
        """The name of the layer."""
        return self.layer.name.removesuffix(".weight")

    @property
    def share(self) -> float:
        """The share that is kept, mean over the runs, 0..1."""
        return statistics.mean(self.shares)

    @property
    def sd(self) -> float:
        """The standard deviation of the share; 0 of a single run."""
        return statistics.stdev(self.shares) if len(self.shares) > 1 else 0.0


def mean_layers(runs: Sequence[SparsityRecord]) -> list[MeanLayer]:
    """Layer by layer over the runs of one network; runs of another network than the first one's are left out."""
    outlines = [[(layer.name, layer.shape) for layer in run.layers] for run in runs]
    same = [run.layers for run, outline in zip(runs, outlines, strict=True) if outline == outlines[0]]
    return [
        MeanLayer(layers[0], statistics.mean(x.kept for x in layers), [x.kept / x.total for x in layers])
        for layers in zip(*same, strict=True)
    ]


def layer_figure(comparison: Comparison, runs: Sequence[SparsityRecord]) -> Figure | None:
    """Bars of what each layer keeps, mean over the runs; None where no run was pruned."""
    if not runs:
        return None
    layers = mean_layers(runs)
    total_share = sum(layer_mean.kept for layer_mean in layers) / sum(layer_mean.layer.total for layer_mean in layers)

    def paint(axes: Axes) -> None:
        rows = range(len(layers))
        shares = [100 * layer.share for layer in layers]
        errors = [100 * layer.sd for layer in layers]
        axes.barh(rows, shares, 0.72, color=SERIES[0], xerr=errors if any(errors) else None,
                  error_kw={"elinewidth": 1, "ecolor": INK, "capsize": 1.5})  # fmt: skip
        axes.axvline(100 * total_share, color=MUTED, linestyle=":", linewidth=1.2)
        for row, share, error in zip(rows, shares, errors, strict=True):
            axes.annotate(f"{share:.3g}%", (share + error, row), (3, 0), textcoords="offset points", va="center",
                          fontsize=7, color=INK)  # fmt: skip
        names = [layer.name for layer in layers]
        shown = [name if len(name) <= MAX_NAME_CHARS else f"…{name[1 - MAX_NAME_CHARS :]}" for name in names]
        axes.set_yticks(rows, shown, fontsize=7.5)
        axes.set_ylim(len(layers) - 0.5, -0.5)
        axes.set_xlim(0, 1.18 * max(share + error for share, error in zip(shares, errors, strict=True)) or 1)
        axes.grid(False, axis="y")
        axes.set_xlabel("weights kept, %")

    title = comparison.short_label
    alt = f"Share of its weights that each layer keeps: {title}"
    return plot(f"layers{comparison.suffix}", alt, title, paint, height=FRAME_INCHES + BAR_INCHES * max(len(layers), 4))
