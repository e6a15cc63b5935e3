"""A whole run: train, look at the test set once, write the run folder. Teachers and students alike."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.config.training import TrainConfig
from datapruning.models import parameter_count
from datapruning.runs.context import Context
from datapruning.runs.process_group import processes
from datapruning.runs.run import FinishedRun, Run
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distillation.callbacks import run_callbacks
from datapruning.training.evaluate import accuracy
from datapruning.training.losses import Loss
from datapruning.training.schedules import planned_steps
from datapruning.training.self_distillation.base import SelfDistillation
from datapruning.training.sparsity.masks import Masks
from datapruning.training.trainer import Trainer
from datapruning.utils.console import say
from datapruning.utils.cost import Cost
from datapruning.utils.fraction import keeping
from datapruning.version import __version__


@dataclass(frozen=True)
class Plan:
    """What a run trains: which samples, towards what, from which seed.

    `begin` is the state of a first part that was trained elsewhere, `steps` the updates of the whole schedule where they
    are not those that `training` plans. `distil` adds self-distillation; `masks` say which weights are kept.
    """

    role: str
    training: TrainConfig
    ids: NDArray[np.int64]
    objective: Loss
    seed: int
    begin: Checkpoint | None = None
    steps: int | None = None
    distil: SelfDistillation | None = None
    masks: Masks | None = None


def train_whole_run(context: Context, run: Run, plan: Plan, story: Mapping[str, Any]) -> FinishedRun:
    """Train to the end (resuming a begun run), evaluate the last epoch on the test set, write the folder.

    Args:
        context: dataset, device, loaders.
        run: claimed by the caller, not finished.
        plan: see `Plan`.
        story: further entries of result.json; "seconds" and "samples_seen" in it are added to this training's own.
    """
    data, training = context.data, plan.training
    loader = context.split("train")
    steps = plan.steps or planned_steps(training, len(plan.ids), data.total)
    model = context.new_model(training.model, plan.seed)
    network = f"{training.model} ({parameter_count(model):,} weights)"
    kept = keeping(len(plan.ids), data.total)
    fewer = f", fewer with infobatch {training.infobatch:g}" if training.infobatch else ""
    say(f"{plan.role}: {network}, {kept}, {steps:,} updates (budget: {training.budget}{fewer})")
    trainer = Trainer(
        model, loader, plan.ids, context.views, training, plan.objective, seed=plan.seed, num_steps=steps,
        description=plan.role, self_distillation=plan.distil, masks=plan.masks, callbacks=run_callbacks(context, run),
    )  # fmt: skip
    done = trainer.fit(Checkpoint(run.checkpoint_path()), init_from=plan.begin)
    cost = Cost(done.samples_seen + done.auxiliary_samples, done.auxiliary_forward, round(done.seconds, 3))
    started = time.perf_counter()
    test_accuracy = accuracy(model, context.split("test"), np.arange(len(data.test)), context.views)
    seconds = {"train": done.seconds, "evaluate": time.perf_counter() - started, **story.get("seconds", {})}
    result = {
        **story,
        "test_accuracy": test_accuracy,
        "kept": len(plan.ids),
        "total": data.total,
        "model": training.model,
        "classes": data.classes,
        "dataset": data.name,
        "fingerprint": data.fingerprint,
        "budget": training.budget,
        "epochs": done.epoch,
        "steps": done.updates,
        "samples_seen": done.samples_seen + done.auxiliary_samples,
        "seed": plan.seed,
        "device": str(context.device),
        "threads": context.threads,
        "processes": processes(),
        "costs": {**story.get("costs", {}), "train": asdict(cost)},
        "seconds": {phase: round(value, 3) for phase, value in seconds.items()},
        "package_version": __version__,
    }
    if training.infobatch:
        pruned = {"share": training.infobatch, "until": training.infobatch_until, "samples_skipped": done.samples_skipped}
        result["infobatch"] = pruned
    if plan.distil is not None:
        passes = {"trained": done.auxiliary_samples, "forward": done.auxiliary_forward}
        result["self_distill"] = {**context.recipe.self_distill.used, "extra_passes": passes}
    return run.finish(model, done.history, result)
