"""Wrong labels: which scorers detect them, and their effect on each way of keeping 10% and 30%, with and without teacher.

    DPRUNE_DATA=... python -m benchmarks.wrong_labels [--jobs 2]

Fashion-MNIST with 10% of the training labels replaced by another class at random; the test set stays clean. Scorers and
students do not know which. Runs are rows of a store: stop it and start it again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

import datapruning as dp
from benchmarks.common import RUNS, data_folder, mean_spread, publish, records, table
from benchmarks.tiny import SETTINGS, with_wrong_labels
from datapruning.io.trial_store import Trial, TrialStore
from datapruning.runs.context import Context
from datapruning.utils.console import info, quiet
from datapruning.utils.malloc import keep_freed_memory

SHARE = 0.1
STEPS = ("train.epochs=10", "proxy.epochs=10", "ensemble_member.epochs=6", "ensemble.num_members=20")
SCORERS = (
    "aum", "loss", "knn", "el2n", "el2n-online", "forgetting", "grand", "grand-last", "entropy", "margin", "confidence",
    "dyn-unc", "tdds", "dual", "herding", "k-center", "moderate", "prototypicality", "duplicates", "random",
)  # fmt: skip
OF_ENSEMBLES = ("memorization", "memorization-plain")
"""Scorers whose evidence is dear: one seed."""
LAST = ("knn",)
"""Scorers that rank likely wrong labels last."""
SCORE_SEEDS, STUDENT_SEEDS = (0, 1, 2), (0, 1, 2)
FRACTIONS = ("0.1", "0.3")
WEIGHTS = (0.0, 0.9)
CCS = {"cutoff": 0.3}
ARMS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("random", "top", {}), ("el2n", "top", {}), ("forgetting", "top", {}), ("aum", "top", {}), ("memorization", "top", {}),
    ("dual", "top", {}), ("moderate", "top", {}), ("knn", "top", {}), ("aum", "ccs", CCS), ("dual", "beta", {}),
    ("forgetting", "d2", {}),
)  # fmt: skip
"""Scorer, strategy, its settings."""
COMMAND = "DPRUNE_DATA=... python -m benchmarks.wrong_labels"


def open_wrong(workspace: Path) -> tuple[Context, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return a context on the dataset with wrong labels, and which labels are wrong."""
    clean = dp.open_dataset("fashion-mnist", root=data_folder())
    data = with_wrong_labels(clean, SHARE)
    context = dp.open_context(
        data, recipe="fashion-mnist", device="cpu", loader="memory", threads=1, workspace=workspace,
        changes=(*SETTINGS, "ensemble_member.model=tinynet16", "ensemble_member.batch_size=64", *STEPS),
    )  # fmt: skip
    return context, data.train.labels != clean.train.labels


def detection_quality(
    context: Context, wrong: np.ndarray[Any, np.dtype[np.bool_]], scorer: str, seed: int
) -> dict[str, float]:
    """Measure how well a scorer's ranking detects the wrong labels."""
    with quiet():
        values = dp.score(context, scorer, seed=seed).values * (-1 if scorer in LAST else 1)
    return {"auroc": float(roc_auc_score(wrong, values)), "ap": float(average_precision_score(wrong, values))}


def fill(workspace: Path, configs: Sequence[Mapping[str, Any]]) -> None:
    """Run trials until none is left."""
    keep_freed_memory()
    opened = cache(lambda: open_wrong(workspace / "runs"))
    teacher = cache(lambda: dp.teach(opened()[0]))

    def work(config: Mapping[str, Any]) -> dict[str, Any]:
        context, wrong = opened()
        if config["what"] == "detection":
            return detection_quality(context, wrong, config["scorer"], config["seed"])
        seed, weight = config["seed"], config["kd_weight"]
        with quiet():
            scores = dp.score(context, config["scorer"], seed=seed if config["scorer"] == "random" else 0)
            subset = dp.select(
                scores, config["fraction"], strategy=config["strategy"], settings=config["settings"], seed=seed
            )
        named = teacher() if weight else None
        run = dp.train(context, subset, teacher=named, kd_weight=weight, seed=seed)
        return {**run.result.to_json(), "wrong": float(wrong[subset.indices].mean())}

    about = {"settings": [*SETTINGS, *STEPS], "share": SHARE}
    TrialStore(workspace / "rows", about).run_all(configs, work, label="wrong labels")


def grid() -> list[dict[str, Any]]:
    """Return all trials: detection first, then students, seed by seed."""
    rows: list[dict[str, Any]] = [
        {"what": "detection", "scorer": scorer, "seed": seed} for seed in SCORE_SEEDS for scorer in SCORERS
    ]
    rows += [{"what": "detection", "scorer": scorer, "seed": 0} for scorer in OF_ENSEMBLES]
    for seed in STUDENT_SEEDS:
        for fraction in FRACTIONS:
            for scorer, strategy, settings in ARMS:
                for weight in WEIGHTS:
                    rows.append({
                        "what": "student", "scorer": scorer, "strategy": strategy, "settings": dict(settings),
                        "fraction": fraction, "kd_weight": weight, "seed": seed,
                    })  # fmt: skip
    return rows


def detection_lines(rows: Sequence[Trial]) -> list[list[str]]:
    """Return a row per scorer, the best first."""
    by_scorer = {name: [r.result for r in rows if r.config["scorer"] == name] for name in (*SCORERS, *OF_ENSEMBLES)}
    ranked = sorted(by_scorer, key=lambda name: -statistics.mean(r["ap"] for r in by_scorer[name]))
    return [
        [f"`{name}`", "last" if name in LAST else "first", mean_spread([r["ap"] for r in by_scorer[name]], 3),
         mean_spread([r["auroc"] for r in by_scorer[name]], 3)]
        for name in ranked
    ]  # fmt: skip


def student_lines(rows: Sequence[Trial]) -> list[list[str]]:
    """Return a row per arm: accuracy without and with the teacher, at each fraction."""
    lines = []
    for scorer, strategy, settings in ARMS:
        name = f"`{scorer}`" + (
            "" if strategy == "top" else f", {strategy}" + "".join(f" {k} {v}" for k, v in settings.items())
        )
        line = [name]
        for fraction in FRACTIONS:
            matching = [
                r for r in rows
                if (r.config["scorer"], r.config["strategy"], r.config["fraction"]) == (scorer, strategy, fraction)
            ]  # fmt: skip
            line.append(f"{statistics.mean(r.result['wrong'] for r in matching):.1%}")
            for weight in WEIGHTS:
                accuracies = [r.result["test_accuracy"] for r in matching if r.config["kd_weight"] == weight]
                line.append(mean_spread(accuracies))
        lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="processes that fill rows")
    parser.add_argument("--workspace", type=Path, default=RUNS / "wrong-labels")
    args = parser.parse_args()
    configs = grid()
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=fill, args=(args.workspace, configs)) for _ in range(args.jobs - 1)]
    for process in others:
        process.start()
    fill(args.workspace, configs)
    store = TrialStore(args.workspace / "rows", {"settings": [*SETTINGS, *STEPS], "share": SHARE})
    rows = [row for config in configs if (row := store.get(config)) is not None]
    info(f"{len(rows)} rows, {sum(row.seconds for row in rows) / 60:.0f} minutes in all")
    detection = [row for row in rows if row.config["what"] == "detection"]
    students = [row for row in rows if row.config["what"] == "student"]
    head = ["scorer, strategy"]
    for fraction in FRACTIONS:
        head += [f"f={fraction}: wrong among the kept", "no KD", f"KD {WEIGHTS[1]:g}"]
    body = (
        "Fashion-MNIST, 10% of the training labels replaced by another class at random, tinynet16.\n\n"
        "## Finding them\n\n"
        "Proxies of 10 epochs (`el2n`, `grand`: five runs, two epochs), seeds 0-2; `memorization`: 20 members of 6 "
        "epochs, one seed. AP: average precision at finding the wrong labels (chance 0.1); AUROC: chance 0.5. At which end "
        "of the ranking they are expected was fixed beforehand.\n\n"
        f"{table(['scorer', 'wrong labels come', 'AP', 'AUROC'], detection_lines(detection))}\n\n"
        "## Students\n\n"
        "Test accuracy (clean test set) of students of 10 epochs; mean ± standard deviation over 3 seeds of initialisation, "
        "order and whatever the strategy draws; scores are of one seed, but for random. The teacher is tinynet16 trained on "
        "all data, wrong labels included.\n\n"
        f"{table(head, student_lines(students))}"
    )
    data = {"rows": records(detection, keep=None) + records(students, keep=("test_accuracy", "kept", "wrong", "seconds"))}
    publish("wrong_labels", "Wrong labels: who finds them, and what they cost", COMMAND, body, data)


if __name__ == "__main__":
    main()
