"""The trainings of an advice: the reference, the teacher where it needs one, the pilots. Each is a trial of a store.

None of them trains on the hold-out. The recipe's teacher was trained on every sample, and its students would look better
on the hold-out than they are (measured in `benchmarks/advise.py`); so the advice trains a teacher without it. Where
teacher and student are trained alike, that is the reference itself, and costs nothing.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from datapruning.analysis.advise.holdout_result import (
    GIVEN_TEACHER,
    PILOT,
    RANDOM,
    RANDOM_PILOT,
    REFERENCE,
    TEACHER,
    HoldoutResult,
)
from datapruning.analysis.advise.plan import Pilot
from datapruning.analysis.advise.request import AdviceRequest
from datapruning.artifacts.scorer import Samples, Scorer
from datapruning.config.training import TrainConfig
from datapruning.data.augment.augmentation import Augmentation
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.io.trial_store import Trial, TrialConfig, TrialFn, TrialStore
from datapruning.models.flops import evaluation_cost
from datapruning.models.weights import hash_weights
from datapruning.runs.context import Context
from datapruning.scorers import get_scorer
from datapruning.teachers.load import Teacher
from datapruning.teachers.soft_labels import SoftLabelCache, TeacherLabels
from datapruning.training.checkpoint import Checkpoint, load_weights
from datapruning.training.distillation.candidates import loss_for, search_space
from datapruning.training.distillation.prior import measure_regime, propose
from datapruning.training.evaluate import decode_bits, encode_bits, predict_correct
from datapruning.training.losses import CrossEntropy, Loss, SoftLabels
from datapruning.training.reproducibility import reproducible
from datapruning.training.schedules import planned_epochs, planned_steps
from datapruning.training.state import TrainState
from datapruning.training.trainer import Trainer
from datapruning.utils.console import quiet
from datapruning.utils.cost import NO_COST, ComputeCost
from datapruning.utils.fraction import kept_count
from datapruning.utils.hashing import config_hash

MODEL, STATE = "model.safetensors", "state.safetensors"


def initial_objective(context: Context, labels: SoftLabels, ids: NDArray[np.int64], epochs: int) -> Loss:
    """The loss of a pilot on the samples `ids` int64: the one that a search begins with under the recipe's augmentation."""
    data, kd = context.data, context.recipe.kd
    space = [candidate for candidate in search_space(context, 1) if candidate.augmentation == "recipe"]
    regime = measure_regime(labels, data.train.labels, ids, epochs, data.classes)
    candidate, _ = propose(kd.prior, space, regime, recipe_resized=bool(context.recipe.views.scale))
    return loss_for(context, labels, candidate)


class PilotRunner:
    """Runs the trainings of an advice, or reads those that are finished; networks lie in `runs/` in the store's folder."""

    def __init__(self, request: AdviceRequest, store: TrialStore) -> None:
        self._request, self._store, self._context, self._split = request, store, request.context, request.split
        self._teachers: list[Teacher] = list(request.given_teachers)

    def reference(self) -> HoldoutResult:
        """The training on everything but the hold-out, without KD."""
        return self._run({"run": REFERENCE}, partial(self._train_on_rest, REFERENCE, self._context.recipe.train))

    def teacher(self) -> HoldoutResult | None:
        """The teacher that is trained without the hold-out; None where the reference or a given one teaches."""
        if not self._request.trains_teacher:
            return None
        return self._run({"run": TEACHER}, partial(self._train_on_rest, TEACHER, self._context.recipe.teacher.training))

    def given_teachers(self) -> list[HoldoutResult]:
        """The teachers that the user names, evaluated on the hold-out."""
        return [
            self._run(
                {"run": GIVEN_TEACHER, "weights": teacher.weights_hash}, partial(self._evaluate_teacher, teacher.model)
            )
            for teacher in self._request.given_teachers
        ]

    def pilot(self, pilot: Pilot) -> HoldoutResult:
        """One student with KD."""
        return self._run({"run": PILOT, "fraction": pilot.fraction, "repeat": pilot.repeat}, self._train_pilot)

    def random_pilot(self, pilot: Pilot) -> HoldoutResult:
        """The same student on as many random samples."""
        return self._run({"run": RANDOM_PILOT, "fraction": pilot.fraction, "repeat": pilot.repeat}, self._train_pilot)

    def finished_pilots(self) -> Iterator[tuple[Pilot, HoldoutResult]]:
        """The pilots that are in the store, in no promised order."""
        for trial in self._store.trials():
            if trial.config["run"] == PILOT:
                yield Pilot(str(trial.config["fraction"]), int(trial.config["repeat"])), self._read(trial)

    def _run(self, config: TrialConfig, work: TrialFn) -> HoldoutResult:
        trial = self._store.run(config, work)
        assert trial is not None  # run() waits for a trial that another process runs
        return self._read(trial)

    def _read(self, trial: Trial) -> HoldoutResult:
        values = dict(trial.result)
        correct = decode_bits(values.pop("correct"), len(self._split.holdout))
        return HoldoutResult(correct, **values, trial_seconds=trial.seconds)

    def _train_on_rest(self, name: str, training: TrainConfig, _: TrialConfig) -> dict[str, Any]:
        ids = self._split.rest
        views = self._context.views if name == TEACHER else self._context.for_subset(ids).views
        loss = CrossEntropy(training.label_smoothing)
        model, progress = self._train(name, training, ids, views, loss, self._request.seed)
        save_tensors(self._folder(name) / MODEL, dict(model.state_dict()))
        return self._evaluate(model, progress, len(ids))

    def _train_pilot(self, config: TrialConfig) -> dict[str, Any]:
        context, data = self._context, self._context.data
        training, rest = context.recipe.train, self._split.rest
        # of subset, initialisation and order: a random pilot begins as the one that it is compared with
        seed = int(config_hash({**config, "run": PILOT, "seed": self._request.seed}, 8), 16)
        ids = self._select(config["fraction"], seed, get_scorer(RANDOM) if config["run"] == RANDOM_PILOT else None)
        epochs = planned_epochs(training, len(ids), len(rest))
        views = context.for_subset(ids).views
        with reproducible(context.threads, context.recipe.train), quiet():
            label_folder = context.workspace / "soft-labels"
            caches = [
                SoftLabelCache(
                    teacher,
                    views,
                    data.fingerprint,
                    data.total,
                    data.classes,
                    label_folder,
                    read_only=not context.may_write(teacher.folder),
                )
                for teacher in self._load_teachers()
            ]
            for cache in caches:
                cache.fill(context.loader("train"), ids, range(epochs))
        loss = initial_objective(context, TeacherLabels(caches), ids, epochs)
        name = f"{config['run'].replace(' ', '-')}-{config['fraction']}-{config['repeat']}"
        model, progress = self._train(name, training, ids, views, loss, seed)
        labels = sum((cache.cost(len(ids) * min(views.policy.num_views, epochs)) for cache in caches), NO_COST)
        return self._evaluate(model, progress, len(ids), labels)

    def _select(self, fraction: str, seed: int, scorer: Scorer | None = None) -> NDArray[np.int64]:
        """Return the ids that a scorer (default: the request's) ranks first.

        A scorer without evidence draws again for every pilot.
        """
        from datapruning.api.score import score

        scorer, rest = scorer or self._request.scorer, self._split.rest
        with quiet():
            scores = score(self._context, scorer.name, seed=seed if scorer.needs is Samples else self._request.seed)
        order = rest[np.argsort(-scores.values[rest], kind="stable")]
        return np.sort(order[: kept_count(fraction, len(rest))])

    def _load_teachers(self) -> list[Teacher]:
        if not self._teachers:
            path = self._folder(TEACHER if self._request.trains_teacher else REFERENCE) / MODEL
            weights, _ = load_tensors(path)
            name = self._context.recipe.teacher.model
            model = self._context.new_model(name, self._request.seed)
            load_weights(model, weights, path)
            self._teachers = [Teacher(model.eval(), path.parent, hash_weights(weights))]
        return self._teachers

    def _train(
        self, name: str, training: TrainConfig, ids: NDArray[np.int64], views: Augmentation, loss: Loss, seed: int
    ) -> tuple[nn.Module, TrainState]:
        context, checkpoint = self._context, Checkpoint(self._folder(name) / STATE)
        model = context.new_model(training.model, seed)
        with reproducible(context.threads, training):
            trainer = Trainer(
                model, context.loader("train"), ids, views, training, loss, seed=seed, description=name,
                num_steps=planned_steps(training, len(ids), len(self._split.rest)),
            )  # fmt: skip
            progress = trainer.fit(checkpoint)
        checkpoint.remove()
        return model, progress

    def _evaluate_teacher(self, model: nn.Module, _: TrialConfig) -> dict[str, Any]:
        return self._evaluate(model, TrainState(), 0)

    def _evaluate(self, model: nn.Module, progress: TrainState, kept: int, labels: ComputeCost = NO_COST) -> dict[str, Any]:
        context, ids = self._context, self._split.holdout
        with reproducible(context.threads, context.recipe.train):
            correct = predict_correct(model, context.loader("train"), ids, context.views)
        cost = progress.cost() + evaluation_cost(model, len(ids))
        total = cost + labels
        return {
            "correct": encode_bits(correct), "accuracy": 100 * float(correct.mean()), "kept": kept,
            "samples_seen": total.samples_seen, "forward_passes": total.evaluated, "flops": total.flops,
            "seconds": cost.seconds,
        }  # fmt: skip

    def _folder(self, name: str) -> Path:
        return self._store.folder / "runs" / name
