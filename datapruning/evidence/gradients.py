"""Gradients: the norm of each sample's gradient at the early checkpoint, by all weights and by the last layer alone."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from datapruning.utils.cost import ComputeCost


@dataclass(frozen=True)
class Gradients:
    """Gradient norms of every sample and run, computed when a scorer reads them: they take a backward pass a sample and run.

    Attributes:
        compute: "all" (by all weights) or "last" (by the last layer's) -> float32 [runs, N].
        cost: compute of the runs up to the early epoch, without that of the gradients.
    """

    compute: Callable[[str], NDArray[np.float32]]
    cost: ComputeCost = field(default_factory=ComputeCost)

    @property
    def full_norms(self) -> NDArray[np.float32]:
        """||gradient of a sample's cross-entropy by all weights||_2, float32 [runs, N]."""
        return self.compute("all")

    @property
    def last_layer_norms(self) -> NDArray[np.float32]:
        """||gradient by the weights of the last layer alone||_2, float32 [runs, N]."""
        return self.compute("last")
