"""SIGKILL at random moments of every command: given again, it ends with the same bits as an uninterrupted one.

    python -m benchmarks.crash [--laps 3] [--only sweep,memorization] [--seed 0]

Each scenario is a command or two on the digits, with small settings and a checkpoint every twentieth of a second. It runs
once undisturbed. A lap then runs it in an empty folder: its process group gets SIGKILL at a random moment, uniform over
the work that is left (start-up, which writes nothing, aside), the same command is started again, is killed again, up to
five times, and then left to end. Everything that it leaves is compared with what the undisturbed one left: every tensor,
every array, every table, every result but for its times. Laps are rows of a store, so the benchmark goes on where it was
stopped, as long as the code is the same. Moments are in processor time, so that they fall on the same work however busy
the machine is. Linux.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import HERE, RUNS, publish, table
from benchmarks.sweep_kills import ended_before, processor_seconds

KILLS = 5
"""Of a lap, at most."""
INTERVAL = 0.05
CHILD = f"""
import json, sys, time
import datapruning.api.train, datapruning.scorers, datapruning.teachers.soft_label_store
from datapruning.training import checkpoint
from datapruning.cli.main import run
checkpoint.SAVE_INTERVAL_SECONDS, checkpoint.MAX_SAVE_TIME_FRACTION = {INTERVAL}, 1.0
datapruning.teachers.soft_label_store.FLUSH_SECONDS = {INTERVAL}
open("ready.txt", "w").write(str(time.process_time()))
for words in json.loads(sys.argv[1]):
    code = run(words)
    if code:
        sys.exit(code)
"""
"""`dprune`, some of it in a row, so that start-up is paid for once. The moment before the first word goes to ready.txt."""
LIGHT = ("--loader", "memory", "--threads", "1", "--device", "cpu")
DROPOUT = "benchmarks.crash:dropout_net"
STUDENT = ("train", *LIGHT, "--fraction", "0.4")
ALONE = (*STUDENT, "--kd-weight", "0", "--set", "train.epochs=10")


def settings(*changes: str) -> tuple[str, ...]:
    """Return the arguments of a command line."""
    return tuple(word for change in changes for word in ("--set", change))


TEACHER = settings("teacher.epochs=3", "views.num_views=8")
SCENARIOS: dict[str, tuple[tuple[str, ...], ...]] = {
    "cache": (("cache",),),
    "score: dynamics, in the training loop": (
        (
            "score", *LIGHT, "--scorer", "tdds,aum,knn",
            *settings("proxy.epochs=6", "evidence.full_runs=1", "evidence.runs=1"),
        ),
    ),
    "score: el2n, grand, two proxies": (
        ("score", *LIGHT, "--scorer", "el2n,grand", *settings("proxy.epochs=8", "evidence.full_runs=0", "evidence.runs=2")),
    ),
    "score: memorization, an ensemble": (
        (
            "score", *LIGHT, "--scorer", "memorization",
            *settings("ensemble.num_members=4", "ensemble.subset_fraction=0.5", "ensemble_member.epochs=4"),
        ),
    ),
    "teach": (("teach", *LIGHT, *settings("teacher.epochs=8", "teacher.ema=0.9")),),
    "teach, a network with dropout": (("teach", *LIGHT, *settings("teacher.epochs=8", f"teacher.model={DROPOUT}")),),
    "soft labels, then a student of them": (
        (*STUDENT, *TEACHER, "--kd-weight", "0.7", *settings("train.epochs=8", "teacher.epochs=1")),
    ),
    "train, the KD weight searched": ((*STUDENT, *TEACHER, *settings("train.epochs=6", "kd.search_budget=0.5")),),
    "train, infobatch": ((*ALONE, "--infobatch", "0.5"),),
    "train --sparsity": ((*ALONE, "--sparsity", "0.9", "--self-distill", "cs-kd"),),
    "train, ps-kd, ema": ((*ALONE, "--self-distill", "ps-kd", *settings("train.ema=0.9")),),
    "train, dlb, dropout": ((*ALONE, "--self-distill", "dlb", "--model", DROPOUT),),
    "train, tf-kd-self": ((*STUDENT, "--kd-weight", "0", "--self-distill", "tf-kd-self", *settings("train.epochs=5")),),
    "sweep": (
        (
            "sweep", *LIGHT, "--fractions", "0.1,0.3", "--kd-weights", "0,0.8", "--seeds", "1", *TEACHER,
            *settings("train.epochs=4"),
        ),
    ),
}  # fmt: skip
NOT_COMPARED = ("output.txt", "ready.txt", "stats.json")
"""What was printed, start-up, and how long labels took."""
MAY_DIFFER = {"seconds", "checksum", "soft_labels_computed", "created"}
"""Times, and how many soft labels the last of the processes computed."""


READ_LINES: dict[str, Callable[[list[str]], Any]] = {
    ".json": lambda lines: json.loads("".join(lines)),
    ".jsonl": lambda lines: [json.loads(line) for line in lines],
    ".csv": lambda lines: list(csv.DictReader(lines)),
}
"""What has times in it: lines of a file -> plain data."""


def dropout_net(channels: int, classes: int) -> Any:
    """A network with random numbers in training."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout2d(0.1), nn.Flatten(),
        nn.Linear(16 * 64, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, classes),
    )  # fmt: skip


def sources() -> str:
    """Return a hash of the code."""
    state = hashlib.sha256()
    for package in ("datapruning", "scorers", "teachers", "recipes"):
        for path in sorted((HERE.parent / package).rglob("*")):
            if path.suffix in (".py", ".toml"):
                state.update(f"{path.relative_to(HERE.parent)}\0".encode() + path.read_bytes())
    return state.hexdigest()[:8]


def start(folder: Path, commands: tuple[tuple[str, ...], ...]) -> subprocess.Popen[bytes]:
    """Start the commands in their own process group."""
    folder.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(commands)], cwd=folder, stdout=output, stderr=output,
            start_new_session=True, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip


def ready(folder: Path) -> float:
    """Return the CPU seconds of start-up."""
    return float((folder / "ready.txt").read_text())


def left_by(folder: Path) -> dict[str, str]:
    """Return hashes of all files of a folder that must be equal, by path, except tasks of workers, which name the folder."""
    return {
        str(path.relative_to(folder)): _digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name not in NOT_COMPARED
        and path.parent.name != "tasks"
        and not path.name.endswith(".lock")
    }


def _digest(path: Path) -> str:
    state = hashlib.sha256()
    if path.suffix == ".safetensors":
        from datapruning.io.tensors import load_tensors

        for name, tensor in sorted(load_tensors(path)[0].items()):
            state.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            state.update(tensor.contiguous().numpy().tobytes())
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            for name in sorted(set(archive.files) - {"meta"}):
                state.update(f"{name} {archive[name].dtype} {archive[name].shape}".encode())
                state.update(archive[name].tobytes())
    elif path.suffix in READ_LINES:
        state.update(repr(_bare(READ_LINES[path.suffix](path.read_text().splitlines()))).encode())
    else:
        state.update(path.read_bytes())
    return state.hexdigest()[:16]


def _bare(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _bare(item) for key, item in sorted(value.items()) if key not in MAY_DIFFER}
    return [_bare(item) for item in value] if isinstance(value, list) else value


def undisturbed(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Run a scenario without kills; return its CPU seconds and hashes."""
    shutil.rmtree(folder, ignore_errors=True)
    process = start(folder, SCENARIOS[config["scenario"]])
    _, used = ended_before(process, math.inf)
    if process.wait() != 0:
        sys.exit(f"{config['scenario']} ended with exit code {process.returncode}; see {folder / 'output.txt'}")
    return {"used": round(used, 2), "start_up": round(ready(folder), 2), "left": left_by(folder)}


def lap(folder: Path, reference: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Run a scenario from an empty folder to its end with kills."""
    shutil.rmtree(folder, ignore_errors=True)
    random = np.random.default_rng([config["seed"], config["lap"], list(SCENARIOS).index(config["scenario"])])
    work, spent, kills = reference["used"] - reference["start_up"], 0.0, list[float]()
    while True:
        process = start(folder, SCENARIOS[config["scenario"]])
        left = max(work - sum(kills), 0.1 * work)
        moment = reference["start_up"] + float(random.uniform(0, left)) if len(kills) < KILLS else math.inf
        ended, used = ended_before(process, moment)
        spent += used
        if ended:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        while processor_seconds(process.pid):
            time.sleep(0.05)  # until the system has let go of the locks of all of them
        kills.append(max(used - reference["start_up"], 0.0))
    digests = left_by(folder) if process.returncode == 0 else {}
    names = sorted(set(digests) | set(reference["left"]))
    return {
        "kills": [round(seconds, 2) for seconds in kills], "exit": process.returncode, "files": len(digests),
        "again": round(spent - reference["used"], 2),
        "lost": [name for name in names if name not in digests],
        "surplus": [name for name in names if name not in reference["left"]],
        "different": [
            name for name in names if name in digests and reference["left"].get(name, digests[name]) != digests[name]
        ],
    }  # fmt: skip


def checkpoint_cost() -> dict[str, float]:
    """Return milliseconds and megabytes of a checkpoint of ResNet-18 with momentum, median of 7."""
    import torch

    from datapruning.config.training import TrainConfig
    from datapruning.models import create_model
    from datapruning.training.checkpoint import MAX_SAVE_TIME_FRACTION, SAVE_INTERVAL_SECONDS, Checkpoint
    from datapruning.training.optimizers import make_optimizer
    from datapruning.training.state import TrainState

    model = create_model("resnet18", (32, 32, 3), 10, 0)
    optimizer = make_optimizer(model, TrainConfig())
    model(torch.zeros(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    state, times = Checkpoint(RUNS / "crash" / "cost.safetensors"), []
    for _ in range(7):
        started = time.perf_counter()
        state.save(model, optimizer, TrainState())
        times.append(time.perf_counter() - started)
    size = state.path.stat().st_size / 1e6
    state.remove()
    seconds = statistics.median(times)
    every = max(SAVE_INTERVAL_SECONDS, seconds / MAX_SAVE_TIME_FRACTION)
    return {
        "ms": round(1000 * seconds, 1), "mb": round(size, 1), "interval": SAVE_INTERVAL_SECONDS, "every": every,
        "share": seconds / every,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--laps", type=int, default=3, help="of each scenario")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--only", default="", help="parts of scenarios' names, commas between; nothing is written")
    parser.add_argument("--keep", action="store_true", help="leave the folders of laps that differ")
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    import torch

    from datapruning.io.trial_store import TrialStore
    from datapruning.utils.console import info

    root = RUNS / "crash" / sources()  # rows of other code say nothing about this one
    store = TrialStore(root, {"torch": torch.__version__, "interval": INTERVAL})
    only = args.only.split(",")
    names = [name for name in SCENARIOS if any(part in name for part in only)]
    references, laps = dict[str, Any](), list[dict[str, Any]]()
    for number in range(args.laps):
        for name in names:
            shared = {"scenario": name, "words": json.dumps(SCENARIOS[name])}
            folder = root / "folders" / f"{list(SCENARIOS).index(name):02d}"
            row = store.run({**shared, "lap": None}, partial(undisturbed, folder))
            assert row is not None
            references[name] = row.result
            config = {**shared, "lap": number, "seed": args.seed}
            lap_folder = folder.with_name(f"{folder.name}-{number}")
            row = store.run(config, partial(lap, lap_folder, references[name]))
            assert row is not None
            laps.append({"scenario": name, **row.result})
            bad = [*row.result["lost"], *row.result["surplus"], *row.result["different"]]
            info(f"{name}: {len(row.result['kills'])} kills, {row.result['again']:.1f} s again, different: {bad or 'none'}")
            if not bad and not args.keep:
                shutil.rmtree(lap_folder, ignore_errors=True)
    report(references, laps, args, checkpoint_cost())


def report(
    references: Mapping[str, Any], laps: list[dict[str, Any]], args: argparse.Namespace, cost: Mapping[str, float]
) -> None:
    """Print and write the result."""
    kills = [kill for lap in laps for kill in lap["kills"]]
    rows = []
    for name, reference in references.items():
        scenario_laps = [lap for lap in laps if lap["scenario"] == name]
        count = sum(len(lap["kills"]) for lap in scenario_laps)
        repeated_seconds = sum(lap["again"] for lap in scenario_laps) / max(count, 1)
        rows.append(
            [
                name, str(len(scenario_laps)), str(count), f"{reference['used']:.1f} s, {reference['start_up']:.1f} s",
                f"{repeated_seconds:.1f} s",
                str(len(reference["left"])),
                *(str(sum(len(lap[kind]) for lap in scenario_laps)) for kind in ("lost", "different", "surplus")),
            ]
        )  # fmt: skip
    wrong = {kind: sum(len(lap[kind]) for lap in laps) for kind in ("lost", "different", "surplus")}
    failed = sum(lap["exit"] != 0 for lap in laps)
    body = (
        f"{len(laps)} runs of `dprune` on the digits got SIGKILL {len(kills)} times at random moments, uniform over the "
        f"work that was left, up to {KILLS} times a run, each time followed by the same command again. Everything that a "
        "run left (every tensor of every network, every array, table and result but for times and the count of soft labels "
        "that the last process computed) was compared with what an undisturbed run left.\n\n"
        f"**{wrong['lost']} files lost, {wrong['different']} files with a different bit, {failed} runs that did not end.** "
        f"Files that only a killed run left: {wrong['surplus']}.\n\n"
        + table(
            ["what was killed", "runs", "kills", "undisturbed, of which start-up", "done again a kill, start-up included",
             "files compared", "lost", "different", "left over"],
            rows,
        )
        + f"\n\nA checkpoint of ResNet-18 with its momentum ({cost['mb']:.0f} MB, checksum, synced to disk) took "
        f"{cost['ms']:.0f} ms here (median of 7). By default at least {cost['interval']:.0f} s lie between two, and at "
        f"least a hundred times what the last one took: {cost['every']:.0f} s, {100 * cost['share']:.2f}% of the time. In "
        f"this benchmark one was saved every {INTERVAL:g} s, at any update. Seconds of the table are processor time; the "
        "machine did other work meanwhile."
    )  # fmt: skip
    command = f"python -m benchmarks.crash --laps {args.laps} --seed {args.seed}"
    if args.only:
        print(body)  # a part of it is no result
    else:
        publish("crash", f"Killed {len(kills)} times", command, body, {"laps": laps, "checkpoint": cost})
    if any(wrong.values()) or failed:
        sys.exit("a run that was killed ended differently")


if __name__ == "__main__":
    main()
