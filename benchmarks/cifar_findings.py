"""Do the findings of "Distilling the Knowledge in Data Pruning" (papers: arXiv 2403.07854) hold on CIFAR-100?

    DPRUNE_DATA=... python -m benchmarks.cifar_findings [--jobs 2] [--report-only]

Six findings, each with a verdict from paired differences over runs, and a plot. fastnet32 on sets of 20 classes (10,000
images each); the rows of `cifar_regret` on the same sets are shared, and those of `half_data` on all classes are quoted. A
finding that does not hold here is a result too. About 2.5 core-hours beside them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.cifar_regret import JUDGE
from benchmarks.class_sets import NETWORK, train_student
from benchmarks.committed import CommittedRows, Row, run_rows
from benchmarks.common import RESULTS, publish, table
from benchmarks.comparison import in_words, sign, verdict
from benchmarks.kd_grid import Cell, Point, fixed
from datapruning.report.figures import MARKERS, SERIES
from datapruning.utils.hashing import config_hash

SAMPLES = {"0.05": 30_000, "0.1": 60_000, "0.5": 100_000, "1": 200_000}
"""Fraction -> samples that the student sees; at 0.5 and at 1 they are 20 epochs."""
FRACTIONS = tuple(SAMPLES)
NO_KD = Point(0.0, 1.0, "crop")
TAUGHT = {f: Point(1.0, 20.0, "crop") if f in ("0.05", "0.1") else Point(0.5, 4.0, "crop") for f in FRACTIONS}
"""Fraction -> the candidate that counts as distillation: the best on the classes 0 to 39."""
AT_T4 = {weight: Point(weight, 4.0, "crop") if weight else NO_KD for weight in (0.0, 0.5, 1.0)}
"""KD weight -> the candidate at T=4, the temperature of the paper."""
SCORERS = ("random", "el2n", "forgetting")
SCORED_FRACTIONS = ("0.1", "0.5")
TEACHERS = ("fastnet16", NETWORK, "fastnet64")
TEACHER_FRACTIONS = ("0.05", "0.5")
NAME = "cifar_findings"
COMMAND = "DPRUNE_DATA=... python -m benchmarks.cifar_findings"


def config(
    run: tuple[str, int], fraction: str, point: Point, condition: str = "random", teacher: str = NETWORK
) -> dict[str, Any]:
    """The configuration of a training, the same as in `cifar_regret` where it is one of its grid."""
    settings = fixed(*run, Cell(condition, fraction, SAMPLES[fraction]), point)
    return settings if teacher == NETWORK else {**settings, "teacher_model": teacher}


def configs_of(run: tuple[str, int]) -> list[dict[str, Any]]:
    """The trainings of a run: those that `cifar_regret` has not come first."""
    configs = [config(run, "1", point) for point in AT_T4.values()]
    configs += [
        config(run, fraction, point, scorer)
        for scorer in SCORERS[1:]
        for fraction in SCORED_FRACTIONS
        for point in (NO_KD, TAUGHT[fraction])
    ]
    configs += [
        config(run, fraction, TAUGHT[fraction], teacher=teacher) for teacher in TEACHERS for fraction in TEACHER_FRACTIONS
    ]
    configs += [config(run, fraction, point) for fraction in FRACTIONS for point in (*AT_T4.values(), TAUGHT[fraction])]
    configs += [config(run, "0.1", point, "wrong") for point in AT_T4.values()]
    return list({_key(settings): settings for settings in configs}.values())


class Accuracies:
    """Test accuracies in percent of the runs that have all their rows."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._rows = rows
        self.runs = [run for run in JUDGE if all(_key(settings) in rows for settings in configs_of(run))]

    def __call__(self, fraction: str, point: Point, condition: str = "random", teacher: str = NETWORK) -> list[float]:
        """In the order of the runs."""
        keys = [_key(config(run, fraction, point, condition, teacher)) for run in self.runs]
        return [self._rows[key]["result"]["test_accuracy"] for key in keys]


def _key(settings: Mapping[str, Any]) -> str:
    return config_hash(settings, 16)


def best_weight(accuracies: Accuracies, fraction: str, condition: str = "random") -> float:
    """The KD weight with the best mean at T=4."""
    means = {weight: statistics.mean(accuracies(fraction, point, condition)) for weight, point in AT_T4.items()}
    return max(means, key=lambda weight: means[weight])


Finding = tuple[str, str, str]
"""What the paper says, what was measured, and the verdict."""


def distillation_helps(accuracies: Accuracies) -> Finding:
    """Finding (a)."""
    pairs = [("random", f) for f in FRACTIONS] + [(s, f) for s in SCORERS[1:] for f in SCORED_FRACTIONS]
    measured = [(accuracies(f, TAUGHT[f], scorer), accuracies(f, NO_KD, scorer)) for scorer, f in pairs]
    numbers = ", ".join(f"{scorer} {f}: {in_words(*both)}" for (scorer, f), both in zip(pairs, measured, strict=True))
    signs = [sign(*both) for both in measured]
    return "(a) KD helps at every fraction, for every scorer", f"with KD minus without: {numbers}", verdict(signs)


def random_is_as_good(accuracies: Accuracies) -> Finding:
    """Finding (b)."""
    pairs = [(s, f) for s in SCORERS[1:] for f in SCORED_FRACTIONS]
    measured = [(accuracies(f, TAUGHT[f]), accuracies(f, TAUGHT[f], scorer)) for scorer, f in pairs]
    numbers = ", ".join(
        f"{f} against {scorer}: {in_words(*both)}" for (scorer, f), both in zip(pairs, measured, strict=True)
    )
    behind = [sign(*both) for both in measured].count(-1)
    text = f"fails in {behind} of {len(pairs)} comparisons" if behind else "holds"
    return (
        "(b) With KD, random is as good as the clever scorers or better",
        f"random minus the other, both with KD: {numbers}",
        text,
    )


def best_weight_falls(accuracies: Accuracies) -> Finding:
    """Finding (c)."""
    best = {f: best_weight(accuracies, f) for f in FRACTIONS}
    texts = []
    for f in FRACTIONS:
        means = ", ".join(f"{statistics.mean(accuracies(f, point)):.1f}" for point in AT_T4.values())
        texts.append(f"f={f}: {best[f]:g} ({means} at {', '.join(f'{weight:g}' for weight in AT_T4)})")
    weights = list(best.values())
    falls = weights == sorted(weights, reverse=True) and weights[0] > weights[-1]
    return (
        "(c) The best weight falls as f grows",
        "at T=4: " + "; ".join(texts),
        "holds in the means" if falls else "is not seen",
    )


def small_teachers_win(accuracies: Accuracies) -> Finding:
    """Finding (d)."""
    texts = []
    for f in TEACHER_FRACTIONS:
        of_teachers = [statistics.mean(accuracies(f, TAUGHT[f], teacher=teacher)) for teacher in TEACHERS]
        texts.append(f"f={f}: " + ", ".join(f"{name} {mean:.2f}" for name, mean in zip(TEACHERS, of_teachers, strict=True)))
    smallest = TEACHER_FRACTIONS[0]
    both = [accuracies(smallest, TAUGHT[smallest], teacher=teacher) for teacher in (TEACHERS[0], TEACHERS[-1])]
    texts.append(f"at f={smallest} {TEACHERS[0]} minus {TEACHERS[-1]}: {in_words(*both)}")
    text = {1: "holds", 0: "undecided", -1: "does not hold: the opposite is seen"}[sign(*both)]
    return "(d) Small teachers win at small f", "; ".join(texts), text


def half_is_enough(accuracies: Accuracies) -> Finding:
    """Finding (e), at equal epochs; at equal compute see `half_data`."""
    half, everything = accuracies("0.5", TAUGHT["0.5"]), accuracies("1", NO_KD)
    numbers = (
        f"20 epochs of half the data with KD minus 20 epochs of all the data without: {in_words(half, everything)} "
        f"({statistics.mean(half):.2f} against {statistics.mean(everything):.2f}); equal compute: [table](half_data.md)"
    )
    text = "holds" if sign(half, everything) >= 0 else "does not hold"
    return "(e) Half the data with KD reaches full-data accuracy without KD", numbers, text


def wrong_labels_raise_the_weight(accuracies: Accuracies) -> Finding:
    """Finding (f)."""
    gains = {
        condition: [x - y for x, y in zip(*(accuracies("0.1", AT_T4[w], condition) for w in (1.0, 0.5)), strict=True)]
        for condition in ("random", "wrong")
    }
    clean, wrong = (in_words(values, [0.0] * len(values)) for values in gains.values())
    numbers = f"{clean} clean, {wrong} with wrong labels"
    text = {1: "holds", 0: "undecided", -1: "does not hold: the opposite is seen"}[sign(gains["wrong"], gains["random"])]
    measured = f"f=0.1, T=4, weight 1 minus weight 0.5: {numbers} (20% of the labels wrong)"
    return "(f) With wrong labels the best weight rises", measured, text


FINDINGS: tuple[Callable[[Accuracies], Finding], ...] = (
    distillation_helps, random_is_as_good, best_weight_falls, small_teachers_win, half_is_enough,
    wrong_labels_raise_the_weight,
)  # fmt: skip


def draw(accuracies: Accuracies) -> None:
    """Draw one figure with a panel for each finding, and write it beside the table."""
    figure = Figure(figsize=(13, 7), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    for k, scorer in enumerate(SCORERS):
        fractions = FRACTIONS if scorer == "random" else SCORED_FRACTIONS
        x = [float(f) for f in fractions]
        for panel in axes[:2]:
            _curve(panel, x, [accuracies(f, TAUGHT[f], scorer) for f in fractions], k, f"{scorer}, KD")
        _curve(axes[0], x, [accuracies(f, NO_KD, scorer) for f in fractions], k, f"{scorer}, no KD", ":")
    for k, f in enumerate(FRACTIONS):
        _curve(axes[2], list(AT_T4), _behind_best([accuracies(f, point) for point in AT_T4.values()]), k, f"f={f}")
    for k, f in enumerate(TEACHER_FRACTIONS):
        of_teachers = [accuracies(f, TAUGHT[f], teacher=teacher) for teacher in TEACHERS]
        _curve(axes[3], range(len(TEACHERS)), _behind_best(of_teachers), k, f"f={f}")
    axes[3].set_xticks(range(len(TEACHERS)), TEACHERS)
    for k, (name, points) in enumerate((("KD", TAUGHT), ("no KD", dict.fromkeys(FRACTIONS, NO_KD)))):
        _curve(axes[4], [float(f) for f in FRACTIONS], [accuracies(f, points[f]) for f in FRACTIONS], k, name)
    axes[4].axhline(statistics.mean(accuracies("1", NO_KD)), color="grey", lw=0.8)
    for k, (condition, name) in enumerate((("random", "clean"), ("wrong", "20% wrong labels"))):
        _curve(axes[5], list(AT_T4), _behind_best([accuracies("0.1", p, condition) for p in AT_T4.values()]), k, name)
    for panel in axes[[0, 1, 4]]:
        panel.set(xscale="log", xlabel="fraction kept", ylabel="test accuracy, %")
    for panel in axes[[2, 5]]:
        panel.set(xlabel="KD weight (T=4)", ylabel="points behind the best weight")
    axes[3].set(xlabel=f"teacher (student: {NETWORK})", ylabel="points behind the best teacher")
    for letter, panel in zip("abcdef", axes, strict=True):
        panel.set_title(f"({letter})", loc="left")
        panel.legend(fontsize=7)
        panel.grid(alpha=0.3)
    figure.savefig(RESULTS / f"{NAME}.png", dpi=110)


def _behind_best(runs: Sequence[Sequence[float]]) -> list[list[float]]:
    top = max(statistics.mean(values) for values in runs)
    return [[value - top for value in values] for values in runs]


def _curve(
    panel: Axes, x: Sequence[float], runs: Sequence[Sequence[float]], number: int, label: str, line: str = "-"
) -> None:
    means, spreads = [statistics.mean(run) for run in runs], [statistics.stdev(run) for run in runs]
    panel.errorbar(x, means, spreads, capsize=2, color=SERIES[number], marker=MARKERS[number], ls=line, label=label)


def main() -> None:
    shared = set(CommittedRows("cifar_regret").read())
    missing = [settings for run in JUDGE for settings in configs_of(run) if _key(settings) not in shared]
    run_rows(NAME, missing, train_student, __doc__)
    accuracies = Accuracies({**CommittedRows("cifar_regret").read(), **CommittedRows(NAME).read()})
    if len(accuracies.runs) < 2:
        print(f"{len(accuracies.runs)} runs have all their rows; at least 2 are needed for a table")
        return
    draw(accuracies)
    sizes = ", ".join(f"{samples:,} at {fraction}" for fraction, samples in SAMPLES.items())
    body = (
        f"CIFAR-100, classes 60 to 79 and 80 to 99 (10,000 images each), student and teacher {NETWORK}, recipe "
        f"`cifar100-fast`; samples seen: {sizes}. With KD means the teacher alone at T=20 at 0.05 and 0.1, and half labels, "
        "half teacher at T=4 from 0.5 on, which was chosen on classes 0 to 39. Paired over "
        f"{len(accuracies.runs)} runs; a difference is its mean ± standard error, and clear where it is more than two of "
        "them. Test accuracy in points.\n\n"
        f"{table(['finding', 'measured', 'verdict'], [list(finding(accuracies)) for finding in FINDINGS])}"
        f"\n\n![one panel a finding]({NAME}.png)\n\nError bars: standard deviation over runs."
    )
    publish(NAME, "The paper's findings on CIFAR-100", COMMAND, body, {})


if __name__ == "__main__":
    main()
