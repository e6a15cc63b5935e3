"""The recipe tables [train], [teacher], [proxy] and [ensemble_member]: how one network is trained."""

import math
from typing import Annotated, Literal

from pydantic import ValidationInfo, field_validator

from datapruning.config.table import Floats, InvalidSetting, Share, Table, between, satisfies

STUDENT_ONLY = ("infobatch", "infobatch_until")
"""Keys of [train] for students alone: evidence and soft labels come from networks that saw every sample."""
NOT_INHERITED = (*STUDENT_ONLY, "samples")
"""Keys of [train] that the other tables do not begin with: a student's number of samples is not its teacher's."""
Factor = Annotated[float, between(0, 1e6)]
Count = Annotated[int, between(1, 1_000_000)]
Milestones = Annotated[
    Floats,
    satisfies(
        lambda shares: all(0 < share < 1 for share in shares) and list(shares) == sorted(set(shares)),
        " are fractions of the run, rising, between 0 and 1 ([0.5, 0.75])",
    ),
]
EpochShares = Annotated[
    Floats, satisfies(lambda shares: all(0 < share < 1 for share in shares), " are fractions of the epochs, between 0 and 1")
]
Decay = Annotated[
    float, satisfies(lambda ema: 0 <= ema < 1, " is the decay of the average, 0 (none) <= ema < 1, such as 0.999")
]


class TrainConfig(Table):
    """How one network is trained.

    Attributes:
        model: name of the network (docs/models.md).
        epochs: passes over the data it is given; under the budget "steps", passes over the full dataset.
        budget: "epochs" (cost falls with the fraction), "steps" (as many updates as the full data would give), or "samples"
            (a fixed number of samples, repeats counted).
        samples: under the budget "samples", their number, rounded up to a training step; "full": as many as `epochs` passes
            over the full dataset.
        batch_size: samples that go through the network together; with `grad_accum_steps` = 1 also samples per update. Under
            torchrun those of each process: an update sees so many times the number of processes.
        lr: peak learning rate.
        momentum: momentum of SGD, in Nesterov's form; AdamW's first beta (its second is 0.999).
        weight_decay: L2 penalty; under AdamW decoupled from the gradient (Loshchilov and Hutter 2019).
        warmup: fraction of the steps in which the learning rate rises.
        label_smoothing: label smoothing of the cross-entropy.
        precision: of training passes: "fp32", "bf16" (logits are fp32), or "auto": bf16 on a GPU, fp32 on a CPU. Evaluation
            passes and soft labels are fp32; on a GPU their convolutions are TF32, unless this is "fp32".
        deterministic: use algorithms alone that torch knows to give the same bits again, for attention, too. Without it a
            GPU repeats itself in convolutions and matrix products, but not in the backward pass of attention. It costs
            nothing in a convolutional network, and much time and memory in a transformer.
        infobatch: dynamic pruning of a student: the fraction of the easy samples that an epoch skips (InfoBatch, Qin et
            al. 2024: 0.5). 0: no epoch skips any. Of [train] alone, and not inherited.
        infobatch_until: fraction of the run after which no epoch skips samples (their delta).
        optimizer: "sgd", "adamw" or "muon". AdamW wants a far smaller `lr`, such as 0.001. Muon trains convolutions and
            matrices with `lr` (0.1 to 0.3), without weight decay; the last layer, biases and norms are trained by SGD.
        sgd_lr: under "muon", the peak learning rate of the weights that SGD trains.
        lookahead: step size of the slow weights that the weights are pulled back to after every fifth step (Zhang et al.
            2019: 0.5); 0: none.
        bias_lr_factor: times the learning rate for biases and norms (weights of one dimension).
        milestones: steps of the schedule "step", as fractions of the run: 0.5 is half of the updates.
        gamma: factor of the learning rate at each milestone.
        schedule: "one-cycle" (up and down in straight lines), "cosine" (up, then half a cosine down) or "step" (up, then
            constant, times `gamma` at each milestone).
        ema: decay of the moving average of the weights, which is then what is evaluated and saved; 0: none.
        decay_norms_biases: whether `weight_decay` holds for norms and biases, too (weights of one dimension).
        clip_grad_norm: largest 2-norm of the whole gradient; a longer one is scaled down to it. 0: none.
        grad_accum_steps: batches per update; an update sees `batch_size` * `grad_accum_steps` samples.
        progressive_size: side in pixels that images are scaled to in the first epochs (progressive resizing), while soft
            labels stay those of the full size; 0: none.
        progressive_until: fraction of the run whose epochs begin with scaled images.
        graph: run a training step on a GPU as one CUDA graph, which spares the host all launches but one. The numbers are
            those of other steps. The last, smaller batch of an epoch runs without it.
        compile: run the network through torch.compile in training. Other last bits, minutes at the start.
        sync_batchnorm: with several processes, batch norms take their statistics over the samples of all of them.
    """

    model: str = "convnet"
    epochs: Count = 16
    budget: Literal["epochs", "steps", "samples"] = "epochs"
    samples: Annotated[int, between(1, 10**12)] | Literal["full"] = "full"
    batch_size: Annotated[int, between(2, 1_000_000)] = 128
    lr: Factor = 0.1
    momentum: Share = 0.9
    weight_decay: Factor = 5e-4
    warmup: Share = 0.2
    label_smoothing: Share = 0.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    infobatch: Annotated[float, between(0, 0.9)] = 0.0  # beyond, a sample would stand in for more than ten
    infobatch_until: Share = 0.875
    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    sgd_lr: Factor = 0.02
    bias_lr_factor: Factor = 1.0
    lookahead: Share = 0.0
    milestones: Milestones = ()
    gamma: Share = 0.1
    schedule: Literal["one-cycle", "cosine", "step"] = "one-cycle"
    ema: Decay = 0.0
    decay_norms_biases: bool = True
    clip_grad_norm: Factor = 0.0
    grad_accum_steps: Count = 1
    progressive_size: Annotated[int, between(0, 1_000_000)] = 0
    progressive_until: Share = 0.5
    compile: bool = False
    graph: bool = False
    sync_batchnorm: bool = False
    deterministic: bool = False

    @field_validator("optimizer")
    @classmethod
    def _check_optimizer(cls, optimizer: str, others: ValidationInfo) -> str:
        if optimizer == "adamw" and others.data.get("momentum") == 1:
            raise ValueError(' = "adamw" needs a momentum below 1, which is its first beta; got 1.0')
        return optimizer

    @field_validator("schedule")
    @classmethod
    def _check_schedule(cls, schedule: str, others: ValidationInfo) -> str:
        if schedule == "step" and not others.data.get("milestones", True):
            raise ValueError(' = "step" needs milestones, as fractions of the run: milestones = [0.5, 0.75]')
        return schedule

    @field_validator("compile")
    @classmethod
    def _check_compile(cls, compiled: bool, others: ValidationInfo) -> bool:
        if compiled and others.data.get("infobatch"):
            raise ValueError(" and infobatch do not go together: batches of many sizes would be compiled one by one")
        return compiled

    @field_validator("sync_batchnorm")
    @classmethod
    def _check_sync_batchnorm(cls, sync_batchnorm: bool, others: ValidationInfo) -> bool:
        if sync_batchnorm and others.data.get("compile"):
            raise ValueError(" and compile do not go together: what processes exchange in a batch norm cannot be compiled")
        return sync_batchnorm

    def model_post_init(self, _: object) -> None:
        """Refuse a budget of less than a training step."""
        if self.budget == "samples" and self.samples != "full" and self.samples < self.effective_batch_size:
            raise InvalidSetting(
                "samples", f" is less than the {self.effective_batch_size} of one training step; got {self.samples}"
            )

    def unused_keys(self) -> set[str]:
        """Settings of another schedule or optimiser, and of InfoBatch where no sample is skipped."""
        unused = set() if self.schedule == "step" else {"milestones", "gamma"}
        unused |= set() if self.optimizer == "muon" else {"sgd_lr"}
        unused |= {"bias_lr_factor"} if self.bias_lr_factor == 1 else set()
        unused |= {key for key in ("deterministic", "graph") if not getattr(self, key)}
        unused |= set() if self.budget == "samples" else {"samples"}
        unused |= {"epochs"} if self.budget == "samples" and self.samples != "full" else set()
        unused |= set() if self.lookahead else {"lookahead"}
        unused |= set() if self.sync_batchnorm else {"sync_batchnorm"}
        unused |= set() if self.progressive_size else {"progressive_size", "progressive_until"}
        return unused | (set() if self.infobatch else set(STUDENT_ONLY))

    @property
    def effective_batch_size(self) -> int:
        """Samples per update, of one process."""
        return self.batch_size * self.grad_accum_steps


class TeacherConfig(TrainConfig):
    """How a teacher is trained, and which of its early weights it keeps.

    Attributes:
        keep_checkpoints: fractions of its epochs after which the weights are kept (`dprune train --teacher RUN@EPOCH`):
            where few samples are kept, an early teacher can be the better one. The training is the same without them.
    """

    keep_checkpoints: EpochShares = (0.125, 0.25, 0.5)

    @property
    def training(self) -> TrainConfig:
        """The same training as that of any other network."""
        return TrainConfig(**{key: value for key, value in self if key in TrainConfig.model_fields})

    def early_epochs(self, num_epochs: int) -> tuple[int, ...]:
        """After which epochs, counted from 1, a training of `num_epochs` keeps its weights; its last is none of them."""
        nearest = {max(1, math.floor(share * num_epochs + 0.5)) for share in self.keep_checkpoints}
        return tuple(sorted(epoch for epoch in nearest if epoch < num_epochs))
