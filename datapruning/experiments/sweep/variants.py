"""What a sweep may vary in the student itself: how it is pruned, and how it learns from itself.

A row carries all settings of its variant ("sparsity" and "self_distill", as the recipe's tables of that name), so that it
says what it is without the recipe. A row without these keys is a student as the sweep's recipe has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from datapruning.config.self_distillation import SelfDistillConfig
from datapruning.config.sparsity import SparsityConfig
from datapruning.errors import InvalidValue
from datapruning.experiments.sweep.parse import listed, once
from datapruning.runs.context import Context
from datapruning.training.self_distillation.factory import check_combination
from datapruning.training.sparsity.prune import check_epsd

Table = Mapping[str, Any]
TABLES = ("sparsity", "self_distill")


@dataclass(frozen=True)
class Variants:
    """The variants of a student.

    Attributes:
        epsd: settings of the pruning stage, one entry a variant; None: as the sweep's recipe has it.
        self_distill: likewise, of self-distillation.
    """

    epsd: tuple[Table | None, ...] = (None,)
    self_distill: tuple[Table | None, ...] = (None,)

    def each(self) -> list[dict[str, Any]]:
        """What the rows of each variant carry; nothing for a student as the recipe has it."""
        return [
            {key: dict(table) for key, table in zip(TABLES, pair, strict=True) if table is not None}
            for pair in ((e, s) for s in self.self_distill for e in self.epsd)
        ]


def find_variants(
    context: Context,
    epsd: str | Sequence[float | str] | None,
    prune_by: str | Sequence[str] | None,
    self_distill: str | Sequence[str] | None,
) -> tuple[Context, Variants]:
    """The variants that are asked for, and the context of a student without them: dense, or without self-distillation.

    Args:
        context: its recipe says all that is not asked for (None), and the other settings of both tables.
        epsd: shares of the prunable weights that are removed; 0: dense.
        prune_by: criteria; of a dense student none matters.
        self_distill: methods, "none" among them.

    Raises:
        InvalidValue, UnknownName: an empty list, a value twice, or one that cannot be.
    """
    pruned: tuple[Table | None, ...] = (None,)
    taught: tuple[Table | None, ...] = (None,)
    if epsd is not None or prune_by is not None:
        pruned = _pruned(context.recipe.sparsity, epsd, prune_by)
        context = context.with_table("sparsity", sparsity=0.0)
    if self_distill is not None:
        own = context.recipe.self_distill
        methods = once(listed(self_distill, "methods of self-distillation"), str, "method of self-distillation")
        found = [replace(own, method=method) for method in methods]
        taught = tuple(each.used if each.on else None for each in found)
        context = context.with_table("self_distill", method="none")
    return context, Variants(pruned, taught)


def _pruned(
    settings: SparsityConfig, epsd: str | Sequence[float | str] | None, prune_by: str | Sequence[str] | None
) -> tuple[Table | None, ...]:
    if epsd is None:
        if not settings.sparsity:
            raise InvalidValue("--prune-by says how, but not how much: name the share of the weights that goes with --epsd")
        epsd = [settings.sparsity]
    shares = once(listed(epsd, "shares of the weights to remove"), _share, "epsd")
    names = [settings.criterion] if prune_by is None else listed(prune_by, "criteria to prune by")
    criteria = once(names, str, "prune-by")
    found = [[asdict(replace(settings, sparsity=share, criterion=by)) for by in criteria] for share in shares]  # checks all
    return tuple(table for share, tables in zip(shares, found, strict=True) for table in (tables if share else [None]))


def _share(given: float | str) -> float:
    try:
        share = float(given)
    except ValueError:
        raise InvalidValue(f"--epsd is the share of the weights that is removed, 0 (dense) to 1; got '{given}'") from None
    if not 0 <= share < 1:
        raise InvalidValue(
            f"--epsd is the share of the weights that is removed, between 0 and 1 (0.95 keeps 5%; 0 is dense); got {given}"
        )
    return share + 0.0  # -0.0 is 0


def context_of_row(context: Context, config: Mapping[str, Any]) -> Context:
    """The sweep's context with the variant of a row."""
    for table in TABLES:
        if table in config:
            context = context.with_table(table, **config[table])
    return context


def check_variants(context: Context, variants: Variants, kd_weights: Sequence[float | str]) -> None:
    """Refuse what cannot be trained, as `dprune train` does.

    Raises:
        InvalidValue: naming the first row that cannot be.
    """
    for variant in variants.each():
        found = context_of_row(context, variant)
        try:
            check_combination(found.recipe)
            check_epsd(found, 0.0 if 0 in kd_weights else None)
        except InvalidValue as error:
            method = {} if "self_distill" in variant else {"self_distill": {"method": found.recipe.self_distill.method}}
            raise InvalidValue(f"a row of this sweep cannot be ({variant_words({**variant, **method})}): {error}") from None


def method_of(context: Context, config: Mapping[str, Any]) -> SelfDistillConfig:
    """The self-distillation of a row, by the sweep's context."""
    return SelfDistillConfig(**config["self_distill"]) if "self_distill" in config else context.recipe.self_distill


def variant_words(config: Mapping[str, Any]) -> str:
    """A row's variant in words, "95% of the weights removed by snip"; empty: as the recipe has it."""
    pruned, itself = config.get("sparsity"), config.get("self_distill")
    words = [f"{share_text(pruned['sparsity'])} of the weights removed by {pruned['criterion']}"] if pruned else []
    return ", ".join([*words, *([f"self-distillation {itself['method']}"] if itself else [])])


def share_text(share: float) -> str:
    """As in "99.5%"."""
    return f"{100 * share:.6g}%"
