"""From what a scorer needs to the evidence itself: opened in the workspace, and recorded where it is missing."""

from collections.abc import Callable
from typing import Any

from datapruning.artifacts.metadata import EvidenceFields
from datapruning.artifacts.scorer import Samples, Scorer
from datapruning.errors import InvalidValue
from datapruning.evidence.dynamics import EarlyEvaluation, FinalEvaluation, TrainingDynamics
from datapruning.evidence.embeddings import Embeddings
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.gradients import Gradients, open_gradients
from datapruning.evidence.members import open_ensemble
from datapruning.evidence.proxies import record_proxies
from datapruning.evidence.recording import Recording
from datapruning.runs.context import Context

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
    """
    recipe = context.recipe
    if scorer.needs is Samples:
        return Samples(context.data.total, seed), {}
    if scorer.needs is SubsetEnsemble:
        ensemble = open_ensemble(context, seed)
        return ensemble, {
            "ensemble": recipe.ensemble, "ensemble_member": recipe.ensemble_member, "costs": ensemble.cost,
        }  # fmt: skip
    runs = recipe.evidence.runs if scorer.needs in EARLY else recipe.evidence.full_runs
    if not runs:
        raise InvalidValue(f"scorer '{scorer.name}' reads a proxy that was trained to the end, and evidence.full_runs is 0")
    recording = record_proxies(context, seed, runs)
    is_gradients = scorer.needs is Gradients
    evidence: Any = open_gradients(context, recording, runs) if is_gradients else read_evidence(recording, scorer)
    return evidence, {
        "evidence": recipe.evidence, "proxy": recipe.proxy, "views": recipe.views, "costs": evidence.cost,
        "recording": str(recording.folder),
    }  # fmt: skip


def read_evidence(recording: Recording, scorer: Scorer) -> Any:
    """The evidence that a scorer needs from a recording, whoever made it.

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
