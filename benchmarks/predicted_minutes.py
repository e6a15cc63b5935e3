"""What six commands say that they will take, and what they take, on a quiet and on a busy machine.

    python -m benchmarks.predicted_minutes [--rounds 3] [--only "sweep, 2 workers"] [--toy]

Each command runs on the digits in an empty folder. Counted is the time from its line `time: about ...` to its end. On the
busy machine a process for each core computes without end beside it. `--only` measures one command again and leaves the
other rows of the table. `--toy` runs each once, for a few epochs, and prints.
About half an hour on 2 cores, which nothing else may use.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import RESULTS, publish, table
from datapruning.io.json import read_json

ROOT = Path(__file__).resolve().parent.parent
COMMANDS: dict[str, tuple[str, str]] = {
    "teach": ("teach --epochs 100", "teach --epochs 20"),
    "score, proxies": ("score --scorer el2n,aum --set proxy.epochs=40", "score --scorer el2n,aum --set proxy.epochs=8"),
    "score, an ensemble": (
        "score --scorer memorization --set ensemble.num_members=10",
        "score --scorer memorization --set ensemble.num_members=4 --set ensemble.subset_fraction=0.5 "
        "--set ensemble_member.epochs=8",
    ),
    "train, KD weight 0.9": (
        "train --fraction 0.5 --kd-weight 0.9 --epochs 100",
        "train --fraction 0.5 --kd-weight 0.9 --epochs 20 --set teacher.epochs=10",
    ),
    "train, KD weight auto": (
        "train --fraction 0.3 --kd-weight auto --epochs 100",
        "train --fraction 0.3 --kd-weight auto --epochs 20 --set teacher.epochs=10",
    ),
    "sweep, 2 workers": (
        "sweep --fractions 0.1,0.3 --kd-weights 0,0.9 --seeds 2 --jobs 2 --epochs 40",
        "sweep --fractions 0.1,0.3 --kd-weights 0,0.9 --seeds 1 --jobs 2 --epochs 10 --set teacher.epochs=10",
    ),
}
"""What is measured, and the same for `--toy`."""
LINE = re.compile(r"^time: about (?:(\d+) h )?(\d+) (s|min)")
NAME = "predicted_minutes"
BUSY = "while True: sum(range(1000))"


class Measured(NamedTuple):
    """Seconds of one command."""

    predicted: float
    real: float

    @property
    def factor(self) -> float:
        """How many times longer one is than the other."""
        return max(self.predicted, self.real) / min(self.predicted, self.real)


def parse_seconds(line: str) -> float | None:
    """The seconds that a line promises; None for another line."""
    match = LINE.match(line)
    if match is None:
        return None
    hours, number, unit = match.groups()
    return 3600 * int(hours or 0) + int(number) * (60 if unit == "min" else 1)


def measure(arguments: str) -> Measured:
    """Run a command in an empty folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "datapruning", *arguments.split()], cwd=folder, env=environment, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        predicted, began = None, 0.0
        for line in process.stderr:
            if predicted is None and (predicted := parse_seconds(line)) is not None:
                began = time.perf_counter()
        if process.wait() or predicted is None:
            raise SystemExit(f"dprune {arguments} ended with {process.returncode}, its time {predicted}")
        return Measured(predicted, time.perf_counter() - began)


@contextmanager
def busy_machine() -> Iterator[None]:
    """A process for each core that computes without end."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        time.sleep(5)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def as_measured(part: dict[str, list[list[float]]]) -> dict[str, list[Measured]]:
    """The measurements of a part of the committed results."""
    return {name: [Measured(*pair) for pair in pairs] for name, pairs in part.items()}


def rows(results: dict[str, list[Measured]], others: dict[str, list[Measured]]) -> list[list[str]]:
    """A row a command: its predicted and its real seconds in each round, and the largest factor between them."""

    def cells(measured: list[Measured]) -> list[str]:
        pairs = ", ".join(f"{m.predicted:.0f} / {m.real:.0f}" for m in measured)
        return [pairs, f"{max(m.factor for m in measured):.2f}"]

    return [[f"`{name}`", *cells(results[name]), *cells(others[name])] for name in results]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=COMMANDS)
    parser.add_argument("--toy", action="store_true", help="a few epochs, once, without a result file")
    args = parser.parse_args()
    commands = {name: texts[args.toy] for name, texts in COMMANDS.items() if args.only in (None, name)}
    rounds = 1 if args.toy else args.rounds
    load = os.getloadavg()[0]
    quiet = {name: [measure(text) for _ in range(rounds)] for name, text in commands.items()}
    with busy_machine():
        busy = {name: [measure(text) for _ in range(rounds)] for name, text in commands.items()}
    if args.only and not args.toy:
        before = read_json(RESULTS / f"{NAME}.json")
        quiet, busy = ({**as_measured(before[part]), **new} for part, new in (("quiet", quiet), ("busy", busy)))
        commands, load = {**before["commands"], **commands}, before["load"]
    head = ["command", "quiet: predicted / real, s", "largest factor", "busy: predicted / real, s", "largest factor"]
    body = (
        f"Seconds from the line `time: about ...` to the end of the command, on the digits; {rounds} rounds. The load "
        f"was {load:.1f} when the quiet part began; a computing process for each core shared it in the busy part.\n\n"
        f"{table(head, rows(quiet, busy))}\n\n"
        + "\n".join(f"- `{name}`: `dprune {text}`" for name, text in commands.items())
    )
    if args.toy:
        print(body)
        return
    data = {"load": load, "quiet": quiet, "busy": busy, "commands": commands}
    publish(NAME, "Predicted and real minutes", "python -m benchmarks.predicted_minutes", body, data)


if __name__ == "__main__":
    main()
