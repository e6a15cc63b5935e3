"""Scorer agreement: rank correlations between the scores files."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from datapruning.artifacts.rank_correlation import rank_correlation
from datapruning.report.dataset_files import ScoresFile
from datapruning.report.figures import GRID, INK, MUTED, PANEL, SERIES, Figure, plot
from datapruning.report.format import MINUS
from datapruning.report.inputs import ReportInputs
from datapruning.report.render import Section, render

MAX_LABEL_CHARS = 40
"""Characters of labels that fit beside each other below the matrix; more are turned."""


def section(inputs: ReportInputs) -> Section:
    """The matrix, and its extremes in a sentence."""
    only = inputs.display_path(inputs.scores[0].path) if len(inputs.scores) == 1 else ""
    return matrix_section(inputs.scores, only)


def matrix_section(files: Sequence[ScoresFile], only: str = "") -> Section:
    """The same of scores files; `only` is the path of the only one, where there are not two."""
    pairs: list[tuple[float, str, str]] = []
    figures: list[Figure] = []
    if len(files) > 1:
        matrix = [[1.0 if a is b else rank_correlation(a.scores.values, b.scores.values) for b in files] for a in files]
        pairs = _informative_pairs(files, matrix)
        figures = [_matrix_figure([file.name for file in files], matrix)]
    has_random = any(file.is_random for file in files)
    html = render("agreement.html", figures=figures, pairs=pairs, only=only, has_random=has_random)
    return Section("agreement", "Do the scorers agree?", html, figures)


def _informative_pairs(files: Sequence[ScoresFile], matrix: Sequence[Sequence[float]]) -> list[tuple[float, str, str]]:
    """(correlation, name, name) of the pairs of scorers that are not random."""
    return [
        (matrix[i][j], files[i].name, files[j].name)
        for i in range(len(files)) for j in range(i)
        if not files[i].is_random and not files[j].is_random and math.isfinite(matrix[i][j])
    ]  # fmt: skip


def _matrix_figure(names: Sequence[str], matrix: Sequence[Sequence[float]]) -> Figure:
    count, longest = len(names), max(map(len, names))

    def paint(axes: Axes) -> None:
        for i, row in enumerate(matrix):
            for j, value in enumerate(row):
                _paint_cell(axes, i, j, value)
        is_turned = longest * count > MAX_LABEL_CHARS
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(count - 0.5, -0.5)
        if is_turned:
            axes.set_xticks(range(count), names, rotation=35, ha="right", rotation_mode="anchor")
        else:
            axes.set_xticks(range(count), names, rotation=0, ha="center")
        axes.set_yticks(range(count), names)
        axes.grid(False)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)

    height = 0.9 + 0.42 * count + 0.055 * longest
    return plot("agreement", "Rank correlations between scorers", "Rank correlation of scores", paint, height)


def _paint_cell(axes: Axes, i: int, j: int, value: float) -> None:
    colour = PANEL if math.isnan(value) else SERIES[0] if value >= 0 else SERIES[1]
    strength = 0.0 if math.isnan(value) or i == j else 0.6 * abs(value)
    text = "?" if math.isnan(value) else "1" if i == j else f"{round(value, 2) + 0.0:.2f}".replace("-", MINUS)
    corner = (j - 0.48, i - 0.48)
    axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor=colour, alpha=strength))
    axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor="none", edgecolor=GRID, linewidth=0.7))
    axes.text(j, i, text, ha="center", va="center", color=MUTED if i == j else INK)
