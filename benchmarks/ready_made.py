"""The ready-made scores in the package: forgetting, EL2N, AUM, memorization and random of public datasets.

    DPRUNE_DATA=... python -m benchmarks.ready_made cifar100 fashion-mnist [--jobs 2] [--scorers random]
    python -m benchmarks.ready_made tiny-imagenet=FOLDER --device cuda --out scores

Networks of the fast recipes, in bf16 where the processor has AMX: about 4 core-hours for both datasets of the first line;
how many minutes is measured and printed first. `$DPRUNE_DATA` holds FashionMNIST/ and cifar100.npz or torchvision's copy.
NAME=PATH is a dataset elsewhere, with the options of `dp.open_dataset` (`imagenet=PATH?image-size=256&image-format=jpg`).
Proxies and members of the ensemble resume, and a finished file stays: stop it and start it again as you like. `--toy` scores
the digits in seconds, into another folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import datapruning as dp
from benchmarks.common import RUNS, data_folder, fast_precision, machine
from datapruning.artifacts.ready_made_scores import FOLDER
from datapruning.data.dataset import Dataset
from datapruning.data.registry import DIGITS, SOURCES
from datapruning.evidence.collect import evidence_seconds
from datapruning.evidence.members import open_ensemble
from datapruning.experiments.workers.worker import exit_with_parent
from datapruning.io.json import read_json, write_json
from datapruning.io.npz import write_npz
from datapruning.runs.context import Context
from datapruning.scorers import get_scorer
from datapruning.utils.console import info, quiet
from datapruning.utils.malloc import keep_freed_memory
from datapruning.utils.predicted_time import predict_time

SCORERS = ("forgetting", "el2n", "aum", "memorization", "random")
EXACT = ("random",)
"""Scorers whose scores are not rounded to float16: all ranks are distinct."""
SEED = 0
MAX_BYTES = 3_000_000
"""Of all ready-made scores in the package."""
MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class Plan:
    """The recipe of a dataset's networks, and what is changed in it."""

    recipe: str
    changes: tuple[str, ...] = ()


RUNS_OF_FAST = (
    "evidence.runs=10", "evidence.full_runs=3", "evidence.early_epoch=2", "ensemble.num_members=20",
    "ensemble_member.epochs=6",
)  # fmt: skip
FASTNET16 = ("proxy.model=fastnet16", "ensemble_member.model=fastnet16")
PLANS = {
    "cifar10": Plan("cifar10-fast", (*RUNS_OF_FAST, "proxy.epochs=12")),
    "cifar100": Plan("cifar100-fast", (*RUNS_OF_FAST, "proxy.epochs=12")),
    "fashion-mnist": Plan("cifar100-fast", (*RUNS_OF_FAST, "proxy.epochs=8", *FASTNET16)),
    "imagenet": Plan("imagenet"),
    "tiny-imagenet": Plan("tiny-imagenet"),
}
TOY = Plan(
    "digits",
    ("proxy.epochs=2", "evidence.runs=2", "evidence.early_epoch=1", "ensemble.num_members=10", "ensemble_member.epochs=1",
     "proxy.model=tinynet8", "ensemble_member.model=tinynet8"),
)  # fmt: skip


def open_named(text: str) -> Dataset:
    """Open NAME or NAME=PATH; torchvision's datasets are known by name alone, wherever their images lie."""
    name, _, path = text.partition("=")
    if name != DIGITS and name not in PLANS:
        sys.exit(f"there is no plan for {name}: known are {', '.join(PLANS)}")
    if not path and name not in SOURCES:
        sys.exit(f"{name} is not one of torchvision's datasets: give its folder, as {name}=FOLDER")
    root = None if path or name == DIGITS else data_folder()
    if root is not None and (root / f"{name}.npz").is_file():
        path = str(root / f"{name}.npz")
    data = dp.open_dataset(path or name, root=root)
    return dataclasses.replace(data, name=name, source="" if name in SOURCES else data.source)


def open_planned(text: str, device: str, workspace: Path) -> Context:
    """The context that a dataset is scored in, on one thread: several processes share the work."""
    data = open_named(text)
    plan = PLANS.get(data.name, TOY)
    precision = "auto" if device != "cpu" else fast_precision()
    return dp.open_context(
        data, recipe=plan.recipe, device=device, loader="auto" if data.content_hash else "memory", workspace=workspace,
        threads=1, changes=[*plan.changes, f"proxy.precision={precision}", f"ensemble_member.precision={precision}"],
    )  # fmt: skip


def make_scores(context: Context, scorers: Sequence[str]) -> list[dp.Scores]:
    """Score a dataset by all scorers; evidence that is missing is made."""
    return [dp.score(context, scorer, seed=SEED) for scorer in scorers]


def share_work(datasets: Sequence[str], scorers: Sequence[str], device: str, workspace: Path) -> None:
    """Make evidence while the parent process begins with the proxies: the members of ensembles first."""
    threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
    keep_freed_memory()
    with quiet():
        for text in datasets:
            make_scores(open_planned(text, device, workspace), scorers[::-1])


def round_scores(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The values with the 11 bits of a float16: they take two thirds of the space, and seeds differ by far more."""
    return values.astype(np.float16).astype(np.float32)


def save_compact(scores: dp.Scores, path: Path) -> None:
    """Write scores without hashes of images and without the folder of the evidence, rounded and compressed."""
    exact = scores.scorer in EXACT
    columns = {"score": scores.values, "stderr": scores.stderr}
    arrays: dict[str, NDArray[Any]] = {
        name: column if exact else round_scores(column) for name, column in columns.items() if column is not None
    }
    assert scores.labels is not None
    arrays["labels"] = scores.labels
    meta = scores.meta.model_copy(update={"recording": None})
    if path.exists():
        there = dp.load_scores(path)
        if there.meta.fingerprint == meta.fingerprint and np.array_equal(there.values, arrays["score"]):
            return
    write_npz(path, arrays, meta.to_json(), compress=True)


def describe(scores: dp.Scores, context: Context) -> dict[str, Any]:
    """The entry of scores in the manifest: networks, epochs, seeds, accuracy, cost and versions."""
    meta = scores.meta
    entry: dict[str, Any] = {"seed": meta.seed, "version": meta.package_version, "made": meta.created}
    if meta.costs is None:
        return entry
    entry |= {"recipe": context.recipe.name, "machine": machine(), "seconds": round(meta.costs.seconds)}
    if meta.ensemble is not None and meta.ensemble_member is not None:
        accuracy = [100 * float(member.test_correct.mean()) for member in open_ensemble(context, SEED)]
        return entry | {
            "members": meta.ensemble.num_members, "network": meta.ensemble_member.model,
            "epochs": meta.ensemble_member.epochs, "precision": meta.ensemble_member.precision,
            "test_accuracy": {"mean": round(float(np.mean(accuracy)), 2), "sd": round(float(np.std(accuracy, ddof=1)), 2)},
        }  # fmt: skip
    assert meta.evidence is not None
    assert meta.proxy is not None
    assert meta.recording is not None
    correct = dp.open_recording(meta.recording).final_evaluation()["correct"]
    return entry | {
        "proxies": meta.evidence.runs, "to_the_end": meta.evidence.full_runs, "early_epoch": meta.evidence.early_epoch,
        "network": meta.proxy.model, "epochs": meta.proxy.epochs, "precision": meta.proxy.precision,
        "training_accuracy": round(100 * float(correct.mean()), 2),
    }  # fmt: skip


def save_all(scores: Sequence[dp.Scores], context: Context, folder: Path) -> None:
    """Write the files of a dataset and its manifest, which keeps the entries of scorers that were made before."""
    data, path = context.data, folder / MANIFEST
    for one in scores:
        save_compact(one, folder / f"{one.scorer}.npz")
    before = read_json(path)["scorers"] if path.exists() else {}
    entries = {**before, **{one.scorer: describe(one, context) for one in scores}}
    write_json(path, {"dataset": data.name, "total": data.total, "fingerprint": data.fingerprint, "scorers": entries})


def folder_bytes(folder: Path) -> int:
    """The bytes of all ready-made files in a folder."""
    return sum(path.stat().st_size for path in folder.glob("*/*"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", metavar="NAME[=PATH]", help=", ".join(PLANS))
    parser.add_argument("--scorers", default=",".join(SCORERS))
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=FOLDER, help="default: the package")
    parser.add_argument("--workspace", type=Path, default=RUNS / "ready-made")
    parser.add_argument("--toy", action="store_true")
    args = parser.parse_args(arguments)
    datasets, scorers = [DIGITS] if args.toy else args.datasets, args.scorers.split(",")
    if not datasets or (args.toy and args.out == FOLDER):
        parser.error("name a dataset, or --toy with another --out than the package")
    contexts = [open_planned(text, args.device, args.workspace) for text in datasets]

    def seconds() -> dict[str, float]:
        parts = [(c.data.name, evidence_seconds(c, map(get_scorer, scorers), SEED)) for c in contexts]
        return {f"{name}, {kind}": value / args.jobs for name, kinds in parts for kind, value in kinds.items()}

    keep_freed_memory()
    spawn, shared = multiprocessing.get_context("spawn"), (datasets, scorers, args.device, args.workspace)
    helpers = [spawn.Process(target=share_work, args=shared) for _ in range(args.jobs - 1)]
    with predict_time(seconds):
        for process in helpers:
            process.start()
        for context in contexts:
            save_all(make_scores(context, scorers), context, args.out / context.data.name)
    for process in helpers:
        process.join()
    total = folder_bytes(args.out)
    info(f"{args.out}: {total:,} bytes")
    if args.out == FOLDER and total > MAX_BYTES:
        sys.exit(f"the package may hold {MAX_BYTES:,} bytes of ready-made scores")


if __name__ == "__main__":
    main()
