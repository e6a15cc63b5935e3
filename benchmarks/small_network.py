"""`--kd-weight auto` with a small network that SGD trains: 20 classes of CIFAR-100, 1,000 images kept, 100 epochs.

    DPRUNE_DATA=... python -m benchmarks.small_network [--jobs 2] [--report-only]

tinynet64, batches of 64, SGD at 0.1, its own network as the teacher. The prior (`results/prior_judged.json`) was fitted on
another network and another recipe. About half a core-hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datapruning as dp
from benchmarks.class_sets import JUDGED_PRIOR, KEPT_OF_RESULT, open_set
from benchmarks.committed import run_rows
from benchmarks.common import RESULTS, mean_spread, publish, table

DATA, NETWORK, FRACTION, EPOCHS, TEACHER_EPOCHS = "cifar100:0-19", "tinynet64", "0.1", 100, 40
SEEDS = (0, 1)
WEIGHTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("auto", {"kd": "auto", "prior": JUDGED_PRIOR.name}),
    ("1, T=20", {"kd": 1.0, "temperature": 20.0}),
    ("0, labels alone", {"kd": 0.0}),
)
SETTINGS = tuple(
    f"{part}.{setting}"
    for part in ("train", "teacher")
    for setting in (f"model={NETWORK}", "batch_size=64", "optimizer=sgd", "lr=0.1")
)
NAME = "small_network"
COMMAND = "DPRUNE_DATA=... python -m benchmarks.small_network"


def train_student(config: Mapping[str, Any], workspace: Path) -> dict[str, Any]:
    """A student of the recipe of CIFAR-100 with the settings above."""
    changes = [*SETTINGS, f"teacher.epochs={TEACHER_EPOCHS}"]
    if config["kd"] == "auto":
        changes.append(f"kd.prior={RESULTS / config['prior']}")
    elif config["kd"]:
        changes.append(f"kd.temperature={config['temperature']}")
    context = dp.open_context(
        open_set(DATA), recipe="cifar100", device="cpu", loader="memory", workspace=workspace, threads=1, changes=changes
    )
    run = dp.train(context, fraction=FRACTION, kd_weight=config["kd"], epochs=EPOCHS, seed=config["seed"])
    result = run.result.to_json()
    teacher = run.result.teacher
    return {
        **{key: result[key] for key in KEPT_OF_RESULT if key in result},
        "teacher_accuracy": teacher[0].test_accuracy if teacher else None,
    }


def main() -> None:
    configs = [{**weight, "seed": seed} for seed in SEEDS for _, weight in WEIGHTS]
    rows = run_rows(NAME, configs, train_student, __doc__)
    lines = []
    for name, weight in WEIGHTS:
        own = [row["result"] for row in rows if {k: v for k, v in row["config"].items() if k != "seed"} == weight]
        searches = [result["kd_weight_search"] for result in own if "kd_weight_search" in result]
        chosen = "; ".join(f"{s['weight']:g}, T={s['temperature']:g}, {s['augmentation']}" for s in searches)
        cost = f"{sum(s['cost'] for s in searches) / len(searches):.2f}" if searches else ""
        if own:
            lines.append([name, mean_spread([result["test_accuracy"] for result in own]), chosen, cost])
    known = [accuracy for row in rows if (accuracy := row["result"]["teacher_accuracy"]) is not None]
    body = (
        f"Classes 0 to 19 of CIFAR-100, {NETWORK}, 1,000 of 10,000 images, {EPOCHS} epochs; the teacher trained for "
        f"{TEACHER_EPOCHS} epochs{f' and has {known[0]:.1f}%' if known else ''}. Test accuracy in percent, over seeds.\n\n"
        f"{table(['KD weight', 'accuracy', 'chosen', 'cost of the search in trainings'], lines)}"
    )
    publish(NAME, "KD weight auto with a small network", COMMAND, body, {})


if __name__ == "__main__":
    main()
