"""Keeping freed memory: it works on glibc, and elsewhere it says that it does not."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from datapruning.memory import keep_freed_memory

COUNT = """
import resource, torch
from datapruning.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
def use():
    for _ in range(20):
        [torch.ones(2**21) for _ in range(6)]
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_buffers_are_used_again_without_page_faults() -> None:
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", COUNT.format(keep=keep)], capture_output=True, text=True, check=True
            ).stdout
        )
        for keep in (False, True)
    ]
    assert faults[1] < 100
    assert faults[0] > 10 * max(faults[1], 1)


def test_without_glibc_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert keep_freed_memory() is False
