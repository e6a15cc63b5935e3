"""How fast are views of 224x224 loaded from a folder of JPEG images, and does memory grow with it? Against torchvision.

Ours decode every image once, to 256x256, and keep it raw or as JPEG; then they draw random resized crops from that.
torchvision decodes the whole image every time, and crops from that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.common import publish, table
from benchmarks.loading import EXACT_MALLOC, Speed, cpu_seconds, status, with_range
from datapruning.config.augmentation import AugmentPolicy
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.batching import training_batches
from datapruning.data.dataset import Dataset
from datapruning.data.loaders.split_loaders import MmapLoader
from datapruning.data.registry import open_dataset
from datapruning.io.disk_space import format_bytes
from datapruning.utils.console import info
from datapruning.utils.malloc import keep_freed_memory

COMMAND = "python -m benchmarks.loading_images"
BATCH, STORED, SIDE, WORKERS, CLASSES = 128, 256, 224, 2, 10
SMALL_BATCH = 32
"""Where memory is measured: so the smallest folder, too, has more batches than are read ahead."""
SIZES = (200, 600)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
POLICY = AugmentPolicy(flip=True, crop=0, size=SIDE, scale=(0.08, 1.0))
NAMES = {
    "raw": f"decoded to {STORED}x{STORED}, kept raw; mmap loader + views",
    "jpg": f"decoded to {STORED}x{STORED}, kept as jpg:90; mmap loader + views",
    "v2": f"torchvision ImageFolder + transforms.v2, DataLoader, {WORKERS} workers",
}
BASE = "v2"
POLL_SECONDS = 0.01
Epoch = Callable[[int], Iterator[Tensor]]


def make_image(path: Path, number: int) -> None:
    """Write a JPEG of random size with the spectrum of photographs: noise of five scales, the coarse ones strongest."""
    from PIL import Image

    rng = np.random.default_rng(number)
    width, height = (int(n) for n in rng.integers(*SIZES, 2, endpoint=True))
    pixels = np.full((height, width, 3), 128.0)
    for cells, strength in ((3, 60), (8, 35), (24, 20), (72, 10), (200, 5)):
        noise = Image.fromarray(rng.normal(128, 50, (cells, cells, 3)).clip(0, 255).astype(np.uint8))
        pixels += strength / 50 * (np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC)).astype(float) - 128)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def make_folder(folder: Path, num_images: int) -> Path:
    """Make a folder with `num_images` images in train/, and one of each class in test/."""
    paths = [folder / "train" / f"{n % CLASSES}" / f"{n}.jpg" for n in range(num_images)]
    paths += [folder / "test" / f"{n}" / "0.jpg" for n in range(CLASSES)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(make_image, paths, range(len(paths))))
    return folder


def link_folder(folder: Path, source: Path, num_images: int) -> Path:
    """Make a folder with `num_images` images in train/ that repeat those of `source`, as hard links."""
    paths = sorted((source / "train").rglob("*.jpg"))
    for n in range(num_images):
        path = folder / "train" / f"{n % CLASSES}" / f"{n}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(paths[n % len(paths)], path)
    for path in (source / "test").rglob("*.jpg"):
        (folder / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        os.link(path, folder / path.relative_to(source))
    return folder


def opened(folder: Path, form: str) -> Dataset:
    """Open the folder, decoded into a workspace next to it."""
    return open_dataset(str(folder), image_size=STORED, image_format=form, workspace=folder.with_suffix(".runs"))


def our_epochs(data: Dataset, batch_size: int = BATCH) -> Epoch:
    """Return shuffled epochs of views."""
    loader = MmapLoader(data.train, torch.device("cpu"))
    mean, std = (tuple(255 * n for n in numbers) for numbers in (MEAN, STD))
    views, ids = Augmentation(POLICY, mean, std), np.arange(data.total)

    def epoch_of(epoch: int) -> Iterator[Tensor]:
        for _, images in views.read(loader, training_batches(ids, batch_size, 0, epoch), epoch):
            yield images

    return epoch_of


def torchvision_epochs(folder: Path) -> Epoch:
    """Return epochs of torchvision's reference pipeline for ImageNet, with persistent workers."""
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose([
        v2.RandomResizedCrop(SIDE),
        v2.RandomHorizontalFlip(),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(MEAN, STD),
    ])  # fmt: skip
    dataset = ImageFolder(str(folder / "train"), transform)
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    return lambda epoch: (images for images, _ in loader)


def speed(epoch: Iterator[Tensor]) -> Speed:
    """Measure the speed of one epoch, from its request to its last batch."""
    started, cpu, count = time.perf_counter(), cpu_seconds(), 0
    for images in epoch:
        assert images.dtype == torch.float32
        assert images.shape[1:] == (3, SIDE, SIDE)
        count += len(images)
    return Speed(count / (time.perf_counter() - started), 1e6 * (cpu_seconds() - cpu) / count)


def measure_speed(folder: Path, rounds: int) -> tuple[dict[str, list[Speed]], dict[str, float]]:
    """Measure the speed of every pipeline in every round, after a discarded first round, and the seconds of decoding."""
    epochs = {"v2": torchvision_epochs(folder)}
    speed(epochs["v2"](0))  # its workers start before anything else has threads
    once = {}
    for form in ("raw", "jpg"):
        started = time.perf_counter()
        data = opened(folder, form)
        once[form] = time.perf_counter() - started
        epochs[form] = our_epochs(data)
        speed(epochs[form](0))
    speeds: dict[str, list[Speed]] = {name: [] for name in NAMES}
    for number in range(rounds):
        for name in list(NAMES)[:: 1 if number % 2 else -1]:
            speeds[name].append(speed(epochs[name](number + 1)))
            info(f"round {number + 1}: {name} {speeds[name][-1].rate:,.0f} images/s")
    return speeds, once


class Highest(threading.Thread):
    """Polls the anonymous memory of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes, self._ended = 0, threading.Event()

    def run(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            self.bytes = max(self.bytes, *status("RssAnon"))

    def end(self) -> int:
        self._ended.set()
        self.join()
        return self.bytes


def watched(work: Callable[[], object]) -> dict[str, int]:
    """Return anonymous memory before `work` and its maximum during `work`, and peak RSS."""
    (before,), highest = status("RssAnon"), Highest()
    highest.start()
    work()
    return {"before": before, "highest": highest.end(), "rss_peak": status("VmHWM")[0]}


def one_process(job: str, form: str, warm: Path, folder: Path, epochs: int) -> dict[str, int]:
    """Measure memory of decoding a folder, or reading `epochs` epochs from it, after a warm-up with a smaller one."""

    def read(data: Dataset, count: int) -> None:
        epoch_of = our_epochs(data, SMALL_BATCH)
        for epoch in range(count):
            for images in epoch_of(epoch):
                del images

    small = opened(warm, form)
    if job == "decode":
        return watched(partial(opened, folder, form))
    read(small, 1)
    data = opened(folder, form)
    return watched(partial(read, data, epochs))


def measure_memory(scratch: Path, source: Path, image_counts: list[int]) -> list[dict[str, Any]]:
    """Run `one_process` for each data size, format and job; readers of a format read the same number of batches."""
    rows: list[dict[str, Any]] = []
    for form in ("raw", "jpg"):
        warm = link_folder(scratch / f"warm-{form}", source, 8 * SMALL_BATCH)
        opened(warm, form)
        for count in image_counts:
            folder = link_folder(scratch / f"{count}-{form}", source, count)
            for job in ("decode", "read"):
                options: list[object] = ["--job", job, "--form", form, "--warm", warm, "--folder", folder]
                options += ["--epochs", max(image_counts) // count]
                command = [sys.executable, "-m", "benchmarks.loading_images", *map(str, options)]
                process = subprocess.run(
                    command, capture_output=True, text=True, check=True,
                    env={**os.environ, **EXACT_MALLOC, "DPRUNE_QUIET": "1"},
                )  # fmt: skip
                kept = sum(path.stat().st_size for path in folder.with_suffix(".runs").rglob("train.*") if path.is_file())
                rows.append({"form": form, "job": job, "images": count, "kept": kept, **json.loads(process.stdout)})
                info(f"memory: {form}, {job}, {count:,} images: {format_bytes(rows[-1]['highest'])}")
            subprocess.run(["rm", "-r", folder, folder.with_suffix(".runs")], check=True)
    return rows


def report(
    speeds: dict[str, list[Speed]], once: dict[str, float], memory: list[dict[str, Any]], load: float,
    args: argparse.Namespace,
) -> None:  # fmt: skip
    """Print and write both tables."""
    rows = []
    for name, values in speeds.items():
        rates = [value.rate for value in values]
        ratios = [value.rate / base.rate for value, base in zip(values, speeds[BASE], strict=True)]
        cheaper = [base.cpu / value.cpu for value, base in zip(values, speeds[BASE], strict=True)]
        rows.append([
            NAMES[name], f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})", with_range(ratios),
            f"{statistics.median(value.cpu for value in values) / 1000:.2f} ms", with_range(cheaper),
            f"{once[name]:.0f} s" if name in once else "",
        ])  # fmt: skip
    head = [
        "pipeline", "images/s: median (range)", "times v2's rate", "CPU time an image", "v2's CPU time over it",
        "decoding, once",
    ]  # fmt: skip
    words = {"decode": "decoding", "read": "reading"}
    memory_rows = [
        [
            f"{words[str(row['job'])]}, {row['form']}", f"{row['images']:,}", format_bytes(row["kept"]),
            format_bytes(row["before"]), format_bytes(row["highest"]), format_bytes(row["highest"] - row["before"]),
            format_bytes(row["rss_peak"]),
        ]
        for row in sorted(memory, key=lambda row: (row["job"], row["form"] != "raw", row["images"]))
    ]  # fmt: skip
    memory_head = ["work", "images", "kept", "anonymous before", "highest", "difference", "peak RSS"]
    body = (
        f"{args.images:,} JPEG images of {SIZES[0]} to {SIZES[1]} pixels a side, made of noise with the spectrum of "
        f"photographs. Random resized crops to {SIDE}x{SIDE} (8% to 100% of the area), flips, normalisation to float32, "
        f"random order, batches of {BATCH}. Ours crop from {STORED}x{STORED} (middle square, bilinear), torchvision from "
        "the whole image (antialiased): what they see is alike, not the same. "
        f"A round is an epoch; {args.rounds} rounds, pipelines alternating, warm-up excluded (starting workers, compiling, "
        f"decoding). torch threads: {args.threads} here, 1 in each DataLoader worker; freed memory is kept, as in `dprune`. "
        "Ratios are taken within a round. CPU time counts this process and its workers. 'Decoding, once' is what ours need "
        f"before the first epoch; it is kept in the workspace. Load average of the machine before: {load:.1f}.\n\n"
        f"{table(head, rows)}\n\n"
        "## Memory\n\n"
        "A fresh process decodes a folder, or reads a decoded one, views included, after it did so with a smaller one; all "
        f"readers read the same number of batches, of {SMALL_BATCH}. Anonymous memory is what the process cannot give back "
        "(polled every 10 ms, with glibc told to return freed memory at once); peak RSS also counts pages of memory-mapped "
        "files, which the system drops when it needs them. Larger folders repeat the same images.\n\n"
        f"{table(memory_head, memory_rows)}"
    )
    rounds = {name: [value._asdict() for value in values] for name, values in speeds.items()}
    data = {"rounds": rounds, "decoding_seconds": once, "memory": memory, "load_average": load, "threads": args.threads}
    publish("loading_images", "Loading images: views of 224x224 from a folder, against torchvision", COMMAND, body, data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch threads; decoding has its own")
    parser.add_argument("--memory-images", type=int, nargs="+", default=[512, 2_048, 8_192])
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp"), help="a folder on a disk with 3 GB of room")
    parser.add_argument("--epochs", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--job", choices=["decode", "read"], help=argparse.SUPPRESS)
    parser.add_argument("--form", help=argparse.SUPPRESS)
    parser.add_argument("--warm", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.job:
        print(json.dumps(one_process(args.job, args.form, args.warm, args.folder, args.epochs)))
        return
    load = os.getloadavg()[0]
    keep_freed_memory()  # as `dprune` does; the workers inherit it
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        source = make_folder(Path(scratch) / "images", args.images)
        info(f"made {args.images:,} images in {source}")
        speeds, once = measure_speed(source, args.rounds)
        memory = measure_memory(Path(scratch), source, args.memory_images)
    report(speeds, once, memory, load, args)


if __name__ == "__main__":
    main()
