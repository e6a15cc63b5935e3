"""The settings of one student of a sweep, and its configuration in the trial store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.config.sparsity import SparsityConfig
from datapruning.utils.hashing import config_hash

AUTO = "auto"


@dataclass(frozen=True)
class StudentSpec:
    """The settings of one student.

    Attributes:
        fraction: As text, the same for the same number.
        scorer: Its name; None where everything is kept.
        kd_weight: A number in 0..1, or "auto".
        teacher: Hash of its weights; None: the recipe's own teacher, or none at KD weight 0.
        seed: Random seed.
        pruning: How weights are pruned; None: as the sweep's recipe has it.
        self_distillation: Likewise.
    """

    fraction: str
    scorer: str | None
    kd_weight: float | str
    teacher: str | None
    seed: int
    pruning: SparsityConfig | None = None
    self_distillation: SelfDistillConfig | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The trial's configuration: every setting as plain data, so that it is complete without the recipe."""
        return {
            "fraction": self.fraction, "scorer": self.scorer, "kd_weight": self.kd_weight, "teacher": self.teacher,
            "seed": self.seed, **({} if self.pruning is None else {"sparsity": self.pruning.to_dict()}),
            **({} if self.self_distillation is None else {"self_distill": self.self_distillation.to_dict()}),
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> StudentSpec:
        """Restore the settings from a trial's configuration."""
        values = dict(config)
        pruning, self_distillation = values.pop("sparsity", None), values.pop("self_distill", None)
        return cls(
            **values,
            pruning=None if pruning is None else SparsityConfig(**pruning),
            self_distillation=None if self_distillation is None else SelfDistillConfig(**self_distillation),
        )

    @property
    def needs_recipe_teacher(self) -> bool:
        """Whether the recipe's own teacher teaches it."""
        return self.kd_weight != 0 and self.teacher is None

    @property
    def pruning_text(self) -> str:
        """As in "95% by snip"; empty: as the recipe has it."""
        return f"{100 * self.pruning.sparsity:.6g}% by {self.pruning.criterion}" if self.pruning is not None else ""

    @property
    def variant_text(self) -> str:
        """As in "95% of the weights removed by snip, self-distillation cs-kd"; empty: as the recipe has it."""
        parts = [] if self.pruning is None else [self.pruning_text.replace("%", "% of the weights removed")]
        if self.self_distillation is not None:
            parts.append(f"self-distillation {self.self_distillation.method}")
        return ", ".join(parts)

    def run_folder(self, kept: int) -> str:
        """The run folder inside the sweep's folder, with readable settings and the hash of all of them."""
        pruned = f"-{self.pruning.criterion}-{self.pruning.sparsity:g}" if self.pruning is not None else ""
        distilled = f"-{self.self_distillation.method}" if self.self_distillation is not None else ""
        settings = f"{self.scorer or 'all'}-{kept}-kd-{format_weight(self.kd_weight)}{distilled}{pruned}-seed{self.seed}"
        return f"runs/{settings}-{config_hash(self.config, 8)}"


BASE = StudentSpec("1", None, 0.0, None, 0)
"""A student without a variant, whose settings are to be replaced."""


def format_weight(weight: float | str) -> str:
    """Format 0.90 as "0.9", and "auto" as it is."""
    return weight if isinstance(weight, str) else f"{weight:g}"
