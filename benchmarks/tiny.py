"""The setup shared by benchmarks of many runs: Fashion-MNIST, a network that trains in seconds, optional wrong labels.

Rows lie in one store (`benchmarks/runs/tiny`), whichever benchmark asked for them first.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import datapruning as dp
from benchmarks.common import RUNS, data_folder
from datapruning.api.student_request import Teachers
from datapruning.data.dataset import Dataset, Split
from datapruning.io.trial_store import Trial, TrialStore
from datapruning.runs.context import Context
from datapruning.utils.console import info
from datapruning.utils.hashing import hash_permutation
from datapruning.utils.malloc import keep_freed_memory

STUDENT = "tinynet16"
SETTINGS = tuple(
    [f"{table}.model={STUDENT}" for table in ("train", "teacher", "proxy")]
    + [f"{table}.batch_size=64" for table in ("train", "teacher", "proxy")]
    + ["views.num_views=8", "views.crop=2"]  # as the recipe had them when the committed rows were made
)
LADDER = (STUDENT, "tinynet8", "tinynet32")
"""Teachers, the student's own network first."""
WRONG = 0.2
WRONG_KEY = 0x3A0B6
Config = Mapping[str, Any]


def with_wrong_labels(data: Dataset, share: float, seed: int = 0) -> Dataset:
    """Return the data with the fraction `share` of the training labels replaced uniformly by another class."""
    chosen = hash_permutation(np.arange(data.total), WRONG_KEY, seed)[: round(share * data.total)]
    random = np.random.default_rng([WRONG_KEY, seed])
    labels = data.train.labels.copy()
    labels[chosen] = (labels[chosen] + random.integers(1, data.classes, len(chosen))) % data.classes
    name = f"{data.name}-{round(100 * share)}-wrong"
    return dataclasses.replace(data, name=name, train=Split(data.train.images, labels))


def open_tiny(workspace: Path, *, wrong: bool = False, changes: tuple[str, ...] = ()) -> Context:
    """Open a context on one thread of the CPU, because benchmarks run several processes in parallel."""
    data = dp.open_dataset("fashion-mnist", root=data_folder())
    if wrong:
        data = with_wrong_labels(data, WRONG)
    return dp.open_context(
        data, recipe="fashion-mnist", device="cpu", loader="memory", workspace=workspace, threads=1,
        changes=(*SETTINGS, *changes),
    )  # fmt: skip


def row(condition: str, fraction: str, kd_weight: float | str, seed: int, teacher: str | None = None) -> dict[str, Any]:
    """Run a trial: the condition "wrong" is a random subset with wrong labels, any other names a scorer.

    `teacher`: the network of the teacher, where it is not the student's; "auto": chosen from the ladder.
    """
    config = {"condition": condition, "fraction": fraction, "kd_weight": kd_weight, "seed": seed}
    return config if teacher in (None, STUDENT) else {**config, "teacher": teacher}


def open_rows(workspace: Path) -> TrialStore:
    """Return the store of all trials."""
    return TrialStore(workspace / "rows", {"settings": list(SETTINGS), "threads": 1})


def fill(workspace: Path, configs: Sequence[Config], label: str) -> None:
    """Run trials until none is left."""
    keep_freed_memory()  # as `dprune` does
    opened = cache(lambda wrong: open_tiny(workspace / "runs", wrong=wrong))
    finished_only = "teacher.keep_checkpoints=[]"  # what is compared is the choice among networks
    teachers = cache(
        lambda model: dp.teach(open_tiny(workspace / "runs", changes=(f"teacher.model={model}", finished_only)))
    )

    def work(config: Config) -> dict[str, Any]:
        context = opened(config["condition"] == "wrong")
        by_score = config["condition"] not in ("random", "wrong")
        scores = dp.score(context, config["condition"]) if by_score else None
        named = config.get("teacher")
        teacher: Teachers | None = None
        if named is not None:
            teacher = ["auto", *(teachers(model) for model in LADDER)] if named == "auto" else teachers(named)
        run = dp.train(
            context, fraction=config["fraction"], scores=scores, kd_weight=config["kd_weight"], seed=config["seed"],
            teacher=teacher,
        )  # fmt: skip
        return run.result.to_json()

    open_rows(workspace).run_all(configs, work, label=label)


def filled(configs: Sequence[Config], label: str, doc: str | None) -> list[Trial]:
    """Parse `--jobs` and `--workspace`, run the trials in that many processes, and return them in the given order."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="processes that fill rows")
    parser.add_argument("--workspace", type=Path, default=RUNS / "tiny")
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=fill, args=(args.workspace, configs, label)) for _ in range(args.jobs - 1)]
    for process in others:
        process.start()
    fill(args.workspace, configs, label)
    store = open_rows(args.workspace)
    rows = [row for config in configs if (row := store.get(config)) is not None]
    info(f"{len(rows)} rows, {sum(row.seconds for row in rows) / 60:.0f} minutes in all")
    return rows
