"""`advise`: the smallest fraction whose students stay within a tolerance of a training on everything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from datapruning.analysis.advise.answer import FILE, Answer, answer_message, curve_table, has_equal_compute, make_answer
from datapruning.analysis.advise.cost import AdviceCost, add_costs, advice_seconds, estimate_message
from datapruning.analysis.advise.curve import Curve, PilotResults, fit_curve, leakage_correction, sorted_results
from datapruning.analysis.advise.holdout_result import RANDOM, HoldoutResult
from datapruning.analysis.advise.other_budget import read_other_budget
from datapruning.analysis.advise.plan import Pilot, next_pilot
from datapruning.analysis.advise.random_baseline import RandomBaseline, compare_with_random
from datapruning.analysis.advise.request import AdviceRequest, resolve_request
from datapruning.api.student_request import Teachers
from datapruning.api.train_settings import student_settings
from datapruning.errors import InvalidValue
from datapruning.experiments.sweep.shared_artifacts import needs_evidence, open_store
from datapruning.io.json import write_json
from datapruning.io.trial_store import TrialStore
from datapruning.runs.opening import ContextSettings, DatasetOrContext, as_context
from datapruning.utils.console import info
from datapruning.utils.fraction import describe_kept
from datapruning.utils.predicted_time import predict_time
from datapruning.version import __version__

if TYPE_CHECKING:
    from datapruning.analysis.advise.pilots import PilotRunner

FORMAT = {"format": "datapruning.advice", "version": 1}
MAX_PILOTS = 24


@dataclass(frozen=True)
class Advice:
    """An advice.

    Attributes:
        folder: Where its trials and advice.json lie.
        text: The answer, a line of text.
        answer: The fraction, with its interval.
        reference: The training on everything but the hold-out.
        pilots: The pilots by fraction and repetition, sorted.
        random: The scorer against random samples; None where it is random itself.
        cost: In trainings.
    """

    folder: Path
    text: str
    answer: Answer
    reference: HoldoutResult
    pilots: Mapping[Pilot, HoldoutResult]
    random: RandomBaseline | None
    cost: AdviceCost


def advise(
    data: DatasetOrContext,
    tolerance: float | str = 0.5,
    *,
    scorer: str = "random",
    teacher: Teachers | None = None,
    model: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    budget: str | None = None,
    samples: int | str | None = None,
    allow_weak_teacher: bool = False,
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Unpack[ContextSettings],
) -> Advice:
    """Find the smallest fraction whose students stay within a few points of a training on everything without KD.

    Pilots with KD, each a trial of a store, are evaluated on training samples that are held out; the test set is not used.
    It can be stopped and called again: finished pilots are kept, for other tolerances too.

    Args:
        data: A dataset, its name or path, or a context.
        tolerance: Points of accuracy, more than 0 and less than 100.
        scorer: Name of the scorer that ranks the samples.
        teacher: One or several runs; default: one without the hold-out, trained here.
        model: The students' network; default, as with the next four: the recipe's.
        epochs: Number of training epochs of a student.
        batch_size: Samples that go through a student together.
        lr: Peak learning rate of students.
        budget: "epochs", "steps" or "samples", see `train`.
        samples: number of samples that a student sees, see `train`.
        allow_weak_teacher: see `train`.
        seed: Random seed of the hold-out, subsets, initialisation and sample order.
        out: The advice's folder; default: one in the workspace, the same for every tolerance.
        settings: See `ContextSettings`; not beside a context.

    Raises:
        InvalidValue, UnknownName, InvalidFile, IncompatibleInputs, OutputExists: The user's mistakes, before anything is
            written.
    """
    points = parse_tolerance(tolerance)
    changes = student_settings(
        settings.get("changes", ()), model=model, epochs=epochs, batch_size=batch_size, lr=lr, budget=budget, samples=samples
    )
    context = as_context(data, **settings)
    context = context.with_train(**changes)
    teachers = [teacher] if isinstance(teacher, str) else teacher or ()  # a path may have a comma in it
    request = resolve_request(context, scorer, teachers, seed, allow_weak_teacher)
    name = f"{context.recipe.train.model}-{scorer}"
    folder = Path(out) if out is not None else context.artifact_path("advice", name, request.identity)
    store = open_store(folder, request.identity)
    finished = [str(trial.config["run"]) for trial in store.trials()]
    info(estimate_message(request, len(finished)))
    with predict_time(partial(advice_seconds, request, finished)):
        return _find_fraction(request, store, points, name)


def _find_fraction(request: AdviceRequest, store: TrialStore, points: float, name: str) -> Advice:
    """Train what is missing, and write the answer into the folder of the store."""
    from datapruning.analysis.advise.pilots import PilotRunner
    from datapruning.api.score import score
    from datapruning.training.reproducibility import reproducible

    context, scorer, seed, folder = request.context, request.scorer.name, request.seed, store.folder
    runner = PilotRunner(request, store)
    reference = runner.reference()
    stderr = math.sqrt(reference.accuracy * (100 - reference.accuracy) / len(request.split.holdout))
    kept = describe_kept(reference.kept, len(request.split.rest))
    info(f"reference: {kept} without KD, {reference.accuracy:.2f}% ± {stderr:.2f} of the hold-out")
    if needs_evidence(request.scorer):
        with reproducible(context.threads, context.recipe.proxy):
            score(context, scorer, seed=seed)
    holdout_teacher = runner.teacher()
    correction = leakage_correction(reference.accuracy, [teacher.accuracy for teacher in runner.given_teachers()])
    pilots, results, curve = _run_pilots(request, runner, reference, points, correction)
    answer = make_answer(results, curve, points, context.data.total, seed)
    random_pilots, random = _run_random_pilot(request, runner, pilots, answer)
    other_budget = read_other_budget(request, name, points)
    cost = add_costs(request, reference, holdout_teacher, [*pilots.values(), *random_pilots])
    record: dict[str, Any] = {
        **FORMAT, "package_version": __version__, **request.identity, "total": context.data.total,
        "teacher": [t.record.to_json() for t in request.given_teachers]
        or ("the reference" if holdout_teacher is None else "trained without the hold-out"),
        "leakage_correction": correction, **asdict(answer), "reference": reference.summary(),
        "pilots": [
            {**pilot._asdict(), **result.summary(), "gap": round(float(gap), 4), "gap_stderr": round(float(stderr), 4)}
            for (pilot, result), gap, stderr in zip(pilots.items(), results.gaps, results.stderrs, strict=True)
        ],
        "equal": "compute" if has_equal_compute(context) else "epochs",
        "random": asdict(random) | {"beats_random": random.beats_random} if random else None,
        "other_budget": asdict(other_budget) if other_budget else None,
        "curve": [asdict(point) for point in curve_table(curve)], "cost": {**asdict(cost), "advice": cost.advice},
    }  # fmt: skip
    write_json(folder / FILE, record)
    remarks = [random.message(scorer)] if random else []
    remarks += [other_budget.message] if other_budget else []
    text = answer_message(context, answer, reference, cost, results, remarks, folder / FILE)
    return Advice(folder, text, answer, reference, pilots, random, cost)


def parse_tolerance(given: float | str) -> float:
    """Read points of accuracy.

    Raises:
        InvalidValue: No number, or outside 0..100; both ends are refused.
    """
    rule = "the tolerance is how many points of accuracy may be lost, more than 0 and less than 100 (0.5, say)"
    try:
        points = float(given)
    except ValueError:
        raise InvalidValue(f"{rule}; got '{given}'") from None
    if not (math.isfinite(points) and 0 < points < 100):
        raise InvalidValue(f"{rule}; got {given}")
    return points


def _run_random_pilot(
    request: AdviceRequest, runner: PilotRunner, pilots: Mapping[Pilot, HoldoutResult], answer: Answer
) -> tuple[list[HoldoutResult], RandomBaseline | None]:
    """Compare the scorer with random samples, at the pilot nearest to the answer; nothing where it is random itself."""
    if request.scorer.name == RANDOM:
        return [], None
    target = math.log(answer.fraction or 1.0)
    pilot = min(pilots, key=lambda pilot: abs(math.log(float(pilot.fraction)) - target))
    result = runner.random_pilot(pilot)
    return [result], compare_with_random(pilot, pilots[pilot], result)


def _run_pilots(
    request: AdviceRequest, runner: PilotRunner, reference: HoldoutResult, tolerance: float, correction: float
) -> tuple[dict[Pilot, HoldoutResult], PilotResults, Curve]:
    """Run pilots, in addition to the finished ones, until the answer is precise enough."""
    available, classes = len(request.split.rest), request.context.data.classes
    pilots = dict(runner.finished_pilots())
    while True:
        pilots = dict(sorted(pilots.items(), key=lambda item: (float(item[0].fraction), item[0].repeat)))
        fractions = [float(pilot.fraction) for pilot in pilots]
        results = sorted_results(fractions, [r.correct for r in pilots.values()], reference.correct, correction)
        curve = fit_curve(results, tolerance, request.seed) if len(pilots) > 1 else None
        gaps = results.gaps if pilots else results.fractions
        pilot = next_pilot(list(pilots), gaps, curve, tolerance, available, classes)
        if curve is not None and (pilot is None or len(pilots) >= MAX_PILOTS):
            return pilots, results, curve
        assert pilot is not None  # the first fractions of the ladder need no curve
        pilots[pilot] = result = runner.pilot(pilot)
        gap = reference.accuracy - result.accuracy
        difference = f"{abs(gap):.2f} points {'below' if gap > 0 else 'above'} the reference"
        kept = describe_kept(result.kept, available)
        info(f"  fraction {pilot.fraction}, {kept}: {result.accuracy:.2f}%, {difference}, {result.trial_seconds:.0f} s")
