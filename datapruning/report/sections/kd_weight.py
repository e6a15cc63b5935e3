"""The KD weight: accuracy against the weight at each fraction, on the test set and on the searches' validation samples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datapruning.report.comparison import Compared, Inputs
from datapruning.report.figures import INK, MUTED, PANEL, SERIES, Drawing, draw, headline, legend, percent
from datapruning.report.groups import Group, scorer_order
from datapruning.report.html import Markup, Section, figures, join, paragraph, tag
from datapruning.report.sections.accuracy import slug
from datapruning.report.student import ALL, AUTO, NO_KD, Student

MOST_SEARCHES = 8
"""Searches that are drawn in one panel."""
TRIALS = ("s", "^", "D", "v")
TEST, VALIDATION, CHOSEN = SERIES[0], SERIES[2], SERIES[1]


def section(inputs: Inputs) -> Section | None:
    """Panels by scorer and fraction; None where no run had a teacher."""
    parts, drawings = list[Markup](), list[Drawing]()
    for compared in inputs.compared:
        by_scorer = _panels(compared)
        if by_scorer and compared.setup.name:
            parts.append(tag("h3", f"Set-up {compared.setup.name}: {compared.setup.what_differs}"))
        for scorer, drawn in by_scorer.items():
            if len(by_scorer) > 1:
                parts.append(tag("h4", scorer))
            parts.append(figures(drawn))
            drawings += drawn
    if not drawings:
        return None
    return Section("weight", "KD weight: how accuracy responds to it", join([_caption(inputs), *parts]), drawings)


def _caption(inputs: Inputs) -> Markup:
    searches = [s.search for s in inputs.students if s.search is not None]
    words: list[object] = ["0 trains on the labels alone, 1 on the teacher alone."]
    if any(s.kd not in (NO_KD, AUTO) for s in inputs.students):
        words.append("Upper plot: test accuracy of whole runs, mean ± standard deviation over seeds.")
    if searches:
        words.append(
            "Lower plot: what the searches for the weight saw, accuracy of their trials on validation samples "
            "(pruned away, or held out), each with ± one standard error. Trials are shorter than a run and judged on other "
            "samples, so their level is not that of the test set: what counts is where the curve is highest."
        )
        if any(s.get("curve") for s in searches):
            words.append("Line and band: the search's fitted response with its 68% interval, one for each run.")
        if any("stderr" not in t for s in searches for t in s.get("trials", [])):
            words.append("Where a trial states no standard error, that of its share of correct samples is drawn.")
        words.append("Vertical lines: the weights that were chosen.")
    return paragraph(join(words, " "), class_="note")


def _panels(compared: Compared) -> dict[str, list[Drawing]]:
    groups = compared.groups
    found: dict[str, list[Drawing]] = {}
    for scorer in sorted({g.scorer for g in groups}, key=lambda s: (s == ALL, scorer_order(s))):
        for fraction in sorted({g.fraction for g in groups if g.scorer == scorer}):
            mine = [g for g in groups if (g.scorer, g.fraction) == (scorer, fraction)]
            drawing = _panel(mine, compared.setup.tag)
            if drawing is not None:
                found.setdefault(scorer, []).append(drawing)
    return found


def _panel(groups: Sequence[Group], tag_: str) -> Drawing | None:
    fixed = _by_weight(groups)
    searching = [s for g in groups for s in g.students if s.kd == AUTO and s.search is not None and s.search["trials"]]
    if not any(weight > 0 for weight in fixed) and not searching:
        return None
    first = groups[0]
    title = f"{first.scorer}, keeping {percent(first.fraction)}" if not first.is_full else "all the data"
    name = f"weight{tag_}-{slug(first.scorer)}-{slug(percent(first.fraction).replace('.', 'p'))}"
    alt = f"Accuracy against the KD weight: {title}"
    paint = partial(_paint, title=title, fixed=fixed, searching=searching[:MOST_SEARCHES])
    return draw(name, alt, paint, height=4.0 if fixed and searching else 2.9)


def _by_weight(groups: Sequence[Group]) -> dict[float, list[float]]:
    """Test accuracies of runs whose weight was given, by weight. Empty where the labels alone are all there is."""
    found: dict[float, list[float]] = {}
    for group in groups:
        for student in group.students:
            if student.kd != AUTO:
                found.setdefault(student.weight, []).append(student.accuracy)
    return dict(sorted(found.items())) if set(found) - {0.0} else {}


def _paint(figure: Figure, title: str, fixed: Mapping[float, list[float]], searching: Sequence[Student]) -> None:
    rows = bool(fixed) + bool(searching)
    panels = list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
    headline(panels[0], title)
    if fixed:
        _test(panels[0], fixed, searching)
    if searching:
        _validation(panels[-1], searching)
    panels[-1].set_xlabel("KD weight")
    panels[-1].set_xlim(-0.04, 1.04)
    figure.align_ylabels(panels)
    if searching:
        legend(figure, *panels)


def _test(axes: Axes, fixed: Mapping[float, list[float]], searching: Sequence[Student]) -> None:
    means = [float(np.mean(a)) for a in fixed.values()]
    spreads = [float(np.std(a, ddof=1)) if len(a) > 1 else 0.0 for a in fixed.values()]
    axes.errorbar(list(fixed), means, spreads, color=TEST, marker="o", label="weight given", elinewidth=1)
    if searching:
        weights, accuracies = [s.weight for s in searching], [s.accuracy for s in searching]
        axes.plot(weights, accuracies, linestyle="none", marker="D", markerfacecolor=PANEL, markeredgecolor=CHOSEN,
                  markeredgewidth=1.4, label="auto, each run", zorder=4)  # fmt: skip
    axes.set_ylabel("test, %")
    axes.margins(y=0.15)


def _validation(axes: Axes, searching: Sequence[Student]) -> None:
    for student in searching:
        search = student.search or {}
        _trials(axes, student)
        fitted = search.get("curve")
        if fitted:
            weights = [c["weight"] for c in fitted]
            axes.plot(weights, [c["accuracy"] for c in fitted], color=VALIDATION, linewidth=1.4, zorder=2)
            axes.fill_between(weights, [c["low"] for c in fitted], [c["high"] for c in fitted], color=VALIDATION, alpha=0.16)
        axes.axvline(student.weight, color=CHOSEN, linestyle="--", linewidth=1, zorder=1)
    axes.set_ylabel("validation, %")
    axes.margins(y=0.15)


def _trials(axes: Axes, student: Student) -> None:
    """The trials' accuracies, a marker for each temperature and candidate teacher; labels alone go with the first."""
    search = student.search or {}
    trials = sorted(search["trials"], key=lambda t: float(t["weight"]))
    kinds: dict[tuple[Any, Any], list[Mapping[str, Any]]] = {}
    for trial in trials:
        if trial["weight"] > 0:
            kinds.setdefault((trial.get("temperature"), trial.get("teacher")), [])
    for trial in trials:
        kind = (trial.get("temperature"), trial.get("teacher"))
        kinds.setdefault(kind if trial["weight"] > 0 else next(iter(kinds), kind), []).append(trial)
    for i, ((temperature, teacher), mine) in enumerate(kinds.items()):
        words = ["trial"]
        words += [f"T = {temperature:g}"] if len({t for t, _ in kinds}) > 1 else []
        words += [str(student.candidates[teacher].get("model"))] if len({t for _, t in kinds}) > 1 else []
        beside = 0.014 * (i - (len(kinds) - 1) / 2)
        _errorbars(axes, mine, search, TRIALS[i % len(TRIALS)], ", ".join(words), beside)


def _errorbars(
    axes: Axes, trials: Sequence[Mapping[str, Any]], search: Mapping[str, Any], marker: str, label: str, beside: float
) -> None:
    """Trials with one standard error, joined by a thin line where the search fitted no curve."""
    joined = not search.get("curve")
    errors = [_stderr(t, search.get("validation_size")) for t in trials]
    axes.errorbar(
        [t["weight"] + beside for t in trials], [t["accuracy"] for t in trials], errors,
        color=VALIDATION if joined else MUTED, marker=marker, label=label, markersize=4.5, markeredgecolor=INK,
        markeredgewidth=0.5, linestyle="-" if joined else "none", linewidth=1, elinewidth=0.8, alpha=0.9,
    )  # fmt: skip


def _stderr(trial: Mapping[str, Any], size: int | None) -> float:
    said = trial.get("stderr")
    if isinstance(said, int | float):
        return float(said)
    share = trial["accuracy"] / 100
    return 100 * math.sqrt(max(share * (1 - share), 0) / size) if size else 0.0
