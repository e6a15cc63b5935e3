"""A student: the KD weight is found or given, then the subset is trained on, with or without soft labels."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.config import Training
from datapruning.context import Context
from datapruning.progress import say
from datapruning.runs import FinishedRun, Run
from datapruning.store import RowStore
from datapruning.training.evaluate import accuracy
from datapruning.training.kd_weight import Search, SearchSplit, Trial, grid_search, search_split
from datapruning.training.loop import fit, planned_steps
from datapruning.training.objectives import CrossEntropy, Distillation, Objective, SoftLabels
from datapruning.training.whole_run import Plan, train_whole_run

LEAST_PILOT = 200
"""Updates of a pilot, at least (if the run has as many). Shorter ones rank weights by who starts fastest: on 2% of
Fashion-MNIST 40 updates prefer labels alone on the validation samples, where the whole run of 160 prefers the teacher."""


def student_objective(context: Context, labels: SoftLabels | None, weight: float) -> Objective:
    """The objective of design.md; without a teacher, or at weight 0, cross-entropy alone."""
    smoothing = context.recipe.train.label_smoothing
    if labels is None or weight == 0:
        return CrossEntropy(smoothing)
    return Distillation(labels, weight, context.recipe.kd.temperature, smoothing)


def find_kd_weight(context: Context, run: Run, ids: NDArray[np.int64], labels: SoftLabels, seed: int) -> Search:
    """`--kd-weight auto`: pilots over the recipe's grid. Each is a row beside the run, so a killed search goes on."""
    kd = context.recipe.kd
    split = search_split(ids, context.data.total, kd.validation, seed)
    full = context.recipe.train
    updates = planned_steps(full, len(split.train), context.data.total) / full.epochs
    epochs = max(round(kd.pilot * full.epochs), math.ceil(LEAST_PILOT / updates))
    short = dataclasses.replace(full, epochs=min(epochs, full.epochs))
    say(
        f"KD weight: {len(kd.grid)} pilots of {short.epochs} epochs (the run has {full.epochs}), "
        f"judged on {len(split.validation):,} {split.kind} samples"
    )
    store = RowStore(run.folder / "search", {"run": "pilots of the run beside"})

    def pilot(weight: float) -> Trial:
        row = store.run({"weight": weight}, lambda _: _pilot(context, short, split, labels, weight, seed))
        assert row is not None  # run() waits for a row that another process has
        trial = Trial(weight, row.result["accuracy"], row.result["samples_seen"], row.seconds)
        say(f"  KD weight {weight:g}: {trial.accuracy:.2f}% on the {split.kind} samples, {trial.seconds:.1f} s")
        return trial

    search = grid_search(kd.grid, pilot, split)
    say(f"KD weight {search.weight:g} is the best of the pilots")
    return search


def _pilot(
    context: Context, training: Training, split: SearchSplit, labels: SoftLabels, weight: float, seed: int
) -> dict[str, Any]:
    loader = context.split("train")
    model = context.new_model(training.model, seed)
    done = fit(
        model, loader, split.train, context.views, training, student_objective(context, labels, weight), seed=seed,
        steps=planned_steps(training, len(split.train), context.data.total), label=f"pilot, KD weight {weight:g}",
    )  # fmt: skip
    return {
        "accuracy": accuracy(model, loader, split.validation, context.views),
        "samples_seen": done.samples_seen,
    }


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
        story: further entries of result.json.
    """
    seconds = dict(story.get("seconds", {}))
    search = None
    if kd_weight is None and labels is not None:
        started = time.perf_counter()
        search = find_kd_weight(context, run, ids, labels, seed)
        seconds["search"] = time.perf_counter() - started
    weight = search.weight if search is not None else (kd_weight or 0.0)
    plan = Plan("student", context.recipe.train, ids, student_objective(context, labels, weight), seed)
    extra = {
        "kd_weight": weight,
        "temperature": context.recipe.kd.temperature,
        "kd_weight_search": asdict(search) if search is not None else None,
        "seconds": seconds,
    }
    return train_whole_run(context, run, plan, {**story, **extra})
