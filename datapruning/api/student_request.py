"""What a student is trained on and with, checked before anything is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from datapruning.api.score import score
from datapruning.api.score_paths import find_reused_scores, scores_path
from datapruning.api.select import select
from datapruning.artifacts.metadata import check_same_dataset
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset, validate_ids
from datapruning.artifacts.subset_file import open_subset
from datapruning.config.combinations import check_combination
from datapruning.config.kd import check_kd_weight
from datapruning.data.batching import MIN_BATCH_SIZE
from datapruning.data.dataset import check_readable
from datapruning.data.missing_classes import announce_lost_classes
from datapruning.errors import InvalidValue
from datapruning.evidence.collect import check_evidence
from datapruning.runs.context import Context
from datapruning.runs.run import RESULT, FinishedRun, Run
from datapruning.runs.run_config import RunOptions
from datapruning.scorers import get_scorer
from datapruning.selection.select import check_balance
from datapruning.selection.strategies import get_strategy
from datapruning.selection.strategy import format_settings
from datapruning.teachers.paths import check_teacher
from datapruning.training.distillation.candidates import SEARCHED_SETTINGS
from datapruning.training.distillation.prior import read_prior
from datapruning.training.sparsity.check import check_epsd
from datapruning.utils.fraction import kept_count

if TYPE_CHECKING:
    from datapruning.teachers.load import LoadedTeacher

CHOOSE_TEACHER = Path("auto")
"""Among the teachers: choose one of the others."""
STUDENT_TABLES = ("views", "cutmix", "mixup", "train", "kd", "self_distill", "sparsity")
"""Tables of a recipe that a student depends on."""
Teachers = FinishedRun | str | Path | Sequence[FinishedRun | str | Path]


class StrategyInfo(TypedDict, total=False):
    """The strategy that chose a subset, and its settings as "name=value"."""

    strategy: str
    strategy_settings: tuple[str, ...]


def parse_kd_weight(value: float | str) -> float | None:
    """A KD weight; None for "auto".

    Raises:
        InvalidValue: no number in 0..1.
    """
    if value == "auto":
        return None
    try:
        number = float(value)
    except ValueError:
        raise InvalidValue(f"the KD weight is a number in 0..1, or auto; got '{value}'") from None
    return check_kd_weight(number)


@dataclass(frozen=True)
class Selection:
    """How a student's subset is given; see `train`.

    Raises:
        InvalidValue: arguments that exclude each other. UnknownName: no such scorer, strategy or setting.
    """

    subset: Subset | str | Path | None
    fraction: float | str | None
    scorer: str | None
    scores: Scores | str | Path | None
    strategy: str | None
    settings: Mapping[str, object] | None
    balance: str | None

    def __post_init__(self) -> None:
        if self.scores is not None and self.scorer is not None:
            raise InvalidValue("scores rank the samples already; leave the scorer out")
        if self.subset is None and self.fraction is None:
            raise InvalidValue("say what to train on: a fraction (0.3 keeps 30%) or a subset file")
        others = (self.fraction, self.scores, self.scorer, self.balance, self.strategy, self.settings or None)
        if self.subset is not None and any(other is not None for other in others):
            raise InvalidValue(
                "a subset is a selection already; leave fraction, scores, scorer, strategy, its settings and balance out"
            )
        if self.scorer is not None:
            get_scorer(self.scorer)
        get_strategy(self.strategy or "top").resolve(self.settings)
        check_balance(self.balance or "none")

    def check_size(self, total: int) -> None:
        """Refuse a fraction that keeps too few of `total` samples, before evidence is made for it.

        Raises:
            InvalidValue: fewer than a student needs.
        """
        if self.fraction is not None and self.balance in (None, "none"):
            kept = kept_count(self.fraction, total)
            if kept < MIN_BATCH_SIZE:
                raise InvalidValue(
                    f"fraction {self.fraction} of {total:,} samples keeps {kept}; a student needs at least {MIN_BATCH_SIZE}"
                )

    def check_evidence(self, context: Context) -> None:
        """Refuse evidence that scores of these samples would be made from and that cannot be made.

        Raises:
            InvalidValue, UnknownName, MissingPackage: see `evidence.collect.check_evidence`.
        """
        if self.subset is None and self.scores is None:
            check_evidence(context, [get_scorer(self.scorer or "random")])

    def make_subset(self, context: Context, seed: int) -> Subset:
        """Open the subset and check it, or select it by scores; evidence for them is recorded where it is missing.

        Raises:
            InvalidValue, IncompatibleInputs, InvalidFile, UnknownName: see `train`.
        """
        data = context.data
        if self.subset is not None:
            subset = self.subset if isinstance(self.subset, Subset) else open_subset(self.subset, data)
            check_same_dataset("this subset", subset.meta, data)
            validate_ids(subset.indices, data.total, "this subset", data.name)
            check_readable(subset.indices, data, "this subset")
            announce_lost_classes(data.train.labels[subset.indices], data.class_names)
            return subset
        assert self.fraction is not None
        fraction, balance, strategy = self.fraction, self.balance or "none", self.strategy or "top"
        scores = self.scores
        if scores is None:
            scorer = self.scorer or "random"
            path = None if scorer == "random" else scores_path(context, scorer, seed)
            scores = find_reused_scores(context, scorer, seed) or score(context, scorer, seed=seed, out=path)
        return select(
            scores, fraction, strategy=strategy, settings=self.settings, balance=balance, data=data,
            seed=0 if strategy == "top" else seed,
        )  # fmt: skip


@dataclass(frozen=True)
class StudentRequest:
    """A student that can be trained: what a user may get wrong has been checked, and nothing has been made yet.

    Attributes:
        context: with the student's settings.
        selection: how its samples are given.
        kd_weight: None: found by a search.
        choose_teacher: whether one of several teachers is chosen.
        teachers: those that were named; empty: the recipe's.
        seed: random seed.
        out: the run folder; None: a named one in the workspace.
        allow_weak_teacher: whether a teacher near chance may teach.
    """

    context: Context
    selection: Selection
    kd_weight: float | None
    choose_teacher: bool
    teachers: Sequence[LoadedTeacher]
    seed: int
    out: Path | None
    allow_weak_teacher: bool = False

    @classmethod
    def resolve(
        cls,
        context: Context,
        selection: Selection,
        teacher: Teachers | None,
        kd_weight: float | None,
        seed: int,
        out: str | Path | None,
        allow_weak_teacher: bool = False,
    ) -> StudentRequest:
        """Check everything that can be checked before scores are made; nothing is written or trained.

        Raises:
            InvalidValue, IncompatibleInputs, InvalidFile, OutputExists, UnknownName: see `train`.
        """
        check_combination(context.recipe)
        if out is not None:
            Run(Path(out)).check_output_dir()
        choose, paths = _parse_teachers(teacher)
        if choose and kd_weight == 0:
            raise InvalidValue("with KD weight 0 there is no teacher to choose")
        allow_weak = allow_weak_teacher or kd_weight == 0  # then none teaches
        teachers = _load_teachers(context, paths, choose, allow_weak) if paths or choose else []
        if kd_weight is None:
            read_prior(context.recipe.kd.prior)
        context.check_networks("train")
        if kd_weight != 0 and not teachers:
            context.check_networks("kd" if choose and context.recipe.kd.teacher_candidates else "teacher")
        check_epsd(context, kd_weight)
        selection.check_size(context.data.total)
        selection.check_evidence(context)
        return cls(
            context, selection, kd_weight, choose, teachers, seed, None if out is None else Path(out), allow_weak_teacher
        )

    @property
    def has_subset(self) -> bool:
        """Whether the samples to train on are known, without evidence that is missing."""
        return "subset" in self.__dict__

    @cached_property
    def subset(self) -> Subset:
        """Return the samples to train on, opened or selected at the first call; missing scores are computed.

        Raises:
            InvalidValue, IncompatibleInputs, InvalidFile, UnknownName: see `train`.
        """
        subset = self.selection.make_subset(self.context, self.seed)
        if len(subset) < MIN_BATCH_SIZE:
            raise InvalidValue(f"{subset}: a student needs at least {MIN_BATCH_SIZE} samples to train on; keep more")
        if self.context.recipe.self_distill.method == "cs-kd":
            from datapruning.training.self_distillation.cs_kd import ClassPairs

            ClassPairs(subset.indices, self.context.data.train.labels)  # each kept sample has a partner
        return subset

    @property
    def strategy_info(self) -> StrategyInfo:
        """Return the strategy and its settings, unless the scorer alone determines the subset."""
        meta = self.subset.meta
        if meta.strategy is None or meta.strategy in ("top", "random"):
            return {}
        settings = tuple(format_settings(meta.settings or {}))
        return {"strategy": meta.strategy, "strategy_settings": settings} if settings else {"strategy": meta.strategy}

    @property
    def options(self) -> RunOptions:
        """The [run] table of the run's config.toml."""
        data, meta = self.context.data, self.subset.meta
        teachers = [*([str(CHOOSE_TEACHER)] if self.choose_teacher else []), *(t.record.path for t in self.teachers)]
        held = sorted(self.context.held & SEARCHED_SETTINGS) if self.kd_weight is None else []
        return RunOptions(
            verb="train", data=data.name, fingerprint=data.fingerprint, fraction=meta.fraction, scorer=meta.scorer,
            balance=meta.balance, subset=hashlib.sha256(self.subset.indices.astype("<i8").tobytes()).hexdigest()[:16],
            kd_weight="auto" if self.kd_weight is None else self.kd_weight, seed=self.seed,
            teacher=tuple(teachers) or None, held=tuple(held) or None, **self.strategy_info,
            **self.context.init_identity("student"),
        )  # fmt: skip

    def new_run(self) -> Run:
        """The run, in `out` or in a folder of the workspace that is named by all that defines it."""
        context, recipe, options = self.context, self.context.recipe, self.options
        if self.out is not None:
            return Run(self.out, context.loggers)
        strategy = f"-{self.strategy_info['strategy']}" if self.strategy_info else ""
        choose_suffix = "-teacher-auto" if self.choose_teacher else ""
        self_distill_suffix = f"-{recipe.self_distill.method}" if recipe.self_distill.enabled else ""
        sparsity_suffix = f"-{recipe.sparsity.criterion}-{recipe.sparsity.sparsity:g}" if recipe.sparsity.sparsity else ""
        name = (
            f"{self.subset.meta.scorer}{strategy}-{len(self.subset)}-kd-{options.kd_weight}{choose_suffix}"
            f"{self_distill_suffix}{sparsity_suffix}-seed{self.seed}"
        )
        identity = {"options": options.to_json(), "recipe": recipe.identity(*STUDENT_TABLES, "teacher")}
        return Run(context.find_artifact(context.artifact_path("students", name, identity), RESULT), context.loggers)


def _parse_teachers(teacher: Teachers | None) -> tuple[bool, list[Path]]:
    """Whether one is to be chosen, and the runs that were named."""
    teachers = [] if teacher is None else [teacher] if isinstance(teacher, FinishedRun | str | Path) else list(teacher)
    paths = [run.folder if isinstance(run, FinishedRun) else Path(run) for run in teachers]
    return CHOOSE_TEACHER in paths, [path for path in paths if path != CHOOSE_TEACHER]


def _load_teachers(context: Context, paths: Sequence[Path], choose: bool, allow_weak: bool) -> list[LoadedTeacher]:
    """The teachers that were named; with `choose` there must be several to choose from."""
    for path in paths:
        check_teacher(path)
    from datapruning.teachers.accuracy import check_accuracy
    from datapruning.teachers.prepare import has_choice, load_teachers

    teachers = load_teachers(context, paths)
    if not allow_weak:
        check_accuracy(teachers, context.data, paths=paths, choose=choose)
    if choose and not has_choice(context, teachers):
        raise InvalidValue(
            "teacher 'auto' chooses among several: name two or more runs as well, networks in kd.teacher_candidates, or "
            "early epochs in teacher.keep_checkpoints",
            parameter="teacher",
        )
    return teachers
