"""What a sweep may vary in the student itself: how its weights are pruned, and its self-distillation."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.config.sparsity import SparsityConfig
from datapruning.errors import InvalidValue
from datapruning.experiments.sweep.parse import parse_list, unique
from datapruning.experiments.sweep.spec import StudentSpec
from datapruning.runs.context import Context
from datapruning.training.self_distillation.factory import check_combination
from datapruning.training.sparsity.prune import check_epsd

BASE = StudentSpec("1", None, 0.0, None, 0)


@dataclass(frozen=True)
class Variants:
    """The variants of a student.

    Attributes:
        pruning: Settings of the pruning stage, one entry a variant; None: as the sweep's recipe has it.
        self_distillation: Likewise.
    """

    pruning: tuple[SparsityConfig | None, ...] = (None,)
    self_distillation: tuple[SelfDistillConfig | None, ...] = (None,)

    def students(self) -> list[StudentSpec]:
        """List a student of each variant; its other settings are to be replaced."""
        return [
            replace(BASE, pruning=pruning, self_distillation=self_distillation)
            for self_distillation in self.self_distillation
            for pruning in self.pruning
        ]


def find_variants(
    context: Context,
    sparsity: str | Sequence[float | str] | None,
    criterion: str | Sequence[str] | None,
    self_distill: str | Sequence[str] | None,
) -> tuple[Context, Variants]:
    """Return the variants that are asked for, and the context of a student without them: dense, or not self-distilled.

    Args:
        context: Its recipe gives what is not asked for (None), and the other settings of both tables.
        sparsity: Shares of the prunable weights that are removed; 0: dense.
        criterion: Criteria; none matters for a dense student.
        self_distill: Methods, "none" included.

    Raises:
        InvalidValue, UnknownName: A list is empty, has a value twice, or one that is out of its range.
    """
    pruning: tuple[SparsityConfig | None, ...] = (None,)
    self_distillation: tuple[SelfDistillConfig | None, ...] = (None,)
    if sparsity is not None or criterion is not None:
        pruning = _find_pruning(context.recipe.sparsity, sparsity, criterion)
        context = context.with_settings("sparsity", sparsity=0.0)
    if self_distill is not None:
        settings = context.recipe.self_distill
        methods = unique(parse_list(self_distill, "methods of self-distillation"), str, "method of self-distillation")
        by_method = [settings.replace(method=method) for method in methods]
        self_distillation = tuple(
            SelfDistillConfig.model_validate(table.to_dict()) if table.enabled else None for table in by_method
        )
        context = context.with_settings("self_distill", method="none")
    return context, Variants(pruning, self_distillation)


def _find_pruning(
    settings: SparsityConfig, sparsity: str | Sequence[float | str] | None, criterion: str | Sequence[str] | None
) -> tuple[SparsityConfig | None, ...]:
    if sparsity is None:
        if not settings.sparsity:
            raise InvalidValue(
                "a criterion says which weights are removed, not how many: give the sparsity too", parameter="sparsity"
            )
        sparsity = [settings.sparsity]
    shares = unique(parse_list(sparsity, "shares of the weights to remove"), _parse_share, "sparsity")
    names = [settings.criterion] if criterion is None else parse_list(criterion, "criteria to prune by")
    criteria = unique(names, str, "criterion")
    tables = {share: [settings.replace(sparsity=share, criterion=name) for name in criteria] for share in shares}
    return tuple(table for share in shares for table in (tables[share] if share else [None]))


def _parse_share(given: float | str) -> float:
    try:
        share = float(given)
    except ValueError:
        raise InvalidValue(
            f"sparsity is the share of the weights that is removed, 0 (dense) to 1; got '{given}'", parameter="sparsity"
        ) from None
    if not 0 <= share < 1:
        raise InvalidValue(
            "sparsity is the share of the weights that is removed, between 0 and 1 (0.95 keeps 5%; 0 is dense); "
            f"got {given}",
            parameter="sparsity",
        )
    return share + 0.0  # -0.0 is 0


def student_context(context: Context, spec: StudentSpec) -> Context:
    """Return the sweep's context with the variant of a student."""
    if spec.pruning is not None:
        context = context.with_settings("sparsity", **spec.pruning.to_dict())
    if spec.self_distillation is not None:
        context = context.with_settings("self_distill", **spec.self_distillation.to_dict())
    return context


def check_variants(context: Context, variants: Variants, kd_weights: Sequence[float | str]) -> None:
    """Refuse what cannot be trained, as `dprune train` does.

    Raises:
        InvalidValue: Naming the first student that cannot be trained.
    """
    for spec in variants.students():
        variant = student_context(context, spec)
        try:
            check_combination(variant.recipe)
            check_epsd(variant, 0.0 if 0 in kd_weights else None)
        except InvalidValue as error:
            named = replace(spec, self_distillation=variant.recipe.self_distill)
            raise InvalidValue(f"a student of this sweep cannot be trained ({named.variant_text}): {error}") from None
