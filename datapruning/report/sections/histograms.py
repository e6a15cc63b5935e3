"""Histograms: the scores, and the classes, of what is kept against all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from datapruning.artifacts.subset import load_subset
from datapruning.errors import DataPruningError
from datapruning.report.comparison import Inputs
from datapruning.report.figures import MARKERS, MUTED, SERIES, Drawing, draw, headline, legend, percent
from datapruning.report.groups import scorer_order
from datapruning.report.html import Markup, Section, figures, join, paragraph, tag
from datapruning.report.score_files import ScoresFile, readers
from datapruning.report.sections.accuracy import slug
from datapruning.report.student import Student

BINS = 40
MOST_NAMED = 12
"""Classes whose names fit below an axis."""
Ids = NDArray[np.int64]


def section(inputs: Inputs) -> Section:
    """Scores first, then classes."""
    parts, drawings = [tag("h3", "Scores")], list[Drawing]()
    shown = [f for f in inputs.scores if f.scores.scorer != "random"]
    if shown:
        drawn = [_scores(file, inputs.students) for file in shown]
        parts.append(
            paragraph(
                "How the scores are spread over all samples (grey), and over those that a run of this report kept. Higher "
                "ones are kept first.",
                class_="note",
            )
        )
        parts.append(figures(drawn))
        drawings += drawn
    else:
        parts.append(paragraph("There are no scores files of this dataset near the runs.", class_="note"))
    parts += [tag("h3", "Classes"), *_classes(inputs, drawings)]
    return Section("histograms", "What is kept", join(parts), drawings)


def _kept(student: Student) -> Ids | None:
    try:
        return load_subset(student.folder / "subset.npz").indices
    except DataPruningError:
        return None


def _ends(students: Sequence[Student], most: int) -> dict[float, Ids]:
    """Kept ids by fraction, the seed that comes first: of the smallest fraction, the largest below 1, and some between."""
    first: dict[float, Student] = {}
    for student in sorted(students, key=lambda s: s.seed):
        if not student.is_full:
            first.setdefault(student.fraction, student)
    fractions = sorted(first)
    if len(fractions) > most:
        fractions = [fractions[round(i * (len(fractions) - 1) / (most - 1))] for i in range(most)]
    found = {fraction: _kept(first[fraction]) for fraction in fractions}
    return {fraction: ids for fraction, ids in found.items() if ids is not None}


def _scores(file: ScoresFile, students: Sequence[Student]) -> Drawing:
    kept = _ends(readers(file, students), 2)
    name = f"scores-{slug(file.name)}"
    return draw(name, f"Histogram of the scores of {file.name}", partial(_paint_scores, file=file, kept=kept))


def _paint_scores(figure: Figure, file: ScoresFile, kept: Mapping[float, Ids]) -> None:
    axes = figure.add_subplot()
    values = file.scores.values
    finite = values[np.isfinite(values)]
    edges: list[float] = np.histogram_bin_edges(finite.astype(np.float64), BINS).tolist()
    axes.hist(finite, edges, color=MUTED, alpha=0.35, label="all")
    for i, (fraction, ids) in reversed(list(enumerate(sorted(kept.items())))):
        some = values[ids]
        axes.hist(
            some[np.isfinite(some)],
            edges,
            histtype="step",
            linewidth=1.6,
            color=SERIES[i],
            label=f"kept at {percent(fraction)}",
        )
    counts = np.histogram(finite, edges)[0]
    if counts.max(initial=0) > 30 * max(float(np.median(counts[counts > 0])) if counts.any() else 1.0, 1.0):
        axes.set_yscale("log")
    axes.set_xlabel("score")
    axes.set_ylabel("samples")
    headline(axes, file.name)
    legend(figure, axes)


def _classes(inputs: Inputs, drawings: list[Drawing]) -> list[Markup]:
    if inputs.data is None:
        return [paragraph(f"The classes of the samples are not known: {inputs.no_data}.", class_="warn")]
    scorers = sorted({s.scorer for s in inputs.students if not s.is_full}, key=scorer_order)
    drawn = []
    for scorer in scorers:
        kept = _ends([s for s in inputs.students if s.scorer == scorer], 3)
        if kept:
            paint = partial(
                _paint_classes, title=scorer, kept=kept, labels=inputs.data.train.labels, names=inputs.data.class_names
            )
            drawn.append(draw(f"classes-{slug(scorer)}", f"Share of each class among the kept samples: {scorer}", paint))
    if not drawn:
        return [paragraph("There is no run on part of the data whose subset file can be read.", class_="note")]
    drawings += drawn
    text = (
        "Each class's share of the kept samples, against its share of all (grey). Of each fraction one run, the lowest seed."
    )
    return [paragraph(text, class_="note"), figures(drawn)]


def _paint_classes(figure: Figure, title: str, kept: Mapping[float, Ids], labels: Ids, names: Sequence[str]) -> None:
    axes = figure.add_subplot()
    classes = np.arange(len(names))
    many = len(names) > MOST_NAMED
    axes.bar(classes, _shares(labels, len(names)), color=MUTED, alpha=0.35, width=1.0 if many else 0.8, label="all")
    for i, (fraction, ids) in enumerate(kept.items()):
        offset = 0.0 if many else 0.22 * (i - (len(kept) - 1) / 2)
        axes.plot(classes + offset, _shares(labels[ids], len(names)), linestyle="none", marker=MARKERS[i],
                  markersize=2.5 if many else 5, color=SERIES[i], label=percent(fraction))  # fmt: skip
    axes.set_ylim(0, None)
    axes.set_ylabel("share of the samples, %")
    headline(axes, title)
    axes.grid(False, axis="x")
    _name_classes(axes, names)
    legend(figure, axes)


def _shares(labels: Ids, classes: int) -> NDArray[np.float64]:
    counts = np.bincount(labels, minlength=classes)
    return np.asarray(100 * counts / counts.sum())


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    if len(names) > MOST_NAMED:
        axes.set_xlabel(f"class, 0 to {len(names) - 1}")
        return
    short = [name if len(name) <= 12 else f"{name[:11]}…" for name in names]
    turned = sum(map(len, short)) > 30
    axes.set_xticks(range(len(names)), short, rotation=40 if turned else 0, ha="right" if turned else "center")
    if turned:
        for label in axes.get_xticklabels():
            label.set_rotation_mode("anchor")
    axes.set_xlabel("class" if not turned else "")
