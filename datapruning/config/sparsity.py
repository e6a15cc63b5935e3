"""The recipe table [sparsity]: pruning a student's weights before it is trained."""

from typing import Annotated, Literal, get_args

from datapruning.config.table import Share, Table, between, satisfies

Criterion = Literal["epsd", "snip", "grasp", "synflow", "prospr", "magnitude", "random"]
CRITERIA: tuple[str, ...] = get_args(Criterion)
ROUNDS = {"epsd": 5, "synflow": 100}
"""Rounds that suit a criterion; one for the others."""
Count = Annotated[int, between(0, 100_000)]
Sparsity = Annotated[
    float,
    satisfies(
        lambda sparsity: 0 <= sparsity < 1,
        ", the fraction of the weights that is removed, lies between 0 and 1 (0.95 keeps 5%)",
    ),
]
InnerRate = Annotated[
    float, satisfies(lambda rate: 0 < rate <= 1e6, ", the learning rate of the inner steps, is above 0 (and at most 1e6)")
]


class SparsityConfig(Table):
    """Pruning a student's weights before it is trained (EPSD, Chen et al. 2024; inner steps as ProsPr's code has them).

    Attributes:
        sparsity: fraction of the prunable weights (convolutions, linear layers) that is removed; 0: none.
        criterion: "epsd", or a baseline: "snip", "grasp", "synflow", "prospr", "magnitude", "random".
        loss: loss whose saliency "epsd" takes: "self-distill" (labels and the self-distillation term) or "kd" (the
            student's loss with its teacher, and the self-distillation term if there is one).
        mode: "full" differentiates through the inner steps, "first-order" does not.
        inner_steps: number of inner steps from the initialisation.
        inner_lr: learning rate of the inner steps.
        batch_size: samples in a saliency batch.
        batches: number of saliency batches whose mean loss is differentiated.
        fresh_inner_batches: take other samples in each inner step; false: those of the first saliency batch.
        match_gradients: weigh the self-distillation term so that its gradient is as long as that of the rest.
        scope: "global": one threshold for the network; "layer": the same fraction in every layer; "erk": larger fractions
            of larger layers (the Erdős–Rényi kernel of Evci et al. 2020); "synflow": of each layer as much as SynFlow
            removes of it (Tanaka et al. 2020), the criterion decides within the layers.
        floor: with "global", every layer keeps at least this share of what it would keep under "layer".
        rounds: 1: at once; more: in so many rounds, the fraction kept falling by the same factor. 0: as suits the
            criterion: 5 for "epsd" (measured: docs/epsd.md), 100 for "synflow" (its paper), 1 for the others.
    """

    sparsity: Sparsity = 0.0
    criterion: Criterion = "epsd"
    loss: Literal["self-distill", "kd"] = "self-distill"
    mode: Literal["full", "first-order"] = "full"
    inner_steps: Count = 3
    inner_lr: InnerRate = 0.1
    batch_size: Annotated[int, between(2, 100_000)] = 128
    batches: Annotated[int, between(1, 100_000)] = 1
    fresh_inner_batches: bool = False
    match_gradients: bool = False
    scope: Literal["global", "layer", "erk", "synflow"] = "global"
    floor: Share = 0.0
    rounds: Count = 0

    @property
    def enabled(self) -> bool:
        """Whether any weight is removed."""
        return self.sparsity > 0

    @property
    def rounds_made(self) -> int:
        """The number of rounds, 0 resolved."""
        return self.rounds or ROUNDS.get(self.criterion, 1)
