"""The training steps of a part of a run: the shared prefix, a probe, or the rest."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingSteps:
    """Training steps number `start` to `stop` - 1 of a run, counted from 0; `for step in steps` yields the numbers.

    With `is_probe` they are a short branch off the run, at whose end the learning rate is zero.
    """

    start: int
    stop: int
    is_probe: bool = False

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.stop))

    def learning_rate(self, schedule: Callable[[int], float], step: int) -> float:
        """The learning rate of a step: `schedule(step)`, that of the whole run; in a probe, it falls linearly to zero."""
        if not self.is_probe:
            return schedule(step)
        return schedule(self.start) * (1 - (step - self.start + 0.5) / len(self))
