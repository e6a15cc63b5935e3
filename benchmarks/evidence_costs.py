"""The cost of computing all dynamics scorers from a recording, and the memory of a large recording.

    python -m benchmarks.evidence_costs [--folder DIR]

Recordings are made up: random logits that learn. The large one, 1.28 million samples and 90 epochs, goes through the
recorder as a training loop would feed it; it needs 2.5 GB of disk, for which `--folder` names a place. Each part runs in
a process of its own, whose peak of resident memory is read at its end.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import datapruning as dp
from benchmarks.common import publish, table
from datapruning.evidence.dynamics import TrainingDynamics
from datapruning.scorers import find_scorers

CLASSES = 10
SMALL, LARGE = (50_000, 200), (1_280_000, 90)
"""Samples, epochs."""
BATCH = 1024
ROUNDS = 5
COMMAND = "python -m benchmarks.evidence_costs"


def peak() -> float:
    """Return the peak resident memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write(folder: Path, total: int, epochs: int) -> dict[str, float]:
    """Feed a recorder with logits that grow towards the label."""
    torch.set_num_threads(1)
    before, started = peak(), time.perf_counter()
    recorder = dp.record(folder, "made-up", total=total, epochs=epochs)
    labels = torch.arange(total) % CLASSES
    noise = torch.randn(64 * BATCH, CLASSES, generator=torch.Generator().manual_seed(0))
    for epoch in range(epochs):
        recorder.start_epoch(epoch)
        for number, ids in enumerate(torch.split(torch.arange(total), BATCH)):
            logits = noise[(number + epoch) % 64 * BATCH :][: len(ids)].clone()
            logits[torch.arange(len(ids)), labels[ids]] += 4 * epoch / epochs
            recorder.update(logits, labels[ids], ids)
        recorder.end_epoch()
    recorder.finish()
    return {"seconds": time.perf_counter() - started, "peak": peak(), "before": before}


def read(folder: Path) -> dict[str, float]:
    """Compute every dynamics scorer."""
    names = [n for n, s in find_scorers().items() if s.needs is TrainingDynamics]
    before, seconds = peak(), {}
    for name in names:
        started = time.perf_counter()
        dp.score_recording(folder, name)
        seconds[name] = time.perf_counter() - started
    return {**seconds, "peak": peak(), "before": before}


def apart(what: str, folder: Path, *numbers: int) -> dict[str, float]:
    """Run one part in a separate process."""
    command = [sys.executable, "-m", "benchmarks.evidence_costs", "--part", what, "--folder", str(folder)]
    process = subprocess.run([*command, *map(str, numbers)], capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the recordings lie for the time being")
    parser.add_argument("--part", choices=("write", "read"), help=argparse.SUPPRESS)
    parser.add_argument("numbers", nargs="*", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        result: dict[str, Any] = write(args.folder, *args.numbers) if args.part == "write" else read(args.folder)
        print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        small = apart("write", folder / "small", *SMALL)
        reads = [apart("read", folder / "small") for _ in range(ROUNDS)]
        large = apart("write", folder / "large", *LARGE)
        read_large = apart("read", folder / "large")
    names = [key for key in reads[0] if key not in ("peak", "before")]
    sums = [sum(reading[key] for key in names) for reading in reads]
    lines = [
        [f"`{key}`", f"{statistics.median(reading[key] for reading in reads):.2f}", f"{read_large[key]:.1f}"]
        for key in names
    ]
    lines.append(["all", f"{statistics.median(sums):.2f}", f"{sum(read_large[key] for key in names):.1f}"])
    parts = (small, reads[0], large, read_large)

    def gigabytes(key: str) -> list[str]:
        return [f"{part[key] / 1024:.2f}" for part in parts]

    cells = LARGE[0] * LARGE[1]
    body = (
        f"Made-up recordings, {CLASSES} classes, one thread. Seconds; the first column is the median of {ROUNDS} "
        "processes, the second one process.\n\n"
        + table(["scorer", f"{SMALL[0]:,} x {SMALL[1]} epochs", f"{LARGE[0]:,} x {LARGE[1]} epochs"], lines)
        + f"\n\nAll of the small one together: {min(sums):.2f} to {max(sums):.2f} s.\n\n"
        + table(
            ["", "small: writing", "small: reading", "large: writing", "large: reading"],
            [
                ["peak resident memory, GB", *gigabytes("peak")],
                ["of that before it began", *gigabytes("before")],
            ],
        )
        + f"\n\nThe large one was written in {large['seconds']:.0f} s, {1e9 * large['seconds'] / cells:.0f} ns a sample and "
        "epoch, making up the logits included."
    )  # fmt: skip
    data = {"small": small, "reads": reads, "large": large, "read_large": read_large}
    publish("evidence_costs", "Reading scores from a recording: seconds and memory", COMMAND, body, data)


if __name__ == "__main__":
    main()
