"""Trials shared by the EPSD benchmarks: a small ResNet, pruned at initialisation, with and without self-distillation.

Fashion-MNIST, ResNet-8 with a stem of stride 2 (77,754 weights, 76,944 of them prunable), a random tenth of the data.
Rows lie in one store (`benchmarks/runs/epsd`), whichever benchmark asked for them first.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import datapruning as dp
from benchmarks.common import RUNS, data_folder
from datapruning.io.tensors import load_tensors
from datapruning.io.trial_store import Trial, TrialStore
from datapruning.runs.context import Context
from datapruning.runs.run import FinishedRun
from datapruning.training.checkpoint import load_weights
from datapruning.training.evaluate import accuracy
from datapruning.utils.console import info, quiet
from datapruning.utils.malloc import keep_freed_memory

MODEL = "tinyresnet"
FRACTION = "0.1"
SETTINGS = (
    "train.model=tinyresnet", "train.batch_size=64", "train.epochs=8", "teacher.batch_size=64", "teacher.model=tinyresnet",
    "views.num_views=16", "views.crop=1",
)  # fmt: skip
VALIDATION = 10_000
"""Pruned-away samples that judge where something is chosen."""
METHODS = ("cs-kd", "ps-kd", "dlb", "tf-kd")
Config = Mapping[str, Any]


def row(removed: float, criterion: str, method: str, seed: int, **more: Any) -> dict[str, Any]:
    """A student: its sparsity, criterion and self-distillation ("none": labels alone).

    `more`: further settings of [sparsity]; "judge": "validation" leaves the test set alone; "kd_weight", "fraction".
    """
    return {"sparsity": removed, "criterion": criterion, "method": method, "seed": seed, **more}


def open_small(workspace: Path) -> Context:
    """Open a context on one thread of the CPU."""
    data = dp.open_dataset("fashion-mnist", root=data_folder())
    return dp.open_context(
        data, recipe="fashion-mnist", device="cpu", loader="memory", workspace=workspace, threads=1, changes=SETTINGS
    )


def fill(workspace: Path, configs: Sequence[Config]) -> None:
    """Run trials until none is left."""
    keep_freed_memory()
    opened = cache(lambda: open_small(workspace / "runs"))
    teacher = cache(lambda: dp.teach(opened()))

    def work(config: Config) -> dict[str, Any]:
        context, settings = opened(), dict(config)
        seed, method, removed = settings.pop("seed"), settings.pop("method"), settings.pop("sparsity")
        evaluate_on, weight = settings.pop("judge", "test"), settings.pop("kd_weight", 0.0)
        fraction, epochs = settings.pop("fraction", FRACTION), settings.pop("epochs", None)
        if epochs is not None:
            context = context.with_train(epochs=epochs)
        context = context.with_settings("self_distill", method=method)
        if removed:
            context = context.with_settings("sparsity", sparsity=removed, **settings)
        with quiet():
            subset = dp.select(dp.score(context, "random", seed=seed), fraction)
            named = teacher() if weight else None
            run = dp.train(context, subset, teacher=named, kd_weight=weight, seed=seed)
        result = run.result.to_json()
        if evaluate_on == "validation":
            del result["test_accuracy"]
            result["validation"] = _validation(context, run, subset.indices)
        shutil.rmtree(run.folder)
        return result

    TrialStore(workspace / "rows", {"settings": list(SETTINGS)}).run_all(configs, work, label="EPSD")


def _validation(context: Context, run: FinishedRun, kept: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    model = context.new_model(MODEL, 0)
    load_weights(model, load_tensors(run.folder / "model.safetensors")[0], run.folder)
    away = np.setdiff1d(np.arange(context.data.total), kept)[:VALIDATION]
    return accuracy(model, context.loader("train"), away, context.views)


def rows_of(configs: Sequence[Config], description: str | None) -> list[Trial]:
    """Run missing trials in the number of processes of the command line, and return all trials in order."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="processes that fill rows")
    parser.add_argument("--workspace", type=Path, default=RUNS / "epsd")
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=fill, args=(args.workspace, configs)) for _ in range(args.jobs - 1)]
    for process in others:
        process.start()
    fill(args.workspace, configs)
    store = TrialStore(args.workspace / "rows", {"settings": list(SETTINGS)})
    rows = [row for config in configs if (row := store.get(config)) is not None]
    info(f"{len(rows)} rows, {sum(row.seconds for row in rows) / 60:.0f} minutes in all")
    return rows
