"""`find_label_issues`: which labels are likely wrong, ranked by a scorer or by an ensemble that did not see the sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.analysis.pred_probs import best_other, confident_others, ensemble_story
from datapruning.api.score import score, score_recording
from datapruning.artifacts.label_issues import KIND, LabelIssue, LabelIssues
from datapruning.artifacts.metadata import Identity, new_meta, read_otherwise
from datapruning.artifacts.scores import Scores
from datapruning.config.recipe import plain
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidValue, UnknownName
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.external_loop import NO_FINGERPRINT
from datapruning.evidence.members import open_ensemble
from datapruning.evidence.recording import Recording, open_recording
from datapruning.runs.context import Context
from datapruning.runs.opening import context_of

ENSEMBLE, MEMORIZATION = "ensemble", "memorization"
COUNT = 50
HARD = "hard samples with right labels rank as high"
ISSUE_END: dict[str, tuple[str, str]] = {
    "aum": ("highest", "the network leans towards another class all through training; hard samples follow close behind"),
    ENSEMBLE: ("lowest", "networks that never saw the sample give its label little probability; so they do to rare samples"),
    "el2n": ("highest", f"large errors early in training; {HARD}"),
    "el2n-online": ("highest", f"large errors in the first epochs; {HARD}"),
    "forgetting": ("highest", f"never learned, or often lost again; {HARD}, and many tie"),
    "grand": ("highest", f"long gradients early in training; {HARD}"),
    "grand-last": ("highest", f"long gradients early in training; {HARD}"),
    "knn": ("lowest", "few of the 10 nearest samples have the label; many tie"),
    "loss": ("highest", "large loss after training; a network that has learned wrong labels by heart shows none"),
    MEMORIZATION: ("highest", f"only networks that saw the sample get it right; {HARD}, and many tie"),
}
"""Scorers whose order says something about labels: at which end of their scores the label looks wrong, and what that end
means. Scores are as everywhere, higher = keep first, so that most put wrong labels first."""


@dataclass(frozen=True)
class _Predictions:
    """What networks make of the samples: the probability of the label [N] and the likeliest other class [N], if known."""

    own: NDArray[Any] | None
    other: NDArray[np.int64] | None
    eyes: str


def find_label_issues(
    data: Dataset | Context,
    scorer: str = "aum",
    *,
    count: int | None = None,
    fraction: float | str | None = None,
    seed: int = 0,
    out: str | Path | None = None,
) -> LabelIssues:
    """Rank the training samples whose label is likely wrong. A ranking, no verdict.

    Evidence that is already in the workspace is reused.

    Args:
        data: a dataset, or a context for other than default settings.
        scorer: one of `ISSUE_END`: "aum" (one proxy training), "ensemble" (out-of-sample probabilities), ...
        count: how many; default: 50, or all where there are fewer.
        fraction: instead of `count`, the fraction of the training set, 0 < fraction <= 1.
        seed: of the evidence.
        out: a .csv to write, with a .json beside it; default: none.

    Raises:
        UnknownName: a scorer that says nothing about labels. InvalidValue: count, fraction, or settings that leave no such
        evidence. OutputExists: `out` holds something else.
    """
    check_scorer(scorer)
    context = context_of(data)
    wanted = resolve_count(count, fraction, context.data.total)
    labels = context.data.train.labels
    if scorer in (ENSEMBLE, MEMORIZATION):
        ensemble = open_ensemble(context, seed)
        view = _view_of_ensemble(ensemble)
        scores = _self_confidence(context, ensemble, view, seed) if scorer == ENSEMBLE else score(context, scorer, seed=seed)
    else:
        scores = score(context, scorer, seed=seed)
        view = _view_of_recording(open_recording(Path(scores.meta["recording"])))
    found = _ranked(scores, view, labels, context.data.class_names, wanted, context.data)
    if out is not None:
        found.save(out)
    return found


def find_label_issues_of_recording(
    folder: str | Path,
    scorer: str = "aum",
    *,
    count: int | None = None,
    fraction: float | str | None = None,
    data: Dataset | None = None,
    class_names: Sequence[str] | None = None,
    out: str | Path | None = None,
) -> LabelIssues:
    """The same from a recording, whoever trained: `dp.record` makes one in a training loop that is not ours.

    Args:
        folder: of the recording.
        scorer: one of `ISSUE_END` that reads what is in the recording.
        count: see `find_label_issues`.
        fraction: see `find_label_issues`.
        data: the dataset that was recorded, if it is one that `open_dataset` opens.
        class_names: default: those of `data`, else the numbers of the classes.
        out: see `find_label_issues`.

    Raises:
        InvalidFile: no recording, or a broken one. UnknownName: a scorer that says nothing about labels.
        InvalidValue: it reads
        something else than is recorded, count, fraction, or too few class names.
        IncompatibleInputs: `data` is another dataset.
        OutputExists: `out` holds something else.
    """
    check_scorer(scorer)
    if scorer == ENSEMBLE:
        raise InvalidValue(
            "a recording holds no ensemble; rank its label issues by aum, or let dprune label-issues train one"
        )
    recording = open_recording(Path(folder))
    wanted = resolve_count(count, fraction, recording.total)
    labels, view = recording.labels(), _view_of_recording(recording)
    if data is not None:
        _check_recorded(recording, labels, data)
        class_names = class_names or data.class_names
    highest = int(max(labels.max(), -1 if view.other is None else view.other.max()))
    names = [str(k) for k in range(highest + 1)] if class_names is None else class_names
    if len(names) <= highest:
        raise InvalidValue(f"{len(names)} class names were given, and {recording.folder} has a class {highest}")
    found = _ranked(score_recording(folder, scorer), view, labels, names, wanted, data or recording)
    if out is not None:
        found.save(out)
    return found


def _check_recorded(recording: Recording, labels: NDArray[np.int64], data: Dataset) -> None:
    """The dataset by its fingerprint or, where the recording has none, by its labels."""
    if recording.fingerprint != data.fingerprint and not (
        recording.fingerprint.startswith(NO_FINGERPRINT) and np.array_equal(labels, data.train.labels)
    ):
        why = read_otherwise(recording.name, data)
        raise IncompatibleInputs(
            f"{recording.folder} was recorded on another dataset ({recording.name}) than {data.name}{why}"
        )


def label_issues_path(context: Context, scorer: str, count: int, seed: int) -> Path:
    """Where a list of label issues lies in the workspace."""
    recipe = context.recipe
    made_with = {table: plain(recipe)[table] for table in ("proxy", "evidence", "views", "ensemble", "ensemble_member")}
    identity = {"count": count, "seed": seed, "threads": context.threads, "device": context.device.type, **made_with}
    place = context.place("label-issues", scorer, identity)
    return place.with_name(f"{place.name}.csv")


def check_scorer(scorer: str) -> None:
    """Only scorers whose order says something about labels.

    Raises:
        UnknownName: another one; the nearest is named.
    """
    if scorer not in ISSUE_END:
        raise UnknownName("scorer of wrong labels", scorer, ISSUE_END)


def resolve_count(count: int | None, fraction: float | str | None, total: int) -> int:
    """How many label_issues are wanted, 1..total.

    Raises:
        InvalidValue: both are given, or one is outside what is allowed.
    """
    if count is not None and fraction is not None:
        raise InvalidValue("say how many label issues by a count or by a fraction, not by both")
    if fraction is not None:
        try:
            value = float(fraction)
        except ValueError:
            value = -1.0
        if not 0 < value <= 1:
            raise InvalidValue(f"fraction is the part of the training set that is listed, 0 < fraction <= 1; got {fraction}")
        return max(1, round(value * total))
    if count is None:
        return min(COUNT, total)
    if not 1 <= count <= total:
        raise InvalidValue(f"there are {total:,} training samples to rank; {count:,} were asked for")
    return count


def _self_confidence(context: Context, ensemble: SubsetEnsemble, view: _Predictions, seed: int) -> Scores:
    """The probability of the label as a score; likely labels first."""
    assert view.own is not None
    others = confident_others(ensemble.pred_probs(), context.data.train.labels)
    about = {"scorer": ENSEMBLE, "source": "Northcutt et al. 2021, section 3 (self-confidence)", "confident_others": others}
    return Scores(view.own, {**about, "seed": seed, **ensemble_story(context), "costs": asdict(ensemble.cost)})


def _view_of_ensemble(ensemble: SubsetEnsemble) -> _Predictions:
    probs, labels = ensemble.pred_probs(), ensemble.labels
    own = probs[np.arange(len(labels)), labels]
    return _Predictions(own, best_other(probs, labels), "mean over ensemble members that never saw the sample")


def _view_of_recording(recording: Recording) -> _Predictions:
    try:
        own: NDArray[Any] | None = recording.label_prob()
    except InvalidValue:  # no run went to the end
        own = None
    return _Predictions(own, recording.rivals(), "mean over all presentations while the proxies trained on the sample")


def _ranked(
    scores: Scores, view: _Predictions, labels: NDArray[np.int64], names: Sequence[str], wanted: int, data: Identity
) -> LabelIssues:
    """The `wanted` first: by score, among equals by the label's probability, then by id."""
    end, why = ISSUE_END[scores.scorer]
    own, other = view.own, view.other
    first = scores.values if end == "lowest" else -scores.values
    order = np.lexsort((np.arange(len(first)), np.zeros(len(first)) if own is None else own, first))
    paths: Sequence[str] | None = None
    if isinstance(data, Dataset):
        order, paths = order[~np.isin(order, data.unreadable)], data.train_paths
    rows = []
    for i in map(int, order[:wanted]):
        suggested = None if other is None else int(other[i])
        name = "" if suggested is None else names[suggested]
        probability = None if own is None else float(own[i])
        seen = float(scores.values[i]), probability, "" if paths is None else paths[i]
        rows.append(LabelIssue(i, int(labels[i]), names[labels[i]], suggested, name, *seen))
    base = new_meta(KIND, data)
    story = {key: value for key, value in scores.meta.items() if key not in base}
    about = {"end": end, "means": why, "count": wanted, "label_prob": None if own is None else view.eyes}
    return LabelIssues(tuple(rows), {**base, **story, **about})
