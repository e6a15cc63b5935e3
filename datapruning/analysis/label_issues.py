"""`find_label_issues`: which labels are likely wrong, ranked by a scorer or by an ensemble that did not see the sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from datapruning.analysis.pred_probs import count_confident_label_issues, most_likely_other_class
from datapruning.api.score import score, score_recording
from datapruning.artifacts.label_issues import LabelIssue, LabelIssues
from datapruning.artifacts.metadata import (
    DatasetIdentity,
    LabelIssuesMetadata,
    ScoresMetadata,
    common_fields,
    dataset_mismatch_hint,
)
from datapruning.artifacts.scores import Scores
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidValue, UnknownName
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.external_loop import NO_FINGERPRINT
from datapruning.evidence.members import open_ensemble
from datapruning.evidence.recording import Recording, open_recording
from datapruning.runs.context import Context
from datapruning.runs.opening import DatasetOrContext, as_context

ENSEMBLE, MEMORIZATION = "ensemble", "memorization"
COUNT = 50
HARD = "hard samples with right labels rank as high"
ISSUE_END: dict[str, tuple[Literal["lowest", "highest"], str]] = {
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
    """Predictions for the training samples.

    Attributes:
        label_prob: Float [N], the probability of the label; None: not recorded.
        predicted: Int64 [N], the most likely class other than the label; None: not recorded.
        source: Which networks' predictions these are.
    """

    label_prob: NDArray[Any] | None
    predicted: NDArray[np.int64] | None
    source: str


def find_label_issues(
    data: DatasetOrContext,
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
    context = as_context(data)
    num_issues = resolve_count(count, fraction, context.data.total)
    labels, confident_others = context.data.train.labels, None
    if scorer in (ENSEMBLE, MEMORIZATION):
        ensemble = open_ensemble(context, seed)
        predictions = _ensemble_predictions(ensemble)
        if scorer == ENSEMBLE:
            scores = _self_confidence(context, ensemble, predictions, seed)
            confident_others = count_confident_label_issues(ensemble.pred_probs(), labels)
        else:
            scores = score(context, scorer, seed=seed)
    else:
        scores = score(context, scorer, seed=seed)
        predictions = _recorded_predictions(open_recording(Path(str(scores.meta.recording))))
    issues = _rank(scores, predictions, labels, context.data.class_names, num_issues, context.data, confident_others)
    if out is not None:
        issues.save(out)
    return issues


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
    num_issues = resolve_count(count, fraction, recording.total)
    labels, predictions = recording.labels(), _recorded_predictions(recording)
    if data is not None:
        _check_recorded(recording, labels, data)
        class_names = class_names or data.class_names
    highest = int(max(labels.max(), -1 if predictions.predicted is None else predictions.predicted.max()))
    names = [str(k) for k in range(highest + 1)] if class_names is None else class_names
    if len(names) <= highest:
        raise InvalidValue(f"{len(names)} class names were given, and {recording.folder} has a class {highest}")
    issues = _rank(score_recording(folder, scorer), predictions, labels, names, num_issues, data or recording)
    if out is not None:
        issues.save(out)
    return issues


def _check_recorded(recording: Recording, labels: NDArray[np.int64], data: Dataset) -> None:
    """The dataset by its fingerprint or, where the recording has none, by its labels."""
    if recording.fingerprint != data.fingerprint and not (
        recording.fingerprint.startswith(NO_FINGERPRINT) and np.array_equal(labels, data.train.labels)
    ):
        why = dataset_mismatch_hint(recording.name, data)
        raise IncompatibleInputs(
            f"{recording.folder} was recorded on another dataset ({recording.name}) than {data.name}{why}"
        )


def label_issues_path(context: Context, scorer: str, count: int, seed: int) -> Path:
    """Where a list of label issues lies in the workspace."""
    made_with = context.recipe.identity("proxy", "evidence", "views", "ensemble", "ensemble_member")
    identity = {"count": count, "seed": seed, "threads": context.threads, "device": context.device.type, **made_with}
    path = context.artifact_path("label-issues", scorer, identity)
    return path.with_name(f"{path.name}.csv")


def check_scorer(scorer: str) -> None:
    """Only scorers whose order says something about labels.

    Raises:
        UnknownName: another one; the nearest is named.
    """
    if scorer not in ISSUE_END:
        raise UnknownName("scorer of wrong labels", scorer, ISSUE_END)


def resolve_count(count: int | None, fraction: float | str | None, total: int) -> int:
    """Return how many label issues are asked for, 1..total.

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


def _self_confidence(context: Context, ensemble: SubsetEnsemble, predictions: _Predictions, seed: int) -> Scores:
    """Return the probability of the label as a score, so that likely labels come first."""
    assert predictions.label_prob is not None
    meta = ScoresMetadata(
        **common_fields(context.data), scorer=ENSEMBLE, source="Northcutt et al. 2021, section 3 (self-confidence)",
        seed=seed, ensemble=context.recipe.ensemble, ensemble_member=context.recipe.ensemble_member, costs=ensemble.cost,
    )  # fmt: skip
    return Scores(predictions.label_prob, meta)


def _ensemble_predictions(ensemble: SubsetEnsemble) -> _Predictions:
    probs, labels = ensemble.pred_probs(), ensemble.labels
    label_prob = probs[np.arange(len(labels)), labels]
    source = "mean over ensemble members that never saw the sample"
    return _Predictions(label_prob, most_likely_other_class(probs, labels), source)


def _recorded_predictions(recording: Recording) -> _Predictions:
    try:
        label_prob: NDArray[Any] | None = recording.label_prob()
    except InvalidValue:  # no run went to the end
        label_prob = None
    source = "mean over all presentations while the proxies trained on the sample"
    return _Predictions(label_prob, recording.runner_up_classes(), source)


def _rank(
    scores: Scores,
    predictions: _Predictions,
    labels: NDArray[np.int64],
    names: Sequence[str],
    count: int,
    data: DatasetIdentity,
    confident_others: int | None = None,
) -> LabelIssues:
    """Return the first `count` samples: by score, of equal scores by the label's probability, then by id."""
    end, meaning = ISSUE_END[scores.scorer]
    label_prob, predicted = predictions.label_prob, predictions.predicted
    values = scores.values if end == "lowest" else -scores.values
    order = np.lexsort((np.arange(len(values)), np.zeros(len(values)) if label_prob is None else label_prob, values))
    paths: Sequence[str] | None = None
    if isinstance(data, Dataset):
        order, paths = order[~np.isin(order, data.corrupt_ids)], data.train_paths
    issues = []
    for i in map(int, order[:count]):
        suggested = None if predicted is None else int(predicted[i])
        issues.append(
            LabelIssue(
                i, int(labels[i]), names[labels[i]], suggested, "" if suggested is None else names[suggested],
                float(scores.values[i]), None if label_prob is None else float(label_prob[i]),
                "" if paths is None else paths[i],
            )
        )  # fmt: skip
    meta = LabelIssuesMetadata(
        **common_fields(data), scorer=scores.scorer, seed=scores.meta.seed, end=end, means=meaning, count=count,
        label_prob=None if label_prob is None else predictions.source, confident_others=confident_others, scores=scores.meta,
    )  # fmt: skip
    return LabelIssues(tuple(issues), meta)
