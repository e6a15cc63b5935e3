"""The choice of the next pilot: from small fractions up, then around the answer, and it terminates."""

from __future__ import annotations

import numpy as np
import pytest

from datapruning.analysis.advise.curve import fit_curve, interval, sorted_results
from datapruning.analysis.advise.plan import FRACTION_LADDER, Pilot, ladder, next_pilot
from tests.analysis.advise.test_curve import measured

SIZES = {"available": 55_000, "classes": 10}


def advised(tolerance: float, seed: int = 0, known: tuple[Pilot, ...] = ()) -> list[Pilot]:
    """Return all pilots of an advice about the curve of `test_curve`."""
    pilots = list(known)
    while True:
        results = measured(seed, fractions=tuple(float(f) for f, _ in pilots) or (0.5,))
        curve = fit_curve(results, tolerance) if len(pilots) > 1 else None
        by_fraction = sorted(pilots, key=lambda pilot: float(pilot[0]))
        following = next_pilot(by_fraction, results.gaps, curve, tolerance, **SIZES)
        if following is None:
            return pilots
        assert following not in pilots
        pilots.append(following)
        assert len(pilots) < 15


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tolerance", [0.3, 1.0, 2.0])
def test_fractions_increase_until_pilots_bracket_the_answer(tolerance: float, seed: int) -> None:
    pilots = advised(tolerance, seed)
    assert [fraction for fraction, _ in pilots[:3]] == list(FRACTION_LADDER[:3])
    fractions = sorted(float(fraction) for fraction, _ in pilots)
    curve = fit_curve(measured(seed, fractions=tuple(fractions)), tolerance)
    best_fraction = interval(curve.crossing(tolerance))[0]
    assert fractions[0] <= best_fraction
    assert sum(fractions) <= 7 * best_fraction + 1, "the price goes with the answer"


def test_a_large_tolerance_tries_smaller_fractions() -> None:
    assert min(float(fraction) for fraction, _ in advised(40.0)) < 0.01


def test_a_stopped_advice_continues_the_same_plan() -> None:
    pilots = advised(1.0)
    for count in range(len(pilots)):
        assert advised(1.0, known=tuple(pilots[:count])) == pilots


def test_an_unreachable_tolerance_stops_at_the_last_fraction() -> None:
    samples = np.arange(5000) % 100
    results = sorted_results([float(fraction) for fraction in FRACTION_LADDER], [samples >= 20] * 6, samples >= 9)
    pilots = [Pilot(fraction, 0) for fraction in FRACTION_LADDER]
    assert next_pilot(pilots, results.gaps, fit_curve(results, 0.5), 0.5, **SIZES) is None


def test_rungs_keep_some_samples_of_each_class() -> None:
    assert ladder(55_000, 10) == list(FRACTION_LADDER)
    assert ladder(1295, 10) == list(FRACTION_LADDER[1:])
    assert ladder(45_000, 1000) == list(FRACTION_LADDER[2:])
    assert ladder(1000, 400) == []
