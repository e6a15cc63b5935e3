"""Generated inputs: folders of images, arrays and weight files, with what is right about each; see `__main__.py`."""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.inputs.arrays import make_arrays
from benchmarks.inputs.example import Example, find_fault
from benchmarks.inputs.folders import make_image_folder
from benchmarks.inputs.weights import make_weights


def make_example(folder: Path, rng: random.Random) -> Example:
    """Make one example in an empty folder."""
    return rng.choice((make_image_folder, make_image_folder, make_arrays, make_weights))(folder, rng)


def search(num_examples: int, seed: int, seconds: float = float("inf")) -> tuple[Counter[str], list[str]]:
    """Try so many examples, or as many as there is time for. Returns their number by kind, and what is wrong."""
    counts, faults, deadline = Counter[str](), list[str](), time.monotonic() + seconds
    for number in range(num_examples):
        if time.monotonic() > deadline:
            break
        with tempfile.TemporaryDirectory() as folder:
            example = make_example(Path(folder), random.Random(f"{seed} {number}"))
            fault = find_fault(example)
        counts[example.kind + (", culprit named" if example.culprit and "," not in example.kind else "")] += 1
        if fault:
            faults.append(f"example {number}: {fault}")
    return counts, faults
