"""CIFAR-100 with ResNet-18 on one GPU: students of `--kd-weight auto` at fixed compute, in about a quarter of an hour.

    DPRUNE_DATA=... python -m benchmarks.gpu_students [--toy] [--report-only]

`$DPRUNE_DATA` holds `cifar100.npz`. The most important rows come first, each is written when it is made, and a run that was
cut short goes on from its checkpoint. `--toy` runs the same rows on the CPU with a tiny network and few samples, to see that
they run. Needs neither FFCV nor an installation.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import datapruning as dp
from benchmarks.committed import run_rows
from benchmarks.common import RUNS, data_folder, publish, table
from datapruning.runs.context import Context

TEACHER_SAMPLES = 6_000_000
STUDENTS = (
    ("0.1", 1_000_000, "auto", 66.0), ("0.1", 3_000_000, "auto", 73.0), ("0.3", 3_000_000, "auto", 75.5),
    ("0.1", 1_000_000, 0, None), ("0.5", 3_000_000, "auto", 77.5), ("0.2", 3_000_000, "auto", 74.5),
)  # fmt: skip
"""Fraction, samples seen, KD weight, and the accuracy that is hoped for."""
SETTINGS = tuple(
    f"{table_name}.{setting}"
    for table_name in ("train", "teacher")
    for setting in ("batch_size=512", "lr=0.2", "precision=bf16", "schedule=cosine")
)
TOY = ("train.model=tinynet8", "teacher.model=tinynet8", "train.batch_size=64", "teacher.batch_size=64")
TOY_SHARE = 1 / 100
COMMAND = "DPRUNE_DATA=... python -m benchmarks.gpu_students"


def open_context(workspace: Path, *, toy: bool, graph: bool = False) -> Context:
    """The recipe of CIFAR-100 with batches of 512; the teacher sees six million samples."""
    data = dp.open_dataset(str(data_folder() / "cifar100.npz"))
    epochs = 1 if toy else round(TEACHER_SAMPLES / data.total)
    graphs = ("train.graph=true", "teacher.graph=true") if graph else ()
    settings = (*SETTINGS, f"teacher.epochs={epochs}", *(TOY if toy else ()), *graphs)
    return dp.open_context(
        data, recipe="cifar100", device="cpu" if toy else "cuda", loader="memory", workspace=workspace, changes=settings,
        threads=1 if toy else None,
    )  # fmt: skip


def run_row(config: Mapping[str, Any], workspace: Path, *, toy: bool = False, graph: bool = False) -> dict[str, Any]:
    """The teacher, or a student with its search; with `graph` their steps are CUDA graphs."""
    context = open_context(workspace, toy=toy, graph=graph)
    if config["fraction"] == "1":
        result = dp.teach(context).result.to_json()
    else:
        samples = round(config["samples"] * (TOY_SHARE if toy else 1))
        student = dp.train(context, fraction=config["fraction"], samples=samples, kd_weight=config["kd_weight"])
        result = student.result.to_json()
    keys = ("test_accuracy", "kept", "samples_seen", "kd_weight", "temperature", "kd_weight_search", "seconds", "costs")
    return {key: result[key] for key in keys if key in result}


def main() -> None:
    toy = "--toy" in sys.argv
    if toy:
        sys.argv.remove("--toy")
    configs: list[dict[str, Any]] = [{"fraction": "1", "samples": TEACHER_SAMPLES, "kd_weight": 0}]
    configs += [{"fraction": f, "samples": samples, "kd_weight": weight} for f, samples, weight, _ in STUDENTS]
    name = "gpu_students_toy" if toy else "gpu_students"
    rows = run_rows(name, configs, partial(run_row, toy=toy), __doc__, folder=RUNS if toy else None)
    goals = {(f, samples, weight): goal for f, samples, weight, goal in STUDENTS}
    lines = []
    for row in rows:
        config, result = row["config"], row["result"]
        search = result.get("kd_weight_search")
        goal = goals.get((config["fraction"], config["samples"], config["kd_weight"]))
        chosen = f"{search['weight']:g}, T={search['temperature']:g}, {search['augmentation']}" if search else ""
        cost = f"{search['cost']:.2f}" if search else ""
        views = str(search["num_views"]) if search else ""
        lines.append([
            config["fraction"], f"{result['samples_seen']:,}", str(config["kd_weight"]), f"{result['test_accuracy']:.2f}",
            "" if goal is None else f"{goal:g}", chosen, views, cost, f"{row['seconds']:.0f}", row["device"],
        ])  # fmt: skip
    head = [
        "kept",
        "samples seen",
        "KD weight",
        "accuracy",
        "goal",
        "chosen",
        "views",
        "search, trainings",
        "seconds",
        "device",
    ]
    if not toy:
        body = f"Test accuracy in percent, one run each; the first row is the teacher.\n\n{table(head, lines)}"
        publish(name, "CIFAR-100, ResNet-18, at fixed compute", COMMAND, body, {})
    else:
        print(table(head, lines))


if __name__ == "__main__":
    main()
