"""Training a student: proposal -> masks -> search -> training and evaluation."""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from datapruning.runs.context import Context
from datapruning.runs.result import PhaseCosts, PhaseSeconds, StudentMetadata, StudentResult, SubsetOrigin, TeachingRecord
from datapruning.runs.run import FinishedRun, Run
from datapruning.runs.training_records import LABELS_ONLY, Candidate, KDSearch
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distillation.candidate_search import Proposal
from datapruning.training.distillation.candidates import SETTING_KEYS, context_for, is_held, loss_for, search_space
from datapruning.training.distillation.prior import measure_regime, propose, proposed_views
from datapruning.training.distillation.run_search import PREFIX, LabelSource, Search, plan_search, teacher_labels
from datapruning.training.distillation.training_run import TrainingRun, train_and_evaluate
from datapruning.training.losses import SoftLabels
from datapruning.training.schedules import planned_epochs
from datapruning.training.self_distillation.factory import describe_self_distillation, make_self_distillation
from datapruning.training.sparsity.prune import PruningResult, load_or_make_masks
from datapruning.utils.console import info
from datapruning.utils.cost import NO_COST, ComputeCost

LABEL_BYTES = 2
"""Of a logit of a soft label: they are float16."""


def train_student(
    context: Context,
    run: Run,
    ids: NDArray[np.int64],
    source: LabelSource | None,
    kd_weight: float | None,
    seed: int,
    origin: SubsetOrigin,
    teaching: TeachingRecord,
    self_labels: SoftLabels | None = None,
) -> FinishedRun[StudentResult]:
    """Search where the KD weight is None or there are several teachers, train, evaluate, write the run folder.

    Args:
        context: dataset, device, loaders.
        run: opened by the caller, not finished.
        ids: int64, the kept samples.
        source: soft labels of each candidate teacher; None with KD weight 0 only.
        kd_weight: 0 to 1, or None for a search.
        seed: random seed for initialisation, sample order and validation samples.
        origin: how the samples were chosen.
        teaching: the teachers. Where there are several candidates, one of them is chosen.
        self_labels: soft labels of the self teacher, where the recipe's self-distillation has one.
    """
    epochs = planned_epochs(context.recipe.train, len(ids), context.data.total)
    if kd_weight is None and not is_held(context, "views"):
        context = _with_proposed_views(context, len(ids), epochs)
    proposal = _propose(context, ids, source, kd_weight, epochs)
    if context.recipe.self_distill.enabled:
        info(describe_self_distillation(context.recipe.self_distill))
    decided = proposal.initial
    first_context, first_labels = context_for(context, decided), None
    if context.recipe.sparsity.sparsity:
        first_labels = teacher_labels(source, first_context, ids, decided, range(1))
    first_loss = loss_for(context, first_labels, decided)
    pruned = load_or_make_masks(first_context, run, ids, first_loss, seed, self_labels)
    training_run = TrainingRun(
        context, run, "student", context.recipe.train, ids, seed,
        self_distillation=partial(make_self_distillation, context, ids, seed, self_labels),
        masks=pruned.masks if pruned else None,
    )  # fmt: skip
    kd_search, prefix, num_steps, first_epoch = None, None, None, 0
    if kd_weight is None or len(proposal.space) > 1:
        plan = plan_search(training_run, len(proposal.space), subset_is_random=origin.scorer == "random")
        if plan is None:
            info(f"KD weight {decided}, as the prior proposes: a run of one epoch is too short for a search")
            kd_search = KDSearch(
                **dict(decided), proposed=decided, regime=proposal.regime, held=proposal.held,
                num_views=context.recipe.views.num_views,
            )  # fmt: skip
        else:
            assert source is not None  # labels alone have nothing to choose from
            decided, kd_search = Search(training_run, plan, source, proposal).run()
            prefix, num_steps, first_epoch = Checkpoint(run.checkpoint_path(PREFIX)), plan.num_steps, plan.prefix_epochs
    chosen_context = context_for(context, decided)
    labels = teacher_labels(source, chosen_context, ids, decided, range(first_epoch, epochs))
    if source is not None:
        teaching = teaching.with_teachers(source.record(decided.teacher, kd_search.labels if kd_search else NO_COST))
    metadata = StudentMetadata(
        **{**dict(origin), **dict(teaching), **_with_measurements(teaching, kd_search, pruned)},
        kd_weight=decided.weight,
        temperature=None if decided.labels_only else decided.temperature,
        confidence_weighting=decided.confidence_weighting,
        kd_weight_search=kd_search,
        sparsity=pruned.record if pruned else None,
    )
    training_run = replace(training_run, context=chosen_context)
    return train_and_evaluate(training_run, loss_for(context, labels, decided), metadata.complete, prefix, num_steps)


def _with_proposed_views(context: Context, kept: int, epochs: int) -> Context:
    """The context with as many views as the prior proposes for a training of so many epochs."""
    views = context.recipe.views
    proposed = proposed_views(epochs, views.num_views, LABEL_BYTES * kept * context.data.classes)
    if proposed != views.num_views:
        info(f"views: {proposed} of each image, not {views.num_views}, for {epochs} epochs")
    return replace(context, recipe=context.recipe.replace(views=views.replace(num_views=proposed)))


def _propose(
    context: Context, ids: NDArray[np.int64], source: LabelSource | None, kd_weight: float | None, epochs: int
) -> Proposal:
    """The candidates, and what the prior expects of them; of a given weight's teachers it knows none to be better."""
    kd, data, num_teachers = context.recipe.kd, context.data, source.num_teachers if source else 0
    if kd_weight is not None:
        taught = [Candidate(weight=kd_weight, temperature=kd.temperature, teacher=k) for k in range(num_teachers)]
        space = taught if kd_weight else [LABELS_ONLY]
        return Proposal(space[0], space, np.zeros(len(space)), None, ("weight", *SETTING_KEYS))
    assert source is not None
    space, held = search_space(context, num_teachers), tuple(name for name in SETTING_KEYS if is_held(context, name))
    regime = measure_regime(source.labels(context, ids, 0, range(1)), data.train.labels, ids, epochs, data.classes)
    resized, ages = bool(context.recipe.views.scale), source.teacher_ages
    initial, expected = propose(kd.prior, space, regime, recipe_resized=resized, teacher_ages=ages)
    proposal = Proposal(initial, space, expected, regime, held)
    info(proposal.describe())
    return proposal


def _with_measurements(
    teaching: TeachingRecord, kd_search: KDSearch | None, pruned: PruningResult | None
) -> dict[str, PhaseSeconds | PhaseCosts]:
    """Seconds and costs, with those of the search and of pruning."""
    costs: dict[str, ComputeCost] = {}
    if kd_search is not None and kd_search.probes:
        seconds = round(sum(probe.seconds for probe in kd_search.probes), 3)
        costs["search"] = ComputeCost(kd_search.samples_seen, kd_search.evaluated, seconds, kd_search.flops)
    if pruned is not None:
        costs["prune"] = pruned.cost
    phase_seconds = PhaseSeconds(**{phase: cost.seconds for phase, cost in costs.items()})
    return {"seconds": teaching.seconds.merged(phase_seconds), "costs": teaching.costs.merged(PhaseCosts(**costs))}
