"""Training a student: candidates -> masks -> decision -> training and evaluation."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from datapruning.runs.context import Context
from datapruning.runs.result import PhaseCosts, PhaseSeconds, StudentMetadata, StudentResult, SubsetOrigin, TeachingRecord
from datapruning.runs.run import FinishedRun, Run
from datapruning.runs.training_records import KDSearch
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distillation.run_search import PREFIX, loss_for, plan_search, search
from datapruning.training.distillation.training_run import TrainingRun, train_and_evaluate
from datapruning.training.distillation.weight_search import LABELS_ONLY, Candidate, prior_weight, probe_candidates
from datapruning.training.losses import SoftLabels
from datapruning.training.self_distillation.factory import describe_self_distillation, make_self_distillation
from datapruning.training.sparsity.prune import PruningResult, load_or_make_masks
from datapruning.utils.console import info
from datapruning.utils.cost import ComputeCost


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
    if context.recipe.self_distill.enabled:
        info(describe_self_distillation(context.recipe.self_distill))
    pruned = load_or_make_masks(context, run, ids, loss_for(context, labels, initial), seed, self_labels)
    training_run = TrainingRun(
        context, run, "student", context.recipe.train, ids, seed,
        self_distillation=partial(make_self_distillation, context, ids, seed, self_labels),
        masks=pruned.masks if pruned else None,
    )  # fmt: skip
    decided, kd_search, prefix, num_steps = initial, None, None, None
    if len(candidates) > 1:
        plan = plan_search(training_run, len(candidates), subset_is_random=origin.scorer == "random")
        if plan is None:
            info(f"KD weight {initial}: a run of one epoch is too short for a search")
        else:
            decided, kd_search = search(training_run, plan, labels, candidates, initial)
            prefix, num_steps = Checkpoint(run.checkpoint_path(PREFIX)), plan.num_steps
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
    return train_and_evaluate(training_run, loss_for(context, labels, decided), metadata.complete, prefix, num_steps)


def _candidates(context: Context, kd_weight: float | None, num_teachers: int) -> tuple[Candidate, list[Candidate]]:
    """The candidate to begin with, and those of a search; a single one needs none."""
    kd = context.recipe.kd
    if kd_weight is None:
        initial = Candidate(prior_weight(kd.weight_grid), kd.temperatures[0], kd.confidence_weighting)
        return initial, probe_candidates(kd, num_teachers)
    if kd_weight:
        candidates = [
            Candidate(kd_weight, kd.temperature, confidence_weighting=False, teacher=teacher)
            for teacher in range(num_teachers)
        ]
        return candidates[0], candidates
    return LABELS_ONLY, []


def _with_measurements(
    teaching: TeachingRecord, kd_search: KDSearch | None, pruned: PruningResult | None
) -> dict[str, PhaseSeconds | PhaseCosts]:
    """Seconds and costs, with those of the search and of pruning."""
    costs: dict[str, ComputeCost] = {}
    if kd_search is not None:
        seconds = round(sum(probe.seconds for probe in kd_search.probes), 3)
        costs["search"] = ComputeCost(kd_search.samples_seen, kd_search.evaluated, seconds, kd_search.flops)
    if pruned is not None:
        costs["prune"] = pruned.cost
    phase_seconds = PhaseSeconds(**{phase: cost.seconds for phase, cost in costs.items()})
    return {"seconds": teaching.seconds.merged(phase_seconds), "costs": teaching.costs.merged(PhaseCosts(**costs))}
