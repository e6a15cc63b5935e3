"""A Slurm of one machine for tests: sbatch, srun, sacct and scancel as one script, its state in the folder $FAKE_SLURM."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

STATE = Path(os.environ.get("FAKE_SLURM", "."))
FIRST_JOB = 1000


def install(folder: Path) -> None:
    """Commands in `folder`/bin, their state in `folder`/state."""
    (folder / "bin").mkdir(parents=True)
    (folder / "state").mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel"):
        path = folder / "bin" / name
        path.write_text(f'#!/bin/sh\nFAKE_SLURM={folder}/state exec {sys.executable} {__file__} {name} "$@"\n')
        path.chmod(0o755)


def sbatch(script: str) -> None:
    """Start every task of the array; a file `queue` in the state folder leaves them in the queue."""
    text = Path(script).read_text()
    number = FIRST_JOB + len(list(STATE.glob("*.sh")))
    (STATE / f"{number}.sh").write_text(text)
    array = re.search(r"--array='?0-(\d+)", text)
    for task in range(int(array.group(1)) + 1) if array else [None]:
        ids = {"SLURM_JOB_ID": str(number)}
        if task is not None:
            ids |= {"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(task)}
        pid = 0
        if not (STATE / "queue").exists():
            no_streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            pid = subprocess.Popen(["bash", script], env={**os.environ, **ids}, start_new_session=True, **no_streams).pid
        (STATE / f"{number}{'' if task is None else f'_{task}'}.pid").write_text(str(pid))
    print(f"Submitted batch job {number}")


def srun(*words: str) -> None:
    """Run what follows the options."""
    start = next(k for k, word in enumerate(words) if Path(word).name.startswith("python"))
    os.execv(words[start], words[start:])


def sacct(*_: str) -> None:
    """The state of every task: what scancel or a test set, else whether its process lives."""
    print("JobID|State|NodeList")
    for path in sorted(STATE.glob("*.pid")):
        pid, final = int(path.read_text()), path.with_suffix(".final")
        state = final.read_text() if final.exists() else "PENDING" if not pid else "RUNNING" if lives(pid) else "FAILED"
        print(f"{path.stem}|{state}|here")


def scancel(job: str) -> None:
    """End a task."""
    end(STATE, job, "CANCELLED by 0")


def end(state: Path, job: str, final: str) -> None:
    """End a task in a final state."""
    (state / f"{job}.final").write_text(final)
    pid = int((state / f"{job}.pid").read_text())
    if pid and lives(pid):
        os.killpg(pid, signal.SIGKILL)


def lives(pid: int) -> bool:
    """Whether a process runs, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    {"sbatch": sbatch, "srun": srun, "sacct": sacct, "scancel": scancel}[sys.argv[1]](*sys.argv[2:])
