"""KD in a plain torch loop, with `dp.soft_labels` and `dp.KDLoss`, against our own training: same network, data and views.

    DPRUNE_DATA=... python -m benchmarks.own_loop_kd [--jobs 2] [--report-only]

6,000 training images of Fashion-MNIST are all there is: the teacher learns from them, the students from a random fifth. Both
loops have the same initial weights, augmentation, optimiser, schedule and soft labels; the order of the batches is each
loop's own. The test set is evaluated once, at the end of each run. Less than 10 core-minutes.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import datapruning as dp
from benchmarks.committed import run_rows
from benchmarks.common import data_folder, mean_spread, publish, table
from benchmarks.comparison import in_words
from datapruning.data.dataset import Split
from datapruning.runs.context import Context

NAME, COMMAND = "own_loop_kd", "DPRUNE_DATA=... python -m benchmarks.own_loop_kd"
TOTAL, FRACTION, SEEDS, WEIGHTS = 6000, "0.2", 10, (0.9, 0.0)
OURS, OWN_LOOP = "our training", "own loop"
CHANGES = ("train.model=tinynet16", "teacher.model=tinynet16", "train.batch_size=64", "teacher.batch_size=64")


def open_subset(workspace: Path) -> Context:
    """Return the context of the first images of Fashion-MNIST."""
    data = dp.open_dataset("fashion-mnist", root=data_folder())
    train = Split(data.train.images[:TOTAL], data.train.labels[:TOTAL])
    subset = replace(data, name=f"fashion-mnist-{TOTAL}", train=train)
    return dp.open_context(
        subset, recipe="fashion-mnist", changes=CHANGES, device="cpu", loader="memory", threads=1, workspace=workspace
    )


def train_row(config: Mapping[str, Any], workspace: Path) -> dict[str, Any]:
    """Train and evaluate one student."""
    torch.set_num_threads(1)
    context, seed, weight = open_subset(workspace), config["seed"], config["kd_weight"]
    teacher = dp.teach(context)
    ids = np.sort(np.random.default_rng(seed).permutation(TOTAL)[: int(TOTAL * float(FRACTION))])
    if config["loop"] == OURS:
        subset = dp.subset_from_ids(ids, context.data, "random")
        result = dp.train(context, subset, teacher=teacher if weight else None, kd_weight=weight, seed=seed).result
        return {"test_accuracy": result.test_accuracy, "teacher_accuracy": teacher.test_accuracy}
    network = context.new_model(context.recipe.train.model, seed)
    torch.manual_seed(seed)
    train_in_own_loop(network, context, ids, teacher.folder, weight, workspace)
    return {"test_accuracy": evaluate(network, context), "teacher_accuracy": teacher.test_accuracy}


def train_in_own_loop(
    network: nn.Module, context: Context, ids: NDArray[np.int64], teacher: Path, weight: float, workspace: Path
) -> None:
    """Train as somebody would who has a loop already."""
    settings, split = context.recipe.train, context.data.train
    images = TensorDataset(torch.from_numpy(split.images), torch.from_numpy(split.labels))
    soft_labels = dp.soft_labels(
        teacher, images, ids, num_views=settings.epochs, augmentation=context.views, batch_size=256, workspace=workspace
    )
    train_set, criterion = soft_labels.dataset(), dp.KDLoss(weight, context.recipe.kd.temperature)
    loader = DataLoader(train_set, settings.batch_size, shuffle=True)
    optimizer = torch.optim.SGD(
        network.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay, nesterov=True
    )
    steps = settings.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 0.5) / (0.2 * steps), (steps - step - 0.5) / (0.8 * steps))
    )
    network.train()
    for epoch in range(settings.epochs):
        train_set.set_epoch(epoch)
        for batch, labels, _, teacher_logits in loader:
            optimizer.zero_grad()
            criterion(network(batch), labels, teacher_logits).total.backward()
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def evaluate(network: nn.Module, context: Context) -> float:
    """Return the test accuracy in percent."""
    network.eval()
    test = context.data.test
    images = torch.from_numpy(test.images).split(512)
    predicted = torch.cat([network(context.views.normalise(batch)).argmax(1) for batch in images])
    return float(100 * (predicted == torch.from_numpy(test.labels)).float().mean())


def main() -> None:
    configs = [
        {"loop": loop, "kd_weight": weight, "seed": seed}
        for seed in range(SEEDS) for weight in WEIGHTS for loop in (OURS, OWN_LOOP)
    ]  # fmt: skip
    rows = run_rows(NAME, configs, train_row, __doc__)
    lines = []
    for weight in WEIGHTS:
        ours, own_loop = (
            [
                row["result"]["test_accuracy"]
                for row in rows
                if (row["config"]["loop"], row["config"]["kd_weight"]) == (loop, weight)
            ]
            for loop in (OURS, OWN_LOOP)
        )
        name = f"{weight:g}" if weight else "labels alone"
        lines.append([name, mean_spread(ours), mean_spread(own_loop), in_words(own_loop, ours)])
    teacher = statistics.mean(row["result"]["teacher_accuracy"] for row in rows)
    about = (
        f"Test accuracy in percent of tinynet16 on a random {FRACTION} of {TOTAL:,} images of Fashion-MNIST, 16 epochs of "
        f"16 views, flip and crop 1; mean ± standard deviation over {SEEDS} seeds (a seed draws subset, initial weights "
        f"and order). The teacher, the same network on all {TOTAL:,}, has {teacher:.1f}%. The own loop is "
        "`train_in_own_loop` of the benchmark: `dp.soft_labels`, `dp.KDLoss`, a DataLoader and SGD. Differences are paired "
        "by seed, ± standard error."
    )
    head = ["KD weight", OURS, OWN_LOOP, f"{OWN_LOOP} minus {OURS}"]
    publish(NAME, "KD in a loop of one's own", COMMAND, f"{about}\n\n{table(head, lines)}", {})


if __name__ == "__main__":
    main()
