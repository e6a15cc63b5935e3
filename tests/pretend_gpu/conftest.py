"""The pretend GPU as a fixture; on versions of torch that it was not tried with, its tests are skipped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.pretend_gpu.pretend import KNOWN_TORCH_VERSIONS, PretendGPU, torch_is_known


def skip_unless_known() -> None:
    """Skip the test at hand on a version of torch whose private hooks may be others."""
    if not torch_is_known():
        pytest.skip(f"the pretend GPU was tried with torch {', '.join(KNOWN_TORCH_VERSIONS)}, not with {torch.__version__}")


@pytest.fixture
def gpu() -> Iterator[PretendGPU]:
    """The device "cuda" for the length of a test."""
    skip_unless_known()
    with PretendGPU() as gpu:
        yield gpu
