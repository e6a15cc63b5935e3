"""Members of a subset ensemble: how one is trained and what is noted of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import softmax

from datapruning.config import plain
from datapruning.context import Context
from datapruning.costs import Cost
from datapruning.data.policy import ViewPolicy
from datapruning.data.views import Views
from datapruning.evidence.ensemble import Member, SubsetEnsemble, record_ensemble
from datapruning.evidence.track import statistics
from datapruning.training.environment import reproducible
from datapruning.training.evaluate import predict
from datapruning.training.loop import fit, planned_steps
from datapruning.training.objectives import CrossEntropy

NO_VIEWS = ViewPolicy(flip=False, crop=0, count=1)


def open_ensemble(context: Context, seed: int) -> SubsetEnsemble:
    """The recipe's ensemble of this dataset, in the workspace: members that are missing are trained.

    Raises:
        Mismatch: the folder holds an ensemble of something else.
    """
    recipe = context.recipe
    identity: dict[str, Any] = {
        "member": plain(recipe)["member"], "inside": recipe.ensemble.inside, "seed": seed,
        "views": asdict(recipe.views) if recipe.ensemble.views else None,
        "threads": context.threads, "device": context.device.type,
    }  # fmt: skip
    folder = context.place("ensembles", recipe.member.model, identity)  # not by their number: more may be added later
    return record_ensemble(
        folder, context.data.train.labels, recipe.ensemble, recipe.member,
        lambda number, ids: train_member(context, ids, member_seed(seed, number)), seed,
    )  # fmt: skip


def member_seed(seed: int, number: int) -> int:
    """Of initialisation and order; members of different ensembles have different ones."""
    return seed * 1_000_003 + number


def train_member(context: Context, ids: NDArray[np.int64], seed: int) -> Member:
    """Train one network on `ids`, then look at all training and test samples without augmentation."""
    data, training = context.data, context.recipe.member
    views: Views = context.views if context.recipe.ensemble.views else replace(context.views, policy=NO_VIEWS)
    loader = context.split("train")
    inside = np.zeros(data.total, bool)
    inside[ids] = True
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in ("correct", "loss", "margin")}
    outside, test = list[NDArray[np.float16]](), list[NDArray[np.bool_]]()
    with reproducible(context.threads):
        model = context.new_model(training.model, seed)
        done = fit(
            model, loader, ids, views, training, CrossEntropy(training.label_smoothing), seed=seed,
            steps=planned_steps(training, len(ids), len(ids)), label="member",
        )  # fmt: skip
        for seen, labels, logits in predict(model, loader, np.arange(data.total), views):
            values = statistics(logits, labels)
            for name, found in parts.items():
                found.append(values[name].cpu().numpy())
            probs = softmax(logits, 1).to(torch.float16).cpu().numpy()
            outside.append(probs[~inside[seen]])
        for _, labels, logits in predict(model, context.split("test"), np.arange(len(data.test)), views):
            test.append((logits.argmax(1) == labels).cpu().numpy())
    whole = {name: np.concatenate(found) for name, found in parts.items()}
    return Member(
        inside, whole["correct"].astype(bool), whole["loss"], whole["margin"], np.concatenate(outside),
        np.concatenate(test), Cost(done.samples_seen, data.total + len(data.test), round(done.seconds, 3)),
    )  # fmt: skip
