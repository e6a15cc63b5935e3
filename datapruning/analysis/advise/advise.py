"""The Python verb `advise`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datapruning.analysis.advise.answer import answer_of, curve_table
from datapruning.analysis.advise.cost import cost_of, price_of
from datapruning.analysis.advise.curve import Curve, Marks, as_marks, fit_curve
from datapruning.analysis.advise.holdout import Parts, set_aside, unpacked
from datapruning.analysis.advise.messages import answered, piloted, priced, referenced
from datapruning.analysis.advise.pilots import PILOT, Trainings, opening_arm, taught_by_reference
from datapruning.analysis.advise.plan import FIRST, next_pilot, rungs
from datapruning.config.recipe import plain
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue, OutputExists
from datapruning.evidence.estimate import evidence_tables
from datapruning.experiments.sweep.shared_artifacts import check_evidence, needs_evidence
from datapruning.io.json import write_json
from datapruning.io.trial_store import Row, RowStore
from datapruning.runs.context import Context
from datapruning.runs.opening import context_of
from datapruning.runs.run import FinishedRun
from datapruning.scorers import get_scorer
from datapruning.teachers.prepare import load_teachers
from datapruning.training.reproducibility import reproducible
from datapruning.utils.console import say
from datapruning.version import __version__

Teachers = FinishedRun | str | Path | Sequence[FinishedRun | str | Path]
FORMAT = {"format": "datapruning.advice", "version": 1}
FILE = "advice.json"
FLATTERY = 0.5
"""A student takes over at most this share of what its teacher knows of the judges by heart: 0.1 of it at fraction 0.1, 0.4
at 0.5 (`benchmarks/advise.py`)."""
MOST_PILOTS = 24


@dataclass(frozen=True)
class Advice:
    """Where the advice lies, the content of its advice.json, and the answer in words."""

    folder: Path
    result: Mapping[str, Any]
    text: str


def advise(
    data: Dataset | Context,
    tolerance: float | str = 0.5,
    *,
    scorer: str = "random",
    teacher: Teachers | None = None,
    seed: int = 0,
    out: str | Path | None = None,
) -> Advice:
    """The smallest fraction whose students stay within so many points of a training on everything without KD.

    Pilots with KD, each a row of a store, are judged on training samples that are set aside; the test set is not used.
    Stop it and call it again: finished pilots stay, for other tolerances too.

    Args:
        data: a dataset, or a context for other than default settings.
        tolerance: points of accuracy, more than 0 and less than 100.
        scorer: who ranks the samples.
        teacher: one or several runs; default: one that never saw the judges, trained here.
        seed: of judges, subsets, initialisation and order.
        out: the advice's folder; default: one in the workspace, the same for every tolerance.

    Raises:
        InvalidValue, UnknownName, InvalidFile, IncompatibleInputs, OutputExists: the user's mistakes, before anything is
        written.
    """
    from datapruning.api.score import score

    points = parse_tolerance(tolerance)
    context = context_of(data)
    if context.recipe.self_distill.on:
        raise InvalidValue("the pilots of an advice train without self-distillation: set self_distill.method to none")
    parts = set_aside(context.data.total, seed, context.data.unreadable)
    _check_size(context.data, len(parts.rest))
    found = get_scorer(scorer)
    check_evidence(context, {scorer: found})
    named = [] if teacher is None else load_teachers(context, _folders(teacher))
    arm = opening_arm(context)
    tables = ["views", "train", "cutmix"] + ["teacher"] * (not named) + evidence_tables([found])
    about = {
        "dataset": context.data.name, "fingerprint": context.data.fingerprint, "threads": context.threads,
        "recipe": {name: table for name, table in plain(context.recipe).items() if name in tables},
        "kd_weight": arm.weight, "temperature": arm.temperature, "label_trust": arm.trust,
        "device": context.device.type, "scorer": scorer, "seed": seed, "judges": len(parts.judges),
        "taught_by": [t.weights_hash for t in named],
    }  # fmt: skip
    folder = Path(out) if out is not None else context.place("advice", f"{context.recipe.train.model}-{scorer}", about)
    _refuse_foreign(folder)
    store = RowStore(folder, about)
    blindly = not named and not taught_by_reference(context)
    price = price_of(context, found, len(parts.rest), blind=blindly)
    say(priced(context, parts, price, sum(1 for _ in store.rows())))
    trainings = Trainings(context, store, parts, scorer, named, seed)
    reference = trainings.reference()
    say(referenced(reference, parts))
    if needs_evidence(found):
        with reproducible(context.threads):
            score(context, scorer, seed=seed)
    blind, examined = trainings.teacher(), trainings.named()
    flattery = _flattery(reference, examined)
    rows, marks, curve = _measure(context, trainings, store, parts, reference, points, flattery, seed)
    answer = answer_of(marks, curve, points, context.data.total, seed)
    cost = cost_of(context, found, reference, blind, rows)
    result = {
        **FORMAT, "package_version": __version__, **about, "total": context.data.total,
        "teacher": [t.summary for t in named] or ("the reference" if blind is None else "blind to the judges"),
        "flattery": flattery, **asdict(answer), "reference": _shown(reference),
        "pilots": [
            {**row.config, **_shown(row), "gap": round(float(gap), 4), "gap_stderr": round(float(stderr), 4)}
            for row, gap, stderr in zip(rows, marks.gaps, marks.stderrs, strict=True)
        ],
        "curve": curve_table(curve), "cost": {**asdict(cost), "advice": cost.advice},
    }  # fmt: skip
    write_json(folder / FILE, result)
    return Advice(folder, result, answered(context, answer, reference, cost, marks, folder / FILE))


def parse_tolerance(given: float | str) -> float:
    """Points of accuracy.

    Raises:
        InvalidValue: no number, or outside 0..100; both ends are refused.
    """
    rule = "the tolerance is how many points of accuracy may be lost, more than 0 and less than 100 (0.5, say)"
    try:
        points = float(given)
    except ValueError:
        raise InvalidValue(f"{rule}; got '{given}'") from None
    if not (math.isfinite(points) and 0 < points < 100):
        raise InvalidValue(f"{rule}; got {given}")
    return points


def _check_size(data: Dataset, available: int) -> None:
    if len(rungs(available, data.classes)) < FIRST:
        raise InvalidValue(
            f"{data.name} is too small for advice: {available:,} samples of {data.classes} classes leave no small fractions "
            "to try; train at a few fractions instead (dprune sweep)"
        )


def _measure(
    context: Context, trainings: Trainings, store: RowStore, parts: Parts, reference: Row, points: float, flattery: float,
    seed: int,
) -> tuple[list[Row], Marks, Curve]:  # fmt: skip
    """Run pilots, beside those that are there, until the answer is known well enough."""
    right = unpacked(reference.result["correct"], len(parts.judges))
    rows = [row for row in store.rows() if row.config["run"] == PILOT]
    while True:
        rows.sort(key=lambda row: (float(row.config["fraction"]), row.config["repeat"]))
        marks = as_marks(
            [float(row.config["fraction"]) for row in rows],
            [unpacked(row.result["correct"], len(parts.judges)) for row in rows], right, flattery,
        )  # fmt: skip
        curve = fit_curve(marks, points, seed) if len(rows) > 1 else None
        tried = [(str(row.config["fraction"]), int(row.config["repeat"])) for row in rows]
        gaps = marks.gaps if rows else marks.fractions
        following = next_pilot(tried, gaps, curve, points, len(parts.rest), context.data.classes)
        if curve is not None and (following is None or len(rows) >= MOST_PILOTS):
            return rows, marks, curve
        assert following is not None  # the first rungs come without a curve
        row = trainings.pilot(following)
        say(piloted(row, reference, len(parts.rest)))
        rows.append(row)


def _flattery(reference: Row, examined: Sequence[Row]) -> float:
    if not examined:
        return 0.0
    better = sum(row.result["accuracy"] for row in examined) / len(examined) - reference.result["accuracy"]
    return round(FLATTERY * max(float(better), 0.0), 4)


def _shown(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.result.items() if key != "correct"}


def _folders(teacher: Teachers) -> list[Path]:
    each = [teacher] if isinstance(teacher, FinishedRun | str | Path) else list(teacher)
    return [t.folder if isinstance(t, FinishedRun) else Path(t) for t in each]


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists() or (folder / "store.json").exists():
        return
    if not folder.is_dir() or any(not p.name.startswith(".") for p in folder.iterdir()):
        raise OutputExists(f"{folder} holds something else (no store.json in it); name another --out")
