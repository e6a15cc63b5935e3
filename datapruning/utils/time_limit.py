"""A limit on the time that a command may train, for machines that are lent by the hour."""

import time
from dataclasses import dataclass, field

from datapruning.errors import InvalidValue


@dataclass(frozen=True)
class TimeLimit:
    """Counts from when it is made.

    Attributes:
        seconds: how many there are, more than 0.

    Raises:
        InvalidValue: that is no length of time.
    """

    seconds: float
    _began: float = field(default_factory=time.monotonic, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.seconds < float("inf"):
            raise InvalidValue(f"a time limit is more than 0 seconds; got {self.seconds:g}", parameter="max_seconds")

    def would_exceed(self, more: float) -> bool:
        """Whether another `more` seconds, those that the last epoch took, would be too many."""
        return time.monotonic() - self._began + more > self.seconds
