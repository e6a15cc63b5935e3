"""Generated `.npz` datasets."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.inputs.example import NAMES, Example
from datapruning.data.registry import open_dataset
from datapruning.errors import UserError

UNUSUAL = ("channels first", "labels from 1", "pixels 0..1", "pixels 0..4095", "bytes", "an empty class")
"""What an option says of arrays; without it all but bytes are refused, with the option's name."""


ARRAY_FAULTS = (
    "float images", "fewer labels", "negative label", "large label", "float labels", "objects", "missing array", "cut file",
    "other size", "doubled names",
)  # fmt: skip


def make_arrays(folder: Path, rng: random.Random) -> Example:
    """An `.npz` dataset."""
    num_classes, numbers = rng.randint(1, 4), np.random.default_rng(rng.randrange(2**32))
    channels = rng.choice((None, 1, 3))
    height, width = rng.choice(((8, 8), (9, 12), (16, 8)))
    arrays: dict[str, Any] = {}
    for role in ("train", "test"):
        count = num_classes + rng.randint(0, 5)
        shape = (count, height, width) if channels is None else (count, height, width, channels)
        arrays[f"{role}_images"] = numbers.integers(0, 256, shape).astype(np.uint8)
        arrays[f"{role}_images"].flat[0] = 255
        kind = rng.choice((np.int64, np.int32, np.uint8, np.int8, ">i2", np.uint64))
        arrays[f"{role}_labels"] = numbers.permutation(np.arange(count) % num_classes).astype(kind)
    names = tuple(rng.sample(NAMES, num_classes)) if rng.random() < 0.6 else None
    expected = {
        key: array.astype(np.int64) if "labels" in key else array.reshape(*array.shape[:3], -1)
        for key, array in arrays.items()
    }
    expected["classes"] = names or tuple(map(str, range(num_classes)))
    if names is not None:
        arrays["class_names"] = np.array(names)
    if rng.random() < 0.3:
        arrays["note"] = np.arange(3)
    path = folder / "data.npz"
    options: dict[str, Any] = {}
    fault, culprit = "", ()
    if rng.random() < 1 / 3:
        fault = rng.choice(ARRAY_FAULTS)
        culprit = break_arrays(arrays, names, fault, rng)
    elif rng.random() < 0.5:
        fault = rng.choice(UNUSUAL)
        options = make_unusual(arrays, expected, fault)
        if options and rng.random() < 0.5:
            culprit, options = ("data", next(iter(options))), {}
    (np.savez_compressed if rng.random() < 0.5 else np.savez)(path, **dict(rng.sample(list(arrays.items()), len(arrays))))
    if fault == "cut file":
        content = path.read_bytes()
        path.write_bytes(content[: rng.randrange(len(content))])
        culprit = ("data.npz",)

    def open_npz() -> dict[str, Any]:
        try:
            data = open_dataset(str(path), **options)
        except UserError as error:
            raise type(error)(f"{error} ({error.parameter})") from None  # as the command line names the option
        splits = {f"{role}_images": data.split(role).images for role in ("train", "test")}
        return splits | {f"{r}_labels": data.split(r).labels for r in ("train", "test")} | {"classes": data.class_names}

    return Example(f"arrays{', ' + fault if fault else ''}", open_npz, expected, culprit)


def break_arrays(arrays: dict[str, Any], names: tuple[str, ...] | None, fault: str, rng: random.Random) -> tuple[str, ...]:
    """Make arrays that are refused; returns what the refusal has to name."""
    role = rng.choice(("train", "test"))
    images, labels = f"{role}_images", f"{role}_labels"
    if fault == "float images":
        arrays[images] = arrays[images] / np.float32(255)
    elif fault == "fewer labels":
        arrays[labels] = arrays[labels][1:]
    elif fault == "negative label":
        arrays[labels] = arrays[labels].astype(np.int64)
        arrays[labels][-1] = -1
        return role, "-1"
    elif fault == "large label":
        arrays[labels] = arrays[labels].astype(np.int64)
        arrays[labels][-1] = len(names) if names else 2**21
        return ("data", str(arrays[labels][-1]))
    elif fault == "float labels":
        arrays[labels] = arrays[labels].astype(np.float64)
    elif fault == "objects":
        arrays[labels] = np.array([None] * len(arrays[labels]), object)
        return ("data.npz",)
    elif fault == "missing array":
        del arrays[labels]
        return "data.npz", labels
    elif fault == "other size":
        arrays[images] = arrays[images][:, 1:]
        return "data", "train images are"
    elif fault == "doubled names":
        count = int(max(arrays["train_labels"].max(), arrays["test_labels"].max())) + 2
        arrays["class_names"] = np.array([*map(str, range(count - 1)), "0"])
        return "data", "called '0'"
    return "data", role


def make_unusual(arrays: dict[str, Any], expected: dict[str, Any], what: str) -> dict[str, Any]:
    """Write the same dataset in another way; returns the options that say so, none where nothing is to be said."""
    names = arrays.get("class_names")
    if what == "bytes":
        if names is not None:
            arrays["class_names"] = np.char.encode(names, "utf-8")
        return {}
    if what == "an empty class":
        arrays["class_names"] = np.array([*expected["classes"], "nobody"])
        expected["classes"] = (*expected["classes"], "nobody")
        return {"allow_empty_classes": True}
    for role in ("train", "test"):
        images, labels = f"{role}_images", f"{role}_labels"
        if what == "channels first":
            expected[images] = np.repeat(expected[images][..., :1], 3, -1)
            arrays[images] = np.ascontiguousarray(expected[images].transpose(0, 3, 1, 2))
        elif what == "labels from 1":
            arrays[labels] = arrays[labels] + 1
        elif what == "pixels 0..1":
            arrays[images] = arrays[images] / 255
        else:
            arrays[images] = (arrays[images] * np.float64(4095 / 255)).round().astype(np.uint16)
    if what == "labels from 1" and names is None:
        expected["classes"] = tuple(str(1 + int(name)) for name in expected["classes"])
    return {
        "channels first": {"layout": "nchw"}, "labels from 1": {"labels_from": 1}, "pixels 0..1": {"pixel_range": "0..1"},
        "pixels 0..4095": {"pixel_range": "0..4095"},
    }[what]  # fmt: skip
