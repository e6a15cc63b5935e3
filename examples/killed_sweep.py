"""A grid of students that is killed, resumes with the same command, and is reported on: no student is trained twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import datapruning as dp

SWEEP = [
    sys.executable, "-m", "datapruning", "sweep", "--fractions", "0.1,0.3", "--kd-weights", "0,0.9", "--seeds", "1",
    "--epochs", "4", "--set", "train.model=tinynet16", "--set", "teacher.epochs=4", "--out", "grid",
]  # fmt: skip


def finished() -> dict[str, bytes]:
    """The trials that are finished: one file each."""
    return {path.name: path.read_bytes() for path in Path("grid/trials").glob("[!.]*.json")}


process = subprocess.Popen(SWEEP, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
while process.poll() is None and not finished():
    time.sleep(0.05)
os.killpg(process.pid, signal.SIGKILL)  # its workers, too: by itself one notices within a second that the sweep has ended
process.wait()

before = finished()
messages = subprocess.run(SWEEP, check=True, stderr=subprocess.PIPE, text=True).stderr
print(next(line for line in messages.splitlines() if line.startswith("sweep: ")))
report = dp.write_report(["grid"], "grid.html")
print(f"{len(before)} of {report.runs} students were there before; all are in {report.page}")
