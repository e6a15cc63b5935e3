"""The cost of recording evidence, estimated before anything is trained."""

from collections.abc import Iterable
from dataclasses import dataclass

from datapruning.artifacts.scorer import Samples, Scorer
from datapruning.evidence.collect import EARLY
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.subset_masks import num_parts
from datapruning.runs.context import Context
from datapruning.training.schedules import planned_samples
from datapruning.utils.console import info


@dataclass(frozen=True)
class EvidenceEstimate:
    """The numbers of networks that evidence takes, and the samples that they see in training, with repeats."""

    num_proxies: int = 0
    num_members: int = 0
    samples: int = 0

    def __str__(self) -> str:
        parts = [f"{self.num_proxies} prox{'y' if self.num_proxies == 1 else 'ies'}"] if self.num_proxies else []
        return " and ".join([*parts, *([f"{self.num_members} members of an ensemble"] if self.num_members else [])])


def estimate_evidence_cost(context: Context, scorers: Iterable[Scorer]) -> EvidenceEstimate:
    """Estimate all evidence that these scorers read, each recording once, whether it exists already or not."""
    recipe, total = context.recipe, context.data.total
    kinds = {scorer.needs for scorer in scorers} - {Samples}
    num_proxies = num_members = samples = 0
    if kinds - {SubsetEnsemble}:
        num_proxies = recipe.evidence.runs if kinds & set(EARLY) else recipe.evidence.full_runs
        num_full = min(recipe.evidence.full_runs, num_proxies)
        full = planned_samples(recipe.proxy, total, total)
        early = round(full * min(recipe.evidence.early_epoch / recipe.proxy.epochs, 1))
        samples += num_full * full + (num_proxies - num_full) * early
    if SubsetEnsemble in kinds:
        parts, excluded = num_parts(recipe.ensemble.subset_fraction)
        size = round(total * (parts - excluded) / parts)
        num_members = recipe.ensemble.num_members
        samples += num_members * planned_samples(recipe.ensemble_member, size, size)
    return EvidenceEstimate(num_proxies, num_members, samples)


def print_evidence_cost(context: Context, scorers: Iterable[Scorer]) -> None:
    """Print what the evidence of these scorers costs, if they need any."""
    estimate = estimate_evidence_cost(context, scorers)
    if estimate.samples:
        verb = "trains on" if estimate.num_proxies + estimate.num_members == 1 else "train on"
        info(f"evidence: {estimate} {verb} {estimate.samples:,} samples with repeats, less what exists already")


def evidence_tables(scorers: Iterable[Scorer]) -> list[str]:
    """Return the names of the recipe tables that determine the evidence of these scorers."""
    kinds = {scorer.needs for scorer in scorers} - {Samples}
    ensemble = ["ensemble", "ensemble_member"] * (SubsetEnsemble in kinds)
    return ["proxy", "evidence"] * bool(kinds - {SubsetEnsemble}) + ensemble
