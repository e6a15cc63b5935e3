"""The machine and the installation: how many threads there can be, and where the package lies."""

import os
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
"""The folder in which `datapruning` lies: the root of a checkout, or site-packages."""


def available_cpus() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
