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
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.augment.cutmix import CutMix
from datapruning.models import create_model, model_spec
from datapruning.models.normalization import InputRenormalization


def describe_model(model: nn.Module) -> dict[str, Any] | None:
    """What a network is made of, but for its weights; None: `create_model` did not make it."""
    if isinstance(model, InputRenormalization):
        inner = describe_model(model.model)
        return None if inner is None else {"renormalised": inner}
    return model_spec(model)


def build_model(about: Mapping[str, Any], device: torch.device) -> nn.Module:
    """The network, with some weights or other."""
    if "renormalised" in about:
        inner = build_model(about["renormalised"], device)
        ones = [1.0] * int(about["renormalised"]["shape"][2])
        return InputRenormalization(inner, ones, ones, (ones, ones)).to(device)
    height, width, channels = about["shape"]
    return create_model(about["name"], (height, width, channels), about["classes"], seed=0).to(device)


def describe_views(views: Augmentation) -> tuple[dict[str, Any], dict[str, NDArray[np.int64]]]:
    """(plain data, arrays)."""
    about = {"policy": dict(views.policy), "mean": views.mean, "std": views.std}
    if views.cutmix is None:
        return about, {}
    mixture = views.cutmix
    return {**about, "cutmix": dict(mixture.policy), "cutmix_seed": mixture.seed}, {"kept": mixture.subset_ids}


def build_views(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Augmentation:
    """The same views."""
    mixture = CutMix(CutMixPolicy(**about["cutmix"]), about["cutmix_seed"], arrays["kept"]) if "cutmix" in about else None
    return Augmentation(AugmentPolicy(**about["policy"]), tuple(about["mean"]), tuple(about["std"]), mixture)


def build_training(about: Mapping[str, Any]) -> TrainConfig:
    """The same settings."""
    return TrainConfig(**about)
