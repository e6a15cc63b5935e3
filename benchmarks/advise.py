"""Is `dprune advise` right? Its fractions on Fashion-MNIST, against students that are trained afterwards.

    DPRUNE_DATA=... python -m benchmarks.advise [--seeds 4]

An advice does not use the test set. The advised fraction is then trained on all the data, with the KD weight that `auto`
begins with, and evaluated on the test set, and so are training runs on everything without KD. A second part measures by how
much a teacher that saw the holdout overestimates its students. Every run is a trial of a store, so it can be interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

import datapruning as dp
from benchmarks.advise_report import report
from benchmarks.common import RUNS
from benchmarks.tiny import open_tiny
from datapruning.analysis.advise.advise import advise
from datapruning.analysis.advise.answer import FILE
from datapruning.analysis.advise.pilots import initial_objective
from datapruning.io.json import read_json
from datapruning.io.tensors import save_tensors
from datapruning.io.trial_store import Trial, TrialConfig, TrialStore
from datapruning.models.weights import hash_weights
from datapruning.runs.context import Context
from datapruning.teachers.load import Teacher, load_teacher
from datapruning.teachers.soft_labels import SoftLabelCache, TeacherLabels
from datapruning.training.evaluate import accuracy
from datapruning.training.losses import CrossEntropy, Loss
from datapruning.training.reproducibility import reproducible
from datapruning.training.schedules import planned_epochs, planned_steps
from datapruning.training.trainer import Trainer
from datapruning.utils.console import info, quiet
from datapruning.utils.fraction import kept_count
from datapruning.utils.hashing import hash_permutation
from datapruning.utils.malloc import keep_freed_memory

TOLERANCES = (0.5, 1.0, 2.0)
SETTINGS = ("train.epochs=6", "teacher.epochs=6")
GRID = ("0.05", "0.1", "0.2", "0.4")
"""Fractions of further students, for the true curve."""
GRID_SEEDS, FULL_SEEDS = 2, 4
JUDGES, REST, SPARE, PARTS_KEY = 4000, 8000, 4000, 0xF1A7
FLATTERED = (("0.1", 3), ("0.5", 3))
"""Fractions of REST, and how many seeds, of the students that are flattered."""
LEARNT_BY_HEART = 40
"""Epochs of the teachers that flatter, on JUDGES + REST samples."""


def network(context: Context, ids: NDArray[np.int64], objective: Loss, seed: int, epochs: int | None = None) -> nn.Module:
    """Train the student's network on the given samples."""
    student = context if epochs is None else context.with_train(epochs=epochs)
    training = student.recipe.train
    model = student.new_model(training.model, seed)
    with reproducible(student.threads):
        trainer = Trainer(
            model, student.loader("train"), ids, student.views, training, objective, seed=seed, description="benchmark",
            num_steps=planned_steps(training, len(ids), len(ids)),
        )  # fmt: skip
        trainer.fit()
    return model


def pupil(context: Context, teacher: Any, ids: NDArray[np.int64], seed: int) -> nn.Module:
    """Train a student like the pilots of an advice on the given samples."""
    data = context.data
    cache = SoftLabelCache(teacher, context.views, data.fingerprint, data.total, data.classes)
    with reproducible(context.threads), quiet():
        cache.fill(context.loader("train"), ids, range(planned_epochs(context.recipe.train, len(ids), data.total)))
    return network(context, ids, initial_objective(context, TeacherLabels([cache])), seed)


def tested(context: Context, model: nn.Module) -> float:
    """Return the test accuracy in percent."""
    return accuracy(model, context.loader("test"), np.arange(len(context.data.test)), context.views)


class Steps:
    """Return the trials by their configuration."""

    def __init__(self, workspace: Path) -> None:
        self.context = open_tiny(workspace, changes=SETTINGS)
        self.workspace = workspace
        self.teachers: dict[str, Any] = {}
        about = {"fingerprint": self.context.data.fingerprint, "settings": list(SETTINGS)}
        self.store = TrialStore(workspace / "rows", about)

    def run(self, config: Mapping[str, Any]) -> Trial:
        """Run one trial, or return the stored one."""
        work: dict[str, Callable[[TrialConfig], Mapping[str, Any]]] = {
            "advice": self.advice, "full": self.full, "student": self.student, "flattery": self.flattery
        }  # fmt: skip
        row = self.store.run(config, work[config["what"]])
        assert row is not None
        info(f"{dict(config)}: {row.seconds:.0f} s")
        return row

    def advice(self, config: TrialConfig) -> dict[str, Any]:
        """Return the result of `dprune advise`."""
        out = self.workspace / f"advice-{config['seed']}"
        advice = advise(self.context, config["tolerance"], seed=config["seed"], out=out)
        answer = read_json(advice.folder / FILE)
        keys = ("fraction", "low", "high", "kept", "reference", "pilots", "cost")
        return {key: answer[key] for key in keys}

    def full(self, config: TrialConfig) -> dict[str, Any]:
        """Train on all samples without KD."""
        ids = np.arange(self.context.data.total)
        return {"test_accuracy": tested(self.context, network(self.context, ids, CrossEntropy(), config["seed"]))}

    def student(self, config: TrialConfig) -> dict[str, Any]:
        """Train a student on a random fraction with the recipe's teacher."""
        context = self.context
        if "recipe" not in self.teachers:
            folder = dp.teach(context).folder
            self.teachers["recipe"] = load_teacher(folder, context.data, context.device)
        seed = 1000 + config["seed"]  # other subsets, initialisations and orders than any advice had
        ids = dp.select(dp.score(context, "random", seed=seed), config["fraction"]).indices
        return {"test_accuracy": tested(context, pupil(context, self.teachers["recipe"], ids, seed)), "kept": len(ids)}

    def flattery(self, config: TrialConfig) -> dict[str, Any]:
        """Train a student with a teacher that memorised the holdout, or never saw it; return holdout and test accuracy."""
        order = hash_permutation(np.arange(self.context.data.total), PARTS_KEY)
        holdout, rest, spare = np.split(order[: JUDGES + REST + SPARE], [JUDGES, JUDGES + REST])
        saw_holdout = config["teacher"] == "saw the holdout"
        ids = np.sort(np.concatenate([rest, holdout if saw_holdout else spare]))
        teacher = self._by_heart("seen" if saw_holdout else "blind", ids)
        kept = np.sort(hash_permutation(rest, PARTS_KEY, config["seed"])[: kept_count(config["fraction"], len(rest))])
        context = self.context.with_train(epochs=LEARNT_BY_HEART // 2)
        model = pupil(context, teacher, kept, config["seed"])

        def both(model: nn.Module) -> dict[str, float]:
            holdout_accuracy = accuracy(model, context.loader("train"), np.sort(holdout), context.views)
            return {"holdout": holdout_accuracy, "test": tested(context, model)}

        return {"student": both(model), "teacher": both(teacher.model)}

    def _by_heart(self, name: str, ids: NDArray[np.int64]) -> Any:
        if name not in self.teachers:
            folder = self.workspace / f"teacher-{name}"
            model = network(self.context, ids, CrossEntropy(), 0, LEARNT_BY_HEART)
            weights = dict(model.state_dict())
            save_tensors(folder / "model.safetensors", weights)
            self.teachers[name] = Teacher(model.eval(), folder, hash_weights(weights))
        return self.teachers[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4, help="advices, each with its own holdout")
    parser.add_argument("--workspace", type=Path, default=RUNS / "advise")
    args = parser.parse_args()
    keep_freed_memory()
    steps = Steps(args.workspace)
    advices = []
    for seed in range(args.seeds):
        for tolerance in TOLERANCES:
            advices.append(steps.run({"what": "advice", "tolerance": tolerance, "seed": seed}))
    flattery = [
        steps.run({"what": "flattery", "teacher": teacher, "fraction": fraction, "seed": seed})
        for teacher in ("saw the holdout", "blind") for fraction, seeds in FLATTERED for seed in range(seeds)
    ]  # fmt: skip
    full = [steps.run({"what": "full", "seed": seed}) for seed in range(FULL_SEEDS)]
    grid = [{"what": "student", "fraction": f, "seed": s} for s in range(GRID_SEEDS) for f in GRID]
    for row in advices:
        if row.result["fraction"] is not None:
            grid.append({"what": "student", "fraction": f"{row.result['fraction']:g}", "seed": 10 + row.config["seed"]})
    students = [steps.run(config) for config in grid]
    report(advices, full, students, flattery)


if __name__ == "__main__":
    main()
