"""A student: the KD weight is searched or given, then the subset is trained on, with or without soft labels."""

from __future__ import annotations

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
from datapruning.training.distillation.run_search import SearchPlan, loss_for, plan_search, search
from datapruning.training.distillation.training_run import TrainingRun, train_and_evaluate
from datapruning.training.distillation.weight_search import (
    LABELS_ONLY,
    Candidate,
    prior_weight,
    probe_candidates,
    teacher_candidates,
)
from datapruning.training.losses import SoftLabels
from datapruning.training.self_distillation.describe import in_words
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
        run: claimed by the caller, not finished.
        ids: int64, the kept samples.
        labels: soft labels of each candidate teacher, filled for `ids`; none only with KD weight 0.
        kd_weight: a number in 0..1, or None for "auto".
        seed: random seed for initialisation, sample order and validation samples.
        origin: how the samples were chosen.
        teaching: the teachers. Where there are several `labels`, these are candidates, of which the chosen one stays.
        self_labels: soft labels of the self teacher, where the recipe's self-distillation has one.
    """
    kd, training = context.recipe.kd, context.recipe.train
    if kd_weight is None:
        candidate, candidates = (
            Candidate(prior_weight(kd.weight_grid), kd.temperatures[0], kd.confidence_weighting),
            probe_candidates(kd, len(labels)),
        )
    elif kd_weight:
        candidate = Candidate(kd_weight, kd.temperature, trust=False)
        candidates = teacher_candidates(kd_weight, kd.temperature, len(labels))
    else:
        candidate, candidates = LABELS_ONLY, []
    self_distillation = make_factory(context, ids, seed, self_labels)
    if self_distillation.settings.enabled:
        info(in_words(self_distillation.settings))
    pruned = load_or_make_masks(context, run, ids, loss_for(context, labels, candidate), seed, self_labels)
    masks = pruned.masks if pruned else None
    fork: SearchPlan | None = None
    kd_search: KDSearch | None = None
    if len(candidates) > 1:
        data = context.data
        fork = plan_search(
            training, kd, ids, data.total, seed, probes=len(candidates), subset_is_random=origin.scorer in RANDOM_SCORERS,
            unreadable=data.corrupt_ids,
        )  # fmt: skip
        if fork is None:
            info(f"KD weight {candidate}: a run of one epoch has no middle to search in")
        else:
            kd_search = search(context, run, fork, labels, candidates, candidate, seed, self_distillation, masks)
            candidate = Candidate(kd_search.weight, kd_search.temperature, kd_search.trust, kd_search.teacher)
    training_run = TrainingRun(
        "student", training, ids, loss_for(context, labels, candidate), seed,
        init_from=Checkpoint(run.checkpoint_path("fork")) if fork else None, steps=fork.steps if fork else None,
        self_distillation=self_distillation.build(ids), masks=masks,
    )  # fmt: skip
    if len(labels) > 1:
        chosen = {"teacher": (teaching.teacher[candidate.teacher],), "teacher_candidates": teaching.teacher}
        teaching = TeachingRecord(**{**dict(teaching), **chosen})
    metadata = StudentMetadata(
        **{**dict(origin), **dict(teaching), **_with_measurements(teaching, kd_search, pruned)},
        kd_weight=candidate.weight,
        temperature=None if candidate == LABELS_ONLY else candidate.temperature,
        label_trust=candidate.trust,
        kd_weight_search=kd_search,
        sparsity=pruned.record if pruned else None,
    )
    return train_and_evaluate(context, run, training_run, metadata)


def _with_measurements(
    teaching: TeachingRecord, kd_search: KDSearch | None, pruned: PruningResult | None
) -> dict[str, PhaseSeconds | PhaseCosts]:
    """Seconds and costs of all that goes before the training."""
    search_cost = None
    if kd_search is not None:
        seconds = round(sum(trial.seconds for trial in kd_search.trials), 3)
        search_cost = ComputeCost(kd_search.samples_seen, kd_search.evaluated, seconds)
    prune_cost = pruned.cost if pruned else None
    seconds_before = PhaseSeconds(
        search=search_cost.seconds if search_cost else None, prune=prune_cost.seconds if prune_cost else None
    )
    costs_before = PhaseCosts(search=search_cost, prune=prune_cost)
    return {"seconds": teaching.seconds.merged(seconds_before), "costs": teaching.costs.merged(costs_before)}
