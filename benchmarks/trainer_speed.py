"""Training steps of two checkouts in alternation: is the trainer as fast as before?

    python -m benchmarks.trainer_speed --before CHECKOUT [--rounds 9]

A process of each checkout keeps one student's data ready (`benchmarks/step.py` of that checkout: loader, views, schedule,
counters, checkpoints) and trains an epoch whenever it is asked to. The two take turns, one thread each, processor time;
ratios are taken round by round. "before, once more" is the noise.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import publish, table
from benchmarks.step import CPU, Setting

ROOT = Path(__file__).resolve().parent.parent
WORKER = """
import sys, tempfile, time
from pathlib import Path
from benchmarks import step
from datapruning.errors import UserError
setting = next(setting for setting in step.CPU if setting.model == sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    try:
        context = step.context_of(setting, Path(folder), "cpu", "memory")
    except UserError:  # what that loader was called before
        context = step.context_of(setting, Path(folder), "cpu", "resident")
    epoch = step.ours(context, setting, Path(folder))
    with step.reproducible(1):
        print("ready", flush=True)
        for _ in sys.stdin:
            started = time.process_time()
            epoch()
            print(time.process_time() - started, flush=True)
"""


class Worker:
    """A process of a checkout that trains one epoch at a time."""

    def __init__(self, checkout: Path, model: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout), "DPRUNE_QUIET": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, model], cwd=checkout, env=environment, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        self._read()

    def epoch(self) -> float:
        """Train an epoch and return its CPU seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._read())

    def close(self) -> None:
        """End the process."""
        self.process.communicate("")

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of a checkout ended with code {self.process.wait()}")
        return line


def measure(before: Path, after: Path, model: str, rounds: int) -> list[dict[str, float]]:
    """Measure CPU seconds of an epoch in each round, after two discarded rounds."""
    workers = {"before": Worker(before, model), "after": Worker(after, model), "before, once more": Worker(before, model)}
    measured = []
    for number in range(rounds + 2):
        names = list(workers)[:: 1 if number % 2 else -1]
        seconds = {name: workers[name].epoch() for name in names}
        measured.append({name: seconds[name] for name in workers})
    for worker in workers.values():
        worker.close()
    return measured[2:]


def lines(rounds: Sequence[dict[str, float]], setting: Setting) -> list[list[str]]:
    """Return a row per checkout: milliseconds per step, and speed relative to the previous commit."""
    result = []
    for name in rounds[0]:
        shares = sorted(seconds["before"] / seconds[name] for seconds in rounds)
        quarter = len(shares) // 4
        steps = [1000 * seconds[name] / setting.steps for seconds in rounds]
        middle = f"{shares[quarter]:.3f} to {shares[-1 - quarter]:.3f}"
        result.append([name, f"{statistics.median(steps):.2f}", f"{statistics.median(shares):.3f}", middle])
    return result


def commit_of(checkout: Path) -> str:
    """Return the abbreviated commit of the checkout."""
    return subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=checkout, text=True).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="checkout of the commit before")
    parser.add_argument("--after", type=Path, default=ROOT, help="checkout of the commit after; default: this one")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    before, after = args.before.resolve(), args.after.resolve()
    head = ["commit", "milliseconds a step (median)", "speed, of before (median)", "middle half of the rounds"]
    parts, data = [], {}
    for setting in CPU:
        rounds = measure(before, after, setting.model, args.rounds)
        data[setting.model] = rounds
        parts.append(
            f"**{setting.model}**, batch {setting.batch}, one thread, processor time, {args.rounds} rounds of "
            f"{setting.steps} steps in turn:\n\n{table(head, lines(rounds, setting))}"
        )
    title = f"The training loop of commit {commit_of(before)} and of commit {commit_of(after)}"
    command = "python -m benchmarks.trainer_speed --before CHECKOUT"
    publish("trainer_speed", title, command, "\n\n".join(parts), {"rounds": data})


if __name__ == "__main__":
    main()
