"""Sets of 20 classes of CIFAR-100 (10,000 training images each), and students of the fast recipe on them.

A configuration has `data` ("cifar100:0-19", the classes, or "fashion-mnist"), `condition` ("random"; "wrong": random, and
20% of the training labels are wrong; or a scorer that keeps the hardest), `fraction`, `samples` (the student's, repeats
counted), `kd` ("auto", or a weight and a temperature), `views` ("crop" or "resized", and their number), `seed`, and where
they differ from the usual: with "auto" the name of its `prior` in `results/`; `teacher_epoch` of an early checkpoint;
`teacher_model` and `teacher_samples`, how the teacher was trained; `cutmix`, the share of images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import datapruning as dp
from benchmarks.common import RESULTS, data_folder
from benchmarks.tiny import WRONG, with_wrong_labels
from datapruning.data.dataset import Dataset, Split
from datapruning.runs.context import Context
from datapruning.utils.fraction import kept_count

NETWORK = "fastnet32"
JUDGED_PRIOR = RESULTS / "prior_judged.json"
"""Fitted on classes 0 to 39 of CIFAR-100 and on Fashion-MNIST."""
TEACHER_SAMPLES = 100_000
VIEWS: dict[str, dict[str, Any]] = {
    "crop": {},
    "resized": {"crop": 0, "scale": (0.25, 1.0)},
}
KEPT_OF_RESULT = ("test_accuracy", "kept", "kd_weight", "temperature", "samples_seen", "epochs", "kd_weight_search")


def class_set(data: Dataset, first: int, last: int) -> Dataset:
    """The images of the classes `first`..`last`, whose labels begin with 0."""

    def part(split: Split) -> Split:
        chosen = (split.labels >= first) & (split.labels <= last)
        return Split(np.asarray(split.images)[chosen], split.labels[chosen] - first)

    names = data.class_names[first : last + 1]
    return Dataset(f"{data.name}-{first}-{last}", part(data.train), part(data.test), names)


@cache
def open_set(name: str) -> Dataset:
    """Open the set "cifar100:0-19", say, or "fashion-mnist"."""
    dataset, _, classes = name.partition(":")
    if not classes:
        return dp.open_dataset(dataset, root=data_folder())
    first, last = map(int, classes.split("-"))
    return class_set(dp.open_dataset(str(data_folder() / f"{dataset}.npz")), first, last)


def open_context(name: str, condition: str, workspace: Path, teacher_samples: int = TEACHER_SAMPLES) -> Context:
    """The fast recipe on a set, on one thread of the CPU: benchmarks run several processes side by side."""
    data = open_set(name)
    if condition == "wrong":
        data = with_wrong_labels(data, WRONG)
    settings = (
        *(f"{table}.model={NETWORK}" for table in ("train", "teacher")),
        f"teacher.epochs={round(teacher_samples / data.total)}",
    )
    return dp.open_context(
        data, recipe="cifar100-fast", device="cpu", loader="memory", workspace=workspace, threads=1, changes=settings
    )


def train_student(config: Mapping[str, Any], workspace: Path) -> dict[str, Any]:
    """Train the student of a configuration. Its teacher, trained where it is missing, saw shifted crops in any case."""
    context = open_context(config["data"], config["condition"], workspace, config.get("teacher_samples", TEACHER_SAMPLES))
    folder = dp.teach(context, model=config.get("teacher_model")).folder
    views, kd, recipe = config["views"], config["kd"], context.recipe
    teacher = f"{folder}@{config['teacher_epoch']}" if "teacher_epoch" in config else folder
    policy = recipe.views.replace(**VIEWS[views["kind"]], num_views=views["num_views"])
    cutmix = recipe.cutmix.replace(prob=config.get("cutmix", 0.0))
    context = dataclasses.replace(context, recipe=recipe.replace(views=policy, cutmix=cutmix))
    kept = kept_count(config["fraction"], context.data.total)
    by_score = config["condition"] not in ("random", "wrong")
    scores = dp.score(context, config["condition"]) if by_score and config["fraction"] != "1" else None
    if kd == "auto":
        context = context.with_settings("kd", prior=str(RESULTS / config["prior"]))
    elif kd["weight"]:
        context = context.with_settings("kd", temperature=kd["temperature"])
    run = dp.train(
        context, fraction=config["fraction"], teacher=teacher, kd_weight="auto" if kd == "auto" else kd["weight"],
        epochs=round(config["samples"] / kept), seed=config["seed"], scores=scores,
    )  # fmt: skip
    result = run.result.to_json()
    return {key: result[key] for key in KEPT_OF_RESULT if key in result}
