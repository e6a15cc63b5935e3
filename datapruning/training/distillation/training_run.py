"""A whole run: train, evaluate on the test set once, write the run folder. Teachers and students alike."""

import time
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from datapruning.config.training import TrainConfig
from datapruning.models import parameter_count
from datapruning.runs.context import Context
from datapruning.runs.process_group import num_processes
from datapruning.runs.result import (
    ExtraPasses,
    InfoBatchRecord,
    PhaseCosts,
    PhaseSeconds,
    RunResult,
    SelfDistillationRecord,
    TrainedResult,
)
from datapruning.runs.run import FinishedRun, Run
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distillation.callbacks import run_callbacks
from datapruning.training.evaluate import accuracy
from datapruning.training.losses import Loss
from datapruning.training.schedules import planned_steps
from datapruning.training.self_distillation.base import SelfDistillation
from datapruning.training.sparsity.masks import Masks
from datapruning.training.trainer import Trainer
from datapruning.utils.console import info
from datapruning.utils.cost import ComputeCost
from datapruning.utils.fraction import describe_kept
from datapruning.version import __version__

R_co = TypeVar("R_co", bound=RunResult, covariant=True)
R = TypeVar("R", bound=RunResult)


@dataclass(frozen=True)
class TrainingRun:
    """What a run trains.

    Attributes:
        role: "teacher" or "student".
        training: settings of the training.
        ids: int64, the samples that are trained on.
        loss: the loss.
        seed: random seed for initialisation, sample order and views.
        init_from: state of a first part that was trained elsewhere; None: from the initialisation.
        steps: of the whole schedule, where they are not those that `training` plans.
        self_distillation: self-distillation; None: none.
        masks: which weights are kept; None: all.
    """

    role: str
    training: TrainConfig
    ids: NDArray[np.int64]
    loss: Loss
    seed: int
    init_from: Checkpoint | None = None
    steps: int | None = None
    self_distillation: SelfDistillation | None = None
    masks: Masks | None = None


class RunMetadata(Protocol[R_co]):
    """What is known of a run before it is trained."""

    def complete(self, trained: TrainedResult) -> R_co:
        """The result of the run, from this and what its training measured."""


def train_and_evaluate(context: Context, run: Run, training_run: TrainingRun, metadata: RunMetadata[R]) -> FinishedRun[R]:
    """Train to the end (resuming a run that was begun), evaluate the last epoch on the test set, write the folder.

    Args:
        context: dataset, device, loaders.
        run: opened by the caller, not finished.
        training_run: what is trained.
        metadata: what else the result says.
    """
    data, training, ids = context.data, training_run.training, training_run.ids
    steps = training_run.steps or planned_steps(training, len(ids), data.total)
    model = context.new_model(training.model, training_run.seed)
    network = f"{training.model} ({parameter_count(model):,} weights)"
    fewer = f", fewer with infobatch {training.infobatch:g}" if training.infobatch else ""
    info(
        f"{training_run.role}: {network}, {describe_kept(len(ids), data.total)}, {steps:,} updates "
        f"(budget: {training.budget}{fewer})"
    )
    trainer = Trainer(
        model, context.loader("train"), ids, context.views, training, training_run.loss, seed=training_run.seed,
        num_steps=steps, description=training_run.role, self_distillation=training_run.self_distillation,
        masks=training_run.masks, callbacks=run_callbacks(context, run),
    )  # fmt: skip
    done = trainer.fit(Checkpoint(run.checkpoint_path()), init_from=training_run.init_from)
    started = time.perf_counter()
    test_accuracy = accuracy(model, context.loader("test"), np.arange(len(data.test)), context.views)
    evaluation_seconds = round(time.perf_counter() - started, 3)
    samples_seen, training_seconds = done.samples_seen + done.auxiliary_samples, round(done.seconds, 3)
    infobatch = self_distillation = None
    if training.infobatch:
        infobatch = InfoBatchRecord(
            share=training.infobatch, until=training.infobatch_until, samples_skipped=done.samples_skipped
        )
    if training_run.self_distillation is not None:
        table = context.recipe.self_distill
        settings = {key: value for key, value in table.to_dict().items() if isinstance(value, float)}
        passes = ExtraPasses(trained=done.auxiliary_samples, forward=done.auxiliary_forward)
        self_distillation = SelfDistillationRecord(method=table.method, settings=settings, extra_passes=passes)
    trained = TrainedResult(
        role=training_run.role,
        test_accuracy=test_accuracy,
        model=training.model,
        classes=data.classes,
        dataset=data.name,
        fingerprint=data.fingerprint,
        samples_seen=samples_seen,
        seconds=PhaseSeconds(train=training_seconds, evaluate=evaluation_seconds),
        costs=PhaseCosts(train=ComputeCost(samples_seen, done.auxiliary_forward, training_seconds)),
        package_version=__version__,
        kept=len(ids),
        total=data.total,
        budget=training.budget,
        epochs=done.epoch,
        steps=done.updates,
        seed=training_run.seed,
        device=str(context.device),
        threads=context.threads,
        processes=num_processes(),
        infobatch=infobatch,
        self_distill=self_distillation,
    )
    return run.finish(model, done.history, metadata.complete(trained))
