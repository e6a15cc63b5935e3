"""`find_label_issues`: which labels are likely wrong, ranked by a scorer or by an ensemble that did not see the sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from datapruning.analysis.pred_probs import count_confident_label_issues, most_likely_other_class, pred_probs
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
from datapruning.data.registry import open_dataset
from datapruning.errors import IncompatibleInputs, InvalidValue, UnknownName
from datapruning.evidence.collect import print_evidence_cost
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.manifests import NO_FINGERPRINT
from datapruning.evidence.members import open_ensemble
from datapruning.evidence.recording import Recording, open_recording
from datapruning.io.disk_space import check_writable
from datapruning.report.render import check_page
from datapruning.report.write import write_label_issue_page
from datapruning.runs.context import Context
from datapruning.runs.opening import ContextSettings, DatasetOrContext, as_context
from datapruning.scorers import get_scorer

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
    gallery: str | Path | None = None,
    probs: str | Path | None = None,
    **settings: Unpack[ContextSettings],
) -> LabelIssues:
    """Rank the training samples whose label is likely wrong. A ranking, no verdict.

    Evidence that is already in the workspace is reused.

    Args:
        data: A dataset, its name or path, or a context.
        scorer: One of `ISSUE_END`: "aum" (one proxy training), "ensemble" (out-of-fold probabilities), ...
        count: Number of label issues; default: 50, or all where there are fewer.
        fraction: Instead of `count`, the fraction of the training set, 0 < fraction <= 1.
        seed: Random seed of the evidence.
        out: A .csv to write, with a .json of the same name, or a folder for a file named by its content; default: none.
        gallery: An .html page to write that shows all of them; default: none.
        probs: An .npz to write with the out-of-fold probabilities of all samples (see `pred_probs`); default: none.
        settings: Recipe, device and others, see `ContextSettings`; not beside a context.

    Raises:
        UnknownName: A scorer that says nothing about labels.
        InvalidValue: `count`, `fraction`, `probs` without an ensemble, or settings that leave no such evidence.
        OutputExists: One of the outputs holds something else.
    """
    check_scorer(scorer)
    uses_ensemble = scorer in (ENSEMBLE, MEMORIZATION)
    if probs is not None and (not uses_ensemble or Path(probs).suffix != ".npz"):
        raise InvalidValue(
            f"{probs} is to be an .npz of the ensemble's probabilities; it goes with scorer '{ENSEMBLE}'", parameter="probs"
        )
    _check_outputs(out, gallery, probs)  # before networks are trained for them
    context = as_context(data, **settings)
    num_issues = resolve_count(count, fraction, context.data.total)
    print_evidence_cost(context, [get_scorer(MEMORIZATION if scorer == ENSEMBLE else scorer)])
    labels, confident_others = context.data.train.labels, None
    if uses_ensemble:
        ensemble = open_ensemble(context, seed)
        predictions = _ensemble_predictions(ensemble)
    if scorer == ENSEMBLE:
        scores = _self_confidence(context, ensemble, predictions, seed)
        confident_others = count_confident_label_issues(ensemble.pred_probs(), labels)
    else:
        scores = score(context, scorer, seed=seed)
    if not uses_ensemble:
        predictions = _recorded_predictions(open_recording(Path(str(scores.meta.recording))))
    issues = _rank(scores, predictions, labels, context.data.class_names, num_issues, context.data, confident_others)
    if out is not None:
        issues.check_output_path(out)
    if probs is not None:
        pred_probs(context, seed, out=probs)
    _write(issues, context.data, out, gallery)
    return issues


def find_label_issues_of_recording(
    folder: str | Path,
    scorer: str = "aum",
    *,
    count: int | None = None,
    fraction: float | str | None = None,
    data: Dataset | str | Path | None = None,
    class_names: Sequence[str] | None = None,
    out: str | Path | None = None,
    gallery: str | Path | None = None,
) -> LabelIssues:
    """Do the same from any recording; `dp.record` makes one in an external training loop.

    Args:
        folder: The recording.
        scorer: One of `ISSUE_END` that reads what is in the recording.
        count: See `find_label_issues`.
        fraction: See `find_label_issues`.
        data: The dataset that was recorded, or its name or path, if it is one that `open_dataset` opens.
        class_names: Default: those of `data`, else the numbers of the classes.
        out: See `find_label_issues`.
        gallery: See `find_label_issues`; needs `data`.

    Raises:
        InvalidFile: No recording, or a broken one.
        UnknownName: A scorer that says nothing about labels.
        InvalidValue: `scorer` reads something else than is recorded, `count`, `fraction`, too few class names, or a gallery
            without the dataset.
        IncompatibleInputs: `data` is another dataset.
        OutputExists: One of the outputs holds something else.
    """
    check_scorer(scorer)
    if scorer == ENSEMBLE:
        raise InvalidValue(
            "a recording holds no ensemble; rank its label issues by aum, or let dprune label-issues train one"
        )
    if gallery is not None and data is None:
        raise InvalidValue("a gallery needs the images: say which dataset was recorded", parameter="data")
    recording = open_recording(Path(folder))
    _check_outputs(out, gallery)
    dataset = data if data is None or isinstance(data, Dataset) else open_dataset(str(data))
    num_issues = resolve_count(count, fraction, recording.total)
    labels, predictions = recording.labels(), _recorded_predictions(recording)
    if dataset is not None:
        _check_recorded(recording, labels, dataset)
        class_names = class_names or dataset.class_names
    highest = int(max(labels.max(), -1 if predictions.predicted is None else predictions.predicted.max()))
    names = [str(k) for k in range(highest + 1)] if class_names is None else class_names
    if len(names) <= highest:
        raise InvalidValue(f"{len(names)} class names were given, and {recording.folder} has a class {highest}")
    issues = _rank(score_recording(folder, scorer), predictions, labels, names, num_issues, dataset or recording)
    if out is not None:
        issues.check_output_path(out)
    _write(issues, dataset, out, gallery)
    return issues


def _check_outputs(out: str | Path | None, gallery: str | Path | None, probs: str | Path | None = None) -> None:
    if gallery is not None:
        check_page(Path(gallery), "gallery")
    for output in (out, probs):
        if output is not None:
            check_writable(output)


def _write(issues: LabelIssues, data: Dataset | None, out: str | Path | None, gallery: str | Path | None) -> None:
    if gallery is not None and data is not None:
        write_label_issue_page(issues, data, Path(gallery))
    if out is not None:
        issues.save(out)


def _check_recorded(recording: Recording, labels: NDArray[np.int64], data: Dataset) -> None:
    """The dataset by its fingerprint or, where the recording has none, by its labels."""
    if recording.fingerprint != data.fingerprint and not (
        recording.fingerprint.startswith(NO_FINGERPRINT) and np.array_equal(labels, data.train.labels)
    ):
        why = dataset_mismatch_hint(recording.name, recording.spec, data)
        raise IncompatibleInputs(
            f"{recording.folder} was recorded on another dataset ({recording.name}) than {data.name}{why}"
        )


def check_scorer(scorer: str) -> None:
    """Refuse scorers whose order is unrelated to wrong labels.

    Raises:
        UnknownName: another one; the nearest is named.
    """
    if scorer not in ISSUE_END:
        raise UnknownName("scorer of wrong labels", scorer, ISSUE_END)


def resolve_count(count: int | None, fraction: float | str | None, total: int) -> int:
    """Return the requested number of label issues, 1..total.

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
