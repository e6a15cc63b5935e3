"""Students that are pruned at initialisation, shared by the benchmarks of EPSD on CIFAR-100.

A configuration has `data` (a set of `class_sets`), `fraction`, `samples` that the student sees, `method` of
self-distillation ("none": labels alone), `seed`, and where they differ from the usual: `network`, `sparsity` with the other
`settings` of [sparsity], `kd_weight` with `temperature`, and `validate`: the accuracy is that on pruned-away samples, not on
the test set.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import datapruning as dp
from benchmarks.class_sets import NETWORK, open_set
from benchmarks.common import fast_precision
from benchmarks.distillability import agreement_at_start
from benchmarks.fast_speed import summarise
from datapruning.io.tensors import load_tensors
from datapruning.models.fastnet import fastnet
from datapruning.runs.context import Context
from datapruning.runs.run import FinishedRun
from datapruning.training.checkpoint import load_weights
from datapruning.training.evaluate import accuracy
from datapruning.training.sparsity.masks import MASKS_FILE, load_masks

VALIDATION = 10_000
"""At most so many pruned-away samples are validated on."""
STUDENT = f"{NETWORK}-random-init"
"""The network, with convolutions that do not begin as the identity: criteria cannot rank weights that are 0."""
SMALL_NETWORK = "benchmarks.sparse_students:fastnet6"


def fastnet6(channels: int, classes: int) -> nn.Module:
    """A dense network with about as many weights as fastnet32 keeps where 95% are removed."""
    return fastnet(channels, classes, width=6, identity=False)


def open_context(config: Mapping[str, Any], workspace: Path) -> Context:
    """The fast recipe with a configuration's settings, on one thread of the CPU."""
    network = config.get("network", STUDENT)
    precision = fast_precision()
    context = dp.open_context(
        open_set(config["data"]), recipe="cifar100-fast", device="cpu", loader="memory", workspace=workspace, threads=1,
        changes=[
            f"train.model={network}", f"teacher.model={NETWORK}", "teacher.epochs=10", f"train.precision={precision}",
            f"teacher.precision={precision}",
        ],
    )  # fmt: skip
    context = context.with_settings("self_distill", method=config["method"])
    if "temperature" in config:
        context = context.with_settings("kd", temperature=config["temperature"])
    if "sparsity" in config:
        context = context.with_settings("sparsity", sparsity=config["sparsity"], **config.get("settings", {}))
    return context


def train_student(config: Mapping[str, Any], workspace: Path) -> dict[str, Any]:
    """Train the student of a configuration."""
    context = open_context(config, workspace)
    subset = dp.select(dp.score(context, "random", seed=config["seed"]), config["fraction"])
    run = dp.train(
        context, subset, kd_weight=config.get("kd_weight", 0), samples=config["samples"], seed=config["seed"]
    )  # fmt: skip
    row, sparsity, prune = summarise(run.result), run.result.sparsity, run.result.costs.prune
    if config.get("validate"):
        del row["test_accuracy"]
        row["validation"] = round(_validate(context, run, subset.indices), 4)
    if sparsity is not None and prune is not None:
        masks, _ = load_masks(run.folder / MASKS_FILE)
        start = agreement_at_start(context, masks, subset.indices, config["seed"])
        row |= {"kept_weights": sparsity.kept, "prune_seconds": prune.seconds, "start": start._asdict()}
    return row


def _validate(context: Context, run: FinishedRun[Any], kept: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    """The accuracy in percent on samples that were pruned away."""
    model = context.new_model(context.recipe.train.model, 0)
    load_weights(model, load_tensors(run.folder / "model.safetensors")[0], run.folder)
    pruned_away = np.setdiff1d(np.arange(context.data.total), kept)[:VALIDATION]
    return accuracy(model, context.loader("train"), pruned_away, context.views)
