"""Tables of `benchmarks/advise.py`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from benchmarks.common import mean_spread, publish, table
from datapruning.analysis.advise.curve import NUM_DRAWS, RELATIVE_MISFIT, Curve, interval, power_law, run_noise
from datapruning.io.trial_store import Trial

COMMAND = "DPRUNE_DATA=... python -m benchmarks.advise"


def report(advices: Sequence[Trial], full: Sequence[Trial], students: Sequence[Trial], flattery: Sequence[Trial]) -> None:
    """Print and write the tables."""
    full_accuracies = [row.result["test_accuracy"] for row in full]
    accuracy = statistics.mean(full_accuracies)
    tolerances = sorted({float(row.config["tolerance"]) for row in advices})
    truths = {t: interval(true_curve(students, full_accuracies, t).crossing(t)) for t in tolerances}
    lines, held, lost = [], 0, {"advised": list[bool](), "safe": list[bool]()}
    for row in sorted(advices, key=lambda row: (row.config["tolerance"], row.config["seed"])):
        tolerance, advice = row.config["tolerance"], row.result
        sought, least, most = truths[tolerance]
        holds = bound(advice["low"]) <= sought <= bound(advice["high"])
        held += holds
        curve = true_curve(students, full_accuracies, tolerance)
        gaps = {"advised": advice["fraction"], "safe": advice["high"]}
        for key, fraction in gaps.items():
            if bound(fraction) < 1:
                lost[key].append(float(np.median(curve.gap(fraction))) <= tolerance)
        losses = [
            accuracy - student.result["test_accuracy"] for student in students
            if advice["fraction"] is not None and student.config["fraction"] == f"{advice['fraction']:g}"
            and student.config["seed"] == 10 + row.config["seed"]
        ]  # fmt: skip
        lines.append([
            f"{tolerance:g}", str(row.config["seed"]), shown(advice["fraction"]),
            between(advice["low"], advice["high"]),
            f"{shown(sought)} ({between(least, most)})", "yes" if holds else "no",
            f"{losses[0]:.2f}" if losses else "", f"{advice['cost']['advice']:.2f}",
        ])  # fmt: skip
    head = [
        "tolerance", "seed", "advised", "80% interval", "true", "holds it", "one student there: points lost",
        "cost so far (trainings)",
    ]  # fmt: skip
    noise = statistics.stdev(full_accuracies)
    body = (
        "Fashion-MNIST, tinynet16, 6 epochs, random subsets, the KD weight that `auto` begins with. Advices of one seed "
        "share the holdout, reference and pilots, so the three tolerances are not independent. The truth was measured "
        f"afterwards on the test set: {len(students)} other students on all 60,000 samples, with the recipe's teacher, and "
        f"{len(full_accuracies)} trainings on everything without KD, {mean_spread(full_accuracies)}; "
        "the true fraction is where the curve "
        "through them crosses (80% interval from the noise between runs, as measured).\n\n"
        f"{table(head, lines)}\n\n"
        f"The interval held the true fraction {held} times of {len(lines)} (80% were promised). Read off the true curve, "
        f"the advised fraction is within the tolerance {sum(lost['advised'])} times of {len(lost['advised'])} (it is the "
        f"best guess, so about half is right), the upper end of the interval {sum(lost['safe'])} times of "
        f"{len(lost['safe'])} (nine of ten were promised).\n\n"
        f"Noise between runs on everything: {noise:.2f} points measured (n={len(full_accuracies)}), "
        f"{float(run_noise(np.array(100 - accuracy))):.2f} assumed.\n\n"
        f"## The effect of a teacher that has memorised the holdout\n\n{flattered(flattery)}"
    )
    rows = [*advices, *full, *students, *flattery]
    data = {"rows": [{"config": dict(r.config), "result": dict(r.result), "seconds": r.seconds} for r in rows]}
    publish("advise", "Advice: the fraction it names, and the truth", COMMAND, body, data)


def bound(fraction: float | None) -> float:
    """Return a bound as a number, or None if it is not below 1."""
    return fraction if fraction is not None and fraction < 1 else np.inf


def between(low: float | None, high: float | None) -> str:
    """Format an interval."""
    return "none below 1" if bound(low) == np.inf else f"{shown(low)} to {shown(high)}"


def shown(fraction: float | None) -> str:
    """Format a fraction with two digits."""
    return f"{fraction:.2g}" if bound(fraction) < 1 else "none below 1"


def true_curve(students: Sequence[Trial], full_accuracies: Sequence[float], tolerance: float) -> Curve:
    """Fit the curve through test accuracies, with the noise between runs."""
    random = np.random.default_rng(0)
    fractions = np.array([float(row.config["fraction"]) for row in students])
    errors = np.array([100 - row.result["test_accuracy"] for row in students])
    noise = run_noise(errors)
    full = 100 - statistics.mean(full_accuracies)
    weights = 1 / (noise**2 + (RELATIVE_MISFIT * (errors - full - tolerance)) ** 2)
    drawn = errors + noise * random.standard_normal((NUM_DRAWS, len(errors)))
    reference = full + float(run_noise(np.array(full))) / len(full_accuracies) ** 0.5 * random.standard_normal(NUM_DRAWS)
    return Curve(*power_law(fractions, drawn, weights), reference)


def flattered(rows: Sequence[Trial]) -> str:
    """Return holdout minus test accuracy of students and teachers, for teachers with and without the holdout."""

    def ahead(teacher: str, network: str, fraction: str) -> list[float]:
        matching = [r for r in rows if (r.config["teacher"], r.config["fraction"]) == (teacher, fraction)]
        matching.sort(key=lambda row: int(row.config["seed"]))
        return [r.result[network]["holdout"] - r.result[network]["test"] for r in matching]

    lines = []
    for fraction in sorted({row.config["fraction"] for row in rows}):
        saw, blind = (ahead(teacher, "student", fraction) for teacher in ("saw the holdout", "blind"))
        teacher_gain = ahead("saw the holdout", "teacher", fraction)[0] - ahead("blind", "teacher", fraction)[0]
        taken = [a - b for a, b in zip(saw, blind, strict=True)]
        shares = [gain / teacher_gain for gain in taken]
        lines.append(
            [fraction, f"{teacher_gain:.2f}", mean_spread(saw), mean_spread(blind), mean_spread(taken), mean_spread(shares)]
        )
    head = [
        "fraction", "teacher ahead by", "students of one that saw them", "students of a blind one", "taken over, paired",
        "share",
    ]  # fmt: skip
    return (
        "Accuracy on 4,000 held-out samples minus accuracy on the test set, in points. The teachers (40 epochs on 12,000 "
        "samples) overfit on purpose; one saw the holdout, the other as many other samples. Students train for 20 epochs on "
        "a share of the 8,000 samples that both teachers saw. What a student takes over makes a pilot look better; "
        f"therefore `advise` trains its own teacher, and corrects for a given one.\n\n{table(head, lines)}"
    )
