"""Generated folders of images, arrays and weight files: opening one gives the right arrays, or names the culprit in a line.

    python -m benchmarks.inputs [--examples 2000] [--seed 0]

Each example is made by a few random choices: class names in any script, names of splits, nested folders, modes and
containers of images, files without an ending, what systems leave behind; types and shapes of arrays; wrappers of weights. In
a third of them one thing is wrong. What is right is known from how an example was made, not from reading it.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from benchmarks.common import publish, table
from datapruning.data.registry import open_dataset
from datapruning.errors import UserError
from datapruning.runs.weight_names import fit_names
from datapruning.runs.weights_file import read_weights

SIDE = 8
NAMES = (
    "cat",
    "Cat",
    "10",
    "9",
    "2",
    "日本",
    "العربية",
    "हिन्दी",
    "🦊",
    "a b",
    "ß",
    "train set",
    "x.y",
    "#1",
    "Ünï",
    "'q'",
    "-dash",
)
SPLITS = (("train", "test"), ("Training", "Testing"), ("TRAIN", "VAL"), ("train", "valid"), ("training", "validation"))
FORMATS = {
    "RGB": (("PNG", ".png"), ("BMP", ".bmp"), ("TIFF", ".tif"), ("TGA", ".tga"), ("PPM", ".ppm"), ("PNG", ".PNG")),
    "L": (("PNG", ".png"), ("BMP", ".jpg"), ("GIF", ".gif"), ("TIFF", ".tiff"), ("PNG", ""), ("PNG", ".jpg_large")),
    "RGBA": (("PNG", ".png"), ("TIFF", ".tif"), ("WEBP", ".webp"), ("PNG", ".dat")),
    "P": (("PNG", ".png"), ("GIF", ".gif"), ("BMP", ".bmp")),
    "I;16": (("PNG", ".png"), ("TIFF", ".tif")),
}
"""Containers of each mode, all lossless, and endings, which are not always theirs."""
KNOWN_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".tga", ".ppm", ".webp", ".jpg")
UNREADABLE = ("empty", "cut", "text", "float", "12 bits", "transparent", "link")
FOLDER_FAULTS = ("empty class", "other classes", "two trainings", "line break", "no classes", "no test")
UNUSUAL = ("channels first", "labels from 1", "pixels 0..1", "pixels 0..4095", "bytes", "an empty class")
"""What an option says of arrays; without it all but bytes are refused, with the option's name."""
ARRAY_FAULTS = (
    "float images", "fewer labels", "negative label", "large label", "float labels", "objects", "missing array", "cut file",
    "other size", "doubled names",
)  # fmt: skip
WEIGHT_FAULTS = ("NaN", "cut file", "no tensors", "absent", "empty", "an object")


@dataclass
class Example:
    """An example, and what is right: `expected` arrays by name, or the texts that the one line of a refusal has.

    `open` returns what was read, by the same names.
    """

    kind: str
    open: Callable[[], dict[str, Any]]
    expected: dict[str, Any] = field(default_factory=dict)
    culprit: tuple[str, ...] = ()


def make_example(folder: Path, rng: random.Random) -> Example:
    """Make one example in an empty folder."""
    return rng.choice((make_image_folder, make_image_folder, make_arrays, make_weights))(folder, rng)


def find_fault(example: Example) -> str:
    """What is wrong with how an example is opened; empty if nothing is."""
    try:
        opened = example.open()
    except UserError as error:
        line = str(error)
        if not example.culprit:
            return f"{example.kind}: refused, although nothing is wrong: {line}"
        missing = [text for text in example.culprit if text not in line]
        if missing or len(line.splitlines()) != 1:
            return f"{example.kind}: the line does not name {missing}: {line!r}"
        return ""
    except Exception:
        return f"{example.kind}: {traceback.format_exc()}"
    if example.culprit:
        return f"{example.kind}: accepted, although {example.culprit} is wrong"
    for name, expected in example.expected.items():
        if not _is_equal(opened[name], expected):
            return f"{example.kind}: {name} is {opened[name]!r}, and should be {expected!r}"
    return ""


def _is_equal(opened: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return opened.keys() == expected.keys() and all(_is_equal(opened[key], expected[key]) for key in expected)
    if isinstance(expected, torch.Tensor):
        return torch.equal(opened, expected)
    if isinstance(expected, np.ndarray):
        return opened.dtype == expected.dtype and np.array_equal(opened, expected)
    return bool(opened == expected)


# Folders of images ------------------------------------------------------------------------------------------------------


def make_image_folder(folder: Path, rng: random.Random) -> Example:
    """A folder of class folders; every image has a colour of its own, which tells whether the order is right."""
    root = folder / rng.choice(("pets", "データ", "my data"))
    classes = sorted(rng.sample(NAMES, rng.randint(1, 4)))
    train, test = rng.choice(SPLITS)
    fault = rng.choice(FOLDER_FAULTS) if rng.random() < 0.15 else ""
    images: dict[str, list[tuple[Path, int, NDArray[np.uint8]]]] = {}
    colours = iter(rng.sample(range(20, 256), 2 * 4 * 4))
    for split in (train, test):
        images[split] = []
        for label, name in enumerate(classes):
            for number in range(rng.randint(1, 4)):
                below = rng.choice(("", "", "sub", "a/b"))
                mode = rng.choice(list(FORMATS))
                kind, ending = rng.choice(FORMATS[mode])
                path = root / split / name / below / f"{rng.choice(('', 'x', 'é', '写'))}{number}{ending}"
                content, rgb = encode(mode, kind, next(colours))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                images[split].append((path, label, rgb))
        images[split].sort(key=lambda image: (image[1], os.path.dirname(image[0]), os.path.basename(image[0])))
    leave_behind(root / train / classes[0], rng)
    skip, corrupt, culprit = rng.random() < 0.5, (), ()
    if fault:
        culprit = break_folder(root, train, test, classes, fault)
    elif rng.random() < 0.25:
        split = rng.choice((train, test))
        sample_id = rng.randrange(len(images[split]))
        path, label, _ = images[split][sample_id]
        damage_image(path, rng.choice(UNREADABLE))
        images[split][sample_id] = (path, label, np.full((SIDE, SIDE, 3), 128, np.uint8))
        is_last = len(images[split]) == 1
        is_last_of_class = [other for _, other, _ in images[split]].count(label) == 1
        if not skip:
            culprit = (str(path.relative_to(root)),)
        elif is_last:
            culprit = (f"not one image of the {'train' if split == train else 'test'} set",)
        elif split == train and is_last_of_class:
            culprit = (classes[label], "no training sample")
        elif split == train:
            corrupt = (sample_id,)
        else:
            del images[split][sample_id]
    expected = {"classes": tuple(classes), "corrupt": corrupt, "paths": _relative(images[train], root)}
    for role, split in (("train", train), ("test", test)):
        expected[f"{role} images"] = np.stack([rgb for _, _, rgb in images[split]]) if images[split] else None
        expected[f"{role} labels"] = np.array([label for _, label, _ in images[split]], np.int64)

    def open_folder() -> dict[str, Any]:
        data = open_dataset(str(root), image_size=SIDE, skip_unreadable=skip, workspace=folder / "runs")
        return {
            "classes": data.class_names, "corrupt": data.corrupt_ids, "paths": data.train_paths,
            "train images": np.asarray(data.train.images[:]), "train labels": data.train.labels,
            "test images": np.asarray(data.test.images[:]), "test labels": data.test.labels,
        }  # fmt: skip

    return Example(f"folder{', ' + fault if fault else ''}", open_folder, expected, culprit)


def _relative(images: list[tuple[Path, int, NDArray[np.uint8]]], root: Path) -> tuple[str, ...]:
    return tuple(path.relative_to(root).as_posix() for path, _, _ in images)


def encode(mode: str, kind: str, value: int) -> tuple[bytes, NDArray[np.uint8]]:
    """(a file of one colour, what it is decoded to: uint8 [SIDE, SIDE, 3])."""
    colour = (value, value, value) if mode in ("L", "I;16") else (value, 255 - value, value // 2)
    rgb = np.full((SIDE, SIDE, 3), colour, np.uint8)
    if mode == "I;16":
        image = Image.fromarray(np.full((SIDE, SIDE), value * 257, np.uint16))
    elif mode == "P":
        image = Image.new("P", (SIDE, SIDE), 1)
        image.putpalette([0, 0, 0, *colour])
    else:
        image = Image.fromarray(rgb).convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue(), rgb


def leave_behind(folder: Path, rng: random.Random) -> None:
    """Put files into a class folder that are no images, and that no dataset has."""
    for name in rng.sample(("Thumbs.db", "notes.txt", ".hidden.png", "._x.png", "@eaDir/x.png", ".git/x.png", "b/.keep"), 2):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(encode("RGB", "PNG", 1)[0] if name.endswith("png") else b"")


def damage_image(path: Path, damage: str) -> None:
    """Make a file one that cannot surely be read as an image."""
    content = path.read_bytes()
    if path.suffix.lower() not in KNOWN_SUFFIXES:
        damage = "cut"  # content decides there, and another would be no image at all
    path.unlink()
    if damage == "link":
        path.symlink_to(path.parent / "nowhere")
        return
    file = io.BytesIO()
    if damage == "float":
        Image.fromarray(np.ones((SIDE, SIDE), np.float32)).save(file, "TIFF")
    elif damage == "12 bits":
        Image.fromarray(np.full((SIDE, SIDE), 4000, np.uint16)).save(file, "TIFF")
    elif damage == "transparent":
        Image.new("RGBA", (SIDE, SIDE)).save(file, "PNG")
    else:
        file.write({"empty": b"", "text": b"not an image\n"}.get(damage, content[: max(20, len(content) // 3)]))
    path.write_bytes(file.getvalue())


def break_folder(root: Path, train: str, test: str, classes: list[str], fault: str) -> tuple[str, ...]:
    """Make a folder one that is refused; returns what the refusal has to name."""
    if fault == "empty class":
        (root / train / "zzz").mkdir()
        (root / test / "zzz").mkdir()
        return "zzz", "holds no images"
    if fault == "other classes":
        (root / test / classes[0]).rename(root / test / "other")
        return "different classes", "other"
    if fault == "two trainings":
        other = "Training" if train.lower() == "train" else "train"
        (root / other).mkdir()
        return other, train
    if fault == "line break":
        (root / train / classes[0] / "a\nb.png").write_bytes(encode("RGB", "PNG", 5)[0])
        return "line break", "a\\nb.png"
    split = root / (train if fault == "no classes" else test)
    split.rename(root.parent / "elsewhere")
    if fault == "no classes":
        split.mkdir()
        return train, "no class folders"
    return root.name, "no train and test sets"


# Arrays -----------------------------------------------------------------------------------------------------------------


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


# Weights ----------------------------------------------------------------------------------------------------------------


def make_weights(folder: Path, rng: random.Random) -> Example:
    """A file of weights, wrapped as training loops save it."""
    numbers = torch.Generator().manual_seed(rng.randrange(2**32))
    kinds = (torch.float32, torch.float16, torch.bfloat16, torch.int64)
    weights = {
        f"{rng.choice(('conv', 'head.fc', 'модель'))}{number}.{rng.choice(('weight', 'bias'))}": torch.randint(
            -9, 9, rng.choice(((2,), (3, 2), (1, 2, 3), ())), generator=numbers
        ).to(rng.choice(kinds))
        for number in range(rng.randint(1, 5))
    }
    expected = {name: tensor.clone() for name, tensor in weights.items()}
    fault = rng.choice(WEIGHT_FAULTS) if rng.random() < 1 / 3 else ""
    name = rng.choice(list(weights))
    if fault == "NaN":
        weights[name] = torch.full((2,), float("nan"))
    prefix = "".join(rng.sample(("module.", "_orig_mod.", "model.", "net."), rng.randint(0, 3)))
    wrapped = {prefix + key: tensor for key, tensor in rng.sample(list(weights.items()), len(weights))}
    if rng.random() < 0.2:
        wrapped[f"{prefix}{name.partition('.')[0]}.total_ops"] = torch.zeros(1, dtype=torch.float64)
    path = folder / f"net{rng.choice(('.safetensors', '.pth', '.pt', '.pth.tar', '.ckpt', '.th'))}"
    if path.suffix == ".safetensors":
        if fault in ("no tensors", "an object"):
            fault = "empty"
        save_file(wrapped, path)
    else:
        content: Any = {"no tensors": {"epoch": 3}, "an object": {**wrapped, "history": np.float64(1)}}.get(fault, wrapped)
        key = rng.choice((None, "state_dict", "model_state_dict", "model", "net"))
        if key is not None and not fault and rng.random() < 0.3:
            raw = {name: torch.zeros_like(tensor) for name, tensor in wrapped.items()}
            content = {key: raw, "state_dict_ema": wrapped}
        elif key is not None:
            content = {"epoch": 3, key: content}
        torch.save(content, path)
    if fault == "cut file":
        path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "absent":
        path.unlink()
    culprit = (path.name, *([name] if fault == "NaN" else [])) if fault else ()

    def open_weights() -> dict[str, Any]:
        return {"weights": fit_names(read_weights(path), expected, path)}

    return Example(f"weights{', ' + fault if fault else ''}", open_weights, {"weights": expected}, culprit)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ["DPRUNE_QUIET"] = "1"
    counts, faults = search(args.examples, args.seed)
    body = (
        f"{counts.total():,} generated inputs, seed {args.seed}: **{len(faults)} faults**. Each either opens to the arrays "
        "that it was made from, in their order, or is refused in one line that names what is wrong.\n\n"
        + table(["input", "examples"], [[kind, f"{count:,}"] for kind, count in sorted(counts.items())])
    )
    command = f"python -m benchmarks.inputs --examples {args.examples} --seed {args.seed}"
    publish(
        "inputs", "Generated inputs: the right arrays, or the culprit", command, body, {"counts": counts, "faults": faults}
    )
    if faults:
        sys.exit("\n\n".join(faults))


if __name__ == "__main__":
    main()
