"""A fake Slurm on one machine: sbatch, srun, sacct and scancel as one script, with its state in the folder $FAKE_SLURM."""

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
    """Install the commands in `folder`/bin, with their state in `folder`/state."""
    (folder / "bin").mkdir(parents=True)
    (folder / "state").mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel"):
        path = folder / "bin" / name
        path.write_text(f'#!/bin/sh\nFAKE_SLURM={folder}/state exec {sys.executable} {__file__} {name} "$@"\n')
        path.chmod(0o755)


def sbatch(script: str) -> None:
    """Start every task of the array, or leave them queued if there is a file `queue` in the state folder."""
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


def srun(*arguments: str) -> None:
    """Run the command after the options."""
    start = next(k for k, argument in enumerate(arguments) if Path(argument).name.startswith("python"))
    os.execv(arguments[start], arguments[start:])


def sacct(*_: str) -> None:
    """Print the state of every task: as set by scancel or a test, else whether its process is alive."""
    print("JobID|State|NodeList")
    for path in sorted(STATE.glob("*.pid")):
        pid, final = int(path.read_text()), path.with_suffix(".final")
        state = final.read_text() if final.exists() else "PENDING" if not pid else "RUNNING" if is_alive(pid) else "FAILED"
        print(f"{path.stem}|{state}|localhost")


def scancel(job: str) -> None:
    """Cancel a task."""
    end_task(STATE, job, "CANCELLED by 0")


def end_task(state: Path, job: str, final: str) -> None:
    """Kill a task and record its final state."""
    (state / f"{job}.final").write_text(final)
    pid = int((state / f"{job}.pid").read_text())
    if pid and is_alive(pid):
        os.killpg(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether a process is running and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    {"sbatch": sbatch, "srun": srun, "sacct": sacct, "scancel": scancel}[sys.argv[1]](*sys.argv[2:])
