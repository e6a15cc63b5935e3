"""Folders that may not be written, for root, whom permissions do not stop, as well as for everybody else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing in `folder` can be changed while the block runs; the test is skipped where that cannot be brought about."""
    if os.geteuid() == 0:
        with _mounted_read_only(folder):
            yield
        return
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path, mode in modes.items():
        path.chmod(mode & 0o555)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


@contextmanager
def _mounted_read_only(folder: Path) -> Iterator[None]:
    """A read-only bind mount of the folder on itself; it ends at once for others, although memory maps may be open (-l)."""
    place = str(folder.resolve())
    if subprocess.run(["mount", "--bind", place, place], capture_output=True).returncode:
        pytest.skip("root may write everywhere, and mounts are not allowed here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], capture_output=True, check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", place], capture_output=True, check=True)
