"""The same question under the other kind of budget, where an advice in the workspace has answered it already.

At equal epochs a small fraction also trains for less; at equal compute it does not. Both curves together say which of the
two costs accuracy.
"""

from dataclasses import asdict, dataclass, replace

from datapruning.analysis.advise.answer import (
    FILE,
    CurvePoint,
    ToleranceResult,
    curve_table,
    describe,
    has_equal_compute,
    tolerance_result,
)
from datapruning.analysis.advise.curve import fit_curve, leakage_correction, sorted_results
from datapruning.analysis.advise.request import AdviceRequest
from datapruning.errors import InvalidValue
from datapruning.experiments.sweep.shared_artifacts import open_store


@dataclass(frozen=True)
class OtherBudget(ToleranceResult):
    """What the tolerance takes at `equal` "epochs" or "compute", with the curve."""

    equal: str
    curve: tuple[CurvePoint, ...]

    @property
    def message(self) -> str:
        """As in "at equal compute, within 0.5 points: 0.08 (0.05 to 0.2)"."""
        return f"at equal {self.equal}, {describe(self)}"


def read_other_budget(request: AdviceRequest, name: str, tolerance: float) -> OtherBudget | None:
    """Read the answer of the advice with the same request under the budget "samples", or "epochs" if that is asked for.

    Args:
        request: Of this advice.
        name: Of its folder in the workspace.
        tolerance: In points of accuracy.

    Returns:
        None where no such advice is finished in the workspace.
    """
    budget = "epochs" if has_equal_compute(request.context) else "samples"
    try:
        other = replace(request, context=request.context.with_train(budget=budget))
    except InvalidValue:  # a number of samples that is less than a batch
        return None
    folder = other.context.artifact_path("advice", name, other.identity)
    if not (folder / FILE).exists():
        return None
    from datapruning.analysis.advise.pilots import PilotRunner

    runner = PilotRunner(other, open_store(folder, other.identity))
    reference, pilots = runner.reference(), dict(runner.finished_pilots())
    correction = leakage_correction(reference.accuracy, [teacher.accuracy for teacher in runner.given_teachers()])
    fractions = [float(pilot.fraction) for pilot in pilots]
    results = sorted_results(fractions, [r.correct for r in pilots.values()], reference.correct, correction)
    curve = fit_curve(results, tolerance, request.seed)
    answer = tolerance_result(curve, tolerance, float(results.fractions[0]))
    equal = "compute" if has_equal_compute(other.context) else "epochs"
    return OtherBudget(**asdict(answer), equal=equal, curve=tuple(curve_table(curve)))
