"""Members of a subset ensemble: how one is trained and what is noted of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import softmax

from datapruning.config.augmentation import AugmentPolicy
from datapruning.config.recipe import Recipe
from datapruning.evidence.ensemble import Member, SubsetEnsemble, member_trials, record_ensemble, state_path
from datapruning.evidence.sample_stats import statistics
from datapruning.io.trial_store import TrialConfig, TrialFn, TrialStore
from datapruning.runs.context import Context
from datapruning.training.checkpoint import Checkpoint
from datapruning.training.evaluate import predict
from datapruning.training.losses import CrossEntropy
from datapruning.training.reproducibility import reproducible
from datapruning.training.schedules import planned_steps
from datapruning.training.trainer import Trainer
from datapruning.utils.cost import ComputeCost

NO_VIEWS = AugmentPolicy(flip=False, crop=0, num_views=1)


def open_ensemble(context: Context, seed: int) -> SubsetEnsemble:
    """The recipe's ensemble of this dataset, in the workspace: members that are missing are trained.

    Raises:
        IncompatibleInputs: the folder holds an ensemble of something else.
    """
    recipe, (folder, train) = context.recipe, _member_setup(context, seed)
    return record_ensemble(folder, context.data.train.labels, recipe.ensemble, recipe.ensemble_member, train, seed)


def open_member_trials(context: Context, seed: int) -> tuple[TrialStore, list[TrialConfig], TrialFn]:
    """The same ensemble as rows, for workers: their store, which they are, and what does one."""
    folder, train = _member_setup(context, seed)
    return member_trials(folder, context.data.train.labels, context.recipe.ensemble, train, seed)


def _member_setup(context: Context, seed: int) -> tuple[Path, Callable[[int, NDArray[np.int64]], Member]]:
    """The ensemble's folder, and what trains a member."""
    recipe = context.recipe
    views = member_policy(recipe)
    identity: dict[str, Any] = {
        **recipe.identity("ensemble_member"), "subset_fraction": recipe.ensemble.subset_fraction, "seed": seed,
        "views": views.to_dict() if recipe.ensemble.views or views.size else None,
        **context.numerics_key,
    }  # fmt: skip
    folder = context.artifact_path("ensembles", recipe.ensemble_member.model, identity)  # num_members may grow later
    return folder, lambda number, ids: train_member(
        context, ids, member_seed(seed, number), Checkpoint(state_path(folder, number))
    )


def member_policy(recipe: Recipe) -> AugmentPolicy:
    """What members see: the recipe's views, or the middle of each picture."""
    return recipe.views if recipe.ensemble.views else NO_VIEWS.replace(size=recipe.views.size)


def member_seed(seed: int, number: int) -> int:
    """Of initialisation and order; members of different ensembles have different ones."""
    return seed * 1_000_003 + number


def train_member(context: Context, ids: NDArray[np.int64], seed: int, checkpoint: Checkpoint | None = None) -> Member:
    """Train one network on `ids`, then look at all training and test samples without augmentation.

    A killed call goes on from `checkpoint`. Pictures that cannot be read are never trained on; among `ids` they count as
    inside all the same, so that every sample is inside as often as the masks say.
    """
    data, training = context.data, context.recipe.ensemble_member
    views = replace(context.views, policy=member_policy(context.recipe))
    loader = context.loader("train")
    inside = np.zeros(data.total, bool)
    inside[ids] = True
    trained = np.setdiff1d(ids, data.corrupt_ids)
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("correct", "loss", "margin")}
    outside, test = list[NDArray[np.float16]](), list[NDArray[np.bool_]]()
    with reproducible(context.threads):
        model = context.new_model(training.model, seed)
        trainer = Trainer(
            model, loader, trained, views, training, CrossEntropy(training.label_smoothing), seed=seed,
            num_steps=planned_steps(training, len(trained), len(trained)), description="member",
        )  # fmt: skip
        done = trainer.fit(checkpoint)
        for seen, labels, logits in predict(model, loader, np.arange(data.total), views):
            values = statistics(logits, labels)
            for name, found in parts.items():
                found.append(values[name].cpu().numpy())
            probs = softmax(logits, 1).to(torch.float16).cpu().numpy()
            outside.append(probs[~inside[seen]])
        for _, labels, logits in predict(model, context.loader("test"), np.arange(len(data.test)), views):
            test.append((logits.argmax(1) == labels).cpu().numpy())
    whole = {name: np.concatenate(found) for name, found in parts.items()}
    return Member(
        inside, whole["correct"].astype(bool), whole["loss"], whole["margin"], np.concatenate(outside),
        np.concatenate(test), ComputeCost(done.samples_seen, data.total + len(data.test), round(done.seconds, 3)),
    )  # fmt: skip
