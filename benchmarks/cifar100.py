"""CIFAR-100 with ResNet-18 on a GPU: full data, then random fractions without KD and with KD weight auto.

    DPRUNE_DATA=... python -m benchmarks.cifar100 [--fractions 0.1 0.3 0.5] [--budgets epochs steps] [--epochs 200]

`$DPRUNE_DATA` holds `cifar100.npz` (train_images, train_labels, test_images, test_labels, class_names). Rows of a store:
stop it and start it again as you like; a run that was cut short goes on from its checkpoint. Needs neither FFCV nor an
installation.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datapruning as dp
from benchmarks.common import RUNS, data_folder, mean_spread, publish, records, table
from datapruning.io.trial_store import Trial, TrialStore
from datapruning.runs.context import Context

KNOWN = (
    "Published without KD, 200 epochs: random 45.0 / 64.8 / 71.6 and the best coreset about 55.5 / 69.3 / 74.6 at f = 0.1 / "
    "0.3 / 0.5, full data 78.2."
)
COMMAND = "DPRUNE_DATA=... python -m benchmarks.cifar100"


def run_row(context: Context, config: Mapping[str, Any]) -> dict[str, Any]:
    """The teacher is the full-data run; students differ in fraction and KD weight."""
    if config["fraction"] == "1":
        return dp.teach(context, seed=config["seed"]).result.to_json()
    context = context.with_train(budget=config["budget"])
    student = dp.train(context, fraction=config["fraction"], kd_weight=config["kd_weight"], seed=config["seed"])
    return student.result.to_json()


def line(rows: list[Trial]) -> list[str]:
    """Return one row of the table: a fraction and KD weight over its seeds."""
    first = rows[0].result
    speed = [r.result["samples_seen"] / r.result["seconds"]["train"] for r in rows]
    return [
        rows[0].config["fraction"], f"{first['kept']:,}", rows[0].config["budget"], str(rows[0].config["kd_weight"]),
        mean_spread([r.result["test_accuracy"] for r in rows]), ", ".join(f"{r.result.get('kd_weight', 0):g}" for r in rows),
        mean_spread([r.result["seconds"]["train"] for r in rows], 0), f"{sum(speed) / len(speed):,.0f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fractions", nargs="+", default=["0.1", "0.3", "0.5"])
    parser.add_argument("--weights", nargs="+", default=["0", "auto"])
    parser.add_argument("--budgets", nargs="+", default=["epochs", "steps"])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workspace", type=Path, default=RUNS / "cifar100")
    args = parser.parse_args()
    data = dp.open_dataset(str(data_folder() / "cifar100.npz"))
    changes = [f"train.epochs={args.epochs}", f"teacher.epochs={args.epochs}"]
    context = dp.open_context(data, recipe="cifar100", changes=changes, device=args.device, workspace=args.workspace)
    used = {table: context.recipe.to_dict()[table] for table in ("views", "train", "teacher")}
    about = {"fingerprint": data.fingerprint, "recipe": used, "device": context.device.type}
    store = TrialStore(args.workspace / "rows", about)
    cells = [("1", "0", "epochs"), *((f, w, b) for b in args.budgets for f in args.fractions for w in args.weights)]
    configs = [
        {"fraction": f, "kd_weight": w if w == "auto" else float(w), "budget": b, "seed": s}
        for f, w, b in cells
        for s in range(args.seeds)
    ]
    rows = store.run_all(configs, lambda config: run_row(context, config), label="cifar100")
    by_cell: dict[tuple[str, str, str], list[Trial]] = {}
    for row in rows:
        by_cell.setdefault((row.config["fraction"], str(row.config["kd_weight"]), row.config["budget"]), []).append(row)
    head = ["fraction", "kept", "budget", "KD weight", "test accuracy, %", "weights used", "seconds of training", "images/s"]
    body = (
        f"ResNet-18, {args.epochs} epochs, batches of {context.recipe.train.batch_size}, random subsets; "
        "mean ± standard deviation over seeds. Under the budget epochs the cost falls with the fraction; under steps every "
        f"run makes as many updates as the full data. {KNOWN}\n\n" + table(head, [line(cell) for cell in by_cell.values()])
    )
    publish(
        "cifar100",
        "CIFAR-100, ResNet-18, random fractions without KD and with KD weight auto",
        COMMAND,
        body,
        {"rows": records(rows)},
    )


if __name__ == "__main__":
    main()
