"""Settings of the pruning stage, as plain numbers: the recipe's table [epsd]."""

from __future__ import annotations

from dataclasses import dataclass

from datapruning.errors import InvalidValue, UnknownName

CRITERIA = ("epsd", "snip", "grasp", "synflow", "prospr", "magnitude", "random")
MODES = ("full", "first-order")
SCOPES = ("global", "layer")
LOSSES = ("self-distill", "kd")
ROUNDS = {"epsd": 5, "synflow": 100}


@dataclass(frozen=True)
class EPSD:
    """Pruning a student's weights before it is trained (EPSD, Chen et al. 2024; inner steps as ProsPr's code has them).

    Attributes:
        removed: share of the prunable weights (convolutions, linear layers) that is removed; 0: none.
        prune_by: "epsd", or a baseline: "snip", "grasp", "synflow", "prospr", "magnitude", "random".
        loss: what "epsd" takes its saliency of: "self-distill" (labels and the self-distillation term) or "kd" (the
            student's objective with its teacher, and the self-distillation term if there is one).
        mode: "full" differentiates through the inner steps, "first-order" does not.
        steps: inner steps from the initialisation.
        rate: of the inner steps.
        batch_size: samples of a look.
        batches: looks whose mean loss is differentiated.
        fresh: other samples in each inner step; false: those of the first look.
        matched: weigh the self-distillation term so that its gradient is as long as that of the rest.
        scope: "global": one threshold for the network; "layer": the same share in every layer.
        rounds: 1: at one stroke; more: in so many rounds, the share kept falling by the same factor. 0: as suits the
            criterion: 5 for "epsd" (measured: docs/epsd.md), 100 for "synflow" (its paper), 1 for the others.
    """

    removed: float = 0.0
    prune_by: str = "epsd"
    loss: str = "self-distill"
    mode: str = "full"
    steps: int = 3
    rate: float = 0.1
    batch_size: int = 128
    batches: int = 1
    fresh: bool = False
    matched: bool = False
    scope: str = "global"
    rounds: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("prune_by", self.prune_by, CRITERIA), ("mode", self.mode, MODES), ("scope", self.scope, SCOPES),
            ("loss", self.loss, LOSSES),
        ):  # fmt: skip
            if value not in known:
                raise UnknownName(name, value, known)
        if not 0 <= self.removed < 1:
            raise InvalidValue(
                f"removed, the share of the weights that goes, lies between 0 and 1 (0.95 keeps 5%); got {self.removed}"
            )
        for name, count, least in (
            ("steps", self.steps, 0), ("batch_size", self.batch_size, 2), ("batches", self.batches, 1),
            ("rounds", self.rounds, 0),
        ):  # fmt: skip
            if not least <= count <= 100_000:
                raise InvalidValue(f"{name} lies in {least}..100000; got {count}")
        if not 0 < self.rate <= 1e6:
            raise InvalidValue(f"rate, of the inner steps, is above 0; got {self.rate}")

    @property
    def rounds_made(self) -> int:
        """The rounds, 0 resolved."""
        return self.rounds or ROUNDS.get(self.prune_by, 1)
