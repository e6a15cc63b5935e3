"""CIFAR-100 with ResNet-18 on a GPU: every scorer from one recording, and memorization in ten minutes.

    DPRUNE_DATA=... python -m benchmarks.cifar100_scores [--minutes 10] [--epochs 40]

`$DPRUNE_DATA` holds `cifar100.npz` (train_images, train_labels, test_images, test_labels, class_names). What is recorded
stays: stop it and start it again. Needs neither FFCV nor an installation; scorers that need faiss are left out where it
is not there.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import datapruning as dp
from benchmarks.common import RUNS, data_folder, publish, table
from benchmarks.memorization import agreement, estimate, part_of
from datapruning.errors import MissingPackage
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.members import open_ensemble
from datapruning.runs.context import Context
from datapruning.scorers import find_scorers
from datapruning.utils.console import info

BLOCK, SPLITS = 10, 20
COMMAND = "DPRUNE_DATA=... python -m benchmarks.cifar100_scores"


def halves(ensemble: SubsetEnsemble, scorer: str) -> float:
    """Return the reliability of the ensemble: rank correlation of its halves, Spearman-Brown corrected."""
    random, correlations = np.random.default_rng(0), []
    blocks = np.arange(len(ensemble) // BLOCK * BLOCK).reshape(-1, BLOCK)
    for _ in range(SPLITS):
        order = random.permutation(len(blocks))
        parts = [blocks[part].ravel().tolist() for part in (order[: len(order) // 2], order[len(order) // 2 :])]
        correlations.append(agreement(*(estimate(scorer, part_of(ensemble, part)) for part in parts)))
    half = float(np.mean(correlations))
    return 2 * half / (1 + half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10, help="that members may take")
    parser.add_argument("--epochs", type=int, default=40, help="of the proxy that trains to the end")
    parser.add_argument("--member-epochs", type=int, default=10)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--workspace", type=Path, default=RUNS / "cifar100-scores")
    args = parser.parse_args()
    data = dp.open_dataset(str(data_folder() / "cifar100.npz"))
    changes = [
        f"proxy.epochs={args.epochs}", f"proxy.model={args.model}", f"ensemble_member.model={args.model}",
        f"ensemble_member.epochs={args.member_epochs}", "evidence.runs=2",
        f"evidence.early_epoch={min(10, args.epochs)}",
    ]  # fmt: skip

    def opened(members: int) -> Context:
        return dp.open_context(
            data, recipe="cifar100", changes=[*changes, f"ensemble.num_members={members}"], device=args.device,
            loader="memory",
            workspace=args.workspace,
        )  # fmt: skip

    started, members = time.monotonic(), 0
    while members < 2 * BLOCK or (time.monotonic() - started) / 60 < args.minutes:
        members += BLOCK
        ensemble = open_ensemble(opened(members), 0)
    minutes = (time.monotonic() - started) / 60
    context, values, lines = opened(members), dict[str, np.ndarray[tuple[int], np.dtype[np.float32]]](), []
    for name in find_scorers():
        before = time.monotonic()
        try:
            values[name] = dp.score(context, name).values
        except MissingPackage as error:
            info(f"{name}: {error}")
            continue
        lines.append([f"`{name}`", f"{time.monotonic() - before:.1f}"])
    for line in lines:
        correlation = spearmanr(values[line[0].strip("`")], values["memorization"]).statistic
        line.append(f"{float(correlation):+.3f}")
    reliable = {name: halves(ensemble, name) for name in ("memorization", "memorization-plain")}
    fit = [float(m.correct[m.in_subset].mean()) for m in ensemble]
    body = (
        f"{args.model}; proxies: one of {args.epochs} epochs, one that stops early. {members} members of "
        f"{args.member_epochs} epochs in {minutes:.1f} minutes, right about {100 * np.mean(fit):.1f}% of their samples. "
        f"Reliability of memorization (split halves, stepped up): {reliable['memorization']:.3f}, of the plain estimate "
        f"{reliable['memorization-plain']:.3f}. The first scorer's seconds include recording.\n\n"
        + table(["scorer", "seconds", "rank correlation with memorization"], lines)
    )
    publish("cifar100_scores", "CIFAR-100, ResNet-18: every scorer, and memorization", COMMAND, body, {
        "members": members, "minutes": minutes, "reliability": reliable, "fit": fit, "scorers": lines,
    })  # fmt: skip


if __name__ == "__main__":
    main()
