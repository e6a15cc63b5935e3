"""The trainings of an advice: the reference, the teacher where it needs one, the pilots. Each is a row of a store.

None of them trains on a judge. The recipe's teacher has seen every sample, and its students look better on the judges
than they are (measured in `benchmarks/advise.py`); so the advice has a teacher of its own, blind to the judges. Where
teacher and student are trained alike, that is the reference itself, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from datapruning.analysis.advise.holdout import Parts, packed
from datapruning.analysis.advise.plan import Pilot
from datapruning.config.training import TrainConfig
from datapruning.data.augment.views import Views
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.io.trial_store import Config, Row, RowStore
from datapruning.runs.context import Context
from datapruning.scorers import get_scorer
from datapruning.teachers.load import Teacher, hash_weights
from datapruning.teachers.soft_labels import SoftLabelCache, TeacherLabels
from datapruning.training.checkpoint import Checkpoint, load_weights
from datapruning.training.distillation.weight_search import Arm, prior_weight
from datapruning.training.evaluate import predict
from datapruning.training.losses import CrossEntropy, Distillation, Objective, SoftLabels
from datapruning.training.reproducibility import reproducible
from datapruning.training.schedules import planned_epochs, planned_steps
from datapruning.training.state import Progress
from datapruning.training.trainer import fit
from datapruning.utils.console import hushed
from datapruning.utils.fraction import kept_count
from datapruning.utils.hashing import digest

REFERENCE, TEACHER, PILOT, NAMED = "reference", "teacher", "pilot", "named teacher"
MODEL, STATE = "model.safetensors", "state.safetensors"


def opening_arm(context: Context) -> Arm:
    """The objective that `--kd-weight auto` begins with."""
    kd = context.recipe.kd
    weight = prior_weight(kd.weight_grid)
    return Arm(weight, kd.temperatures[0], kd.confidence_weighting and weight < 1)


def opening_objective(context: Context, labels: SoftLabels) -> Objective:
    """The same, with these labels."""
    arm, smoothing = opening_arm(context), context.recipe.train.label_smoothing
    return Distillation(labels, arm.weight, arm.temperature, smoothing, trust=arm.trust)


def taught_by_reference(context: Context) -> bool:
    """Whether a teacher of this recipe is trained as the reference is."""
    recipe = context.recipe
    return recipe.teacher == recipe.train and not recipe.cutmix.prob  # teachers see no mixed pictures


class Trainings:
    """Does rows, or finds them done.

    Args:
        context: with the student's settings.
        store: where rows are kept; networks lie in `runs/` beside them.
        parts: judges and the rest.
        scorer: who ranks.
        named: teachers that the user names; they may have seen the judges.
        seed: of everything.
    """

    def __init__(
        self, context: Context, store: RowStore, parts: Parts, scorer: str, named: Sequence[Any], seed: int
    ) -> None:
        self._context, self._store, self._parts, self._scorer, self._seed = context, store, parts, scorer, seed
        self._teachers = list(named)
        self._named = bool(named)

    def reference(self) -> Row:
        """The training on everything but the judges, without KD."""
        return self._row({"run": REFERENCE}, partial(self._whole, REFERENCE, self._context.recipe.train))

    def teacher(self) -> Row | None:
        """The teacher that is blind to the judges; None where the reference is that, or where the user names one."""
        if self._named or taught_by_reference(self._context):
            return None
        return self._row({"run": TEACHER}, partial(self._whole, TEACHER, self._context.recipe.teacher))

    def named(self) -> list[Row]:
        """How the named teachers do on the judges."""
        return [
            self._row({"run": NAMED, "weights": teacher.weights_hash}, partial(self._examine, teacher.model))
            for teacher in self._teachers if self._named
        ]  # fmt: skip

    def pilot(self, pilot: Pilot) -> Row:
        """One student."""
        return self._row({"run": PILOT, "fraction": pilot[0], "repeat": pilot[1]}, self._pilot)

    def _row(self, config: Config, work: Any) -> Row:
        row = self._store.run(config, work)
        assert row is not None  # run() waits for a row that another process has
        return row

    def _whole(self, name: str, training: TrainConfig, _: Config) -> dict[str, Any]:
        objective = CrossEntropy(training.label_smoothing)
        views = self._context.views if name == TEACHER else self._context.among(self._parts.rest).views
        model, done = self._train(name, training, self._parts.rest, views, objective, self._seed)
        save_tensors(self._folder(name) / MODEL, dict(model.state_dict()))
        return self._result(model, done, len(self._parts.rest), 0)

    def _pilot(self, config: Config) -> dict[str, Any]:
        context = self._context
        training, rest = context.recipe.train, self._parts.rest
        seed = int(digest({**config, "seed": self._seed}, 8), 16)  # pilots differ in subset, initialisation and order
        ids = self._subset(config["fraction"], seed)
        epochs = planned_epochs(training, len(ids), len(rest))
        data, views = context.data, context.among(ids).views
        with reproducible(context.threads), hushed():
            caches = [
                SoftLabelCache(teacher, views, data.fingerprint, data.total, data.classes) for teacher in self._teaching()
            ]
            for cache in caches:
                cache.fill(context.split("train"), ids, epochs)
        objective = opening_objective(context, TeacherLabels(caches))
        model, done = self._train(f"pilot-{config['fraction']}-{config['repeat']}", training, ids, views, objective, seed)
        labels = min(views.policy.num_views, epochs) * len(caches) * len(ids)
        return self._result(model, done, len(ids), labels)

    def _subset(self, fraction: str, seed: int) -> NDArray[np.int64]:
        """A scorer that draws draws anew for every pilot; one that needs evidence has one opinion."""
        from datapruning.api.score import score
        from datapruning.artifacts.scorer import Samples

        draws = get_scorer(self._scorer).needs is Samples
        with hushed():
            values = score(self._context, self._scorer, seed=seed if draws else self._seed).values
        rest = self._parts.rest
        order = rest[np.argsort(-values[rest], kind="stable")]
        return np.sort(order[: kept_count(fraction, len(rest))])

    def _teaching(self) -> list[Any]:
        if not self._teachers:
            alike = taught_by_reference(self._context)
            folder = self._folder(REFERENCE if alike else TEACHER)
            weights, _ = load_tensors(folder / MODEL)
            name = self._context.recipe.teacher.model
            model = self._context.new_model(name, self._seed)
            load_weights(model, weights, folder / MODEL)
            result = {"model": name, "test_accuracy": None}
            self._teachers = [Teacher(model.eval(), folder, hash_weights(weights), result)]
        return self._teachers

    def _train(
        self, name: str, training: TrainConfig, ids: NDArray[np.int64], views: Views, objective: Objective, seed: int
    ) -> tuple[nn.Module, Progress]:
        context, checkpoint = self._context, Checkpoint(self._folder(name) / STATE)
        model = context.new_model(training.model, seed)
        with reproducible(context.threads):
            done = fit(
                model, context.split("train"), ids, views, training, objective, seed=seed, label=name,
                steps=planned_steps(training, len(ids), len(self._parts.rest)), checkpoint=checkpoint,
            )  # fmt: skip
        checkpoint.remove()
        return model, done

    def _examine(self, model: nn.Module, _: Config) -> dict[str, Any]:
        return self._result(model, Progress(), 0, 0)

    def _result(self, model: nn.Module, done: Progress, kept: int, labels: int) -> dict[str, Any]:
        context, judges = self._context, self._parts.judges
        with reproducible(context.threads):
            parts = list(predict(model, context.split("train"), judges, context.views))
        correct = torch.cat([logits.argmax(1) == target for _, target, logits in parts]).cpu().numpy()
        return {
            "correct": packed(correct), "accuracy": 100 * float(correct.mean()), "kept": kept,
            "samples_seen": done.samples_seen, "forward_passes": labels + len(judges), "seconds": round(done.seconds, 3),
        }  # fmt: skip

    def _folder(self, name: str) -> Path:
        return self._store.folder / "runs" / name
