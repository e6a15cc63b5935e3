"""Training a student: candidates -> masks -> decision -> training and evaluation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datapruning.runs.context import Context
from datapruning.runs.result import (
    KDSearch,
    PhaseCosts,
    PhaseSeconds,
    StudentMetadata,
    StudentResult,
    SubsetOrigin,
    TeachingRecord,
)
from datapruning.runs.run import FinishedRun, Run
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distillation.run_search import PREFIX, loss_for, plan_search, search
from datapruning.training.distillation.training_run import TrainingRun, train_and_evaluate
from datapruning.training.distillation.weight_search import (
    LABELS_ONLY,
    Candidate,
    prior_weight,
    probe_candidates,
    teacher_candidates,
)
from datapruning.training.losses import SoftLabels
from datapruning.training.self_distillation.describe import describe_self_distillation
from datapruning.training.self_distillation.factory import make_factory
from datapruning.training.sparsity.prune import PruningResult, load_or_make_masks
from datapruning.utils.console import info
from datapruning.utils.cost import ComputeCost

RANDOM_SCORERS = ("random",)
"""Scorers whose pruned-away samples differ from the kept ones by chance alone."""


def train_student(
    context: Context,
    run: Run,
    ids: NDArray[np.int64],
    labels: Sequence[SoftLabels],
    kd_weight: float | None,
    seed: int,
    origin: SubsetOrigin,
    teaching: TeachingRecord,
    self_labels: SoftLabels | None = None,
) -> FinishedRun[StudentResult]:
    """Find the KD weight where it is None and the teacher where there are several, train, evaluate, write the run folder.

    Args:
        context: dataset, device, loaders.
        run: opened by the caller, not finished.
        ids: int64, the kept samples.
        labels: soft labels of each candidate teacher, filled for `ids`; may be empty with KD weight 0 only.
        kd_weight: 0 to 1, or None for a search.
        seed: random seed for initialisation, sample order and validation samples.
        origin: how the samples were chosen.
        teaching: the teachers. Where there are several `labels`, these are candidates, of which one is chosen.
        self_labels: soft labels of the self teacher, where the recipe's self-distillation has one.
    """
    initial, candidates = _candidates(context, kd_weight, len(labels))
    self_distillation = make_factory(context, ids, seed, self_labels)
    if self_distillation.settings.enabled:
        info(describe_self_distillation(self_distillation.settings))
    pruned = load_or_make_masks(context, run, ids, loss_for(context, labels, initial), seed, self_labels)
    masks = pruned.masks if pruned else None
    decided, plan, kd_search = initial, None, None
    if len(candidates) > 1:
        plan = plan_search(
            context.recipe.train, context.recipe.kd, ids, context.data.total, seed, probes=len(candidates),
            subset_is_random=origin.scorer in RANDOM_SCORERS, unreadable=context.data.corrupt_ids,
        )  # fmt: skip
        if plan is None:
            info(f"KD weight {initial}: a run of one epoch is too short for a search")
        else:
            kd_search = search(context, run, plan, labels, candidates, initial, seed, self_distillation, masks)
            decided = Candidate(
                kd_search.weight, kd_search.temperature, kd_search.confidence_weighting, kd_search.teacher
            )  # fmt: skip
    training_run = TrainingRun(
        "student", context.recipe.train, ids, loss_for(context, labels, decided), seed,
        init_from=Checkpoint(run.checkpoint_path(PREFIX)) if plan else None, steps=plan.num_steps if plan else None,
        self_distillation=self_distillation.build(ids), masks=masks,
    )  # fmt: skip
    if len(labels) > 1:
        chosen = {"teacher": (teaching.teacher[decided.teacher],), "teacher_candidates": teaching.teacher}
        teaching = TeachingRecord(**{**dict(teaching), **chosen})
    metadata = StudentMetadata(
        **{**dict(origin), **dict(teaching), **_with_measurements(teaching, kd_search, pruned)},
        kd_weight=decided.weight,
        temperature=None if decided == LABELS_ONLY else decided.temperature,
        confidence_weighting=decided.confidence_weighting,
        kd_weight_search=kd_search,
        sparsity=pruned.record if pruned else None,
    )
    return train_and_evaluate(context, run, training_run, metadata)


def _candidates(context: Context, kd_weight: float | None, num_teachers: int) -> tuple[Candidate, list[Candidate]]:
    """The candidate to begin with, and those of a search; a single one needs none."""
    kd = context.recipe.kd
    if kd_weight is None:
        initial = Candidate(prior_weight(kd.weight_grid), kd.temperatures[0], kd.confidence_weighting)
        return initial, probe_candidates(kd, num_teachers)
    if kd_weight:
        candidates = teacher_candidates(kd_weight, kd.temperature, num_teachers)
        return candidates[0], candidates
    return LABELS_ONLY, []


def _with_measurements(
    teaching: TeachingRecord, kd_search: KDSearch | None, pruned: PruningResult | None
) -> dict[str, PhaseSeconds | PhaseCosts]:
    """Seconds and costs, with those of the search and of pruning."""
    search_cost = None
    if kd_search is not None:
        seconds = round(sum(probe.seconds for probe in kd_search.probes), 3)
        search_cost = ComputeCost(kd_search.samples_seen, kd_search.evaluated, seconds)
    prune_cost = pruned.cost if pruned else None
    seconds_before = PhaseSeconds(
        search=search_cost.seconds if search_cost else None, prune=prune_cost.seconds if prune_cost else None
    )
    costs_before = PhaseCosts(search=search_cost, prune=prune_cost)
    return {"seconds": teaching.seconds.merged(seconds_before), "costs": teaching.costs.merged(costs_before)}
