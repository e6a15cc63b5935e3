"""Trials with different views: students of one teacher, in a separate store, for the benchmarks about views."""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import datapruning as dp
from benchmarks.committed import Config
from benchmarks.common import RUNS
from benchmarks.tiny import SETTINGS, open_tiny
from datapruning.config.augmentation import CutMixPolicy
from datapruning.io.trial_store import Trial, TrialStore
from datapruning.utils.console import info
from datapruning.utils.malloc import keep_freed_memory


def open_rows(workspace: Path) -> TrialStore:
    """Return the store of these trials."""
    return TrialStore(workspace / "rows", {"settings": list(SETTINGS), "threads": 1})


def fill(workspace: Path, configs: Sequence[Config], label: str) -> None:
    """Run trials until none is left.

    A row: `fraction`, `epochs`, `kd_weight`, `seed`, and `views`, what is changed in the recipe's [views] (and `cutmix`).
    """
    keep_freed_memory()  # as `dprune` does
    opened = cache(lambda: open_tiny(workspace / "runs"))
    teacher = cache(lambda: dp.teach(opened()))

    def work(config: Config) -> dict[str, Any]:
        changes = dict(config["views"])
        cutmix = CutMixPolicy(prob=changes.pop("cutmix", 0.0))
        recipe = opened().recipe
        recipe = recipe.replace(views=recipe.views.replace(**changes), cutmix=cutmix)
        context = dataclasses.replace(opened(), recipe=recipe).with_train(epochs=config["epochs"])
        weight = config["kd_weight"]
        named = teacher() if weight else None
        run = dp.train(context, fraction=config["fraction"], teacher=named, kd_weight=weight, seed=config["seed"])
        return run.result.to_json()

    open_rows(workspace).run_all(configs, work, label=label)


def filled(configs: Sequence[Config], label: str, doc: str | None) -> list[Trial]:
    """Parse `--jobs` and `--workspace`, run the trials in that many processes, and return them in the given order."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="processes that fill rows")
    parser.add_argument("--workspace", type=Path, default=RUNS / "views")
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


def paired(rows: Sequence[Trial], reference: Sequence[Trial]) -> list[float]:
    """Return differences in test accuracy, seed by seed."""
    by_seed = {row.config["seed"]: row.result["test_accuracy"] for row in reference}
    return [row.result["test_accuracy"] - by_seed[row.config["seed"]] for row in rows]
