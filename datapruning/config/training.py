"""Settings of a training, as plain numbers: recipe tables [train], [teacher], [proxy] and [ensemble_member]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from datapruning.errors import InvalidValue, UnknownName

BUDGETS = ("epochs", "steps")
SCHEDULES = ("one-cycle", "cosine", "step")
PRECISIONS = ("auto", "fp32", "bf16")
OPTIMIZERS = ("sgd", "adamw")
STUDENT_ONLY = ("infobatch", "infobatch_until")
"""Keys of [train] that nobody inherits: evidence and soft labels come from networks that saw every sample."""
ADDED = ("optimizer", "milestones", "gamma", "ema", "decay_norms_biases", "clip_grad_norm", "grad_accum_steps", "compile")
"""Keys that name a run only where they say something: runs made before there were such keys keep their names."""


@dataclass(frozen=True)
class TrainConfig:
    """How one network is trained.

    Attributes:
        model: name of the network (docs/models.md).
        epochs: passes over the data it is given; under the budget "steps", passes over the full data set.
        budget: "epochs" (cost falls with the fraction) or "steps" (as many updates as the full data would give).
        batch_size: samples that go through the network together; with `grad_accum_steps` = 1 also samples per update.
        lr: peak learning rate.
        momentum: of SGD, in Nesterov's form; AdamW's first beta (its second is 0.999).
        weight_decay: L2 penalty; under AdamW decoupled from the gradient (Loshchilov and Hutter 2019).
        schedule: "one-cycle" (up and down in straight lines), "cosine" (up, then half a cosine down) or "step" (up, then
            constant, times `gamma` at each milestone).
        warmup: share of the steps that go up.
        label_smoothing: of the cross-entropy.
        precision: "fp32", "bf16", or "auto": bf16 on a GPU, fp32 on a CPU.
        infobatch: dynamic pruning of a student: the share of the easy samples that an epoch skips (InfoBatch, Qin et al.
            2024: 0.5). 0: every epoch is whole. Of [train] alone, and not inherited.
        infobatch_until: share of the run after which epochs are whole again (their delta).
        optimizer: "sgd" or "adamw". AdamW wants a far smaller `lr`, such as 0.001.
        milestones: of the schedule "step", as shares of the run: 0.5 is half of the updates.
        gamma: what each milestone multiplies the learning rate by.
        ema: decay of the moving average of the weights, which is then what is evaluated and saved; 0: none.
        decay_norms_biases: whether `weight_decay` holds for norms and biases, too (weights of one dimension).
        clip_grad_norm: largest 2-norm of the whole gradient; a longer one is scaled down to it. 0: none.
        grad_accum_steps: batches per update; an update sees `batch_size` * `grad_accum_steps` samples.
        compile: run the network through torch.compile in training. Other last bits, minutes at the start.
    """

    model: str = "convnet"
    epochs: int = 16
    budget: str = "epochs"
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "one-cycle"
    warmup: float = 0.2
    label_smoothing: float = 0.0
    precision: str = "auto"
    infobatch: float = 0.0
    infobatch_until: float = 0.875
    optimizer: str = "sgd"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    ema: float = 0.0
    decay_norms_biases: bool = True
    clip_grad_norm: float = 0.0
    grad_accum_steps: int = 1
    compile: bool = False

    def __post_init__(self) -> None:
        one_of("budget", self.budget, BUDGETS)
        one_of("schedule", self.schedule, SCHEDULES)
        one_of("precision", self.precision, PRECISIONS)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        within("epochs", self.epochs, 1, 1_000_000)
        within("batch_size", self.batch_size, 2, 1_000_000)
        within("lr", self.lr, 0, 1e6)
        within("momentum", self.momentum, 0, 1)
        within("weight_decay", self.weight_decay, 0, 1e6)
        within("warmup", self.warmup, 0, 1)
        within("label_smoothing", self.label_smoothing, 0, 1)
        within("infobatch", self.infobatch, 0, 0.9)  # beyond, a sample would stand in for more than ten
        within("infobatch_until", self.infobatch_until, 0, 1)
        within("gamma", self.gamma, 0, 1)
        within("clip_grad_norm", self.clip_grad_norm, 0, 1e6)
        within("grad_accum_steps", self.grad_accum_steps, 1, 1_000_000)
        if not 0 <= self.ema < 1:
            raise InvalidValue(f"ema is the decay of the average, 0 (none) <= ema < 1, such as 0.999; got {self.ema}")
        if self.optimizer == "adamw" and self.momentum == 1:
            raise InvalidValue("momentum is AdamW's first beta and below 1; got 1.0")
        if any(not 0 < share < 1 for share in self.milestones) or list(self.milestones) != sorted(set(self.milestones)):
            raise InvalidValue(
                f"milestones are shares of the run, rising, between 0 and 1 ([0.5, 0.75]); got {list(self.milestones)}"
            )
        if self.schedule == "step" and not self.milestones:
            raise InvalidValue('schedule = "step" needs milestones, as shares of the run: milestones = [0.5, 0.75]')
        if self.compile and self.infobatch:
            raise InvalidValue(
                "compile and infobatch do not go together: batches of many sizes would be compiled one by one"
            )

    @property
    def update_size(self) -> int:
        """Samples per update."""
        return self.batch_size * self.grad_accum_steps

    @property
    def unused(self) -> set[str]:
        """Keys that say nothing here; a run is neither named by them nor are they written down."""
        same = {f.name for f in fields(self) if f.name in ADDED and getattr(self, f.name) == f.default}
        steps = set() if self.schedule == "step" else {"milestones", "gamma"}
        return same | steps | (set() if self.infobatch else set(STUDENT_ONLY))

    def __repr__(self) -> str:
        # teachers are named by it: what it leaves out must not tell them apart, and what it had it must keep
        left_out = {*STUDENT_ONLY, *(self.unused & set(ADDED))}
        shown = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if f.name not in left_out)
        return f"TrainConfig({', '.join(shown)})"


def one_of(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a word that is none of `known`.

    Raises:
        UnknownName: the nearest is named.
    """
    if value not in known:
        raise UnknownName(name, value, known)


def within(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside `low`..`high`, and NaN.

    Raises:
        InvalidValue: it lies outside.
    """
    if not low <= value <= high:
        raise InvalidValue(f"{name} lies in {low:g}..{high:g}; got {value}")


def without_unused(training: TrainConfig, values: dict[str, Any]) -> dict[str, Any]:
    """The settings as plain data, without those that say nothing."""
    return {key: value for key, value in values.items() if key not in training.unused}
