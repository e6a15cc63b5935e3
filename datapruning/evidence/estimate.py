"""What evidence costs to record, known before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable

from datapruning.artifacts.scorer import Samples, Scorer
from datapruning.evidence.collect import EARLY
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.subset_masks import parts_of
from datapruning.runs.context import Context
from datapruning.training.schedules import planned_samples

ONE_PROXY = "1 proxy"


def planned_evidence(context: Context, scorers: Iterable[Scorer]) -> tuple[str, int]:
    """(networks in words, samples that they see) of all that these scorers read, each thing once, there or not."""
    recipe, total = context.recipe, context.data.total
    kinds = {scorer.needs for scorer in scorers} - {Samples}
    words, samples = list[str](), 0
    if kinds - {SubsetEnsemble}:
        runs = recipe.evidence.runs if kinds & set(EARLY) else recipe.evidence.full_runs
        full = min(recipe.evidence.full_runs, runs)
        whole = planned_samples(recipe.proxy, total, total)
        early = round(whole * min(recipe.evidence.early_epoch / recipe.proxy.epochs, 1))
        samples += full * whole + (runs - full) * early
        words.append(f"{runs} proxies" if runs != 1 else ONE_PROXY)
    if SubsetEnsemble in kinds:
        parts, out = parts_of(recipe.ensemble.subset_fraction)
        inside = round(total * (parts - out) / parts)
        samples += recipe.ensemble.num_members * planned_samples(recipe.ensemble_member, inside, inside)
        words.append(f"{recipe.ensemble.num_members} members of an ensemble")
    return " and ".join(words), samples


def evidence_tables(scorers: Iterable[Scorer]) -> list[str]:
    """The tables of a recipe that say how the evidence of these scorers is made."""
    kinds = {scorer.needs for scorer in scorers} - {Samples}
    ensemble = ["ensemble", "ensemble_member"] * (SubsetEnsemble in kinds)
    return ["proxy", "evidence"] * bool(kinds - {SubsetEnsemble}) + ensemble
