"""`train`: a student on a subset, with soft labels of a teacher that saw all the data; `rerun`: the same again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from datapruning.api.same_training import adopt_teacher, find_same_teacher
from datapruning.api.student_request import (
    STUDENT_TABLES,
    Selection,
    StrategyInfo,
    StudentRequest,
    Teachers,
    parse_kd_weight,
)
from datapruning.api.train_seconds import request_seconds
from datapruning.api.train_settings import student_settings
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile
from datapruning.runs.context import Context
from datapruning.runs.opening import ContextSettings, DatasetOrContext, as_context
from datapruning.runs.result import StudentMetadata, StudentResult, SubsetOrigin, TeachingRecord
from datapruning.runs.run import CONFIG, SUBSET, FinishedRun, Run
from datapruning.runs.run_config import read_run_options
from datapruning.training.distillation.candidates import is_held
from datapruning.utils.console import info
from datapruning.utils.cost import NO_COST
from datapruning.utils.predicted_time import announce_time, predict_time
from datapruning.utils.time_limit import TimeLimit

if TYPE_CHECKING:
    from datapruning.teachers.soft_labels import TeacherLabels


def train(
    data: DatasetOrContext,
    subset: Subset | str | Path | None = None,
    *,
    fraction: float | str | None = None,
    scorer: str | None = None,
    scores: Scores | str | Path | None = None,
    strategy: str | None = None,
    settings: Mapping[str, object] | None = None,
    balance: str | None = None,
    teacher: Teachers | None = None,
    allow_weak_teacher: bool = False,
    kd_weight: float | str = "auto",
    model: str | None = None,
    init: str | Path | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    budget: str | None = None,
    samples: int | str | None = None,
    infobatch: float | None = None,
    self_distill: str | None = None,
    sparsity: float | None = None,
    criterion: str | None = None,
    max_seconds: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **context_settings: Unpack[ContextSettings],
) -> FinishedRun[StudentResult]:
    """Train a student on a subset, with soft labels of a teacher that saw all the data.

    Scores, teacher and soft labels that are missing are made first; those that are in the workspace are used again.

    Args:
        data: a dataset, its name or path, or a context.
        subset: samples to train on, or a file of them; or give `fraction` (with `scores`, or a `scorer` that makes them).
        fraction: share of the training set that is kept, 0 < fraction <= 1; 1 trains on everything.
        scorer: ranks the samples where neither `subset` nor `scores` is given; default: "random".
        scores: made before, or a file of them.
        strategy: how the kept samples are chosen by their scores, see `select`; default: "top".
        settings: of the strategy.
        balance: "class" keeps the fraction in each class; default: "none".
        teacher: one or several runs, run folders, early checkpoints of a run ("RUN@EPOCH") or files of weights, whose
            probabilities are averaged; default: the recipe's teacher, trained if it is missing. "auto": one is chosen,
            among the others that are named, or else among the candidates of the recipe, and their early checkpoints.
        allow_weak_teacher: take a teacher that is near chance on the test set (the classes of a file of weights may be in
            another order).
        kd_weight: 0 (labels alone, no teacher needed) to 1 (teacher alone), or "auto".
        init: file of weights, or a run, that the student starts from (see docs/models.md); default: a random initialisation.
        model: the student's network; default, as with the next nine: the recipe's.
        epochs: number of training epochs of the student.
        batch_size: samples that go through the student together.
        lr: peak learning rate of the student.
        budget: "epochs", "steps" for as many training steps as the full data would take, or "samples".
        samples: number of samples that the student sees, repeats counted, or "full" for as many as `epochs` passes over the
            full data; it makes the budget "samples".
        infobatch: share of the easy samples that is skipped in each epoch; 0 for none.
        self_distill: method of self-distillation, "none" among them.
        sparsity: share of the student's weights that is removed before training, 0 < sparsity < 1.
        criterion: which weights are removed: "epsd", or a baseline such as "snip".
        max_seconds: time limit; training stops at the end of an epoch, and the same call resumes it.
        seed: random seed of the subset (for the scorer "random" and strategies that draw), initialisation and order.
        out: the run folder; default: a named one in the workspace.
        context_settings: recipe, device and others, see `ContextSettings`; not beside a context.

    Raises:
        InvalidValue, IncompatibleInputs, InvalidFile, OutputExists, UnknownName: before anything is trained.
        TimeLimitReached: `max_seconds` are over.
    """
    limit = None if max_seconds is None else TimeLimit(max_seconds)
    weight = parse_kd_weight(kd_weight)
    selection = Selection(subset, fraction, scorer, scores, strategy, settings, balance)
    changes = student_settings(
        context_settings.get("changes", ()), model=model, epochs=epochs, batch_size=batch_size, lr=lr, budget=budget,
        samples=samples, infobatch=infobatch,
    )  # fmt: skip
    context = as_context(data, **context_settings)
    context = context if limit is None else replace(context, time_limit=limit)
    context = _student_context(context, changes, self_distill, sparsity, criterion).with_init("student", init)
    request = StudentRequest.resolve(context, selection, teacher, weight, seed, out, allow_weak_teacher)
    return _train_request(request)


class StudentOptions(TypedDict, total=False):
    """The keyword arguments of `train` but those that a context is opened with."""

    fraction: float | str | None
    scorer: str | None
    scores: Scores | str | Path | None
    strategy: str | None
    settings: Mapping[str, object] | None
    balance: str | None
    teacher: Teachers | None
    allow_weak_teacher: bool
    kd_weight: float | str
    model: str | None
    init: str | Path | None
    epochs: int | None
    batch_size: int | None
    lr: float | None
    budget: str | None
    samples: int | str | None
    infobatch: float | None
    self_distill: str | None
    sparsity: float | None
    criterion: str | None
    max_seconds: float | None
    seed: int
    out: str | Path | None


class TrainOptions(StudentOptions, ContextSettings, total=False):
    """The keyword arguments of `train`, for `rerun`."""


def rerun(
    config: str | Path,
    data: Dataset | str | Path | None = None,
    subset: Subset | str | Path | None = None,
    **options: Unpack[TrainOptions],
) -> FinishedRun[StudentResult]:
    """Repeat the training of a student from the config.toml and subset.npz of its run folder.

    Args:
        config: the config.toml of a run of `train`, or the run folder.
        data: default: the dataset of the run.
        subset: default: that of the run, unless `fraction` is given.
        options: what is to be different, as `train` takes it.

    Raises:
        InvalidFile: no config.toml of a run. As `train` otherwise.
    """
    path = Path(config) / CONFIG if Path(config).is_dir() else Path(config)
    run = read_run_options(path)
    if run is None:
        raise InvalidFile(f"{path} is not the config.toml of a run")
    if subset is None and options.get("fraction") is None:
        subset = path.parent / SUBSET
    weight = "auto" if run.kd_weight is None else run.kd_weight
    recorded: TrainOptions = {"seed": run.seed, "kd_weight": weight, "teacher": run.teacher, "init": run.init}
    changed: TrainOptions = {**recorded, **options, "recipe": str(path)}
    return train(run.data if data is None else data, subset, **changed)


def _student_context(
    context: Context,
    changes: Mapping[str, object],
    self_distill: str | None,
    sparsity: float | None,
    criterion: str | None,
) -> Context:
    """The context with other settings of the student; the teacher's stay the recipe's."""
    context = context.with_train(**changes)
    if self_distill is not None:
        context = context.with_settings("self_distill", method=self_distill)
    if sparsity is not None or criterion is not None:
        context = context.with_sparsity(sparsity, criterion)
    return context


def _train_request(request: StudentRequest) -> FinishedRun[StudentResult]:
    """Train, or find the same run finished, for which torch is not imported."""
    with predict_time(lambda: request_seconds(request)):
        return _train_or_find(request)


def _train_or_find(request: StudentRequest) -> FinishedRun[StudentResult]:
    context, run = request.context, request.new_run()
    with run.open(context.recipe, (*STUDENT_TABLES, "teacher"), request.options, lambda: context.environment):
        result = run.result(StudentResult)
        if result is not None:
            info(f"student: {run.folder} is finished already, {result.test_accuracy:.2f}% on the test set")
            return FinishedRun(run.folder, result)
        finished = _train_in_run(request, run)
    info(f"student: {finished.test_accuracy:.2f}% on the test set, {request.subset}, in {run.folder}")
    return finished


def _train_in_run(request: StudentRequest, run: Run) -> FinishedRun[StudentResult]:
    """Prepare the labels and train, in the open folder of a run."""
    from datapruning.teachers.prepare import TeacherLabelSource
    from datapruning.training.distillation.student import train_student
    from datapruning.training.reproducibility import reproducible

    same = find_same_teacher(request)
    if same is None:
        announce_time()
    context, subset, ids, seed = request.context, request.subset, request.subset.indices, request.seed
    path = run.folder / SUBSET
    subset.save(path)
    strategy = request.strategy_info.get("strategy")
    method = f"scorer {subset.meta.scorer}, {f'strategy {strategy}, ' if strategy else ''}"
    info(f"subset: {subset} ({method}balance {subset.meta.balance or 'none'}), in {path}")
    origin = _subset_origin(subset, request.strategy_info, path)
    if same is not None:
        return adopt_teacher(request, run, same, StudentMetadata(**dict(origin), kd_weight=0.0))
    self_teacher = _self_teacher_labels(request)
    with reproducible(run.environment.threads, context.recipe.train):
        source, teaching = None, TeachingRecord()
        if request.kd_weight != 0:
            early = request.kd_weight is None and not is_held(context, "teacher")
            source = TeacherLabelSource(
                context, request.teachers, choose=request.choose_teacher, early=early, allow_weak=request.allow_weak_teacher
            )
        self_labels = None
        if self_teacher is not None:
            self_labels, self_teaching = self_teacher
            teaching = teaching.with_self_teacher(self_teaching)
        teaching = teaching.with_scoring(None if subset.meta.scores is None else subset.meta.scores.costs)
        context = context.for_subset(ids)
        return train_student(context, run, ids, source, request.kd_weight, seed, origin, teaching, self_labels)


def _subset_origin(subset: Subset, strategy_info: StrategyInfo, path: Path) -> SubsetOrigin:
    """Return what the student's result records of its subset."""
    meta = subset.meta
    return SubsetOrigin(
        fraction=meta.fraction, scorer=meta.scorer, balance=meta.balance, subset=str(path), **strategy_info
    )  # fmt: skip


def _self_teacher_labels(request: StudentRequest) -> tuple[TeacherLabels, TeachingRecord] | None:
    """Soft labels of the student's own kind, trained before on the same samples, and the record of who made them.

    It is the run of the same subset and seed without a teacher and without self-distillation, and is used again where it
    is there. None where the recipe's self-distillation needs none.
    """
    context, subset, seed = request.context, request.subset, request.seed
    if context.recipe.self_distill.method != "tf-kd-self":
        return None
    from datapruning.teachers.accuracy import check_accuracy
    from datapruning.teachers.prepare import TeacherLabelSource, load_teachers
    from datapruning.training.schedules import planned_epochs

    info("self-distillation: the self teacher is this student without distillation, a run of its own")
    context = context.with_settings("self_distill", method="none").with_settings("sparsity", sparsity=0.0)
    self_teacher = train(context, subset, kd_weight=0, seed=seed)
    teachers = load_teachers(context, [self_teacher.folder])
    if not request.allow_weak_teacher:
        check_accuracy(teachers, context.data)
    source = TeacherLabelSource(context, teachers)
    ids = subset.indices
    epochs = planned_epochs(context.recipe.train, len(ids), context.data.total)
    labels = source.labels(context.for_subset(ids), ids, 0, range(epochs))
    return labels, source.record(0, NO_COST)
