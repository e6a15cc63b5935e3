"""CIFAR-100 with ResNet-18 on a GPU: EPSD against SNIP and SynFlow at 90%, 96.8% and 99% of the weights removed.

    DPRUNE_DATA=... python -m benchmarks.cifar100_epsd [--epochs 160]

`$DPRUNE_DATA` holds `cifar100.npz`. Rows of a store: stop it and start it again as you like; a run that was cut short goes
on from its checkpoint. Needs neither FFCV nor an installation.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datapruning as dp
from benchmarks.common import RUNS, data_folder, mean_spread, publish, records, table
from datapruning.io.trial_store import TrialStore

KNOWN = (
    "Published (SynFlow paper, mean of 3): SNIP 74.47 / 66.51 / 55.08, SynFlow 73.84 / 68.77 / 60.90 at 90 / 96.8 / 99% "
    "removed; dense 78.4."
)
SHARES = (0.9, 0.968, 0.99)
ARMS = (("synflow", "none"), ("snip", "none"), ("snip", "cs-kd"), ("prospr", "cs-kd"), ("epsd", "cs-kd"))
COMMAND = "DPRUNE_DATA=... python -m benchmarks.cifar100_epsd"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", nargs="+", type=float, default=list(SHARES))
    parser.add_argument("--epochs", type=int, default=160)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workspace", type=Path, default=RUNS / "cifar100-epsd")
    args = parser.parse_args()
    data = dp.open_dataset(str(data_folder() / "cifar100.npz"))
    context = dp.open_context(
        data, recipe="cifar100", changes=[f"train.epochs={args.epochs}", f"train.model={args.model}"], device=args.device,
        loader="memory", workspace=args.workspace,
    )  # fmt: skip

    def work(config: Mapping[str, Any]) -> dict[str, Any]:
        student = context.with_settings("self_distill", method=config["method"])
        student = student.with_sparsity(config["sparsity"], config["criterion"])
        return dp.train(student, fraction="1", kd_weight=0, seed=config["seed"]).result.to_json()

    configs = [
        {"sparsity": share, "criterion": criterion, "method": method, "seed": seed}
        for seed in range(args.seeds) for share in args.shares for criterion, method in ARMS
    ]  # fmt: skip
    about = {"fingerprint": data.fingerprint, "epochs": args.epochs, "model": args.model, "device": context.device.type}
    rows = TrialStore(args.workspace / "rows", about).run_all(configs, work, label="EPSD")
    lines = []
    for criterion, method in ARMS:
        line = [criterion, method]
        for share in args.shares:
            results = [
                r.result for r in rows
                if (r.config["criterion"], r.config["method"], r.config["sparsity"]) == (criterion, method, share)
            ]  # fmt: skip
            line.append(mean_spread([r["test_accuracy"] for r in results]))
        lines.append([*line, mean_spread([r["costs"]["prune"]["seconds"] for r in results], 1)])
    body = (
        f"{args.model}, {args.epochs} epochs of all the data, test accuracy in percent. {KNOWN}\n\n"
        + table(["pruned by", "trained with", *(f"{s:.1%} removed" for s in args.shares), "seconds of pruning"], lines)
    )  # fmt: skip
    publish("cifar100_epsd", "CIFAR-100, ResNet-18: EPSD", COMMAND, body, {
        "rows": records(rows, keep=("test_accuracy", "seconds", "samples_seen")),
    })  # fmt: skip


if __name__ == "__main__":
    main()
