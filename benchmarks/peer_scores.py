"""Seconds to scores against released code: DeepCore's forgetting and CCS's EL2N, on one core of the same machine.

    git clone https://github.com/PatrickZH/DeepCore && git -C DeepCore checkout 74ec709f
    git clone https://github.com/haizhongzheng/Coverage-centric-coreset-selection CCS && git -C CCS checkout b37f166a
    DPRUNE_DATA=... python -m benchmarks.peer_scores --deepcore DeepCore --ccs CCS

`$DPRUNE_DATA` holds `cifar100.npz`. About 15 minutes of one core. Rows of a store: stop it and start it again as you like.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RUNS, data_folder
from benchmarks.peer_drivers import Case, Task
from benchmarks.peer_report import COMMITS, SCRIPTS, SETTINGS, SMALL_ONLY, WARM_SAMPLES, WAYS, report
from datapruning.errors import DataPruningError
from datapruning.io.json import write_json
from datapruning.io.trial_store import TrialStore
from datapruning.utils.console import info

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SHOWN_LINES = 15
HERE = Path(__file__).parents[1]


def cut(folder: Path, samples: int) -> str:
    """Write an `.npz` of the first training samples of CIFAR-100, which has a random order, and of all test samples."""
    path = folder / f"cifar100-{samples}.npz"
    if not path.exists():
        with np.load(data_folder() / "cifar100.npz") as dataset:
            arrays = {name: dataset[name][: samples if name.startswith("train_") else None] for name in dataset}
        np.savez(path, **arrays)
    return str(path)


def run_task(task: Task, where: Path) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Run a task in a separate process; return its results, and the seconds of the process with all its children.

    Raises:
        DataPruningError: it failed; with the end of what it printed.
    """
    folder = Path(task.folder)
    write_json(folder / "task.json", asdict(task))
    environment = {**os.environ, "PYTHONPATH": str(HERE), **dict.fromkeys(THREADS, "1")}
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks.peer_drivers", str(folder / "task.json")]
    started = time.perf_counter()
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(words, cwd=where, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = {"wall": time.perf_counter() - started, "cpu": used.ru_utime + used.ru_stime}
    if process.returncode:
        printed = (folder / "output.txt").read_text(errors="replace").splitlines()
        raise DataPruningError("\n".join([f"{task.side} in {where} failed:", *printed[-SHOWN_LINES:]]))
    return json.loads((folder / "answer.json").read_text(encoding="utf-8")), seconds


def measure(config: Mapping[str, Any], folders: Mapping[str, Path], workspace: Path, core: int) -> dict[str, Any]:
    """Run one method once: a case for each network after a short start-up case; one case each for the scripts."""
    name, way = config["way"], WAYS[config["way"]]
    settings = SETTINGS[:1] if name in SMALL_ONLY else SETTINGS
    cases = tuple(Case(cut(workspace, samples), network, epochs, batch) for network, samples, epochs, batch in settings)
    warm = Case(cut(workspace, WARM_SAMPLES), settings[0][0], 1, WARM_SAMPLES)
    load = {"load_average": os.getloadavg()[0]}
    where = folders[way["side"].partition("-")[0]]
    with tempfile.TemporaryDirectory(dir=workspace) as folder:
        if name == SCRIPTS:
            sides = ("ccs-train", "ccs-score")
            done = [run_task(Task(folder=folder, core=core, cases=cases, **{**way, "side": s}), where) for s in sides]
            total = {kind: sum(seconds[kind] for _, seconds in done) for kind in ("wall", "cpu")}
            return {**load, "whole": total, "cases": [{"network": cases[0].network, "mean": done[1][0][0]["mean"]}]}
        answers, total = run_task(Task(folder=folder, core=core, cases=(warm, *cases), **way), where)
    named = [{"network": case.network, **answer} for case, answer in zip(cases, answers[1:], strict=True)]
    rest = {kind: total[kind] - sum(p[kind] for a in named for p in a["parts"].values()) for kind in total}
    return {**load, "start_up": rest, "cases": named}


def check_commit(name: str, folder: Path) -> None:
    """Warn if a checkout is not at the commit of the published numbers."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    if commit != COMMITS[name]:
        info(f"{folder} is at {commit or 'no commit'}; the published results are of {COMMITS[name]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deepcore", type=Path, required=True, help="folder of a checkout")
    parser.add_argument("--ccs", type=Path, required=True, help="folder of a checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="number of the core that is used")
    parser.add_argument("--workspace", type=Path, default=RUNS / "peer_scores")
    args = parser.parse_args()
    workspace = args.workspace.resolve()
    folders = {"deepcore": args.deepcore.resolve(), "ccs": args.ccs.resolve(), "ours": HERE, "network": HERE}
    for name in COMMITS:
        check_commit(name, folders[name])
    store = TrialStore(workspace / "rows", {"settings": SETTINGS, "commits": COMMITS})
    configs = [{"round": r, "way": name} for r in range(args.rounds) for name in list(WAYS)[:: -1 if r % 2 else 1]]
    report(store.run_all(configs, lambda c: measure(c, folders, workspace, args.core), label="peer scores"), args.rounds)


if __name__ == "__main__":
    main()
