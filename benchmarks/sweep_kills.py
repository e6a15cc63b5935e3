"""A sweep that is killed at random moments ends with the same table and bits as an uninterrupted one.

    python -m benchmarks.sweep_kills [--kills 20] [--seed 0] [--jobs 2]

Digits, 24 rows. The sweep is started, its whole process group gets SIGKILL at a random moment, it is started again, and so
on. When it has ended before the next kill, its rows are compared, and another one begins in an empty folder, until all
kills are used. The moments are uniform from nothing to as much as the undisturbed sweep took, imports included, in
processor time of the group, so that they fall on the same work however busy the machine is. Linux.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RUNS, publish, table
from datapruning.io.json import read_json
from datapruning.io.trial_store import Trial, TrialStore
from datapruning.utils.console import info

WORDS = (
    "sweep", "--fractions", "0.1,0.3", "--scorers", "random,el2n", "--kd-weights", "0,0.9,auto", "--seeds", "2",
    "--device", "cpu", "--threads", "1",
)  # fmt: skip
SETTINGS = ("train.epochs=5", "teacher.epochs=8", "proxy.epochs=4", "evidence.runs=2", "evidence.early_epoch=2")
MAY_DIFFER = {"seconds", "subset", "folder", "soft_labels_computed"}
"""Times, paths, and which of the rows happened to fill a soft label."""
FOLDER = "sweep"
TICK = 0.1


@dataclass(frozen=True)
class Ending:
    """The results of a finished sweep: its table, and hashes of each trial's result and network."""

    table: str
    rows: Mapping[str, str]


def start(folder: Path, jobs: int, loader: str) -> subprocess.Popen[bytes]:
    """Start the installed command in its own process group."""
    words: list[str | Path] = [
        Path(sys.executable).parent / "dprune",
        *WORDS,
        "--jobs",
        str(jobs),
        "--loader",
        loader,
        "--out",
        FOLDER,
    ]
    words += [word for change in SETTINGS for word in ("--set", change)]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(words, cwd=folder, stdout=output, stderr=output, start_new_session=True)


def processor_seconds(group: int) -> float:
    """Return the CPU seconds of the running processes of a group."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(words[2]) == group:
            ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def ended_before(process: subprocess.Popen[bytes], limit: float) -> tuple[bool, float]:
    """Wait until a sweep ends or its group has used `limit` seconds; return whether it ended, and the seconds used."""
    used = 0.0
    while process.poll() is None:
        used = max(used, processor_seconds(process.pid))
        if used >= limit:
            return False, used
        time.sleep(TICK)
    return True, used


def finish(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for an uninterrupted sweep."""
    if process.wait() != 0:
        sys.exit(f"the sweep ended with exit code {process.returncode}; see {folder / 'output.txt'}")


def ending(folder: Path) -> Ending:
    """Read a finished sweep."""
    sweep_folder = folder / FOLDER
    store = TrialStore(sweep_folder, read_json(sweep_folder / "store.json")["about"])
    digests = {str(dict(row.config)): _digest(sweep_folder, row) for row in store.trials()}
    return Ending((sweep_folder / "table.md").read_text(), digests)


def _digest(sweep_folder: Path, row: Trial) -> str:
    state = hashlib.sha256(repr(_bare(row.result)).encode())
    for name in ("model.safetensors", "subset.npz"):
        path = sweep_folder / row.result["folder"] / name
        content = np.load(path)["indices"].tobytes() if name.endswith(".npz") else path.read_bytes()  # meta has a time
        state.update(content)
    return state.hexdigest()


def _bare(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _bare(item) for key, item in sorted(value.items()) if key not in MAY_DIFFER}
    return [_bare(item) for item in value] if isinstance(value, list) else value


def state_after_kill(folder: Path) -> str:
    """Describe what the next start resumes from after a kill."""
    sweep_folder = folder / FOLDER
    if not (sweep_folder / "store.json").exists():
        return "no store yet"
    claims = (sweep_folder / "running").glob("[!.]*.json")
    begun = [path for path in claims if not (sweep_folder / "trials" / path.name).exists()]
    if begun:
        searched = any(read_json(path)["config"]["kd_weight"] == "auto" for path in begun)
        return "rows half done, one with a search for its KD weight" if searched else "rows half done"
    if len(list((folder / "dprune-runs/evidence").rglob("done.json"))) < 2:
        return "no whole evidence yet"
    if not any((folder / "dprune-runs/teachers").glob("*/result.json")):
        return "evidence, no whole teacher yet"
    return "all prepared, no row half done"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--loader", default="memory")
    parser.add_argument("--workspace", type=Path, default=RUNS / "sweep_kills", help="emptied first")
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    shutil.rmtree(args.workspace, ignore_errors=True)

    process = start(args.workspace / "undisturbed", args.jobs, args.loader)
    _, reference_seconds = ended_before(process, math.inf)
    finish(process, args.workspace / "undisturbed")
    expected = ending(args.workspace / "undisturbed")
    info(f"undisturbed: {len(expected.rows)} rows, {reference_seconds:.0f} s of processor time")

    random = np.random.default_rng(args.seed)
    kills: list[dict[str, Any]] = []
    laps: list[dict[str, Any]] = []
    while len(kills) < args.kills or not laps or laps[-1]["kills"] != len(kills):
        folder = args.workspace / f"lap-{len(laps)}"
        process = start(folder, args.jobs, args.loader)
        if len(kills) < args.kills:
            moment = float(random.uniform(0, reference_seconds))
            ended, used = ended_before(process, moment)
            if not ended:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                time.sleep(0.5)  # until the system has let go of the locks of all of them
                done = len(list((folder / FOLDER / "trials").glob("[!.]*.json")))
                kills.append(
                    {"lap": len(laps), "after": round(used, 2), "left": state_after_kill(folder), "rows_done": done}
                )
                info(f"kill {len(kills)} of {args.kills}, after {used:.1f} s, left: {kills[-1]['left']}, {done} rows done")
                continue
        finish(process, folder)
        outcome = ending(folder)
        different = sum(outcome.rows.get(key) != value for key, value in expected.rows.items())
        same = outcome == expected
        laps.append({"kills": len(kills), "same": same, "rows_different": different, "left_over": len(_left_over(folder))})
        info(
            f"sweep {len(laps)} ended after {len(kills)} kills in all: {'the same' if same else f'{different} rows differ'}"
        )
    report(expected, reference_seconds, kills, laps, args)


def _left_over(folder: Path) -> list[Path]:
    return list(folder.rglob("*.part"))


def report(
    expected: Ending,
    reference_seconds: float,
    kills: list[dict[str, Any]],
    laps: list[dict[str, Any]],
    args: argparse.Namespace,
) -> None:
    """Print and write the result."""
    killed = [lap for before, lap in pairwise([{"kills": 0}, *laps]) if lap["kills"] > before["kills"]]
    same = sum(lap["same"] for lap in killed)
    left = Counter(kill["left"] for kill in kills)
    body = (
        f"`dprune sweep` on the digits, {len(expected.rows)} rows (2 fractions x 2 scorers x 3 KD weights x 2 seeds), "
        f"{args.jobs} workers, {args.loader} loader. The whole process group got SIGKILL at {len(kills)} random moments, "
        f"uniform from the start of the command to the {reference_seconds:.0f} s of processor time that the undisturbed "
        "sweep took; "
        "after each it was started again with the same command. A sweep that ended before the next kill was compared, and "
        "the next began in an empty folder.\n\n"
        f"**{same} of {len(killed)} sweeps that were killed (up to {_most(laps)} times each) ended as the undisturbed one "
        "did**: the same table, and in every row the same result (but for seconds, paths, and which row filled which soft "
        "label), the same subset and the same bytes of the trained network; cache, evidence, teacher and soft labels were "
        "made anew by each.\n\n"
        + table(["what a kill left to go on from", "kills"], [[word, str(count)] for word, count in left.most_common()])
        + "\n\nTemporary files that kills left behind, under names that nobody reads: "
        + f"{sum(lap['left_over'] for lap in laps)}."
    )
    command = f"python -m benchmarks.sweep_kills --kills {args.kills} --seed {args.seed}"
    data = {
        "undisturbed_processor_seconds": round(reference_seconds, 1), "kills": kills, "sweeps": laps,
        "rows": len(expected.rows),
        "table": expected.table.splitlines(), "jobs": args.jobs, "loader": args.loader, "seed": args.seed,
        "settings": [*WORDS, *SETTINGS],
    }  # fmt: skip
    publish("sweep_kills", f"A sweep killed {len(kills)} times ends as if it had not been", command, body, data)
    if same != len(killed):
        sys.exit("a sweep that was killed ended differently")


def _most(laps: list[dict[str, Any]]) -> int:
    counts: list[int] = [lap["kills"] for lap in laps]
    return max(after - before for before, after in pairwise([0, *counts]))


if __name__ == "__main__":
    main()
