"""A student: the KD weight is found or given, then the subset is trained on, with or without soft labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.runs.context import Context
from datapruning.runs.run import FinishedRun, Run
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distillation.run_search import Fork, objective_of, plan_fork, search
from datapruning.training.distillation.training_run import Plan, train_whole_run
from datapruning.training.distillation.weight_search import ALONE, Arm, Search, prior_weight, probe_arms, teacher_arms
from datapruning.training.losses import SoftLabels
from datapruning.training.self_distillation.describe import in_words
from datapruning.training.self_distillation.factory import make_maker
from datapruning.training.sparsity.prune import masks_of
from datapruning.utils.console import say
from datapruning.utils.cost import Cost

LIKE_THE_REST = ("random",)
"""Scorers whose pruned-away samples differ from the kept ones by chance alone."""


def train_student(
    context: Context,
    run: Run,
    ids: NDArray[np.int64],
    labels: Sequence[SoftLabels],
    kd_weight: float | None,
    seed: int,
    story: Mapping[str, Any],
    self_labels: SoftLabels | None = None,
) -> FinishedRun:
    """Find the KD weight where it is None and the teacher where there are several, train, evaluate, write the run folder.

    Args:
        context: dataset, device, loaders.
        run: claimed by the caller, not finished.
        ids: the kept samples.
        labels: soft labels of each candidate teacher, filled for `ids`; none only with KD weight 0.
        kd_weight: a number, or None for "auto".
        seed: of initialisation, order and validation samples.
        story: further entries of result.json. Its "scorer" says how the samples were chosen; its "teacher" lists the
            candidates, of which the chosen one stays.
        self_labels: soft labels of the self teacher, where the recipe's self-distillation has one.
    """
    kd, training = context.recipe.kd, context.recipe.train
    if kd_weight is None:
        arm, arms = (
            Arm(prior_weight(kd.weight_grid), kd.temperatures[0], kd.confidence_weighting),
            probe_arms(kd, len(labels)),
        )
    elif kd_weight:
        arm, arms = Arm(kd_weight, kd.temperature, trust=False), teacher_arms(kd_weight, kd.temperature, len(labels))
    else:
        arm, arms = ALONE, []
    maker = make_maker(context, ids, seed, self_labels)
    if maker.settings.on:
        say(in_words(maker.settings))
    pruned = masks_of(context, run, ids, objective_of(context, labels, arm), seed, self_labels)
    masks = pruned.masks if pruned else None
    fork: Fork | None = None
    found: Search | None = None
    if len(arms) > 1:
        alike = story.get("scorer") in LIKE_THE_REST
        data = context.data
        fork = plan_fork(training, kd, ids, data.total, seed, probes=len(arms), alike=alike, unreadable=data.unreadable)
        if fork is None:
            say(f"KD weight {arm}: a run of one epoch has no middle to search in")
        else:
            found = search(context, run, fork, labels, arms, arm, seed, maker, masks)
            arm = Arm(found.weight, found.temperature, found.trust, found.teacher)
    plan = Plan(
        "student", training, ids, objective_of(context, labels, arm), seed,
        begin=Checkpoint(run.checkpoint_path("fork")) if fork else None, steps=fork.steps if fork else None,
        distil=maker.method(ids), masks=masks,
    )  # fmt: skip
    extra: dict[str, Any] = {
        "kd_weight": arm.weight,
        "temperature": None if arm == ALONE else arm.temperature,
        "label_trust": arm.trust,
        "kd_weight_search": asdict(found) if found is not None else None,
        "seconds": dict(story.get("seconds", {})),
        "costs": dict(story.get("costs", {})),
    }
    if found is not None:
        seconds = round(sum(trial.seconds for trial in found.trials), 3)
        extra["seconds"]["search"] = seconds
        extra["costs"]["search"] = asdict(Cost(found.samples_seen, found.evaluated, seconds))
    if pruned:
        extra["sparsity"] = pruned.story
        extra["seconds"]["prune"] = pruned.cost.seconds
        extra["costs"]["prune"] = asdict(pruned.cost)
    if len(labels) > 1:
        extra |= {"teacher": [story["teacher"][arm.teacher]], "teacher_candidates": story["teacher"]}
    return train_whole_run(context, run, plan, {**story, **extra})
