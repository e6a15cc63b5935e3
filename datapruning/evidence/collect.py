"""From what a scorer needs to the evidence itself: opened in the workspace, and recorded where it is missing."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

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


def collect_evidence(context: Context, scorer: Scorer, seed: int) -> tuple[Any, dict[str, Any]]:
    """(evidence, its story for the meta of the scores).

    Raises:
        InvalidValue: the recipe's settings leave no evidence of this kind.
    """
    recipe = context.recipe
    if scorer.needs is Samples:
        return Samples(context.data.total, seed), {}
    if scorer.needs is SubsetEnsemble:
        ensemble = open_ensemble(context, seed)
        about = {**recipe.identity("ensemble", "ensemble_member"), "costs": asdict(ensemble.cost)}
        return ensemble, about
    runs = recipe.evidence.runs if scorer.needs in EARLY else recipe.evidence.full_runs
    if not runs:
        raise InvalidValue(f"scorer '{scorer.name}' reads a proxy that was trained to the end, and evidence.full_runs is 0")
    recording = record_proxies(context, seed, runs)
    if scorer.needs is Gradients:
        evidence: Any = open_gradients(context, recording, runs)
    else:
        evidence = read_evidence(recording, scorer)
    story = {
        "evidence": recipe.evidence.to_dict(), "proxy": recipe.to_dict()["proxy"], "views": recipe.views.to_dict(),
        "costs": asdict(evidence.cost), "recording": str(recording.folder),
    }  # fmt: skip
    return evidence, story


def read_evidence(recording: Recording, scorer: Scorer) -> Any:
    """What a scorer needs from a recording, whoever made it.

    Raises:
        InvalidValue: it is not in there.
    """
    if scorer.needs is TrainingDynamics:
        return recording.dynamics()
    if scorer.needs is FinalEvaluation:
        return recording.final_evaluation()
    if scorer.needs is EarlyEvaluation:
        return recording.early_evaluation()
    if scorer.needs is Embeddings:
        return recording.embeddings()
    if scorer.needs is Samples:
        return Samples(recording.total, int(recording.about.get("seed", 0)))
    raise InvalidValue(
        f"scorer '{scorer.name}' reads {scorer.needs.__name__}, which a recording of a training loop does not have; "
        "let dprune score train for it (without --recording)"
    )
