"""The machine and the installation: how many threads there can be, and where the package lies."""

import math
import os
import sys
from functools import cache
from pathlib import Path, PurePosixPath

PROJECT_ROOT = Path(__file__).resolve().parents[2]
"""The folder in which `datapruning` lies: the root of a checkout, or site-packages."""

CGROUPS, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def available_cpus(cgroups: Path = CGROUPS, own_cgroups: Path = OWN_CGROUPS) -> int:
    """The cores that this process may use: by its affinity, and by the quota of its container, rounded down, at least 1."""
    if sys.version_info >= (3, 13):
        cores = os.process_cpu_count() or 1
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cores, _cpu_quota(cgroups, own_cgroups))))


@cache
def _cpu_quota(cgroups: Path, own_cgroups: Path) -> float:
    """The cores' worth of time that the control groups of this process may use; infinite without a limit.

    The limit of a group holds for the groups in it. `own_cgroups` names this process's in the hierarchies below `cgroups`,
    of version 2 and 1.
    """
    groups = {"": "/", "cpu": "/"}
    for line in _read(own_cgroups).splitlines():
        controllers, _, name = line.partition(":")[2].partition(":")
        if not controllers or "cpu" in controllers.split(","):
            groups["cpu" if controllers else ""] = name
    quota = math.inf
    for hierarchy, name in groups.items():
        group = PurePosixPath("/", name)
        files = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if hierarchy else ("cpu.max",)
        for folder in (cgroups / hierarchy / part.relative_to("/") for part in (group, *group.parents)):
            numbers = " ".join(_read(folder / file) for file in files).split()  # "max" and -1: no limit
            if len(numbers) == 2 and all(number.isdecimal() and int(number) for number in numbers):
                quota = min(quota, int(numbers[0]) / int(numbers[1]))
    return quota


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
