"""Generated folders of images."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.inputs.example import NAMES, Example
from datapruning.data.registry import open_dataset

SIDE = 8


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
