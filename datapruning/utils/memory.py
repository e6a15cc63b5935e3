"""How much memory this process can still take."""

import os
import sys
from pathlib import Path

MEMINFO, CGROUP_LIMIT = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")


def available_memory() -> int:
    """Bytes that can be allocated: what the kernel says is available, and no more than the limit of a container."""
    limits = [sys.maxsize]
    try:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines() if ":" in line)
        limits.append(1024 * int(lines["MemAvailable"].split()[0]))
        limits.append(int(CGROUP_LIMIT.read_text()))  # "max": no limit
    except (OSError, ValueError, KeyError, AttributeError):  # other systems than Linux
        pass
    return min(limits)
