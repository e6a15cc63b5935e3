"""Do the findings of "Distilling the Knowledge in Data Pruning" (papers: arXiv 2403.07854) hold on Fashion-MNIST?

    DPRUNE_DATA=... python -m benchmarks.findings [--jobs 2]

Six findings, each with a verdict from paired differences over seeds, and a plot. The rows of `benchmarks.regret` are
shared with it. A finding that does not hold here is a result too.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.common import RESULTS, publish, records, table
from benchmarks.comparison import in_words, sign, verdict
from benchmarks.tiny import STUDENT, filled, row
from datapruning.io.trial_store import Trial

GRID = (0.0, 0.3, 0.6, 0.9, 1.0)
KD = 0.9
SCORERS = ("random", "el2n", "forgetting")
SEEDS = {"0.02": range(6), "0.2": range(6), "0.5": range(3), "1": range(6)}
FRACTIONS = tuple(SEEDS)
TEACHERS = ("tinynet8", STUDENT, "tinynet32")
SMALL = ("0.02", "0.2")
COMMAND = "DPRUNE_DATA=... python -m benchmarks.findings"
Find = Callable[..., list[float]]


def cells(fraction: str) -> list[tuple[str, float | str, str | None]]:
    """Return condition, KD weight and teacher (None: the student's network) of the trials of a fraction."""
    weights: list[tuple[str, float | str, str | None]] = [("random", weight, None) for weight in (*GRID, "auto")]
    if fraction not in SMALL:
        return weights
    return [
        *weights,
        *(("wrong", weight, None) for weight in GRID),
        *((scorer, weight, None) for scorer in SCORERS[1:] for weight in (0.0, KD)),
        *(("random", KD, teacher) for teacher in TEACHERS),
    ]


def configs() -> list[dict[str, Any]]:
    """Return all trials, small fractions first."""
    asked = [
        row(condition, fraction, weight, seed, teacher)
        for fraction in FRACTIONS
        for seed in SEEDS[fraction]
        for condition, weight, teacher in cells(fraction)
    ]
    return [config for k, config in enumerate(asked) if config not in asked[:k]]


def finder(rows: Sequence[Trial]) -> Find:
    """`find(condition, fraction, weight, teacher)`: test accuracies in the order of seeds."""

    def find(condition: str, fraction: str, weight: float | str, teacher: str | None = None) -> list[float]:
        by_config = [(r.config, r.result["test_accuracy"]) for r in rows]
        wanted = [row(condition, fraction, weight, seed, teacher) for seed in SEEDS[fraction]]
        return [next(accuracy for config, accuracy in by_config if dict(config) == key) for key in wanted]

    return find


def best_weight(find: Find, condition: str, fraction: str) -> tuple[float, list[str]]:
    """Return the weight with the best mean, and those that are not clearly worse."""
    runs = {weight: find(condition, fraction, weight) for weight in GRID}
    best = max(GRID, key=lambda weight: statistics.mean(runs[weight]))
    return best, [f"{weight:g}" for weight in GRID if sign(runs[best], runs[weight]) < 1]


def judge(find: Find) -> list[list[str]]:
    """Return [finding, numbers, verdict] of each finding."""
    out = []
    pairs = [(s, f) for f in SMALL for s in SCORERS] + [("random", "0.5"), ("random", "1")]
    gains = ", ".join(f"{s} {f}: {in_words(find(s, f, KD), find(s, f, 0.0))}" for s, f in pairs)
    out.append(["(a) KD helps at every fraction, for every scorer", f"KD 0.9 minus no KD: {gains}",
                verdict([sign(find(s, f, KD), find(s, f, 0.0)) for s, f in pairs])])  # fmt: skip
    others = [(s, f) for f in SMALL for s in SCORERS[1:]]
    gaps = ", ".join(f"{f} against {s}: {in_words(find('random', f, KD), find(s, f, KD))}" for s, f in others)
    lost = [sign(find("random", f, KD), find(s, f, KD)) for s, f in others]
    out.append(["(b) With KD, random is as good as the clever scorers or better", f"random minus the other, KD 0.9: {gaps}",
                "holds" if min(lost) >= 0 else f"fails in {lost.count(-1)} of {len(lost)} comparisons"])  # fmt: skip
    bests = {f: best_weight(find, "random", f) for f in FRACTIONS}
    text = "; ".join(f"f={f}: {best:g} (not clearly worse: {', '.join(near)})" for f, (best, near) in bests.items())
    order = [bests[f][0] for f in FRACTIONS]
    falls = order == sorted(order, reverse=True) and order[0] > order[-1]
    out.append(["(c) The best weight falls as f grows", text, "holds in the means" if falls else "is not seen"])
    ladder = {f: {t: find("random", f, KD, t) for t in TEACHERS} for f in SMALL}
    text = "; ".join(
        f"f={f}: " + ", ".join(f"{t} {statistics.mean(runs):.2f}" for t, runs in ladder[f].items()) for f in SMALL
    )
    small, large = (ladder[SMALL[0]][t] for t in (TEACHERS[0], TEACHERS[-1]))
    verdict_text = {1: "holds", 0: "undecided", -1: "does not hold: the opposite is seen"}[sign(small, large)]
    text += f"; at f={SMALL[0]} {TEACHERS[0]} minus {TEACHERS[-1]}: {in_words(small, large)}"
    out.append(["(d) Small teachers win at small f", text, verdict_text])
    half, full = find("random", "0.5", "auto"), find("random", "1", 0.0)[: len(SEEDS["0.5"])]
    out.append(["(e) Half the data with KD reaches full-data accuracy without KD", f"auto at f=0.5 minus no KD at f=1: "
                f"{in_words(half, full)} ({statistics.mean(half):.2f} against {statistics.mean(full):.2f})",
                "holds" if sign(half, full) >= 0 else "does not hold"])  # fmt: skip
    rises = []
    texts = []
    for f in SMALL:
        clean, noisy = best_weight(find, "random", f), best_weight(find, "wrong", f)
        texts.append(
            f"f={f}: {clean[0]:g} clean, {noisy[0]:g} with 20% wrong labels (not clearly worse: {', '.join(noisy[1])})"
        )
        high, low = (find("wrong", f, w) for w in (0.9, 0.6))
        rises.append(noisy[0] > clean[0] and sign(high, low) == 1)
    out.append(["(f) With wrong labels the best weight rises", "; ".join(texts),
                "holds" if all(rises) else "holds at one fraction" if any(rises) else "is not seen"])  # fmt: skip
    return out


def draw(find: Find) -> None:
    """Draw one figure with a panel for each finding."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 7), layout="constrained")
    panels = figure.subplots(2, 3).ravel()
    colours = dict(zip(SCORERS, ("#0072B2", "#D55E00", "#009E73"), strict=True))

    def curve(panel: Any, x: Sequence[Any], runs: Sequence[Sequence[float]], **style: Any) -> None:
        spread = [statistics.stdev(run) for run in runs]
        panel.errorbar(x, [statistics.mean(run) for run in runs], spread, capsize=2, **style)

    for scorer in SCORERS:
        known = FRACTIONS if scorer == "random" else SMALL
        x = [float(f) for f in known]
        for panel, floor in ((panels[0], 10.0), (panels[1], 70.0)):
            curve(
                panel, x, [find(scorer, f, KD) for f in known], color=colours[scorer], marker="o", label=f"{scorer}, KD 0.9"
            )
            if panel is panels[0]:
                without = [find(scorer, f, 0.0) for f in known]
                curve(panel, x, without, color=colours[scorer], marker="o", ls=":", label=f"{scorer}, no KD")
            panel.set(xscale="log", xlabel="fraction kept", ylabel="test accuracy, %", ylim=(floor, 93))
    for fraction in FRACTIONS:
        runs = [find("random", fraction, w) for w in GRID]
        top = max(statistics.mean(values) for values in runs)
        curve(panels[2], GRID, [[v - top for v in values] for values in runs], marker="o", label=f"f={fraction}")
    panels[2].set(xlabel="KD weight", ylabel="points behind the best weight")
    for fraction in SMALL:
        runs = [find("random", fraction, KD, t) for t in TEACHERS]
        baseline = statistics.mean(runs[TEACHERS.index(STUDENT)])
        curve(panels[3], TEACHERS, [[v - baseline for v in values] for values in runs], marker="o", label=f"f={fraction}")
    panels[3].set(xlabel=f"teacher (student: {STUDENT})", ylabel="points against the student's own network")
    for weight, name in ((0.0, "no KD"), ("auto", "KD auto")):
        curve(
            panels[4], [float(f) for f in FRACTIONS], [find("random", f, weight) for f in FRACTIONS], marker="o", label=name
        )
    panels[4].axhline(statistics.mean(find("random", "1", 0.0)), color="grey", lw=0.8)
    panels[4].set(xscale="log", xlabel="fraction kept, random", ylabel="test accuracy, %")
    for fraction, style in zip(SMALL, ("-", "--"), strict=True):
        for condition, colour in (("random", "#0072B2"), ("wrong", "#D55E00")):
            runs = [find(condition, fraction, w) for w in GRID]
            top = max(statistics.mean(values) for values in runs)
            name = f"f={fraction}, {'20% wrong' if condition == 'wrong' else 'clean'}"
            curve(
                panels[5],
                GRID,
                [[v - top for v in values] for values in runs],
                color=colour,
                ls=style,
                marker="o",
                label=name,
            )
    panels[5].set(xlabel="KD weight", ylabel="points behind the best weight")
    for letter, panel in zip("abcdef", panels, strict=True):
        panel.set_title(f"({letter})", loc="left")
        panel.legend(fontsize=7)
        panel.grid(alpha=0.3)
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "findings.png", dpi=110)


def main() -> None:
    rows = filled(configs(), "findings", __doc__)
    find = finder(rows)
    draw(find)
    body = (
        f"Fashion-MNIST, student {STUDENT}, budget epochs (16), T=4, teacher {STUDENT} on the full data unless said. Paired "
        "over seeds: 6 at f = 0.02, 0.2 and 1, 3 at 0.5; a difference is its mean ± standard error, and clear where it is "
        "more than two of them. Test accuracy in points.\n\n"
        + table(["finding", "measured", "verdict"], judge(find))
        + "\n\n![one panel a finding](findings.png)\n\nError bars: standard deviation over seeds."
    )
    publish("findings", "The paper's findings on Fashion-MNIST", COMMAND, body, {"rows": records(rows)})


if __name__ == "__main__":
    main()
