"""Cache identity: settings with an effect change it; other settings and the representation of a table do not."""

from __future__ import annotations

import pytest

from datapruning.config.recipe import TABLES, Recipe
from datapruning.config.training import TrainConfig

OTHER: dict[type, object] = {bool: True, int: 7, float: 0.4, str: "resnet20"}
CHOICES = {
    "budget": "steps", "schedule": "cosine", "precision": "bf16", "optimizer": "adamw", "criterion": "snip", "loss": "kd",
    "mode": "first-order", "scope": "layer", "search": ("views",),
    "teacher_candidates": ("convnet",),
    "flip": False, "padding": "reflect", "decay_norms_biases": False, "confidence_weighting": True,
    "full_runs": 3, "method": "dlb", "keep_checkpoints": (0.4,),
}  # fmt: skip
ENABLED = Recipe(name="r").with_settings("sparsity", sparsity=0.9)
ENABLED = ENABLED.with_settings("cutmix", prob=0.5).with_settings("mixup", prob=0.3)
UNUSED = {
    "train": ("milestones", "gamma", "infobatch_until", "samples", "sgd_lr", "progressive_until"),
    "views": ("ratio", "scale"), "teacher": ("infobatch",),
    "self_distill": tuple(key for key in TABLES["self_distill"].model_fields if key != "method"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("table", "key"),
    [
        (table, key)
        for table, kind in TABLES.items()
        for key in kind.model_fields
        if key not in UNUSED.get(table, ())
        and not (issubclass(kind, TrainConfig) and (key in UNUSED["train"] or (table != "train" and key == "infobatch")))
    ],
)
def test_every_setting_that_has_an_effect_splits(table: str, key: str) -> None:
    default = getattr(getattr(ENABLED, table), key)
    changed = ENABLED.with_settings(table, **{key: CHOICES.get(key, OTHER.get(type(default)))})
    assert changed.identity(table) != ENABLED.identity(table)
    assert changed.identity(*(name for name in TABLES if name != table)) == ENABLED.identity(
        *(name for name in TABLES if name != table)
    ), "other tables do not know of it"


@pytest.mark.parametrize(
    ("table", "enabling", "key", "value"),
    [
        ("train", {"schedule": "step", "milestones": (0.5,)}, "gamma", 0.5),
        ("train", {"infobatch": 0.5}, "infobatch_until", 0.5),
        ("train", {"budget": "samples"}, "samples", 5000),
        ("teacher", {"optimizer": "muon"}, "sgd_lr", 0.5),
        ("proxy", {"progressive_size": 20}, "progressive_until", 0.25),
        ("views", {"crop": 0, "scale": (0.5, 1.0)}, "ratio", (0.5, 2.0)),
    ],
)
def test_a_setting_of_an_enabled_feature_splits(table: str, enabling: dict[str, object], key: str, value: object) -> None:
    enabled = Recipe(name="r").with_settings(table, **enabling)
    assert enabled.with_settings(table, **{key: value}).identity(table) != enabled.identity(table)


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("train", {"gamma": 0.5, "milestones": (0.5,), "infobatch_until": 0.5}),
        ("train", {"samples": 5000, "sgd_lr": 0.5, "progressive_until": 0.25}),
        ("views", {"ratio": (0.5, 2.0)}),
        ("self_distill", {"dlb_weight": 0.1}),
        ("sparsity", {"inner_steps": 9}),
        ("mixup", {"alpha": 0.2}),
    ],
)
def test_settings_without_effect_do_not_split(table: str, changes: dict[str, object]) -> None:
    recipe = Recipe(name="r")
    assert recipe.with_settings(table, **changes).identity(table) == recipe.identity(table)


def test_how_a_table_is_shown_changes_no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ENABLED.identity(*TABLES)
    for kind in {*TABLES.values()}:
        monkeypatch.setattr(kind, "__repr__", lambda self: "another")
        monkeypatch.setattr(kind, "__str__", lambda self: "another")
    assert ENABLED.identity(*TABLES) == before
    assert "another" not in str(before)
