"""`train`: a student on a subset, with soft labels of a teacher that saw all the data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datapruning.api.score import score, scores_place
from datapruning.api.select import select
from datapruning.artifacts.metadata import check_made_from
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset, checked_ids
from datapruning.config.kd import check_kd_weight
from datapruning.config.recipe import plain
from datapruning.data.batching import LEAST
from datapruning.data.dataset import Dataset, check_readable
from datapruning.errors import InvalidValue
from datapruning.runs.context import Context
from datapruning.runs.opening import context_of
from datapruning.runs.result import StudentResult, SubsetOrigin, TeachingRecord
from datapruning.runs.run import FinishedRun, Run
from datapruning.selection.select import Balance, check_balance
from datapruning.selection.settings import spelled
from datapruning.selection.strategies import get_strategy
from datapruning.teachers.prepare import load_teachers, prepare_candidates, prepare_labels
from datapruning.teachers.soft_labels import TeacherLabels
from datapruning.training.distillation.student import train_student
from datapruning.training.reproducibility import reproducible
from datapruning.training.self_distillation.factory import check_combination, check_pairs
from datapruning.training.sparsity.prune import check_epsd
from datapruning.utils.console import say
from datapruning.utils.cost import ComputeCost
from datapruning.utils.fraction import kept_count

AUTO = Path("auto")


OF_STUDENTS = ("views", "cutmix", "train", "kd", "self_distill", "sparsity")
"""Tables of a recipe that a student depends on."""


Teachers = FinishedRun | str | Path | Sequence[FinishedRun | str | Path]


def train(
    data: Dataset | Context,
    subset: Subset | None = None,
    *,
    fraction: float | str | None = None,
    scorer: str = "random",
    scores: Scores | None = None,
    strategy: str = "top",
    settings: Mapping[str, object] | None = None,
    balance: Balance = "none",
    teacher: Teachers | None = None,
    kd_weight: float | str = "auto",
    seed: int = 0,
    out: str | Path | None = None,
) -> FinishedRun[StudentResult]:
    """Train a student on a subset, with soft labels of a teacher that saw all the data.

    Args:
        data: a dataset, or a context for other than default settings.
        subset: what to train on; or say `fraction` (with `scores`, or a `scorer` that makes them).
        fraction: the share that is kept; 1 trains on everything.
        scorer: who ranks, where neither `subset` nor `scores` is given.
        scores: ranks made before.
        strategy: how the kept ones are chosen, see `select`.
        settings: of the strategy.
        balance: "class" keeps the fraction in each class.
        teacher: one or several runs, which teach together; default: the recipe's teacher, trained if it is not there.
            "auto": one is chosen, among those named beside it or else the recipe's ladder.
        kd_weight: 0 (labels alone, no teacher needed) to 1 (teacher alone), or "auto".
        seed: of subset (for the scorer "random" and strategies that draw), initialisation and order.
        out: the run folder; default: a named one in the workspace.

    Raises:
        InvalidValue, IncompatibleInputs, InvalidFile, OutputExists, UnknownName: the user's mistakes, before anything is
        trained.
    """
    context = context_of(data)
    check_combination(context.recipe)
    weight = None if kd_weight == "auto" else check_kd_weight(float(kd_weight))
    if out is not None:
        Run(Path(out)).refuse_foreign()
    choosing, folders = _teacher_folders(teacher)
    named = load_teachers(context, folders)
    if choosing and weight == 0:
        raise InvalidValue("with KD weight 0 there is no teacher to choose")
    if choosing and len(named or context.recipe.kd.teacher_candidates) < 2:
        raise InvalidValue(
            "--teacher auto chooses among several: name two or more runs with --teacher as well, or networks in "
            "kd.teacher_candidates"
        )
    subset = _subset(context, subset, fraction, scorer, scores, strategy, settings, balance, seed)
    ids = subset.indices
    if len(ids) < LEAST:
        raise InvalidValue(f"{subset}: a student needs at least {LEAST} samples to train on; keep more")
    check_pairs(context, ids)
    check_epsd(context, weight)
    options: dict[str, Any] = {
        "verb": "train", "data": context.data.name, "fingerprint": context.data.fingerprint,
        "fraction": subset.meta.get("fraction"), "scorer": subset.meta["scorer"], "balance": subset.meta.get("balance"),
        "subset": hashlib.sha256(ids.astype("<i8").tobytes()).hexdigest()[:16],
        "kd_weight": "auto" if weight is None else weight, "seed": seed,
        "teacher": [*([str(AUTO)] if choosing else []), *(str(t.folder) for t in named)] or None,
    }  # fmt: skip
    by = _strategy_of(subset)
    options |= by
    chooses = "-teacher-auto" if choosing else ""
    who = "-".join([subset.meta["scorer"], *([by["strategy"]] if by else [])])
    recipe = context.recipe
    itself = f"-{recipe.self_distill.method}" if recipe.self_distill.on else ""
    thinned = f"-{recipe.sparsity.criterion}-{recipe.sparsity.sparsity:g}" if recipe.sparsity.sparsity else ""
    name = f"{who}-{len(subset)}-kd-{options['kd_weight']}{chooses}{itself}{thinned}-seed{seed}"
    used = {table: values for table, values in plain(recipe).items() if table in OF_STUDENTS}
    identity = {**options, **used, "teachers": plain(recipe)["teacher"]}
    run = Run(Path(out) if out else context.place("students", name, identity), context.logs)
    with run.claimed(recipe, (*OF_STUDENTS, "teacher"), options, context.environment):
        result = run.result(StudentResult)
        if result is not None:
            say(f"student: {run.folder} is finished already, {result.test_accuracy:.2f}% on the test set")
            return FinishedRun(run.folder, result)
        subset.save(run.folder / "subset.npz")
        chosen = f"strategy {by['strategy']}, " if by else ""
        how = f"scorer {subset.meta['scorer']}, {chosen}balance {subset.meta.get('balance', 'none')}"
        say(f"subset: {subset} ({how}), in {run.folder / 'subset.npz'}")
        self_teacher = _self_teacher_labels(context, subset, seed)
        with reproducible(int(run.environment["threads"])):
            labels, teaching = list[TeacherLabels](), TeachingRecord()
            if choosing:
                labels, teaching = prepare_candidates(context, named, ids)
            elif weight != 0:
                averaged, teaching = prepare_labels(context, named, ids)
                labels = [averaged]
            self_labels = None
            if self_teacher is not None:
                self_labels, self_teaching = self_teacher
                teaching = teaching.with_self_teacher(self_teaching)
            teaching = teaching.with_scoring(_scoring_cost(subset))
            origin = SubsetOrigin(
                fraction=subset.meta.get("fraction"), scorer=subset.meta["scorer"], balance=subset.meta.get("balance"),
                subset=str(run.folder / "subset.npz"), strategy=by.get("strategy"),
                strategy_settings=tuple(by["with"]) if "with" in by else None,
            )  # fmt: skip
            finished = train_student(context.among(ids), run, ids, labels, weight, seed, origin, teaching, self_labels)
    say(f"student: {finished.test_accuracy:.2f}% on the test set, {subset}, in {run.folder}")
    return finished


def _scoring_cost(subset: Subset) -> ComputeCost | None:
    """Of the evidence that the subset's scores were made from."""
    costs = (subset.meta.get("scores") or {}).get("costs")
    return ComputeCost(**costs) if costs else None


def _self_teacher_labels(context: Context, subset: Subset, seed: int) -> tuple[TeacherLabels, TeachingRecord] | None:
    """Soft labels of the student's own kind, trained before on the same samples, and the record of who made them.

    It is the run of the same subset and seed without a teacher and without self-distillation, and is used again where it
    is there. None where the recipe's self-distillation needs none.
    """
    if context.recipe.self_distill.method != "tf-kd-self":
        return None
    say("self-distillation: the self teacher is this student without distillation, a run of its own")
    context = context.with_table("self_distill", method="none").with_table("sparsity", sparsity=0.0)
    alone = train(context, subset, kd_weight=0, seed=seed)
    return prepare_labels(context, load_teachers(context, [alone.folder]), subset.indices)


def _subset(
    context: Context,
    subset: Subset | None,
    fraction: float | str | None,
    scorer: str,
    scores: Scores | None,
    strategy: str,
    settings: Mapping[str, object] | None,
    balance: Balance,
    seed: int,
) -> Subset:
    data = context.data
    get_strategy(strategy).resolve(settings)  # wrong ones are found before evidence is made
    if subset is not None:
        if fraction is not None or scores is not None or strategy != "top":
            raise InvalidValue("a subset says itself what is kept; give either the subset or a fraction (with scores)")
        check_made_from("this subset", subset.meta, data)
        checked_ids(subset.indices, data.total, "this subset")
        check_readable(subset.indices, data, "this subset")
        return subset
    if fraction is None:
        raise InvalidValue("say what to train on: a fraction (0.3 keeps 30%) or a subset file")
    check_balance(balance)
    if balance == "none" and kept_count(fraction, data.total) < LEAST:  # before evidence is made for it
        raise InvalidValue(
            f"fraction {fraction} of {data.total:,} samples keeps {kept_count(fraction, data.total)}; "
            f"a student needs at least {LEAST}"
        )
    if scores is None:
        scores = score(context, scorer, seed=seed, out=None if scorer == "random" else scores_place(context, scorer, seed))
    drawn = 0 if strategy == "top" else seed
    return select(scores, fraction, strategy=strategy, settings=settings, balance=balance, data=data, seed=drawn)


def _strategy_of(subset: Subset) -> dict[str, Any]:
    """How a subset was chosen, where its scorer alone does not say so: the strategy's name and its settings."""
    strategy = subset.meta.get("strategy")
    if not isinstance(strategy, str) or strategy in ("top", "random"):
        return {}
    found = subset.meta.get("settings")
    settings = spelled(found) if isinstance(found, dict) else []
    return {"strategy": strategy, **({"with": settings} if settings else {})}


def _teacher_folders(teacher: Teachers | None) -> tuple[bool, list[Path]]:
    """Whether one is to be chosen, and the named runs."""
    each = [] if teacher is None else [teacher] if isinstance(teacher, FinishedRun | str | Path) else list(teacher)
    folders = [t.folder if isinstance(t, FinishedRun) else Path(t) for t in each]
    return AUTO in folders, [folder for folder in folders if folder != AUTO]
