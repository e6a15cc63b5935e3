"""Generated folders, arrays and weights: opening them gives the right arrays, or names the culprit in one line."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.inputs import make_example, search
from benchmarks.inputs.example import find_fault
from datapruning.data.image_folder.pixel_modes import CorruptImage

MAX_EXAMPLES = 400
"""In which a planted fault is found."""


@settings(max_examples=50)
@given(st.randoms(use_true_random=False))
def test_an_input_opens_to_its_arrays_or_names_the_culprit(rng: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert not (fault := find_fault(make_example(Path(folder), rng))), fault


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_as_many_inputs_as_fit_ten_seconds() -> None:
    counts, faults = search(10**6, 7, seconds=10)
    assert not faults, faults[0]
    assert counts.total() > 10


def reverse_files(original: Callable[..., Iterator[str]]) -> Callable[..., Iterator[str]]:
    return lambda *arguments: iter(list(original(*arguments))[::-1])


def accept_broken(original: Callable[..., Any]) -> Callable[..., Any]:
    def decode_anything(content: bytes, size: int, *arguments: Any) -> Any:
        try:
            return original(content, size, *arguments)
        except CorruptImage:
            return np.full((size, size, 3), 128, np.uint8)

    return decode_anything


def swap_channels(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: original(*arguments)[..., ::-1]


def name_nothing(original: Callable[..., Any]) -> Callable[..., Any]:
    return lambda weights, path: weights


PLANTED = {
    "the order of files": ("datapruning.data.image_folder.scan.walk_images", reverse_files),
    "what is broken is grey": ("datapruning.data.image_folder.decode_cache.decode", accept_broken),
    "red is blue": ("datapruning.data.image_folder.decode_cache.decode", swap_channels),
    "NaN is accepted": ("datapruning.runs.weights_file.validate_weights", name_nothing),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, plant = PLANTED[fault]
    module, _, name = target.rpartition(".")
    monkeypatch.setattr(target, plant(getattr(import_module(module), name)))
    seed = next(seed for seed in range(MAX_EXAMPLES) if search(1, seed)[1])
    monkeypatch.undo()
    assert not search(1, seed)[1], "nothing is wrong without it"
