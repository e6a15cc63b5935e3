"""What a training of an advice yields."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RANDOM = "random"
"""The scorer that the others are compared with."""
REFERENCE, TEACHER, PILOT, GIVEN_TEACHER = "reference", "teacher", "pilot", "given teacher"
RANDOM_PILOT = "random pilot"
"""The trainings of an advice."""


@dataclass(frozen=True)
class HoldoutResult:
    """A network's accuracy on the hold-out, and what it cost.

    Attributes:
        correct: Bool [holdout], which samples it classifies correctly.
        accuracy: In percent.
        kept: Number of samples it was trained on.
        samples_seen: In training, with repeats.
        forward_passes: Samples of which soft labels or predictions were computed.
        flops: Floating-point operations of all these passes, each by its network.
        seconds: Of the training.
        trial_seconds: Of all that the trial did.
    """

    correct: NDArray[np.bool_]
    accuracy: float
    kept: int
    samples_seen: int
    forward_passes: int
    flops: int
    seconds: float
    trial_seconds: float

    def summary(self) -> dict[str, float]:
        """The numbers that advice.json lists."""
        keys = ("accuracy", "kept", "samples_seen", "forward_passes", "flops", "seconds")
        return {key: getattr(self, key) for key in keys}
