"""What a training will see, known before it begins."""

from __future__ import annotations

from functools import cache

from datapruning.config import Training
from datapruning.data.order import batch_sizes
from datapruning.training.loop import planned_steps


@cache
def planned_samples(training: Training, kept: int, total: int) -> int:
    """Samples that one student sees (with repeats), the search for its KD weight not counted."""
    sizes = batch_sizes(kept, training.update_size)
    passes, rest = divmod(planned_steps(training, kept, total), len(sizes))
    return passes * kept + sum(sizes[:rest])
