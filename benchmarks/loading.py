"""How fast are augmented images loaded, and does memory grow with the data? FFCV and memory loader against torchvision.

    python -m benchmarks.loading

Needs no data: it makes 32x32 RGB images. Everything runs in one process, one pipeline after the other, round by round;
ratios are taken within a round, so that a change in the machine's load disturbs them little.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.common import publish, table
from datapruning.config.augmentation import AugmentPolicy
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.batching import training_batches
from datapruning.data.dataset import Split
from datapruning.data.loaders.ffcv import FFCVLoader
from datapruning.data.loaders.ffcv_cache import write_beton
from datapruning.data.loaders.loader import Loader
from datapruning.data.loaders.split_loaders import InMemoryLoader
from datapruning.io.disk_space import format_bytes
from datapruning.utils.console import info
from datapruning.utils.malloc import keep_freed_memory

COMMAND = "python -m benchmarks.loading"
BATCH, SIDE, PADDING, WORKERS = 512, 32, 4, 2
MEAN, STD = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)
NAMES = {
    "ffcv": "FFCV loader + views",
    "memory": "in-memory loader + views",
    "v2": f"torchvision.transforms.v2 on tensors, DataLoader, {WORKERS} workers",
    "pil": f"torchvision.transforms on PIL images, DataLoader, {WORKERS} workers",
}
BASE = "v2"
EXACT_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_ARENA_MAX": "1"}
"""glibc hands freed memory back at once: what is measured is in use, not kept for later."""
WARM, WARM_IMAGES = "warm.beton", 4 * BATCH
Epochs = dict[str, Callable[[int], Iterator[Tensor]]]


class Tensors(Dataset[tuple[Tensor, int]]):
    """A dataset as a user of transforms.v2 writes it: uint8 tensors, one transform per sample."""

    def __init__(self, split: Split) -> None:
        from torchvision.transforms import v2

        self.images = torch.from_numpy(split.images).permute(0, 3, 1, 2).contiguous()
        self.labels = split.labels.tolist()
        self.transform = v2.Compose([
            v2.RandomCrop(SIDE, padding=PADDING),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD]),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, sample: int) -> tuple[Tensor, int]:
        return self.transform(self.images[sample]), self.labels[sample]


class PILImages(Dataset[tuple[Tensor, int]]):
    """A dataset like torchvision's CIFAR10: arrays become PIL images, which the older transforms turn into tensors."""

    def __init__(self, split: Split) -> None:
        from torchvision import transforms

        self.images, self.labels = split.images, split.labels.tolist()
        self.transform = transforms.Compose([
            transforms.RandomCrop(SIDE, padding=PADDING),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD]),
        ])  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, sample: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[sample])), self.labels[sample]


def torch_epochs(dataset: Dataset[tuple[Tensor, int]]) -> Callable[[int], Iterator[Tensor]]:
    """Return shuffled epochs of a DataLoader with persistent workers."""
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    return lambda epoch: (images for images, _ in loader)


def our_epochs(loader: Loader) -> Callable[[int], Iterator[Tensor]]:
    """Return shuffled epochs of views."""
    views, ids = Augmentation(AugmentPolicy(flip=True, crop=PADDING), MEAN, STD), np.arange(len(loader))

    def epoch_of(epoch: int) -> Iterator[Tensor]:
        for batch in loader.read(training_batches(ids, BATCH, 0, epoch)):
            yield views.apply(batch.images, batch.ids, epoch)

    return epoch_of


class Speed(NamedTuple):
    """Speed of one epoch: images per second, and CPU microseconds per image of this process and its workers."""

    rate: float
    cpu: float


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its DataLoader workers."""
    ticks = 0
    for worker in multiprocessing.active_children():
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def speed(epoch: Iterator[Tensor]) -> Speed:
    """Measure the speed of one epoch, from its request to its last batch."""
    started, cpu, count = time.perf_counter(), cpu_seconds(), 0
    for images in epoch:
        assert images.dtype == torch.float32
        assert images.shape[1:] == (3, SIDE, SIDE)
        count += len(images)
    return Speed(count / (time.perf_counter() - started), 1e6 * (cpu_seconds() - cpu) / count)


def measure_speed(folder: Path, images: int, slow_images: int, rounds: int) -> dict[str, list[Speed]]:
    """Measure the speed of every pipeline in every round, after a discarded first round."""
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8), rng.integers(0, 10, images))
    part = Split(split.images[:slow_images], split.labels[:slow_images])
    cpu = torch.device("cpu")
    epochs: Epochs = {"v2": torch_epochs(Tensors(part)), "pil": torch_epochs(PILImages(part))}
    for name in epochs:  # their workers start before anything else has threads
        speed(epochs[name](0))
    write_beton(folder / "speed.beton", split, np.arange(images))
    epochs["ffcv"] = our_epochs(FFCVLoader(folder / "speed.beton", split.labels, cpu))
    epochs["memory"] = our_epochs(InMemoryLoader(split, cpu))
    for name in ("ffcv", "memory"):
        speed(epochs[name](0))
    speeds: dict[str, list[Speed]] = {name: [] for name in NAMES}
    for number in range(rounds):
        for name in list(NAMES)[:: 1 if number % 2 else -1]:
            speeds[name].append(speed(epochs[name](number + 1)))
            info(f"round {number + 1}: {name} {speeds[name][-1].rate:,.0f} images/s")
    return speeds


def status(*fields: str) -> list[int]:
    """Return fields of /proc/self/status in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return [1024 * int(lines[field].split()[0]) for field in fields]


def read_whole(path: Path, count: int, epochs: int) -> dict[str, int]:
    """Measure the memory of this process before and while it reads `epochs` epochs of views from `path`."""
    cpu = torch.device("cpu")
    for images in our_epochs(FFCVLoader(path.parent / WARM, np.zeros(WARM_IMAGES, np.int64), cpu))(0):
        del images
    (before,) = status("RssAnon")
    read, highest = our_epochs(FFCVLoader(path, np.arange(count) % 10, cpu)), 0
    for epoch in range(epochs):
        for images in read(epoch):
            del images
            highest = max(highest, *status("RssAnon"))
    (peak,) = status("VmHWM")
    return {"images": count, "epochs": epochs, "before": before, "highest": highest, "rss_peak": peak}


def measure_memory(folder: Path, counts: list[int]) -> list[dict[str, int]]:
    """Run `read_whole` of each file in a new process; all read the same number of batches."""
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)

    def write(path: Path, count: int) -> None:  # the images share memory here, not in the file
        write_beton(path, Split(np.broadcast_to(image, (count, *image.shape)), np.zeros(count, np.int64)), np.arange(count))

    write(folder / WARM, WARM_IMAGES)
    answers = []
    for count in counts:
        path = folder / f"{count}.beton"
        write(path, count)
        words = ["--read", path, "--images", count, "--epochs", max(counts) // count]
        command = [sys.executable, "-m", "benchmarks.loading", *map(str, words)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **EXACT_MALLOC})
        answers.append({**json.loads(answer.stdout), "file": path.stat().st_size})
        path.unlink()
    return answers


def with_range(ratios: list[float]) -> str:
    """Format median and range of ratios taken round by round."""
    return f"{statistics.median(ratios):.1f}x ({min(ratios):.1f} to {max(ratios):.1f})"


def report(speeds: dict[str, list[Speed]], memory: list[dict[str, int]], load: float, args: argparse.Namespace) -> None:
    """Print and write both tables."""
    rows = []
    for name, values in speeds.items():
        rates = [value.rate for value in values]
        ratios = [value.rate / base.rate for value, base in zip(values, speeds[BASE], strict=True)]
        cheaper = [base.cpu / value.cpu for value, base in zip(values, speeds[BASE], strict=True)]
        rows.append([
            NAMES[name], f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})", with_range(ratios),
            f"{statistics.median(value.cpu for value in values):.1f} µs", with_range(cheaper),
        ])  # fmt: skip
    head = ["pipeline", "images/s: median (range)", "times v2's rate", "CPU time an image", "v2's CPU time over it"]
    small, large = memory[0], memory[-1]
    growth = (large["highest"] - small["highest"]) / max(large["images"] - small["images"], 1)
    memory_rows = [
        [
            f"{m['images']:,}", str(m["epochs"]), format_bytes(m["file"]), format_bytes(m["before"]),
            format_bytes(m["highest"]), format_bytes(m["highest"] - m["before"]), format_bytes(m["rss_peak"]),
        ]
        for m in memory
    ]  # fmt: skip
    memory_head = ["images", "epochs", "file", "anonymous before", "highest while reading", "difference", "peak RSS"]
    body = (
        f"Zero-padding by {PADDING}, random {SIDE}x{SIDE} crop, horizontal flip, normalisation to float32, random order, "
        f"batches of {BATCH}. A round is an epoch of {args.images:,} images for our two loaders, of {args.slow_images:,} "
        f"for the DataLoaders; {args.rounds} rounds, pipelines alternating, warm-up excluded (starting workers, compiling, "
        f"writing the cache). torch threads: {args.threads} here, 1 in each DataLoader worker (its default); freed memory "
        "is kept, as in `dprune`, in this process and in the workers. Ratios are taken within a round. CPU time counts this "
        "process and its workers; it depends less on what else runs here. "
        f"Load average of the machine before: {load:.1f}.\n\n"
        f"{table(head, rows)}\n\n"
        "## Memory of the FFCV loader\n\n"
        "A fresh process reads, views included; all read the same number of batches. Anonymous memory is what the process "
        "cannot give back (measured with glibc told to return freed memory at once); peak RSS also counts pages of the "
        "memory-mapped file, which the system drops when it needs them.\n\n"
        f"{table(memory_head, memory_rows)}\n\n"
        f"From the smallest file to the largest, anonymous memory grew by {growth:.0f} bytes a sample (an image has "
        f"{3 * SIDE * SIDE:,}). What a sample costs for sure are 16: its label, and its place in the order of the epoch."
    )
    rounds = {name: [value._asdict() for value in values] for name, values in speeds.items()}
    data = {"rounds": rounds, "memory": memory, "load_average": load, "threads": args.threads}
    publish("loading", "Loading: FFCV and in-memory loader against torchvision", COMMAND, body, data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--slow-images", type=int, default=20_480, help="images an epoch for the DataLoaders")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch threads; decoding has its own")
    parser.add_argument("--memory-images", type=int, nargs="+", default=[20_000, 80_000, 320_000])
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp"), help="a folder on a disk with 3 GB of room")
    parser.add_argument("--epochs", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.read:
        print(json.dumps(read_whole(args.read, args.images, args.epochs)))
        return
    load = os.getloadavg()[0]
    keep_freed_memory()  # as `dprune` does; the workers inherit it
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        speeds = measure_speed(Path(folder), args.images, args.slow_images, args.rounds)
        memory = measure_memory(Path(folder), args.memory_images)
    report(speeds, memory, load, args)


if __name__ == "__main__":
    main()
