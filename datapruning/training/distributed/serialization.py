"""Networks and views as plain data, to be made again in another process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from datapruning.config.augmentation import AugmentPolicy, CutMixPolicy
from datapruning.config.training import TrainConfig
from datapruning.data.augment.cutmix import Mixture
from datapruning.data.augment.views import Views
from datapruning.models import create_model, made_by
from datapruning.models.normalization import Renormalised


def describe_model(model: nn.Module) -> dict[str, Any] | None:
    """What a network is made of, but for its weights; None: `create_model` did not make it."""
    if isinstance(model, Renormalised):
        inner = describe_model(model.model)
        return None if inner is None else {"renormalised": inner}
    return made_by(model)


def build_model(about: Mapping[str, Any], device: torch.device) -> nn.Module:
    """The network, with some weights or other."""
    if "renormalised" in about:
        inner = build_model(about["renormalised"], device)
        ones = [1.0] * int(about["renormalised"]["shape"][2])
        return Renormalised(inner, ones, ones, (ones, ones)).to(device)
    height, width, channels = about["shape"]
    return create_model(about["name"], (height, width, channels), about["classes"], seed=0).to(device)


def describe_views(views: Views) -> tuple[dict[str, Any], dict[str, NDArray[np.int64]]]:
    """(plain data, arrays)."""
    about = {"policy": dict(views.policy), "mean": views.mean, "std": views.std}
    if views.mixture is None:
        return about, {}
    mixture = views.mixture
    return {**about, "cutmix": dict(mixture.policy), "cutmix_seed": mixture.seed}, {"kept": mixture.kept}


def build_views(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Views:
    """The same views."""
    mixture = Mixture(CutMixPolicy(**about["cutmix"]), about["cutmix_seed"], arrays["kept"]) if "cutmix" in about else None
    return Views(AugmentPolicy(**about["policy"]), tuple(about["mean"]), tuple(about["std"]), mixture)


def build_training(about: Mapping[str, Any]) -> TrainConfig:
    """The same settings."""
    return TrainConfig(**about)
