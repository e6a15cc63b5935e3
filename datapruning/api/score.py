"""The verb `score`: from evidence, recorded where it is missing, to one number a sample."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.artifacts.metadata import Identity, new_meta
from datapruning.artifacts.save import save_new
from datapruning.artifacts.scorer import Scorer, Values
from datapruning.artifacts.scores import KIND, Scores
from datapruning.config.recipe import plain
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue
from datapruning.evidence.collect import gather, read
from datapruning.evidence.dynamics import TrainingDynamics
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.recording import open_recording
from datapruning.io.disk_space import check_writable
from datapruning.runs.context import Context
from datapruning.runs.opening import context_of
from datapruning.scorers import find_scorers, get_scorer
from datapruning.utils.console import say

MORE: dict[type, str] = {TrainingDynamics: "; record more epochs", SubsetEnsemble: "; add members to the ensemble"}
"""What may help where all scores are the same."""


def score(data: Dataset | Context, scorer: str = "el2n", *, seed: int = 0, out: str | Path | None = None) -> Scores:
    """Score every training sample, higher = keep first.

    Evidence (proxies or ensemble members trained for it) that is already in the workspace is reused.

    Args:
        data: a dataset, or a context for other than default settings.
        scorer: its name.
        seed: of the evidence; of the order, for "random".
        out: file to write; default: none.

    Raises:
        UnknownName: no such scorer. InvalidValue: settings that leave no such evidence.
        OutputExists: `out` holds something else.
    """
    if out is not None:
        check_writable(out)
    context = context_of(data)
    found: Scorer = get_scorer(scorer)
    evidence, story = gather(context, found, seed)
    return _scored(found, evidence, context.data, {"seed": seed, **story}, out)


def score_recording(folder: str | Path, scorer: str, *, out: str | Path | None = None) -> Scores:
    """Score the samples of a recording, whoever trained: `dp.record` makes one in a training loop that is not ours.

    Args:
        folder: of the recording.
        scorer: its name; one that reads training dynamics or embeddings.
        out: file to write; default: none.

    Raises:
        InvalidFile: no recording, or a broken one. UnknownName: no such scorer.
        InvalidValue: it reads something else, or what it
        reads was not recorded. OutputExists: `out` holds something else.
    """
    recording = open_recording(Path(folder))
    found: Scorer = get_scorer(scorer)
    story = {"seed": recording.about.get("seed", 0), "recording": str(recording.folder)}
    return _scored(found, read(recording, found), recording, story, out)


def scorers_of(folder: str | Path) -> list[str]:
    """Names of the scorers that can be read from a recording.

    Raises:
        InvalidFile: no recording, or a broken one.
    """
    recording, found = open_recording(Path(folder)), []
    for name, scorer in find_scorers().items():
        try:
            read(recording, scorer)
        except InvalidValue:
            continue
        found.append(name)
    return found


def _scored(scorer: Scorer, evidence: Any, data: Identity, story: dict[str, Any], out: str | Path | None) -> Scores:
    values, stderr = scorer(evidence)
    if len(values) > 1 and bool((values == values[0]).all()):
        advice = MORE.get(scorer.needs, "")
        say(f"{scorer.name}: every sample has the same score, {values[0]:.4g}: it cannot rank{advice}")
    about: dict[str, Any] = {"scorer": scorer.name, "source": scorer.source, "sign": scorer.sign}
    if isinstance(data, Dataset) and data.unreadable:
        about["unreadable"] = list(data.unreadable)
        values, stderr = _below_all(values, stderr, data)
    scores = Scores(values, new_meta(KIND, data, **about, **story), stderr)
    if out is not None:
        save_new(scores, Path(out))
    return scores


def _below_all(values: Values, stderr: Values | None, data: Dataset) -> tuple[Values, Values | None]:
    """The same, with pictures that cannot be read one step of float32 below the lowest of the others, and no error bar."""
    lost = list(data.unreadable)
    values, stderr = np.array(values, np.float32), None if stderr is None else np.array(stderr, np.float32)
    values[lost] = np.nextafter(np.nanmin(values[data.readable]), np.float32(-np.inf))
    if stderr is not None:
        stderr[lost] = 0
    return values, stderr


def scores_place(context: Context, scorer: str, seed: int) -> Path:
    """Where a scorer's scores lie in the workspace.

    Raises:
        UnknownName: no such scorer.
    """
    recipe = context.recipe
    settings: dict[str, Any] = {
        "proxy": plain(recipe)["proxy"], "evidence": asdict(recipe.evidence), "seed": seed, "views": recipe.views.used,
        **context.arithmetic,
    }  # fmt: skip
    if get_scorer(scorer).needs is SubsetEnsemble:
        settings |= {"ensemble": asdict(recipe.ensemble), "member": plain(recipe)["ensemble_member"]}
    return context.place("scores", scorer, settings).with_suffix(".npz")
