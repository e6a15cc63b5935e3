"""The learning curve through the pilots: it recovers the true parameters, and its intervals are calibrated."""

from __future__ import annotations

import numpy as np
import pytest

from datapruning.analysis.advise.answer import curve_table, make_answer, tolerance_result
from datapruning.analysis.advise.curve import Curve, PilotResults, fit_curve, interval, run_noise, sorted_results

FRACTIONS = (0.025, 0.05, 0.1, 0.2, 0.4)
FLOOR, SCALE, POWER, REFERENCE = 6.0, 1.5, 0.6, 9.0
"""At 0.31 a student of this curve is half a point short of its reference."""


def truth(tolerance: float) -> float:
    """Return the true fraction for a tolerance."""
    return float((SCALE / (REFERENCE + tolerance - FLOOR)) ** (1 / POWER))


def measured(seed: int, holdout: int = 5000, fractions: tuple[float, ...] = FRACTIONS, noise: float = 1.0) -> PilotResults:
    """Make results of runs whose errors follow the curve, with noise between runs and from the holdout.

    Hard samples are hard for all: most of a run's results come from a number that belongs to the sample.
    """
    random = np.random.default_rng(seed)
    errors = np.array([*(FLOOR + SCALE * f**-POWER for f in fractions), REFERENCE])
    errors += noise * run_noise(errors) * random.standard_normal(len(errors))
    independent = random.random((len(errors), holdout)) < 0.4
    hardness = np.where(independent, random.random((len(errors), holdout)), random.random(holdout))
    correct = hardness >= errors[:, None] / 100
    return sorted_results(fractions, list(correct[:-1]), correct[-1])


def test_the_fit_recovers_the_true_fraction() -> None:
    results = measured(0, holdout=200_000, noise=0.0)
    for tolerance in (0.5, 1.0, 2.0):
        fraction, low, high = interval(fit_curve(results, tolerance).crossing(tolerance))
        assert fraction == pytest.approx(truth(tolerance), rel=0.1)
        assert low < fraction < high, "runs differ, however many holdout there are"


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 2.0])
def test_four_of_five_intervals_contain_the_true_value(tolerance: float) -> None:
    trials = 60
    bounds = [interval(fit_curve(measured(seed), tolerance).crossing(tolerance)) for seed in range(trials)]
    num_inside = sum(low <= truth(tolerance) <= high for _, low, high in bounds)
    assert 0.65 * trials <= num_inside <= 0.98 * trials
    above = sum(fraction > truth(tolerance) for fraction, _, _ in bounds)
    assert 0.25 * trials <= above <= 0.75 * trials, "the fraction is no more often too large than too small"


def test_a_larger_holdout_narrows_the_interval() -> None:
    widths = []
    for holdout in (200, 2000, 20_000):
        _, low, high = interval(fit_curve(measured(1, holdout), 1.0).crossing(1.0))
        widths.append(np.log(min(high, 100) / low))
    assert widths[0] > widths[1] > widths[2]


def test_curves_fall_and_their_parameters_are_not_negative() -> None:
    curve = fit_curve(measured(2, holdout=300), 1.0)
    assert (curve.floor >= 0).all()
    assert (curve.scale >= 0).all()
    gaps = np.array([curve.gap(f) for f in (0.01, 0.1, 0.5, 1.0)])
    assert (np.diff(gaps, axis=0) <= 1e-9).all()
    assert (curve.crossing(2.0) <= curve.crossing(1.0)).all()


def test_the_crossing_is_where_the_gap_is_the_tolerance() -> None:
    curve = fit_curve(measured(3), 1.0)
    crossing = curve.crossing(1.0)
    for index in range(0, len(crossing), 100):
        assert curve.gap(float(crossing[index]))[index] == pytest.approx(1.0, abs=1e-6)


def test_a_floor_above_the_tolerance_is_never_crossed() -> None:
    one = np.ones(1)
    assert Curve(12 * one, one, one, 9 * one).crossing(2.0) == np.inf
    assert Curve(12 * one, 0 * one, one, 9 * one).crossing(2.0) == np.inf
    assert Curve(8 * one, 0 * one, one, 9 * one).crossing(2.0) == 0.0


def test_the_same_results_give_the_same_bits_in_any_order() -> None:
    results = measured(4)
    repeated = sorted_results(list(results.fractions[::-1]), list(results.pilots[::-1]), results.reference)
    assert (fit_curve(results, 1.0).crossing(1.0) == fit_curve(repeated, 1.0).crossing(1.0)).all()


def test_leakage_raises_the_fraction_and_widens_the_interval() -> None:
    results = measured(5)
    leaking = PilotResults(results.fractions, results.pilots, results.reference, leakage_correction=1.0)
    assert leaking.gaps == pytest.approx(results.gaps + 0.5)
    uncorrected, corrected = (interval(fit_curve(m, 1.0).crossing(1.0)) for m in (results, leaking))
    assert corrected[0] > uncorrected[0]
    assert corrected[2] / corrected[1] > uncorrected[2] / uncorrected[1]


def test_the_answer_is_rounded_up_and_not_below_the_smallest_pilot() -> None:
    results = measured(6)
    curve = fit_curve(results, 1.0)
    result = tolerance_result(curve, 1.0, smallest=0.025)
    fraction, _, _ = interval(curve.crossing(1.0))
    assert result.fraction is not None
    assert fraction <= result.fraction <= fraction * 1.1
    assert tolerance_result(fit_curve(results, 50.0), 50.0, smallest=0.025).fraction == 0.025
    assert make_answer(results, fit_curve(results, 50.0), 50.0, 1000, 0).beyond == "below"


def test_without_a_sufficient_fraction_the_result_names_alternatives() -> None:
    flat = sorted_results(FRACTIONS, [np.arange(5000) % 100 >= 20] * 5, np.arange(5000) % 100 >= 9)
    result = make_answer(flat, fit_curve(flat, 0.5), 0.5, 60_000, 0)
    assert (result.fraction, result.kept, result.high) == (None, None, None)
    reached = [other.tolerance for other in result.other_tolerances if other.fraction is not None]
    assert 20.0 in reached
    assert not {0.25, 1.0, 2.0, 3.0} & set(reached)


def test_the_table_covers_all_fractions() -> None:
    table = curve_table(fit_curve(measured(7), 1.0))
    assert table[-1].fraction == 1.0
    assert all(point.low <= point.gap <= point.high for point in table)
