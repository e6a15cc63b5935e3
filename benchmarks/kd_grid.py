"""Regret of `--kd-weight auto`: how much worse it is than the best of a grid of weights, temperatures and crops.

The oracle of a run is the candidate that is best in the mean over the OTHER runs of the same cell, measured on this run: the
best of several noisy accuracies flatters itself where it was picked. `auto` never sees the test set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from benchmarks.committed import Row
from benchmarks.common import table
from datapruning.utils.hashing import config_hash

NUM_VIEWS = 16


class Point(NamedTuple):
    """A candidate of the grid; at weight 0 the temperature is 1."""

    weight: float
    temperature: float
    kind: str

    def __str__(self) -> str:
        return f"{self.weight:g}{f', T={self.temperature:g}' if self.weight else ''}, {self.kind}"

    def neighbours(self) -> tuple[Point, ...]:
        """Two candidates beside this one: another weight towards the middle, and another temperature."""
        if not self.weight:
            return Point(0.25, 4.0, self.kind), Point(0.25, 20.0, self.kind)
        towards = 0.75 if self.weight in (0.5, 1.0) else 1.0
        other = {4.0: 8.0, 20.0: 50.0}.get(self.temperature, 8.0)
        return self._replace(weight=towards), self._replace(temperature=other)


class Cell(NamedTuple):
    """A subset, the fraction that it keeps, and the samples that its student sees."""

    condition: str
    fraction: str
    samples: int

    def __str__(self) -> str:
        return f"{self.condition}, {self.fraction}, {self.samples:,}"


GRID = (
    *(Point(0.0, 1.0, kind) for kind in ("crop", "resized")),
    *(
        Point(weight, temperature, kind)
        for kind in ("crop", "resized")
        for weight in (0.5, 1.0)
        for temperature in (4.0, 20.0)
    ),
)


def fixed(data: str, seed: int, cell: Cell, point: Point) -> dict[str, Any]:
    """The configuration of a trial with this candidate."""
    return {
        "data": data, "condition": cell.condition, "fraction": cell.fraction, "samples": cell.samples, "seed": seed,
        "kd": {"weight": point.weight, "temperature": point.temperature},
        "views": {"kind": point.kind, "num_views": NUM_VIEWS},
    }  # fmt: skip


def auto(data: str, seed: int, cell: Cell, prior: str) -> dict[str, Any]:
    """The configuration of a trial with `auto`, and a prior that was fitted elsewhere; see `class_sets.train_student`."""
    return {**fixed(data, seed, cell, Point(0.0, 1.0, "crop")), "kd": "auto", "prior": prior}


class Regrets(NamedTuple):
    """Of one cell, in points: oracle minus auto float64 [runs], the oracle's accuracy and auto's, its choices and costs."""

    regrets: NDArray[np.float64]
    oracle: NDArray[np.float64]
    auto: NDArray[np.float64]
    best: Point
    choices: list[str]
    costs: list[float]


def accuracies(rows: Mapping[str, Row], configs: Sequence[Mapping[str, Any]]) -> list[float]:
    """Test accuracies in percent of the configurations that have a row, in their order."""
    return [_accuracy(rows, config) for config in configs if _has(rows, config)]


def best_point(
    rows: Mapping[str, Row], cell: Cell, runs: Sequence[tuple[str, int]], points: Sequence[Point]
) -> Point | None:
    """The candidate with the best mean over the runs; None where a run has not all of them."""
    if not all(_has(rows, fixed(*run, cell, point)) for run in runs for point in points):
        return None
    means = {point: float(np.mean([_accuracy(rows, fixed(*run, cell, point)) for run in runs])) for point in points}
    return max(means, key=lambda point: means[point])


def regrets(
    rows: Mapping[str, Row], cell: Cell, runs: Sequence[tuple[str, int]], points: Sequence[Point], prior: str
) -> Regrets | None:
    """The regret in a cell, over the runs (data, seed) whose rows are all there; None for fewer than two."""
    complete = [
        run for run in runs
        if _has(rows, auto(*run, cell, prior)) and all(_has(rows, fixed(*run, cell, point)) for point in points)
    ]  # fmt: skip
    best = best_point(rows, cell, complete, points)
    if len(complete) < 2 or best is None:
        return None
    oracle = []
    for run in complete:
        picked = best_point(rows, cell, [other for other in complete if other != run], points)
        assert picked is not None  # the complete ones have all points
        oracle.append(_accuracy(rows, fixed(*run, cell, picked)))
    searched = [rows[config_hash(auto(*run, cell, prior), 16)]["result"] for run in complete]
    accuracies = np.array([result["test_accuracy"] for result in searched])
    searches = [result["kd_weight_search"] for result in searched]
    choices = [f"{s['weight']:g}, T={s['temperature']:g}, {s['augmentation']}, teacher {s['teacher'] + 1}" for s in searches]
    return Regrets(
        np.array(oracle) - accuracies, np.array(oracle), accuracies, best, choices,
        [search["cost"] for search in searches],
    )  # fmt: skip


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95% interval of the mean by Student's t, float64 [values]."""
    half = student_t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def regret_table(cells: Mapping[Cell, Regrets]) -> str:
    """The table of the cells, and a sentence on their mean; the interval of the mean is over runs."""
    lines = []
    for cell, result in cells.items():
        low, high = interval(result.regrets)
        lines.append([
            str(cell), str(len(result.regrets)), f"{result.oracle.mean():.2f}", f"{result.auto.mean():.2f}",
            f"{result.regrets.mean():+.2f}", f"{low:+.2f} to {high:+.2f}", str(result.best), "; ".join(result.choices),
            f"{np.mean(result.costs):.2f}",
        ])  # fmt: skip
    head = ["subset, fraction, samples", "runs", "oracle", "auto", "regret", "95% interval", "best of the grid",
            "chosen by auto", "cost of the search in trainings"]  # fmt: skip
    num_runs = min(len(result.regrets) for result in cells.values())
    by_run = np.mean([result.regrets[:num_runs] for result in cells.values()], axis=0)
    low, high = interval(by_run)
    return f"{table(head, lines)}\n\nMean regret {by_run.mean():+.2f} points, 95% interval {low:+.2f} to {high:+.2f}."


def grid_table(rows: Mapping[str, Row], sets: Sequence[tuple[str, int]], cells: Sequence[Cell]) -> str:
    """Test accuracies of the grid, one run each."""

    def value(config: Mapping[str, Any]) -> str:
        return f"{_accuracy(rows, config):.2f}" if _has(rows, config) else ""

    lines = [
        [data, str(seed), str(cell), *(value(fixed(data, seed, cell, point)) for point in GRID)]
        for data, seed in sets for cell in cells
    ]  # fmt: skip
    return table(["set", "seed", "subset, fraction, samples seen", *map(str, GRID)], lines)


def _has(rows: Mapping[str, Row], config: Mapping[str, Any]) -> bool:
    return config_hash(config, 16) in rows


def _accuracy(rows: Mapping[str, Row], config: Mapping[str, Any]) -> float:
    return float(rows[config_hash(config, 16)]["result"]["test_accuracy"])
