"""What a sweep may vary in the student itself: how its weights are pruned, and its self-distillation."""

import math
from collections.abc import Sequence
from dataclasses import replace

from datapruning.config.combinations import check_combination
from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.config.sparsity import SparsityConfig
from datapruning.errors import InvalidValue
from datapruning.experiments.sweep.grid import parse_list, unique
from datapruning.experiments.sweep.spec import BASE, StudentSpec
from datapruning.runs.context import Context
from datapruning.training.sparsity.check import check_epsd


def find_variants(
    context: Context,
    sparsity: str | Sequence[float | str] | None,
    criterion: str | Sequence[str] | None,
    self_distill: str | Sequence[str] | None,
) -> tuple[Context, tuple[StudentSpec, ...]]:
    """Return the context of a student without variants (dense, or not self-distilled), and a student of each variant.

    Args:
        context: Its recipe gives what is not asked for (None), and the other settings of both tables.
        sparsity: Shares of the prunable weights that are removed; 0: dense.
        criterion: Criteria; none matters for a dense student.
        self_distill: Methods, "none" included.

    Raises:
        InvalidValue, UnknownName: A list is empty, has a value twice, or one that is out of its range.
    """
    prunings: list[SparsityConfig | None] = [None]
    distillations: list[SelfDistillConfig | None] = [None]
    if sparsity is not None or criterion is not None:
        prunings = _find_pruning(context.recipe.sparsity, sparsity, criterion)
        context = context.with_settings("sparsity", sparsity=0.0)
    if self_distill is not None:
        settings = context.recipe.self_distill
        methods = unique(parse_list(self_distill, "methods of self-distillation"), str, "method of self-distillation")
        tables = [settings.replace(method=method) for method in methods]
        distillations = [SelfDistillConfig.model_validate(t.to_dict()) if t.enabled else None for t in tables]
        context = context.with_settings("self_distill", method="none")
    return context, tuple(replace(BASE, pruning=p, self_distillation=d) for d in distillations for p in prunings)


def _find_pruning(
    settings: SparsityConfig, sparsity: str | Sequence[float | str] | None, criterion: str | Sequence[str] | None
) -> list[SparsityConfig | None]:
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
    return [table for share in shares for table in (tables[share] if share else [None])]


def _parse_share(given: float | str) -> float:
    try:
        share = float(given)
    except ValueError:
        share = math.nan
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


def check_variants(context: Context, variants: Sequence[StudentSpec], kd_weights: Sequence[float | str]) -> None:
    """Refuse what cannot be trained, as `dprune train` does.

    Raises:
        InvalidValue: Naming the first student that cannot be trained.
    """
    for spec in variants:
        variant = student_context(context, spec)
        try:
            check_combination(variant.recipe)
            check_epsd(variant, 0.0 if 0 in kd_weights else None)
        except InvalidValue as error:
            named = replace(spec, self_distillation=variant.recipe.self_distill)
            raise InvalidValue(f"a student of this sweep cannot be trained ({named.variant_text}): {error}") from None
