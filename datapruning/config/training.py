"""The recipe tables [train], [teacher], [proxy] and [ensemble_member]: how one network is trained."""

from typing import Annotated, Literal

from pydantic import ValidationInfo, field_validator

from datapruning.config.table import Floats, Share, Table, between, satisfies

NOT_INHERITED = ("infobatch", "infobatch_until")
"""Keys of [train] for students alone: evidence and soft labels come from networks that saw every sample."""
Factor = Annotated[float, between(0, 1e6)]
Count = Annotated[int, between(1, 1_000_000)]
Milestones = Annotated[
    Floats,
    satisfies(
        lambda shares: all(0 < share < 1 for share in shares) and list(shares) == sorted(set(shares)),
        " are fractions of the run, rising, between 0 and 1 ([0.5, 0.75])",
    ),
]
Decay = Annotated[
    float, satisfies(lambda ema: 0 <= ema < 1, " is the decay of the average, 0 (none) <= ema < 1, such as 0.999")
]


class TrainConfig(Table):
    """How one network is trained.

    Attributes:
        model: name of the network (docs/models.md).
        epochs: passes over the data it is given; under the budget "steps", passes over the full dataset.
        budget: "epochs" (cost falls with the fraction) or "steps" (as many updates as the full data would give).
        batch_size: samples that go through the network together; with `grad_accum_steps` = 1 also samples per update.
        lr: peak learning rate.
        momentum: momentum of SGD, in Nesterov's form; AdamW's first beta (its second is 0.999).
        weight_decay: L2 penalty; under AdamW decoupled from the gradient (Loshchilov and Hutter 2019).
        warmup: fraction of the steps in which the learning rate rises.
        label_smoothing: label smoothing of the cross-entropy.
        precision: "fp32", "bf16", or "auto": bf16 on a GPU, fp32 on a CPU.
        infobatch: dynamic pruning of a student: the fraction of the easy samples that an epoch skips (InfoBatch, Qin et
            al. 2024: 0.5). 0: no epoch skips any. Of [train] alone, and not inherited.
        infobatch_until: fraction of the run after which no epoch skips samples (their delta).
        optimizer: "sgd" or "adamw". AdamW wants a far smaller `lr`, such as 0.001.
        milestones: steps of the schedule "step", as fractions of the run: 0.5 is half of the updates.
        gamma: factor of the learning rate at each milestone.
        schedule: "one-cycle" (up and down in straight lines), "cosine" (up, then half a cosine down) or "step" (up, then
            constant, times `gamma` at each milestone).
        ema: decay of the moving average of the weights, which is then what is evaluated and saved; 0: none.
        decay_norms_biases: whether `weight_decay` holds for norms and biases, too (weights of one dimension).
        clip_grad_norm: largest 2-norm of the whole gradient; a longer one is scaled down to it. 0: none.
        grad_accum_steps: batches per update; an update sees `batch_size` * `grad_accum_steps` samples.
        compile: run the network through torch.compile in training. Other last bits, minutes at the start.
    """

    model: str = "convnet"
    epochs: Count = 16
    budget: Literal["epochs", "steps"] = "epochs"
    batch_size: Annotated[int, between(2, 1_000_000)] = 128
    lr: Factor = 0.1
    momentum: Share = 0.9
    weight_decay: Factor = 5e-4
    warmup: Share = 0.2
    label_smoothing: Share = 0.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    infobatch: Annotated[float, between(0, 0.9)] = 0.0  # beyond, a sample would stand in for more than ten
    infobatch_until: Share = 0.875
    optimizer: Literal["sgd", "adamw"] = "sgd"
    milestones: Milestones = ()
    gamma: Share = 0.1
    schedule: Literal["one-cycle", "cosine", "step"] = "one-cycle"
    ema: Decay = 0.0
    decay_norms_biases: bool = True
    clip_grad_norm: Factor = 0.0
    grad_accum_steps: Count = 1
    compile: bool = False

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

    def unused_keys(self) -> set[str]:
        """Settings of another schedule, and of InfoBatch where no sample is skipped."""
        return (set() if self.schedule == "step" else {"milestones", "gamma"}) | (
            set() if self.infobatch else set(NOT_INHERITED)
        )

    @property
    def effective_batch_size(self) -> int:
        """Samples per update."""
        return self.batch_size * self.grad_accum_steps
