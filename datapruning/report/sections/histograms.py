"""Histograms: the scores, and the classes, of what is kept against all."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from datapruning.data.dataset import Dataset
from datapruning.report.dataset_files import ScoresFile, runs_selected_by
from datapruning.report.figures import MARKERS, MUTED, SERIES, Figure, log_axis, plot
from datapruning.report.format import percent, si_number, slug
from datapruning.report.groups import pivot, scorer_order
from datapruning.report.inputs import ReportInputs
from datapruning.report.render import Section, render
from datapruning.report.run_records import RunRecord

NUM_BINS = 40
MAX_NAMED_CLASSES, MAX_NAME_CHARS, MAX_LEVEL_CHARS = 12, 12, 30
"""Classes whose names fit below an axis, characters of a name, and characters that fit beside each other."""
LOG_RATIO = 30
"""The ratio of the highest bin to the median one from which on the counts have a logarithmic axis."""
Ids = NDArray[np.int64]


def section(inputs: ReportInputs) -> Section:
    """Scores first, then classes."""
    runs = inputs.collection.runs
    scores = [score_figure(f, _kept_ids(runs_selected_by(f, runs), 2)) for f in inputs.scores if not f.is_random]
    classes = _class_figures(runs, inputs.data) if inputs.data else []
    html = render("histograms.html", scores=scores, classes=classes, inputs=inputs)
    return Section("histograms", "What is kept", html, [*scores, *classes])


def _kept_ids(runs: Sequence[RunRecord], limit: int) -> dict[float, Ids]:
    """Kept ids by fraction, of the lowest seed: of the smallest fraction, the largest one below 1, and some between."""
    pruned = (run for run in sorted(runs, key=lambda run: run.result.seed) if not run.is_full)
    by_fraction = pivot(pruned, lambda run: run.fraction)
    fractions = sorted(by_fraction)
    if len(fractions) > limit:
        fractions = [fractions[round(i * (len(fractions) - 1) / (limit - 1))] for i in range(limit)]
    kept: dict[float, Ids] = {}
    for fraction in fractions:
        if (subset := by_fraction[fraction][0].subset) is not None:  # None: its folder is gone
            kept[fraction] = subset.indices
    return kept


def score_figure(file: ScoresFile, kept: Mapping[float, Ids]) -> Figure:
    """The histogram of all scores, and of those of the kept samples: ids by fraction, at most 2."""
    values = file.scores.values

    def paint(axes: Axes) -> None:
        finite = values[np.isfinite(values)]
        edges: list[float] = np.histogram_bin_edges(finite.astype(np.float64), NUM_BINS).tolist()
        axes.hist(finite, edges, color=MUTED, alpha=0.35, label="all")
        for i, (fraction, ids) in reversed(list(enumerate(kept.items()))):
            scores = values[ids]
            axes.hist(scores[np.isfinite(scores)], edges, histtype="step", linewidth=1.6, color=SERIES[i],
                      label=f"kept at {percent(fraction)}")  # fmt: skip
        counts = np.histogram(finite, edges)[0]
        median = float(np.median(counts[counts > 0])) if counts.any() else 1.0
        if counts.max(initial=0) > LOG_RATIO * max(median, 1.0):
            axes.set_yscale("log")
            log_axis(axes.yaxis, (1.0,), 6, si_number)
        axes.set_xlabel("score")
        axes.set_ylabel("samples")

    return plot(f"scores-{slug(file.name)}", f"Histogram of the scores of {file.name}", file.name, paint)


def _class_figures(runs: Sequence[RunRecord], data: Dataset) -> list[Figure]:
    by_scorer = pivot((run for run in runs if not run.is_full), lambda run: run.scorer)
    kept = {scorer: _kept_ids(by_scorer[scorer], 3) for scorer in sorted(by_scorer, key=scorer_order)}
    labels, names = data.train.labels, data.class_names
    return [class_figure(scorer, ids, labels, names) for scorer, ids in kept.items() if ids]


def class_figure(scorer: str, kept: Mapping[float, Ids], labels: Ids, names: Sequence[str]) -> Figure:
    """Each class's share of all samples and of the kept ones: ids by fraction, at most 3.

    Args:
        scorer: For the title.
        kept: int64 ids by fraction.
        labels: int64 [N].
        names: Of the classes.
    """

    def shares(labels: Ids) -> NDArray[np.float64]:
        counts = np.bincount(labels, minlength=len(names))
        return np.asarray(100 * counts / counts.sum())

    def paint(axes: Axes) -> None:
        classes = np.arange(len(names))
        has_names = len(names) <= MAX_NAMED_CLASSES
        axes.bar(classes, shares(labels), color=MUTED, alpha=0.35, width=0.8 if has_names else 1.0, label="all")
        for i, (fraction, ids) in enumerate(kept.items()):
            offset = 0.22 * (i - (len(kept) - 1) / 2) if has_names else 0.0
            axes.plot(classes + offset, shares(labels[ids]), linestyle="none", marker=MARKERS[i],
                      markersize=5 if has_names else 2.5, color=SERIES[i], label=percent(fraction))  # fmt: skip
        axes.set_ylim(0, None)
        axes.set_ylabel("share of the samples, %")
        axes.grid(False, axis="x")
        if has_names:
            _name_classes(axes, names)
        else:
            axes.set_xlabel(f"class, 0 to {len(names) - 1}")

    return plot(f"classes-{slug(scorer)}", f"Share of each class among the kept samples: {scorer}", scorer, paint)


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    shown = [name if len(name) <= MAX_NAME_CHARS else f"{name[: MAX_NAME_CHARS - 1]}…" for name in names]
    if sum(map(len, shown)) <= MAX_LEVEL_CHARS:
        axes.set_xticks(range(len(names)), shown, rotation=0, ha="center")
        axes.set_xlabel("class")
    else:
        axes.set_xticks(range(len(names)), shown, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_xlabel("")
