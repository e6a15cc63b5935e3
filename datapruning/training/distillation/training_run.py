"""A whole run: train, evaluate on the test set once, write the run folder. Teachers and students alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from datapruning.config.training import TrainConfig
from datapruning.models import parameter_count
from datapruning.runs.context import Context
from datapruning.runs.result import PhaseCosts, PhaseSeconds, RunResult, TrainedResult
from datapruning.runs.run import FinishedRun, Run
from datapruning.runs.training_records import ExtraPasses, InfoBatchRecord, SelfDistillationRecord
from datapruning.training.callbacks import Callback, LogHistory, StopAtTimeLimit
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.evaluate import accuracy
from datapruning.training.losses import Loss
from datapruning.training.reproducibility import resolve_precision
from datapruning.training.schedules import planned_steps
from datapruning.training.self_distillation.base import SelfDistillation
from datapruning.training.sparsity.masks import Masks
from datapruning.training.trainer import Trainer
from datapruning.utils.console import info
from datapruning.utils.fraction import describe_kept
from datapruning.utils.processes import num_processes
from datapruning.version import __version__

R = TypeVar("R", bound=RunResult)


@dataclass(frozen=True)
class TrainingRun:
    """A run, opened by the caller, and what all its trainings have in common; a search for the KD weight makes several.

    Attributes:
        role: "teacher" or "student".
        ids: int64, the samples that are trained on.
        seed: random seed for initialisation, sample order and views.
        self_distillation: makes the method of each training from the ids int64 of its samples; None: none.
        masks: which weights are kept; None: all.
    """

    context: Context
    run: Run
    role: str
    training: TrainConfig
    ids: NDArray[np.int64]
    seed: int
    self_distillation: Callable[[NDArray[np.int64]], SelfDistillation | None] | None = None
    masks: Masks | None = None

    def trainer(
        self,
        training: TrainConfig,
        ids: NDArray[np.int64],
        loss: Loss,
        *,
        num_steps: int,
        description: str,
        callbacks: Sequence[Callback] = (),
        lr_schedule: Callable[[int], float] | None = None,
    ) -> Trainer:
        """A new network with its trainer; see `Trainer` for what it takes."""
        context, method = self.context, self.self_distillation(ids) if self.self_distillation else None
        return Trainer(
            context.new_model(training.model, self.seed, self.role), context.loader("train"), ids, context.views, training,
            loss, seed=self.seed, num_steps=num_steps, description=description, lr_schedule=lr_schedule,
            self_distillation=method, masks=self.masks, callbacks=callbacks,
        )  # fmt: skip

    @property
    def callbacks(self) -> list[Callback]:
        """Those that write metrics.jsonl after each epoch, and stop at the context's time limit, if it has one."""
        callbacks: list[Callback] = [LogHistory(self.run.write_metrics)]
        if self.context.time_limit is not None:
            callbacks.append(StopAtTimeLimit(self.context.time_limit))
        return callbacks


def train_and_evaluate(
    training_run: TrainingRun,
    loss: Loss,
    complete: Callable[[TrainedResult], R],
    init_from: Checkpoint | None = None,
    num_steps: int | None = None,
    callbacks: Sequence[Callback] = (),
) -> FinishedRun[R]:
    """Train to the end (resuming a run that was begun), evaluate the last epoch on the test set, write the folder.

    `init_from` is the state of a first part that was trained elsewhere, with the `num_steps` of the whole schedule where
    they are not those that the settings plan. `complete` adds to the result what its training did not measure. `callbacks`
    are called after those of the run.
    """
    context, run, training, ids = training_run.context, training_run.run, training_run.training, training_run.ids
    role, data = training_run.role, context.data
    num_steps = num_steps or planned_steps(training, len(ids), data.total)
    trainer = training_run.trainer(
        training, ids, loss, num_steps=num_steps, description=role, callbacks=[*training_run.callbacks, *callbacks]
    )  # fmt: skip
    network = f"{training.model} ({parameter_count(trainer.model):,} weights)"
    network += f" from {context.initial[role].record.path}" if role in context.initial else ""
    fewer = f", fewer with infobatch {training.infobatch:g}" if training.infobatch else ""
    kept = describe_kept(len(ids), data.total)
    info(f"{role}: {network}, {kept}, {num_steps:,} training steps (budget: {training.budget}{fewer})")
    done = trainer.fit(Checkpoint(run.checkpoint_path()), init_from=init_from)
    started = time.perf_counter()
    test_accuracy = accuracy(trainer.model, context.loader("test"), np.arange(len(data.test)), context.views)
    evaluation_seconds = round(time.perf_counter() - started, 3)
    training_cost = done.cost()
    infobatch = self_distillation = None
    if training.infobatch:
        infobatch = InfoBatchRecord(
            share=training.infobatch, until=training.infobatch_until, samples_skipped=done.samples_skipped
        )
    if trainer.self_distillation is not None:
        table = context.recipe.self_distill
        settings = {key: value for key, value in table.to_dict().items() if isinstance(value, float)}
        passes = ExtraPasses(trained=done.auxiliary_samples, forward=done.auxiliary_forward)
        self_distillation = SelfDistillationRecord(method=table.method, settings=settings, extra_passes=passes)
    trained = TrainedResult(
        role=role, test_accuracy=test_accuracy, model=training.model, classes=data.classes, dataset=data.name,
        fingerprint=data.fingerprint, samples_seen=training_cost.samples_seen, package_version=__version__,
        seconds=PhaseSeconds(train=training_cost.seconds, evaluate=evaluation_seconds),
        costs=PhaseCosts(train=training_cost),
        kept=len(ids), total=data.total, budget=training.budget, epochs=done.epoch, steps=done.updates,
        seed=training_run.seed, device=str(context.device), threads=context.threads, processes=num_processes(),
        precision=resolve_precision(training.precision, context.device), infobatch=infobatch, self_distill=self_distillation,
        init=context.init_record(role),
    )  # fmt: skip
    return run.finish(trainer.model, context.describe_model(training.model), done.history, complete(trained))
