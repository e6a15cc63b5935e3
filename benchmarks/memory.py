"""Does the memory of writing the cache, scoring and training grow with the data?

    python -m benchmarks.memory [--base 10000]

32x32 colour images in a memory-mapped file, once, 4 times and 16 times as many; every verb runs in a fresh process, through
the Python interface and the FFCV loader, with a network that takes no time and one epoch. Anonymous memory is what a
process cannot give back; pages of memory-mapped files are not counted, the system drops them when it needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import publish, table
from benchmarks.loading import EXACT_MALLOC
from benchmarks.loading_images import watched
from datapruning.api.cache import cache
from datapruning.api.score import score
from datapruning.api.train import train
from datapruning.data.dataset import Dataset, Split
from datapruning.io.disk_space import format_bytes
from datapruning.runs.context import Context
from datapruning.runs.opening import open_context
from datapruning.utils.console import info

COMMAND = "python -m benchmarks.memory"
SIDE, CLASSES, TIMES = 32, 10, (1, 4, 16)
SETTINGS = [
    "train.model=tinynet8", "train.epochs=1", "train.batch_size=512", "teacher.model=tinynet8", "teacher.epochs=1",
    "proxy.model=tinynet8", "proxy.epochs=1", "evidence.runs=1", "evidence.early_epoch=1",
    "evidence.full_runs=1", "views.num_views=1",
]  # fmt: skip
SCORERS = ("el2n", "forgetting", "aum")


def open_arrays(folder: Path, count: int) -> Dataset:
    """Return memory-mapped images whose brightness depends on the class, made at the first call."""
    path = folder / f"{count}.npy"
    labels = np.arange(count, dtype=np.int64) % CLASSES
    if not path.exists():
        rng = np.random.default_rng(0)
        images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIDE, SIDE, 3))
        for start in range(0, count, 1000):
            chunk_labels = labels[start : start + 1000]
            noise = rng.integers(0, 60, (len(chunk_labels), SIDE, SIDE, 3))
            images[start : start + 1000] = noise + 19 * chunk_labels[:, None, None, None]
        images.flush()
    mapped = np.asarray(np.load(path, mmap_mode="r"))
    return Dataset(f"made-up-{count}", Split(mapped, labels), Split(mapped[:512], labels[:512]), tuple("0123456789"))


def context_of(folder: Path, count: int) -> Context:
    """Open a context with the FFCV loader, one thread and a workspace in `folder`."""
    return open_context(
        open_arrays(folder, count), changes=SETTINGS, device="cpu", loader="ffcv", workspace=folder / "runs", threads=1
    )


def write_cache(context: Context) -> None:
    """Run `dprune cache`."""
    cache(context)


def score_evidence(context: Context) -> None:
    """Run `dprune score`: training dynamics and an early evaluation."""
    for name in SCORERS:
        score(context, name)


def train_student(context: Context) -> None:
    """Run `dprune train --fraction 0.5 --kd-weight 0.5`: a teacher, soft labels, a student."""
    train(context, fraction=0.5, kd_weight=0.5)


VERBS: dict[str, Callable[[Context], None]] = {"cache": write_cache, "score": score_evidence, "train": train_student}


def measure(folder: Path, verb: str, count: int) -> dict[str, Any]:
    """Measure anonymous memory in this process after a warm-up on 2,000 samples, and its maximum while the command runs."""
    VERBS[verb](context_of(folder / "warm", 2000))
    return {"verb": verb, "images": count, **watched(partial(VERBS[verb], context_of(folder, count)))}


def in_processes(folder: Path, base: int) -> list[dict[str, Any]]:
    """Measure every command at every size, each in a new process."""
    measurements = []
    for times in TIMES:
        for verb in VERBS:
            options = ["--folder", folder, "--verb", verb, "--base", base * times]
            command = [sys.executable, "-m", "benchmarks.memory", *map(str, options)]
            environment = {**os.environ, **EXACT_MALLOC}
            process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            measurements.append({"times": times, **json.loads(process.stdout.splitlines()[-1])})
            info(f"{verb} at {times}x: {format_bytes(measurements[-1]['highest'])}")
    return measurements


def report(measurements: Sequence[dict[str, Any]]) -> None:
    """Print and write the table."""
    rows = []
    for verb in VERBS:
        by_times = {a["times"]: a for a in measurements if a["verb"] == verb}
        first, last = by_times[TIMES[0]], by_times[TIMES[-1]]
        growth = (last["highest"] - first["highest"]) / (last["images"] - first["images"])
        rows.append(
            [verb, format_bytes(first["before"]), *(format_bytes(m["highest"]) for m in by_times.values()), f"{growth:.0f}"]
        )
    counts = [a["images"] for a in measurements if a["verb"] == "cache"]
    head = ["verb", "before", *(f"{count:,} images" for count in counts), "bytes a sample"]
    body = (
        "Highest anonymous memory of a process (torch and FFCV included; before: after the same verb on 2,000 samples), and "
        f"by how much it grows with a sample from the smallest to the largest; an image has {SIDE * SIDE * 3:,} bytes.\n\n"
        + table(head, rows)
        + f"\n\nScorers: {', '.join(SCORERS)}. Training: a teacher, its soft labels, a student of half of the data. What is "
        "held for every sample on purpose: labels, the order of an epoch, scores and masks, 8 bytes each."
    )
    publish("memory", "Memory as the data grows", COMMAND, body, {"measured": list(measurements)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=int, default=10_000, help="images at 1x")
    parser.add_argument("--scratch", type=Path, default=Path("/var/tmp"), help="a folder on a disk with 2 GB of room")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--verb", choices=VERBS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.verb:
        (args.folder / "warm").mkdir(exist_ok=True)
        print(json.dumps(measure(args.folder, args.verb, args.base)))
        return
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        report(in_processes(Path(folder), args.base))


if __name__ == "__main__":
    main()
