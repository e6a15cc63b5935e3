"""A student: the KD weight is found or given, then the subset is trained on, with or without soft labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.context import Context
from datapruning.progress import say
from datapruning.runs import FinishedRun, Run
from datapruning.training.forked import Fork, objective_of, plan_fork, search_kd_weight
from datapruning.training.kd_weight import ALONE, Arm, Search, prior_weight
from datapruning.training.objectives import SoftLabels
from datapruning.training.whole_run import Plan, train_whole_run

LIKE_THE_REST = ("random",)
"""Scorers whose pruned-away samples differ from the kept ones by chance alone."""


def train_student(
    context: Context,
    run: Run,
    ids: NDArray[np.int64],
    labels: SoftLabels | None,
    kd_weight: float | None,
    seed: int,
    story: Mapping[str, Any],
) -> FinishedRun:
    """Find the KD weight where it is None, train, evaluate, write the run folder.

    Args:
        context: dataset, device, loaders.
        run: claimed by the caller, not finished.
        ids: the kept samples.
        labels: soft labels, filled for `ids`; None only with KD weight 0.
        kd_weight: a number, or None for "auto".
        seed: of initialisation, order and validation samples.
        story: further entries of result.json; its "scorer" says how the samples were chosen.
    """
    kd, training = context.recipe.kd, context.recipe.train
    arm = Arm(kd_weight, kd.temperature, trust=False) if kd_weight else ALONE
    fork: Fork | None = None
    search: Search | None = None
    if kd_weight is None and labels is not None:
        alike = story.get("scorer") in LIKE_THE_REST
        fork = plan_fork(training, kd, ids, context.data.total, seed, alike=alike)
        if fork is None:
            arm = Arm(prior_weight(kd.grid), kd.temperatures[0], kd.trust)
            say(f"KD weight {arm}: a run of one epoch has no middle to search in")
        else:
            search = search_kd_weight(context, run, fork, labels, seed)
            arm = Arm(search.weight, search.temperature, search.trust)
    plan = Plan(
        "student", training, ids, objective_of(context, labels, arm), seed,
        begin=run.checkpoint("fork") if fork else None, steps=fork.steps if fork else None,
    )  # fmt: skip
    seconds = dict(story.get("seconds", {}))
    if search is not None:
        seconds["search"] = round(sum(trial.seconds for trial in search.trials), 3)
    extra = {
        "kd_weight": arm.weight,
        "temperature": None if arm == ALONE else arm.temperature,
        "label_trust": arm.trust,
        "kd_weight_search": asdict(search) if search is not None else None,
        "seconds": seconds,
    }
    return train_whole_run(context, run, plan, {**story, **extra})
