"""The trainer: teachers, students, proxies and ensemble members are all trained here, and nowhere else."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.config.training import TrainConfig
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.batching import MIN_BATCH_SIZE
from datapruning.data.loaders.loader import Loader
from datapruning.errors import InvalidValue, TimeLimitReached
from datapruning.models.flops import network_flops
from datapruning.runs.metrics import EpochRecord
from datapruning.training.callbacks import Callback
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.checkpoint_parts import check_resumable, part_tensors, restore_parts
from datapruning.training.data_init import initialize_from_images
from datapruning.training.distributed import collectives
from datapruning.training.distributed.sharding import global_batch_size, global_batch_sizes
from datapruning.training.distributed.sync_batchnorm import sync_batch_norms
from datapruning.training.ema import WeightEMA
from datapruning.training.epoch_plan import EpochPlan, plan_epoch
from datapruning.training.epoch_stats import EpochStats
from datapruning.training.infobatch import InfoBatch
from datapruning.training.lookahead import Lookahead
from datapruning.training.losses import Loss
from datapruning.training.nan_guard import NonFiniteGuard, UpdateLocation
from datapruning.training.optimizers import make_optimizer, rate_setter, use_tensor_rates
from datapruning.training.reproducibility import (
    StepRNG,
    autocast,
    compiled,
    fp32_logits,
    isolated_rng,
    model_device,
    resolve_precision,
)
from datapruning.training.schedules import learning_rate
from datapruning.training.self_distillation.base import SelfDistillation
from datapruning.training.sparsity.masks import MaskEnforcer, Masks
from datapruning.training.state import Checkpointed, PartialEpoch, TrainState
from datapruning.training.step import (
    PartOutputs,
    StepInputs,
    forward_backward,
    micro_batches,
    optimizer_step,
    resize,
)
from datapruning.training.step_graph import StepGraph
from datapruning.training.step_reader import StepReader
from datapruning.utils.console import ProgressBar, info
from datapruning.utils.cost import passes_flops
from datapruning.utils.device_errors import translate_device_errors
from datapruning.utils.predicted_time import announce_time
from datapruning.utils.processes import agree, num_processes, rank

DUE_EVERY = 16
"""Steps after which several processes ask process 0 whether a checkpoint is due, unless one is saved after every step."""


@dataclass(eq=False)
class Trainer:
    """Trains one network in place; holds network, optimiser and loss.

    With `config.ema` the network has the averaged weights after `fit`, and whenever a callback's `on_epoch_end` runs. Where
    `config` prunes dynamically (InfoBatch), an epoch of fewer steps still covers its whole part of the schedule: the
    learning rates of its steps lie at even distances in it.

    Where torchrun started several processes, each makes the same trainer and calls the same methods: it trains on its share
    of each batch, which is that many times as large, and all make the same steps with the summed gradients
    (`collectives.sum_gradients`).

    Attributes:
        model: on the device it is to be trained on.
        loader: of the training split.
        ids: int64 [n], the samples to train on.
        seed: random seed for sample order, dropout and dynamic pruning.
        num_steps: optimiser steps of the whole schedule (`planned_steps`).
        description: of the training, for the progress bar and messages.
        lr_schedule: learning rate of a position in the schedule; default: that of `config`.
        self_distillation: adds its term to the loss. A new one for each trainer; its state is in the checkpoints.
        masks: which weights are kept; the others are zero from here on.

    Raises:
        InvalidValue: self-distillation together with dynamic pruning or gradient accumulation.
        IncompatibleInputs: masks of another model.
    """

    model: nn.Module
    loader: Loader
    ids: NDArray[np.int64]
    views: Augmentation
    config: TrainConfig
    loss: Loss
    _: KW_ONLY
    seed: int
    num_steps: int
    description: str
    lr_schedule: Callable[[int], float] | None = None
    self_distillation: SelfDistillation | None = None
    masks: Masks | None = None
    callbacks: Sequence[Callback] = ()

    def __post_init__(self) -> None:
        model, config, masks = self.model, self.config, self.masks
        if self.self_distillation and config.infobatch:
            raise InvalidValue("self-distillation and infobatch do not go together: switch one of them off")
        if self.self_distillation and config.grad_accum_steps > 1:
            raise InvalidValue(
                "self-distillation and train.grad_accum_steps do not go together: leave grad_accum_steps at 1"
            )
        self.device = model_device(model)
        self.optimizer = make_optimizer(model, config)
        self.infobatch: InfoBatch | None = None
        if config.infobatch:
            self.infobatch = InfoBatch(self.ids, config.infobatch, config.infobatch_until, self.seed)
        self.weight_masks = MaskEnforcer(masks, model) if masks else None
        self.ema = WeightEMA(model, config.ema) if config.ema else None  # of weights that are masked already
        self.lookahead = Lookahead(model, config.lookahead) if config.lookahead else None
        num_epochs = math.ceil(self.num_steps / max(1, len(global_batch_sizes(len(self.ids), config))))
        self._reader = StepReader(
            self.loader, self.ids, num_epochs, self.views, self.loss, self.self_distillation, self.device
        )
        self._graph: StepGraph | None = None
        self._rates: list[Tensor] | None = None
        precision = resolve_precision(config.precision, self.device)
        self.state = TrainState(processes=num_processes(), device=self.device.type, precision=precision)

    def fit(
        self,
        checkpoint: Checkpoint | None = None,
        *,
        init_from: Checkpoint | None = None,
        save_final_to: Checkpoint | None = None,
        stop_epoch: int | None = None,
    ) -> TrainState:
        """Train to the end of the schedule, or resume.

        A checkpoint is saved when it is due, in the middle of an epoch or at its end; a resumed training makes the very
        steps that one that was never stopped makes. torch's global generators are as they were afterwards.

        Args:
            checkpoint: where to save and resume; None: never.
            init_from: the state of another training, to start from where `checkpoint` has nothing yet.
            save_final_to: where to save the state at the end, for others to start from.
            stop_epoch: leave the schedule after so many epochs.

        Raises:
            Diverged: a loss or a weight is not a finite number any more. The checkpoint is one of before.
            IncompatibleInputs: a checkpoint of other masks, another device or precision. InvalidFile: one that is broken, or
                of another version.
            TimeLimitReached: a callback stopped the training; its state is in `checkpoint`.
            OutOfMemory, DeviceError: what was saved stays.
            InvalidValue: fewer samples than a batch norm needs.
        """
        if len(self.ids) < MIN_BATCH_SIZE:
            raise InvalidValue(f"{self.description}: {len(self.ids)} samples to train on; it takes {MIN_BATCH_SIZE} or more")
        announce_time()
        tensors = self._load(checkpoint, init_from)
        state = self.state
        if not state.step and state.partial_epoch is None:
            initialize_from_images(self.model, self.loader, self.ids, self.views)
        steps_per_epoch = len(global_batch_sizes(len(self.ids), self.config))
        last_epoch = min(
            state.epoch + math.ceil((self.num_steps - state.step) / steps_per_epoch), stop_epoch or self.num_steps
        )
        last_step = min(self.num_steps, state.step + (last_epoch - state.epoch) * steps_per_epoch)
        if num_processes() > 1:
            collectives.broadcast_state(self.model)
        if num_processes() > 1 and init_from is None:  # not again for each part of a run
            info(
                f"{self.description}: {num_processes()} processes with batches of {self.config.effective_batch_size}, "
                f"{global_batch_size(self.config)} samples an update; the learning rate stays {self.config.lr:g}"
            )
        network = compiled(self.model) if self.config.compile else self.model
        if self.config.graph:
            self._use_graph()
        self.model.train()
        device_errors = translate_device_errors(self.description, self.config.batch_size, self.config.grad_accum_steps)
        progress = ProgressBar.open(self.description, last_step)
        logits_in_fp32 = fp32_logits(self.model, self.config.precision)
        sync = sync_batch_norms(self.model) if self.config.sync_batchnorm else nullcontext()
        with device_errors, isolated_rng(self.device), sync, logits_in_fp32, progress as bar:
            bar.move_to(state.step)
            while state.epoch < last_epoch:
                seconds = self._run_epoch(network, checkpoint, tensors, bar)
                tensors = {}  # what was loaded is not held through the run
                for callback in self.callbacks:
                    callback.on_epoch_logged(state.history)
                if checkpoint is None or state.epoch == last_epoch:
                    continue
                stop = agree(any(callback.should_stop(seconds) for callback in self.callbacks))
                if stop or agree(checkpoint.due()):
                    self._save(checkpoint)
                if stop:
                    raise TimeLimitReached(
                        f"{self.description}: stopped after epoch {state.epoch} of {last_epoch}; the same command resumes "
                        "from there"
                    )
        self._graph = None  # with the memory of its activations
        if save_final_to:
            save_final_to.save(self.model, self.optimizer, state, part_tensors(self._parts))
        if self.ema:
            self.ema.copy_to_model()
        return state

    def _use_graph(self) -> None:
        """Run steps as CUDA graphs, where there are such; else print why not."""
        if self.device.type != "cuda":
            info(f"{self.description}: train.graph has no effect on a CPU")
        elif num_processes() > 1:
            info(f"{self.description}: train.graph has no effect where processes exchange gradients in every step")
        else:
            self._graph = StepGraph(self.device, self.description)
            self._rates = use_tensor_rates(self.optimizer, self.device)

    def _run_epoch(
        self,
        network: Callable[[Tensor], Tensor],
        checkpoint: Checkpoint | None,
        tensors: Mapping[str, Tensor],
        bar: ProgressBar,
    ) -> float:
        """Train for one epoch, or for what is left of one; returns its seconds. `tensors` are of a checkpoint in it."""
        state, ema, infobatch, partial_epoch = self.state, self.ema, self.infobatch, self.state.partial_epoch
        rate = self.lr_schedule or partial(learning_rate, self.config, steps=self.num_steps)
        plan = plan_epoch(self.ids, self.config, self.seed, state, self.num_steps, rate, infobatch)
        stats, guard = EpochStats(self.device, weighted=plan.pruned), NonFiniteGuard(self.device)
        started, first = time.perf_counter(), 0
        if partial_epoch is not None:
            stats.restore(partial_epoch, tensors)
            started, first, state.partial_epoch = started - partial_epoch.seconds, partial_epoch.batches, None
        for callback in self.callbacks:
            if first:
                callback.on_resume(state.epoch, np.concatenate(plan.batches[:first]))
            else:
                callback.on_epoch_start(state.epoch)
        for num_done in self._train_steps(network, plan, first, stats, guard):
            bar.move_to(plan.schedule_steps[num_done - 1] + 1)
            if checkpoint and num_done < len(plan.batches) and _is_due(checkpoint, num_done):
                guard.check_all(self.model)
                for callback in self.callbacks:
                    callback.flush()
                counts = {"batches": num_done, "seconds": time.perf_counter() - started}
                self._save(checkpoint, stats.counts.model_copy(update=counts), stats)
        guard.check_all(self.model)
        observed = any(type(callback).on_epoch_end is not Callback.on_epoch_end for callback in self.callbacks)
        with ema.swapped_in() if ema and observed else nullcontext():
            for callback in self.callbacks:
                callback.on_epoch_end(state.epoch, self.model)
        if infobatch:
            infobatch.end_epoch()
        if self.self_distillation is not None:
            self.self_distillation.end_epoch(np.concatenate(plan.local_batches))
        if num_processes() > 1:
            stats.sum_over_processes()
        seconds = time.perf_counter() - started
        self._log_epoch(plan, stats, seconds)
        bar.move_to(state.step)
        return seconds

    def _train_steps(
        self, network: Callable[[Tensor], Tensor], plan: EpochPlan, first: int, stats: EpochStats, guard: NonFiniteGuard
    ) -> Iterator[int]:
        """The steps of an epoch from number `first` on, the only way from sample ids to new weights.

        Yields the number of steps done after each.
        """
        config, epoch, method, graph = self.config, self.state.epoch, self.self_distillation, self._graph
        infobatch = self.infobatch if plan.pruned else None
        rng = StepRNG(self.device, self.seed, epoch, len(plan.batches), rank())
        if method is not None:
            method.begin_epoch(epoch, self.device)
        variant = (plan.image_size, method.variant(epoch) if method else None)
        set_rate = rate_setter(self.optimizer, plan.learning_rates, self._rates)

        def forward(images: Tensor) -> Tensor:
            with autocast(config.precision, self.device):
                return network(resize(images, plan.image_size)).float()

        def compute(inputs: StepInputs) -> list[PartOutputs]:
            self.optimizer.zero_grad(set_to_none=True)
            return forward_backward(forward, inputs, self.loss, method, config, epoch, total)

        def compute_and_update(inputs: StepInputs) -> list[PartOutputs]:
            outputs = compute(inputs)
            optimizer_step(self.model, self.optimizer, config, self.weight_masks)
            return outputs

        for step, (batch, inputs) in enumerate(self._reader.read(plan.local_batches[first:], epoch, infobatch), first):
            rng.seed_step(step)
            set_rate(step)
            location, total = UpdateLocation(epoch, plan.schedule_steps[step], plan.batches[step]), len(plan.batches[step])
            if method is not None:
                inputs = inputs._replace(auxiliary=method.before_step(inputs.auxiliary))
            is_updated = graph is not None and len(batch.ids) == len(plan.local_batches[0])  # the last one may be smaller
            outputs = graph.run(compute_and_update, inputs, variant) if graph and is_updated else compute(inputs)
            local_losses: list[Tensor] = []
            for (part, _, share), output in zip(micro_batches(batch, batch.images, config, total), outputs, strict=True):
                if method is not None:
                    method.after_step(part, output.logits, epoch)
                    stats.count_auxiliary(inputs.auxiliary, trained=method.trains_on_auxiliary)
                if infobatch is not None and output.sample_losses is not None:
                    weights = infobatch.weights(part.ids)
                    infobatch.record_losses(part.ids, output.sample_losses.clone() if graph else output.sample_losses)
                    stats.record(part, output.logits, output.losses, output.weights, float(weights.sum(dtype=np.float64)))
                else:
                    stats.record(part, output.logits, output.losses)
                if num_processes() > 1:
                    local_losses.append(output.losses.total * share)
                else:
                    loss = output.losses.total
                    guard.record(loss.clone() if graph else loss, location._replace(ids=part.ids))
                for callback in self.callbacks:
                    callback.on_batch_end(epoch, part, output.logits)
            if num_processes() > 1:
                loss_sum = torch.stack(local_losses).sum()
                guard.record(collectives.sum_gradients(self.model, len(batch.ids) / total, loss_sum), location)
            guard.check()
            if not is_updated:
                optimizer_step(self.model, self.optimizer, config, self.weight_masks)
            if self.lookahead is not None:
                self.lookahead.update()
            if self.weight_masks is not None:
                self.weight_masks.after_update()
            if self.ema is not None:
                self.ema.update()
            for callback in self.callbacks:
                callback.on_step_end(epoch, self.model)
            yield step + 1

    def _log_epoch(self, plan: EpochPlan, stats: EpochStats, seconds: float) -> None:
        """Add the epoch that has ended to the state."""
        state, counts, losses, epoch = self.state, stats.counts, stats.mean_losses(), self.state.epoch
        state.epoch += 1
        state.step += plan.num_planned_steps
        state.samples_seen += counts.samples
        state.auxiliary_samples += counts.auxiliary_samples
        state.auxiliary_forward += counts.auxiliary_forward
        forward_flops = network_flops(self.model, plan.image_size)
        state.flops += passes_flops(forward_flops, counts.samples + counts.auxiliary_samples, counts.auxiliary_forward)
        state.steps_skipped += plan.num_planned_steps - len(plan.batches)
        state.samples_skipped += plan.num_planned_samples - counts.samples
        state.seconds += seconds
        record = EpochRecord(
            epoch=epoch, loss=losses["total"], train_accuracy=stats.accuracy(), lr=plan.learning_rates[-1],
            step=state.updates, seconds=round(seconds, 3), label_loss=losses.get("label"), kd_loss=losses.get("kd"),
            self_distillation_loss=losses.get("self_distillation"),
        )  # fmt: skip
        state.history.append(record)

    @property
    def _parts(self) -> list[Checkpointed]:
        """What has a state of its own in a checkpoint."""
        parts = (
            self.weight_masks, self.infobatch, self.self_distillation, self.ema, self.lookahead, *self.callbacks
        )  # fmt: skip
        return [part for part in parts if part is not None]

    def _load(self, *checkpoints: Checkpoint | None) -> Mapping[str, Tensor]:
        """Continue from the first checkpoint that exists; returns its tensors."""
        for checkpoint in filter(None, checkpoints):
            saved = checkpoint.load(self.model, self.optimizer)
            if saved is not None:
                check_resumable(checkpoint.path, saved[0], self.state)
                self.state, tensors = saved
                return restore_parts(self._parts, tensors)
        return {}

    def _save(
        self, checkpoint: Checkpoint, partial_epoch: PartialEpoch | None = None, stats: EpochStats | None = None
    ) -> None:
        """Save; `partial_epoch` and its `stats` where it is in the middle of an epoch."""
        state = self.state.model_copy(update={"partial_epoch": partial_epoch})
        checkpoint.save(self.model, self.optimizer, state, part_tensors(self._parts, stats.tensors() if stats else {}))
        for callback in self.callbacks:
            callback.on_checkpoint(self.state.epoch - 1)


def _is_due(checkpoint: Checkpoint, num_done: int) -> bool:
    """Whether a checkpoint is due after so many steps of an epoch, in all processes alike."""
    if num_processes() > 1 and checkpoint.seconds and num_done % DUE_EVERY:
        return False
    return agree(checkpoint.due())
