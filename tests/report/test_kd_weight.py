"""The section about the KD weight: what of the fitted response is drawn."""

from __future__ import annotations

import pytest

from datapruning.report.sections.kd_weight import supported_curve
from datapruning.runs.training_records import Candidate, CurvePoint, KDSearch, ProbeResult

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize(
    ("probed", "drawn"), [([0.0, 0.5, 1.0], [0.5, 0.75, 1.0]), ([0.25, 0.5], [0.25, 0.5]), ([0.0], []), ([], [])]
)
def test_the_response_is_drawn_between_the_probed_weights(probed: list[float], drawn: list[float]) -> None:
    candidate = Candidate(weight=0.5, temperature=4.0)
    probes = tuple(
        ProbeResult(weight=weight, temperature=4.0, accuracy=70.0, stderr=1.0, samples_seen=9, seconds=1.0)
        for weight in probed
    )
    curve = tuple(CurvePoint(weight=weight, accuracy=70.0, low=69.0, high=71.0) for weight in WEIGHTS)
    search = KDSearch(**dict(candidate), proposed=candidate, num_views=4, probes=probes, curve=curve)
    assert [point.weight for point in supported_curve(search)] == drawn
