"""Settings of the pruning stage, as plain numbers: the recipe's table [sparsity]."""

from __future__ import annotations

from dataclasses import dataclass

from datapruning.errors import InvalidValue, UnknownName

CRITERIA = ("epsd", "snip", "grasp", "synflow", "prospr", "magnitude", "random")
MODES = ("full", "first-order")
SCOPES = ("global", "layer")
LOSSES = ("self-distill", "kd")
ROUNDS = {"epsd": 5, "synflow": 100}


@dataclass(frozen=True)
class SparsityConfig:
    """Pruning a student's weights before it is trained (EPSD, Chen et al. 2024; inner steps as ProsPr's code has them).

    Attributes:
        sparsity: share of the prunable weights (convolutions, linear layers) that is removed; 0: none.
        criterion: "epsd", or a baseline: "snip", "grasp", "synflow", "prospr", "magnitude", "random".
        loss: what "epsd" takes its saliency of: "self-distill" (labels and the self-distillation term) or "kd" (the
            student's objective with its teacher, and the self-distillation term if there is one).
        mode: "full" differentiates through the inner steps, "first-order" does not.
        inner_steps: inner steps from the initialisation.
        inner_lr: learning rate of the inner steps.
        batch_size: samples of a look.
        batches: looks whose mean loss is differentiated.
        fresh_inner_batches: other samples in each inner step; false: those of the first look.
        match_gradients: weigh the self-distillation term so that its gradient is as long as that of the rest.
        scope: "global": one threshold for the network; "layer": the same share in every layer.
        rounds: 1: at one stroke; more: in so many rounds, the share kept falling by the same factor. 0: as suits the
            criterion: 5 for "epsd" (measured: docs/epsd.md), 100 for "synflow" (its paper), 1 for the others.
    """

    sparsity: float = 0.0
    criterion: str = "epsd"
    loss: str = "self-distill"
    mode: str = "full"
    inner_steps: int = 3
    inner_lr: float = 0.1
    batch_size: int = 128
    batches: int = 1
    fresh_inner_batches: bool = False
    match_gradients: bool = False
    scope: str = "global"
    rounds: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("criterion", self.criterion, CRITERIA), ("mode", self.mode, MODES), ("scope", self.scope, SCOPES),
            ("loss", self.loss, LOSSES),
        ):  # fmt: skip
            if value not in known:
                raise UnknownName(name, value, known)
        if not 0 <= self.sparsity < 1:
            raise InvalidValue(
                f"sparsity, the share of the weights that goes, lies between 0 and 1 (0.95 keeps 5%); got {self.sparsity}"
            )
        for name, count, least in (
            ("inner_steps", self.inner_steps, 0), ("batch_size", self.batch_size, 2), ("batches", self.batches, 1),
            ("rounds", self.rounds, 0),
        ):  # fmt: skip
            if not least <= count <= 100_000:
                raise InvalidValue(f"{name} lies in {least}..100000; got {count}")
        if not 0 < self.inner_lr <= 1e6:
            raise InvalidValue(f"inner_lr, of the inner steps, is above 0; got {self.inner_lr}")

    @property
    def rounds_made(self) -> int:
        """The rounds, 0 resolved."""
        return self.rounds or ROUNDS.get(self.criterion, 1)
