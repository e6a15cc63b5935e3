"""What the pretend GPU counts, and where: at the innermost line of the package that asked for it."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import datapruning

PACKAGE = f"{Path(datapruning.__file__).parent}/"


@dataclass
class Counts:
    """What the host asked of the GPU, by "file:line operation" of the package.

    Attributes:
        kernels: operations that launch a kernel; one for all tensors of a `_foreach_` or `_fused_` operation.
        syncs: the host waits for the GPU: `.item()`, `bool(tensor)`, `.cpu()`, `nonzero`, a blocking copy to the GPU.
        uploads: copies to the GPU from pageable memory, which the driver has to stage. Blocking ones are syncs, too.
        upload_bytes: their bytes.
    """

    kernels: Counter[str] = field(default_factory=Counter)
    syncs: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)
    upload_bytes: Counter[str] = field(default_factory=Counter)

    def copy(self) -> Counts:
        """What was counted so far."""
        return Counts(*(Counter(counter) for counter in self._counters()))

    def since(self, earlier: Counts) -> Counts:
        """What was counted after `earlier`, a copy."""
        return Counts(*(now - before for now, before in zip(self._counters(), earlier._counters(), strict=True)))

    def report(self) -> str:
        """A line for each place, the most frequent first."""
        lines = []
        for name, counter in zip(("kernels", "syncs", "uploads", "bytes"), self._counters(), strict=True):
            lines.append(f"{name}: {counter.total()}")
            lines += [f"    {count:6d}  {place}" for place, count in counter.most_common(40)]
        return "\n".join(lines)

    def _counters(self) -> tuple[Counter[str], ...]:
        return self.kernels, self.syncs, self.uploads, self.upload_bytes


def calling_line() -> str:
    """The innermost line of the package on the stack, "training/step.py:68"."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith(PACKAGE):
            return f"{frame.f_code.co_filename.removeprefix(PACKAGE)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere"
