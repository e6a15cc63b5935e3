"""Seconds from Enter to the answer: the first epoch on the digits, mistakes, and a finished run that is asked for again.

    python -m benchmarks.start_up [--rounds 7]

Each program is a new process; they take turns, and ratios are taken round by round, so that other load on the machine
disturbs all of them alike. Processor seconds are what other load disturbs least. A first round, which compiles bytecode and
fills the file cache, is discarded.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import publish, table

ROOT = Path(__file__).resolve().parent.parent
BARE_LOOP = """
import importlib.util
from pathlib import Path
import numpy as np
import torch
from torch import nn
torch.set_num_threads(1)
folder = importlib.util.find_spec("sklearn").submodule_search_locations[0]
rows = torch.from_numpy(np.loadtxt(Path(folder) / "datasets/data/digits.csv.gz", delimiter=",")).float()
images, labels = rows[:, :-1].view(-1, 1, 8, 8) / 16, rows[:, -1].long()
layers, width = [], 1
for outputs in (32, 64, 128):
    layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.ReLU()]
    width = outputs
model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(width, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
for batch in torch.randperm(1438)[:719].split(32):
    loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
with torch.inference_mode():
    print((model(images[1438:]).argmax(1) == labels[1438:]).float().mean())
"""
TRAIN = ("train", "--fraction", "0.5", "--kd-weight", "0", "--set", "train.epochs=1")
TORCH, BARE = "import torch", "bare loop, one epoch"
EPOCHS = {
    "dprune, one epoch, --loader memory": "memory",
    "dprune, one epoch, --loader ffcv": "ffcv",
    "dprune, one epoch, --loader ffcv, which writes its cache": "ffcv",
}
WRITES_CACHE = list(EPOCHS)[2]
ANSWERS: dict[str, tuple[tuple[str, ...], int]] = {
    "a wrong option: --kd-weight 2": (("train", "--fraction", "0.5", "--kd-weight", "2"), 2),
    "a wrong dataset: --data cifra10": (("train", "--fraction", "0.5", "--data", "cifra10"), 2),
    "a wrong scorer: --scorer el3n": (("train", "--fraction", "0.5", "--scorer", "el3n"), 2),
    "a file that is not there: --subset el2n.npz": (("train", "--subset", "el2n.npz"), 2),
    "a finished run, asked for again": ((*TRAIN, "--loader", "memory", "--workspace", "memory"), 0),
}
"""Arguments and exit code."""


class Seconds(NamedTuple):
    """Of a process: by the clock, and of the processor."""

    wall: float
    cpu: float


def run(folder: Path, arguments: list[str], code: int = 0) -> Seconds:
    """Run Python with these arguments in a folder; it must end with this exit code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DPRUNE_QUIET": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    message = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != code:
        raise SystemExit(f"{arguments} ended with {process.returncode}: {message.decode()}")
    return Seconds(time.perf_counter() - started, usage.ru_utime + usage.ru_stime)


def measure(folder: Path) -> dict[str, Seconds]:
    """Run every program once."""
    seconds = {TORCH: run(folder, ["-c", "import torch"]), BARE: run(folder, ["-c", BARE_LOOP])}
    for name, loader in EPOCHS.items():
        workspace = folder / loader
        shutil.rmtree(workspace / "students", ignore_errors=True)
        if name == WRITES_CACHE:
            shutil.rmtree(workspace)
        arguments = ["-m", "datapruning", *TRAIN, "--loader", loader, "--workspace", str(workspace)]
        seconds[name] = run(folder, arguments)
    for name, (words, code) in ANSWERS.items():
        seconds[name] = run(folder, ["-m", "datapruning", *words], code)
    return seconds


def line(name: str, rounds: list[dict[str, Seconds]]) -> list[str]:
    """The row of a program: medians, and how many times the bare loop and `import torch` it takes, by the processor."""
    of = [seconds[name] for seconds in rounds]
    ratios = [[seconds[name].cpu / seconds[other].cpu for seconds in rounds] for other in (BARE, TORCH)]
    return [
        name,
        f"{statistics.median(s.wall for s in of):.2f}",
        f"{statistics.median(s.cpu for s in of):.2f}",
        *(f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})" for values in ratios),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rounds = [measure(Path(folder)) for _ in range(args.rounds + 1)][1:]
    head = ["program", "seconds", "processor seconds", "times the bare loop", "times `import torch`"]
    body = (
        f"Medians of {args.rounds} rounds, ratios of processor seconds with their range. The bare loop imports torch and "
        "NumPy, reads the digits from the same file, and trains the same network with SGD; the commands also make the "
        "subset, augment, record, evaluate and write a run folder. Other programs shared the machine: ratios within this "
        "run are what counts, and seconds by the clock are longer than on an idle machine.\n\n"
        + table(head, [line(name, rounds) for name in rounds[0]])
    )
    data = {name: [seconds[name]._asdict() for seconds in rounds] for name in rounds[0]}
    publish("start_up", "Seconds from Enter to the answer", "python -m benchmarks.start_up", body, {"seconds": data})


if __name__ == "__main__":
    main()
