"""Pilots from scratch or probes from the middle to find the KD weight; the effect of confidence weighting and T=2.

    DPRUNE_DATA=... python -m benchmarks.probes [--jobs 2]

This is where the design of `--kd-weight auto` was decided, so the test set has no part in it: the last 10,000 training
images of Fashion-MNIST play its role, and the teacher never saw them. 2% of the others is kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import datapruning as dp
from benchmarks.common import RUNS, data_folder, mean_spread, publish, records, table
from benchmarks.tiny import SETTINGS, WRONG, with_wrong_labels
from datapruning.data.dataset import Split
from datapruning.io.trial_store import TrialStore
from datapruning.runs.context import Context
from datapruning.teachers.prepare import prepare_labels
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.distillation.run_search import loss_for
from datapruning.training.distillation.weight_search import Candidate
from datapruning.training.evaluate import accuracy
from datapruning.training.schedules import learning_rate, planned_steps
from datapruning.training.trainer import Trainer
from datapruning.utils.malloc import keep_freed_memory

GRID = (0.0, 0.3, 0.6, 0.9, 1.0)
WEIGHTED = {
    "trust 0.6, T=4": Candidate(0.6, 4.0, confidence_weighting=True),
    "trust 0.6, T=2": Candidate(0.6, 2.0, confidence_weighting=True),
}
SHARES = {"pilot": (0.1, 0.2), "probe": (0.05, 0.1)}
CONDITIONS = ("random", "wrong", "el2n")
SEEDS = (10, 11)
FRACTION = "0.02"
COMMAND = "DPRUNE_DATA=... python -m benchmarks.probes"


def open_development(workspace: Path, *, wrong: bool) -> Context:
    """Return the development split."""
    data = dp.open_dataset("fashion-mnist", root=data_folder())
    parts = [Split(data.train.images[part], data.train.labels[part]) for part in (slice(50_000), slice(50_000, None))]
    data = dataclasses.replace(data, name="fashion-mnist-development", train=parts[0], test=parts[1])
    return dp.open_context(
        with_wrong_labels(data, WRONG) if wrong else data, recipe="fashion-mnist", device="cpu", loader="memory",
        workspace=workspace, threads=1, changes=SETTINGS,
    )  # fmt: skip


def run_row(context: Context, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the development test accuracies of complete runs, pilots and probes of one seed."""
    seed, training = config["seed"], context.recipe.train
    scores = dp.score(context, "el2n") if config["condition"] == "el2n" else dp.score(context, "random", seed=seed)
    ids = dp.select(scores, FRACTION).indices
    labels, _ = prepare_labels(context, [], ids)
    steps = planned_steps(training, len(ids), context.data.total)

    def trained(arm: Candidate, trainer_options: dict[str, Any] | None = None, **options: Any) -> float:
        model = context.new_model(training.model, seed)
        loss, settings = loss_for(context, labels, arm), {"seed": seed, "num_steps": steps, **(trainer_options or {})}
        trainer = Trainer(
            model, context.loader("train"), ids, context.views, training, loss, description=str(arm), **settings
        )  # fmt: skip
        trainer.fit(**options)
        return accuracy(model, context.loader("test"), np.arange(len(context.data.test)), context.views)

    result: dict[str, Any] = {"whole": {}, "pilot": {}, "probe": {}}
    arms = {f"{weight:g}": Candidate(weight, 4.0, confidence_weighting=False) for weight in GRID}
    result["whole"] = {name: trained(arm) for name, arm in {**arms, **WEIGHTED}.items()}
    with tempfile.TemporaryDirectory() as folder:
        shared_prefix = Checkpoint(Path(folder) / "shared-prefix.safetensors")
        trained(arms["0.9"], stop_epoch=training.epochs // 2, save_final_to=shared_prefix)
        start = steps // 2
        peak = learning_rate(training, start, steps)
        for share in SHARES["pilot"]:
            shorter = {"num_steps": round(share * steps)}
            result["pilot"][str(share)] = {name: trained(arm, shorter) for name, arm in arms.items()}
        for share in SHARES["probe"]:
            length = round(share * steps)

            def rate(step: int, length: int = length) -> float:
                return peak * (1 - (step - start + 0.5) / length)

            result["probe"][str(share)] = {
                name: trained(arm, {"num_steps": start + length, "lr_schedule": rate}, init_from=shared_prefix)
                for name, arm in arms.items()
            }
    return result


def work(workspace: Path, configs: Sequence[Mapping[str, Any]]) -> None:
    """Run trials until none is left."""
    keep_freed_memory()
    opened = cache(lambda wrong: open_development(workspace / "runs", wrong=wrong))
    store = TrialStore(workspace / "rows", {"settings": list(SETTINGS)})
    store.run_all(configs, lambda config: run_row(opened(config["condition"] == "wrong"), config), label="probes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="processes that fill rows")
    parser.add_argument("--workspace", type=Path, default=RUNS / "probes")
    args = parser.parse_args()
    configs = [{"condition": condition, "seed": seed} for seed in SEEDS for condition in CONDITIONS]
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=work, args=(args.workspace, configs)) for _ in range(args.jobs - 1)]
    for process in others:
        process.start()
    work(args.workspace, configs)
    store = TrialStore(args.workspace / "rows", {"settings": list(SETTINGS)})
    rows = [row for config in configs if (row := store.get(config)) is not None]
    lines, losses = [], []
    for condition in CONDITIONS:
        results = [row.result for row in rows if row.config["condition"] == condition]
        names = [*(f"{weight:g}" for weight in GRID), *WEIGHTED]
        lines.append([condition, *(mean_spread([r["whole"][name] for r in results]) for name in names)])
        lost = [condition]
        for kind, shares in SHARES.items():
            for share in shares:
                chosen = [max(r[kind][str(share)], key=r[kind][str(share)].get) for r in results]
                gaps = [
                    max(r["whole"][f"{w:g}"] for w in GRID) - r["whole"][name]
                    for r, name in zip(results, chosen, strict=True)
                ]
                lost.append(f"{statistics.mean(gaps):.2f} ({', '.join(chosen)})")
        losses.append(lost)
    head = ["condition", *(f"a={weight:g}" for weight in GRID), *WEIGHTED]
    kinds = [f"{kind}s of {share:.0%}" for kind, shares in SHARES.items() for share in shares]
    body = (
        "Accuracy in percent on held-out training images of whole runs at 2%, mean ± standard deviation over seeds; a=... "
        f"at T=4.\n\n{table(head, lines)}\n\nPoints that the whole run loses if its weight is the one with the best short "
        "trial, and the weights chosen. A pilot is a whole schedule from scratch in a share of the updates; a probe anneals "
        "a copy of the a=0.9 run from its middle. Short trials were judged on the same held-out images.\n\n"
        + table(["condition", *kinds], losses)
    )
    publish("probes", "What tells the KD weight: pilots or probes", COMMAND, body, {"rows": records(rows, keep=None)})


if __name__ == "__main__":
    main()
