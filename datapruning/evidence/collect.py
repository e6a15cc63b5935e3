"""From what scorers need to the evidence itself: what it costs, and where it is missing, recorded in the workspace."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from datapruning.artifacts.metadata import EvidenceFields
from datapruning.artifacts.scorer import Samples, Scorer
from datapruning.errors import InvalidValue
from datapruning.evidence.dynamics import EarlyEvaluation, FinalEvaluation, TrainingDynamics
from datapruning.evidence.embeddings import Embeddings
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.gradients import Gradients
from datapruning.evidence.own_embeddings import OwnEmbeddings
from datapruning.evidence.recording import Recording
from datapruning.evidence.subset_masks import num_parts
from datapruning.runs.context import Context
from datapruning.training.schedules import planned_flops, planned_samples
from datapruning.utils.console import info
from datapruning.utils.plural import plural
from datapruning.utils.predicted_time import predict_time

EARLY = (EarlyEvaluation, Gradients)
"""Read all runs, most of which end at the early epoch; the others read the whole ones alone."""
READERS: dict[type, Callable[[Recording], Any]] = {
    TrainingDynamics: Recording.dynamics, FinalEvaluation: Recording.final_evaluation,
    EarlyEvaluation: Recording.early_evaluation, Embeddings: Recording.embeddings,
}  # fmt: skip
"""How a recording gives each kind of evidence."""


def collect_evidence(context: Context, scorer: Scorer, seed: int) -> tuple[Any, EvidenceFields]:
    """Open the evidence that a scorer needs; what is missing in the workspace is recorded first.

    Returns:
        (the evidence, of the type `scorer.needs`; the fields of the scores' metadata that say where it comes from).

    Raises:
        InvalidValue: the recipe's settings leave no evidence of this kind.
        InvalidValue, UnknownName, MissingPackage: see `check_evidence`.
    """
    if scorer.needs is Samples:
        return Samples(context.data.total, seed), {}
    check_evidence(context, [scorer])
    with predict_time(lambda: evidence_seconds(context, [scorer], seed)):
        return _collect_evidence(context, scorer, seed)


def evidence_seconds(context: Context, scorers: Iterable[Scorer], seed: int) -> dict[str, float]:
    """Seconds of making the evidence that these scorers read and that does not exist, by the name of its kind."""
    kinds, evidence, seconds = {scorer.needs for scorer in scorers} - {Samples}, context.recipe.evidence, {}
    if kinds - {SubsetEnsemble}:
        from datapruning.evidence.proxies import proxy_seconds

        runs = evidence.runs if kinds & set(EARLY) else evidence.full_runs
        seconds["proxies"] = proxy_seconds(context, seed, runs)
    if SubsetEnsemble in kinds:
        from datapruning.evidence.members import ensemble_seconds, open_member_trials

        seconds["ensemble"] = ensemble_seconds(context, open_member_trials(context, seed))
    return seconds


def _collect_evidence(context: Context, scorer: Scorer, seed: int) -> tuple[Any, EvidenceFields]:
    recipe = context.recipe
    if scorer.needs is SubsetEnsemble:
        from datapruning.evidence.members import open_ensemble

        ensemble = open_ensemble(context, seed)
        return ensemble, {
            "ensemble": recipe.ensemble, "ensemble_member": recipe.ensemble_member, "costs": ensemble.cost,
        }  # fmt: skip
    runs = recipe.evidence.runs if scorer.needs in EARLY else recipe.evidence.full_runs
    if not runs:
        raise InvalidValue(f"scorer '{scorer.name}' reads a proxy that was trained to the end, and evidence.full_runs is 0")
    from datapruning.evidence.proxies import record_proxies

    recording = record_proxies(context, seed, runs)
    if scorer.needs is Gradients:
        from datapruning.evidence.gradient_norms import open_gradients

        evidence: Any = open_gradients(context, recording, runs)
    else:
        evidence = read_evidence(recording, scorer)
    fields: EvidenceFields = {
        "evidence": recipe.evidence, "proxy": recipe.proxy, "views": recipe.views, "costs": evidence.cost,
        "recording": str(recording.folder),
    }  # fmt: skip
    init = context.init_record("proxy")
    return evidence, fields if init is None else {**fields, "init": init}


def wrap_embeddings(
    context: Context, scorer: Scorer, embeddings: OwnEmbeddings, seed: int
) -> tuple[Embeddings, EvidenceFields]:
    """Embeddings that were computed elsewhere as the evidence of a scorer, as `collect_evidence` returns it.

    Raises:
        InvalidValue: the scorer reads something else.
    """
    check_reads_embeddings([scorer])
    return Embeddings(embeddings.features, context.data.train.labels, seed), {"embeddings": embeddings.record}


def check_reads_embeddings(scorers: Iterable[Scorer]) -> None:
    """Refuse scorers that read something else than embeddings.

    Raises:
        InvalidValue: naming the first.
    """
    for scorer in scorers:
        if scorer.needs is not Embeddings:
            raise InvalidValue(
                f"scorer '{scorer.name}' reads {scorer.needs.__name__}, not embeddings; those that do read 'Embeddings' in "
                "the list of scorers",
                parameter="embeddings",
            )


def read_evidence(recording: Recording, scorer: Scorer) -> Any:
    """Read the evidence that a scorer needs from a recording.

    Raises:
        InvalidValue: the recording does not have it.
    """
    if scorer.needs is Samples:
        return Samples(recording.total, recording.manifest.seed)
    if scorer.needs in READERS:
        return READERS[scorer.needs](recording)
    raise InvalidValue(
        f"scorer '{scorer.name}' reads {scorer.needs.__name__}, which a recording of a training loop does not have; "
        "score a dataset by it instead, which trains for it",
        parameter="recording",
    )


@dataclass(frozen=True)
class EvidenceEstimate:
    """The numbers of networks that evidence takes, and the samples that they see in training, with repeats.

    `flops` are the floating-point operations of their training.
    """

    num_proxies: int = 0
    num_members: int = 0
    samples: int = 0
    flops: int = 0

    def __str__(self) -> str:
        parts = [plural(self.num_proxies, "proxy", "proxies")] if self.num_proxies else []
        parts += [plural(self.num_members, "member of an ensemble", "members of an ensemble")] if self.num_members else []
        return " and ".join(parts)


def estimate_evidence_cost(context: Context, scorers: Iterable[Scorer]) -> EvidenceEstimate:
    """Estimate all evidence that these scorers read, each recording once, whether it exists already or not."""
    recipe, total = context.recipe, context.data.total
    kinds = {scorer.needs for scorer in scorers} - {Samples}
    num_proxies = num_members = samples = flops = 0
    image = (context.shape, context.data.classes)
    if kinds - {SubsetEnsemble}:
        num_proxies = recipe.evidence.runs if kinds & set(EARLY) else recipe.evidence.full_runs
        num_full = min(recipe.evidence.full_runs, num_proxies)
        full = planned_samples(recipe.proxy, total, total)
        early_share = min(recipe.evidence.early_epoch / recipe.proxy.epochs, 1)
        samples += num_full * full + (num_proxies - num_full) * round(full * early_share)
        full_flops = planned_flops(recipe.proxy, total, total, *image)
        flops += num_full * full_flops + (num_proxies - num_full) * round(full_flops * early_share)
    if SubsetEnsemble in kinds:
        parts, excluded = num_parts(recipe.ensemble.subset_fraction)
        size = round(total * (parts - excluded) / parts)
        num_members = recipe.ensemble.num_members
        samples += num_members * planned_samples(recipe.ensemble_member, size, size)
        flops += num_members * planned_flops(recipe.ensemble_member, size, size, *image)
    return EvidenceEstimate(num_proxies, num_members, samples, flops)


def check_evidence(context: Context, scorers: Iterable[Scorer]) -> None:
    """Refuse evidence of these scorers that the recipe's networks and settings do not give, before anything is trained.

    Raises:
        InvalidValue: a network that does not take these images; an early evaluation after the proxies' last epoch.
        UnknownName, MissingPackage: no such network.
    """
    tables = evidence_tables(scorers)
    context.check_networks(*(table for table in tables if table in ("proxy", "ensemble_member")))
    early, epochs = context.recipe.evidence.early_epoch, context.recipe.proxy.epochs
    if early > epochs and "proxy" in tables:
        raise InvalidValue(f"evidence.early_epoch is {early}, but the proxy trains {epochs} epochs (proxy.epochs)")


def print_evidence_cost(context: Context, scorers: Iterable[Scorer]) -> None:
    """Print what the evidence of these scorers costs, if they need any.

    Raises:
        InvalidValue, UnknownName, MissingPackage: see `check_evidence`.
    """
    scorers = list(scorers)
    check_evidence(context, scorers)
    estimate = estimate_evidence_cost(context, scorers)
    if estimate.samples:
        verb = "trains on" if estimate.num_proxies + estimate.num_members == 1 else "train on"
        info(f"evidence: {estimate} {verb} {estimate.samples:,} samples with repeats, less what exists already")
    if estimate.num_members:
        info(
            f"ensemble: fewer members cost less (ensemble.num_members={max(estimate.num_members // 3, 2)}: a third): in our "
            "measurement 100 ranked samples as 300 do to 0.95 of what is attainable, 30 to 0.94"
        )


def evidence_tables(scorers: Iterable[Scorer]) -> list[str]:
    """Return the names of the recipe tables that determine the evidence of these scorers."""
    kinds = {scorer.needs for scorer in scorers} - {Samples}
    ensemble = ["ensemble", "ensemble_member"] * (SubsetEnsemble in kinds)
    return ["proxy", "evidence"] * bool(kinds - {SubsetEnsemble}) + ensemble
