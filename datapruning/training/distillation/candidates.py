"""What `--kd-weight auto` may choose from: KD weight, temperature, augmentation, teacher."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from datapruning.runs.context import Context
from datapruning.runs.training_records import LABELS_ONLY, Augmentation, Candidate

if TYPE_CHECKING:
    from datapruning.training.losses import Loss, SoftLabels

WEIGHTS = (0.25, 0.5, 0.75, 0.9, 1.0)
TEMPERATURES = (2.0, 4.0, 8.0, 20.0, 50.0)
RESIZED = {"crop": 0, "scale": (0.25, 1.0)}
"""Random resized crops: down to a quarter of the area. Smaller ones taught worse (58.5 against 60.5 with crops down to 0.08,
10% of CIFAR-100, ResNet-18, T=20)."""
CUTMIX_PROB = 0.5
MIN_SIDE = 16
"""Pixels: of smaller images a quarter of the area, or what CutMix leaves of it, shows next to nothing."""
AUGMENTATION_KEYS = ("views.crop", "views.scale", "views.ratio", "views.padding", "cutmix.prob", "mixup.prob")
SETTING_KEYS: dict[str, tuple[str, ...]] = {
    "temperature": ("kd.temperature",), "augmentation": AUGMENTATION_KEYS, "views": ("views.num_views",), "teacher": (),
}  # fmt: skip
"""The settings that hold what `kd.search` names."""
SEARCHED_SETTINGS = {key for keys in SETTING_KEYS.values() for key in keys}


def is_held(context: Context, name: str) -> bool:
    """Whether the search may not choose `name` of `kd.search`: it is left out there, or the user has set it himself."""
    return name not in context.recipe.kd.search or any(key in context.held for key in SETTING_KEYS[name])


def augmentations(context: Context) -> tuple[Augmentation, ...]:
    """The augmentations to choose from, the recipe's first.

    Self-distillation pairs views of its own, and the soft labels of a self teacher are of the recipe's views: there the
    augmentation is not searched.
    """
    recipe, side = context.recipe, min(context.shape[:2])
    if is_held(context, "augmentation") or recipe.self_distill.enabled or side < MIN_SIDE:
        return ("recipe",)
    resized = not recipe.views.scale
    cutmix = not recipe.cutmix.enabled and not recipe.mixup.enabled
    added: tuple[tuple[Augmentation, bool], ...] = (
        ("resized", resized), ("cutmix", cutmix), ("resized and cutmix", resized and cutmix),
    )  # fmt: skip
    return ("recipe", *(augmentation for augmentation, possible in added if possible))


def search_space(context: Context, num_teachers: int) -> list[Candidate]:
    """Every candidate of the search of a run, labels alone among them; each once."""
    kd = context.recipe.kd
    temperatures = (kd.temperature,) if is_held(context, "temperature") else TEMPERATURES
    return all_candidates(augmentations(context), temperatures, num_teachers, confidence_weighting=kd.confidence_weighting)


def all_candidates(
    augmentations: Sequence[Augmentation],
    temperatures: Sequence[float],
    num_teachers: int,
    *,
    confidence_weighting: bool = False,
) -> list[Candidate]:
    """Every candidate with one of these augmentations, temperatures and teachers; each once, in a fixed order."""
    space = []
    for augmentation in augmentations:
        space.append(LABELS_ONLY.model_copy(update={"augmentation": augmentation}))
        for weight, temperature, teacher in itertools.product(WEIGHTS, temperatures, range(num_teachers)):
            candidate = Candidate(
                weight=weight, temperature=temperature, teacher=teacher, augmentation=augmentation,
                confidence_weighting=confidence_weighting and weight < 1,
            )  # fmt: skip
            space.append(candidate)
    return space


def context_for(context: Context, candidate: Candidate) -> Context:
    """The context whose views a student of this candidate sees."""
    recipe = context.recipe
    if "resized" in candidate.augmentation:
        recipe = recipe.replace(views=recipe.views.replace(**RESIZED))
    if "cutmix" in candidate.augmentation:
        recipe = recipe.replace(cutmix=recipe.cutmix.replace(prob=CUTMIX_PROB))
    return context if recipe is context.recipe else replace(context, recipe=recipe)


def loss_for(context: Context, labels: SoftLabels | None, candidate: Candidate) -> Loss:
    """The loss of a candidate: with the soft labels of its teacher, or cross-entropy."""
    from datapruning.training.losses import CrossEntropy, DistillationLoss

    smoothing = context.recipe.train.label_smoothing
    if labels is None or candidate.labels_only:
        return CrossEntropy(smoothing)
    return DistillationLoss(
        labels, candidate.weight, candidate.temperature, smoothing, confidence_weighting=candidate.confidence_weighting
    )


def describe_difference(chosen: Candidate, other: Candidate) -> str:
    """What of `other` was not chosen, in words; empty where they are the same."""
    names: Sequence[tuple[str, str]] = (("weight", "weight"), ("temperature", "T"), ("augmentation", "augmentation"))
    parts = [f"{word} {getattr(other, key)}" for key, word in names if getattr(chosen, key) != getattr(other, key)]
    parts += [f"teacher {other.teacher + 1}"] if chosen.teacher != other.teacher else []
    return ", ".join(parts)
