"""The machine and the installation: how many threads there can be, and where the package lies."""

import os
import sys
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
"""The folder in which `datapruning` lies: the root of a checkout, or site-packages."""


CGROUPS = Path("/sys/fs/cgroup")


def available_cpus(cgroups: Path = CGROUPS) -> int:
    """The cores that this process may use: by its affinity, and by the quota of its container, rounded down, at least 1."""
    if sys.version_info >= (3, 13):
        cores = os.process_cpu_count() or 1
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cpu_quota(cgroups)
    return cores if quota is None else max(1, min(cores, int(quota)))


def _cpu_quota(cgroups: Path) -> float | None:
    """The cores' worth of time that the control group may use, of version 2 or 1; None: no limit that can be read."""
    try:
        if (cgroups / "cpu.max").exists():
            limit, period = (cgroups / "cpu.max").read_text().split()
        else:
            limit, period = ((cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return float(limit) / float(period) if float(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # "max" is no number
        return None
