"""Members of a subset ensemble: how one is trained and evaluated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datapruning.config.augmentation import AugmentPolicy
from datapruning.config.recipe import Recipe
from datapruning.evidence.ensemble import (
    Member,
    MemberTrials,
    SubsetEnsemble,
    finished_files,
    member_trials,
    record_ensemble,
    state_path,
)
from datapruning.evidence.sample_stats import check_class_count, statistics
from datapruning.models.flops import evaluation_cost
from datapruning.runs.context import Context
from datapruning.training.schedules import planned_steps
from datapruning.utils.predicted_time import predict_time
from datapruning.utils.processes import agree

if TYPE_CHECKING:
    from datapruning.training.checkpoint import Checkpoint

NO_VIEWS = AugmentPolicy(flip=False, crop=0, num_views=1)


def open_ensemble(context: Context, seed: int) -> SubsetEnsemble:
    """Open the recipe's ensemble of this dataset in the workspace; missing members are trained.

    Raises:
        IncompatibleInputs: the folder holds an ensemble of something else.
    """
    trials = open_member_trials(context, seed)
    with predict_time(lambda: {"ensemble": ensemble_seconds(context, trials)}):
        return record_ensemble(trials, context.data.train.labels)


def ensemble_seconds(context: Context, trials: MemberTrials) -> float:
    """Seconds of training and evaluating the members of the recipe's ensemble that are missing."""
    from datapruning.training.speed import forward_seconds, training_seconds

    store, configs, _ = trials
    training, ensemble, data = context.recipe.ensemble_member, context.recipe.ensemble, context.data
    missing, size = agree(sum(store.get(config) is None for config in configs)), round(ensemble.subset_fraction * data.total)
    if not missing:
        return 0.0
    evaluation = forward_seconds(context, training, data.total + len(data.test))
    return missing * (training_seconds(context, training, size, size) + evaluation)


def open_member_trials(context: Context, seed: int) -> MemberTrials:
    """The same ensemble as trials, for workers."""
    check_class_count(context.data.name, context.data.classes)
    recipe, views = context.recipe, _member_policy(context.recipe)
    identity: dict[str, Any] = {
        **recipe.identity("ensemble_member"), "subset_fraction": recipe.ensemble.subset_fraction, "seed": seed,
        "views": views.to_dict() if recipe.ensemble.views or views.size else None,
        **context.numerics_key.to_json(),
    }  # fmt: skip
    path = context.artifact_path("ensembles", recipe.ensemble_member.model, identity)  # num_members may grow later
    folder = context.find_artifact(path, *finished_files(recipe.ensemble.num_members))

    def train(number: int, ids: NDArray[np.int64]) -> Member:
        from datapruning.training.checkpoint import Checkpoint

        member_seed = seed * 1_000_003 + number  # differs between ensembles too
        return train_member(context, ids, member_seed, Checkpoint(state_path(folder, number)))

    return member_trials(folder, context.data.train.labels, recipe.ensemble, train, seed)


def _member_policy(recipe: Recipe) -> AugmentPolicy:
    """The views of members: the recipe's, or the centre crop of each image."""
    return recipe.views if recipe.ensemble.views else NO_VIEWS.replace(size=recipe.views.size)


def train_member(context: Context, ids: NDArray[np.int64], seed: int, checkpoint: Checkpoint | None = None) -> Member:
    """Train one network on `ids`, then evaluate it on all training and test samples without augmentation.

    A killed call resumes from `checkpoint`. Corrupt images are never trained on; among `ids` they count as part of the
    subset all the same, so that every sample is in as many subsets as the masks say.
    """
    import torch
    from torch.nn.functional import softmax

    from datapruning.training.evaluate import predict
    from datapruning.training.losses import CrossEntropy
    from datapruning.training.reproducibility import reproducible
    from datapruning.training.trainer import Trainer

    data, training = context.data, context.recipe.ensemble_member
    views = replace(context.views, policy=_member_policy(context.recipe))
    loader = context.loader("train")
    in_subset = np.zeros(data.total, bool)
    in_subset[ids] = True
    trained = np.setdiff1d(ids, data.corrupt_ids)
    names = ("correct", "loss", "margin")
    batches: dict[str, list[NDArray[Any]]] = {name: [] for name in (*names, "oof_probs", "test_correct")}
    with reproducible(context.threads, training):
        model = context.new_model(training.model, seed)
        trainer = Trainer(
            model, loader, trained, views, training, CrossEntropy(training.label_smoothing), seed=seed,
            num_steps=planned_steps(training, len(trained), len(trained)), description="member",
        )  # fmt: skip
        done = trainer.fit(checkpoint)
        for batch_ids, labels, logits in predict(model, loader, np.arange(data.total), views):
            values = statistics(logits, labels)
            for name in names:
                batches[name].append(values[name].cpu().numpy())
            probs = softmax(logits, 1).to(torch.float16).cpu().numpy()
            batches["oof_probs"].append(probs[~in_subset[batch_ids]])
        for _, labels, logits in predict(model, context.loader("test"), np.arange(len(data.test)), views):
            batches["test_correct"].append((logits.argmax(1) == labels).cpu().numpy())
    arrays = {name: np.concatenate(batch_arrays) for name, batch_arrays in batches.items()}
    arrays["correct"] = arrays["correct"].astype(bool)
    cost = done.cost() + evaluation_cost(model, data.total + len(data.test))
    return Member(in_subset, **arrays, cost=cost)
