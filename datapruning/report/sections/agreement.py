"""Scorer agreement: rank correlations between the scores files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from datapruning.artifacts.rank_correlation import rank_correlation
from datapruning.report.comparison import Inputs
from datapruning.report.figures import GRID, INK, MUTED, PANEL, SERIES, draw, headline
from datapruning.report.html import Section, figures, join, paragraph
from datapruning.report.score_files import ScoresFile


def section(inputs: Inputs) -> Section:
    """The matrix, and what it means."""
    files = inputs.scores
    title = "Do the scorers agree?"
    if len(files) < 2:
        what = "There are no scores files" if not files else f"There is only one scores file ({inputs.shown(files[0].path)})"
        text = (
            f"{what} of this dataset near the runs, so nothing can be compared. 'dprune score --scorer el2n,forgetting' "
            "writes some into the workspace; others can be named with --scores."
        )
        return Section("agreement", title, paragraph(text, class_="note"))
    names = [f.name for f in files]
    matrix = [[1.0 if a is b else rank_correlation(a.scores.values, b.scores.values) for b in files] for a in files]
    height = 0.9 + 0.42 * len(files) + 0.055 * max(map(len, names))
    drawing = draw(
        "agreement", "Rank correlations between scorers", partial(_paint, names=names, matrix=matrix), height=height
    )
    caption = paragraph(
        "Spearman's rank correlation between the scores of all samples: 1 is the same order, 0 no relation, \N{MINUS SIGN}1 "
        "the reverse order. Random scores are there to show what no relation looks like. ",
        _extremes(files, matrix),
        class_="note",
    )
    return Section("agreement", title, join([caption, figures([drawing])]), [drawing])


def _extremes(files: Sequence[ScoresFile], matrix: Sequence[Sequence[float]]) -> str:
    pairs = [
        (matrix[i][j], files[i].name, files[j].name)
        for i in range(len(files))
        for j in range(i)
        if "random" not in (files[i].scores.scorer, files[j].scores.scorer) and math.isfinite(matrix[i][j])
    ]
    if not pairs:
        return ""
    (high, a, b), (low, c, d) = max(pairs), min(pairs)
    if len(pairs) == 1:
        return f"{a} and {b} correlate at {high:.2f}."
    return f"Most alike: {a} and {b} ({high:.2f}); least: {c} and {d} ({low:.2f})."


def _paint(figure: Figure, names: Sequence[str], matrix: Sequence[Sequence[float]]) -> None:
    axes = figure.add_subplot()
    count = len(names)
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            colour = PANEL if math.isnan(value) else SERIES[0] if value >= 0 else SERIES[1]
            strength = 0.0 if math.isnan(value) or i == j else 0.6 * abs(value)
            corner = (j - 0.48, i - 0.48)
            axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor=colour, alpha=strength))
            axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor="none", edgecolor=GRID, linewidth=0.7))
            text = (
                "?"
                if math.isnan(value)
                else "1"
                if i == j
                else f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")
            )
            axes.text(j, i, text, ha="center", va="center", color=MUTED if i == j else INK)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xticks(range(count), names, rotation=35 if max(map(len, names)) * count > 40 else 0, ha="center")
    if max(map(len, names)) * count > 40:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    axes.set_yticks(range(count), names)
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    headline(axes, "Rank correlation of scores")
