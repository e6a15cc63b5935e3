"""The verb `score`: from evidence, recorded where it is missing, to one number a sample."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from datapruning.api.score_paths import resolve_score_paths
from datapruning.artifacts.metadata import DatasetIdentity, EvidenceFields, ScoresMetadata, common_fields
from datapruning.artifacts.save import save_if_new
from datapruning.artifacts.scorer import Scorer, Values
from datapruning.artifacts.scores import Scores
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue
from datapruning.evidence.collect import collect_evidence, read_evidence, wrap_embeddings
from datapruning.evidence.dynamics import TrainingDynamics
from datapruning.evidence.embeddings import Embeddings
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.own_embeddings import OwnEmbeddings, open_embeddings
from datapruning.evidence.recording import open_recording
from datapruning.io.disk_space import check_writable
from datapruning.runs.context import Context
from datapruning.runs.opening import ContextSettings, DatasetOrContext, as_context
from datapruning.scorers import find_scorers, get_scorer
from datapruning.utils.console import info

EmbeddingsSource = OwnEmbeddings | NDArray[Any] | str | Path
ALL = "all"
"""Stands for every scorer."""
TIE_HINTS: dict[type, str] = {TrainingDynamics: "; record more epochs", SubsetEnsemble: "; add members to the ensemble"}
"""What may help where all scores are the same."""


def score(
    data: DatasetOrContext,
    scorer: str = "el2n",
    *,
    model: str | None = None,
    init: str | Path | None = None,
    embeddings: EmbeddingsSource | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Unpack[ContextSettings],
) -> Scores:
    """Score every training sample, higher = keep first.

    Evidence (proxies or ensemble members trained for it) that is already in the workspace is used again.

    Args:
        data: a dataset, its name or path, or a context.
        scorer: name of the scorer.
        model: network of the proxies and of the members of an ensemble; default: the recipe's.
        init: file of weights, or a run, that the proxies start from; default: a random initialisation.
        embeddings: float [N, width] in the order of the sample ids, or a `.npy` file of them, from a network of your own;
            for scorers that read embeddings, which then need no proxy.
        seed: random seed of the evidence, and of the order for the scorer "random".
        out: file to write; default: none.
        settings: recipe, device and others, see `ContextSettings`; not beside a context.

    Raises:
        UnknownName: no such scorer. InvalidValue: settings that leave no such evidence.
        OutputExists: `out` holds something else.
    """
    if out is not None and not Path(out).exists():
        check_writable(out)
    selected_scorer: Scorer = get_scorer(scorer)
    context = with_evidence_model(as_context(data, **settings), model, [selected_scorer], init)
    if embeddings is not None:
        check_no_proxy_settings(model, init)
        opened = open_embeddings(embeddings, context.data.total)
        evidence, provenance = wrap_embeddings(context, selected_scorer, opened, seed)
    else:
        evidence, provenance = collect_evidence(context, selected_scorer, seed)
    return _compute_scores(selected_scorer, evidence, context.data, seed, provenance, out)


def with_evidence_model(context: Context, model: str | None, scorers: Sequence[Scorer], init: str | Path | None) -> Context:
    """The context with another network for proxies and members of an ensemble, and weights that the proxies start from.

    Args:
        context: the context.
        model: None: as the recipe has it.
        scorers: those that the evidence is for.
        init: None: a random initialisation.

    Raises:
        UnknownName, InvalidValue: no such network, one that does not take such images, or weights for an ensemble.
        InvalidFile, IncompatibleInputs: see `open_initial_weights`.
    """
    ensemble = [scorer.name for scorer in scorers if scorer.needs is SubsetEnsemble]
    if init is not None and ensemble:
        raise InvalidValue(
            f"{', '.join(ensemble)}: an ensemble compares networks that were trained on a sample with others that were not, "
            "and initial weights may come from training on all of them; leave the weights or these scorers out",
            parameter="init",
        )
    if model is not None:
        context = context.with_settings("proxy", model=model).with_settings("ensemble_member", model=model)
    return context.with_init("proxy", init)


def check_no_proxy_settings(model: str | None, init: str | Path | None) -> None:
    """Refuse settings of proxies where embeddings are given, for which none is trained.

    Raises:
        InvalidValue: naming them.
    """
    if model is not None or init is not None:
        raise InvalidValue(
            "with embeddings no proxy is trained: leave the model and the initial weights out", parameter="embeddings"
        )


def resolve_scorers(
    names: str | Sequence[str], recording: str | Path | None = None, *, embeddings: bool = False
) -> list[str]:
    """Names of scorers, without doubles; "all" stands for every scorer, or for those that can be read from a recording.

    Args:
        names: a list, or text with commas.
        recording: folder of a recording.
        embeddings: whether "all" stands for those that read embeddings.

    Raises:
        UnknownName: no such scorer. InvalidValue: no name at all. InvalidFile: no recording, or a broken one.
    """
    words = names.split(",") if isinstance(names, str) else names
    wanted = list(dict.fromkeys(word.strip() for word in words if word.strip()))
    if not wanted:
        raise InvalidValue("name at least one scorer, or all", parameter="scorer")
    if wanted == [ALL] and embeddings:
        return [name for name, scorer in find_scorers().items() if scorer.needs is Embeddings]
    if wanted == [ALL]:
        return list(find_scorers()) if recording is None else available_scorers(recording)
    for name in wanted:
        get_scorer(name)
    return wanted


def score_recording_by(folder: str | Path, scorers: Sequence[str], *, out: str | Path | None = None) -> dict[str, Path]:
    """Score a recording by several scorers and write all files, or none if one of the scorers fails.

    Args:
        folder: of the recording.
        scorers: names.
        out: a file if it ends in .npz, else a folder; default: `scores` in the recording.

    Returns:
        The file of each scorer's scores.

    Raises:
        As `score_recording` and `resolve_score_paths`.
    """
    paths = resolve_score_paths(lambda name: Path(folder) / "scores" / f"{name}.npz", scorers, out)
    scores = {name: score_recording(folder, name) for name in scorers}
    for name, path in paths.items():
        save_if_new(scores[name], path)
    return paths


def score_recording(folder: str | Path, scorer: str, *, out: str | Path | None = None) -> Scores:
    """Score the samples of any recording; `dp.record` makes one in an external training loop.

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
    selected_scorer: Scorer = get_scorer(scorer)
    evidence, seed = read_evidence(recording, selected_scorer), recording.manifest.seed
    return _compute_scores(selected_scorer, evidence, recording, seed, {"recording": str(recording.folder)}, out)


def available_scorers(folder: str | Path) -> list[str]:
    """Names of the scorers that can be read from a recording.

    Raises:
        InvalidFile: no recording, or a broken one.
    """
    recording, names = open_recording(Path(folder)), []
    for name, scorer in find_scorers().items():
        try:
            read_evidence(recording, scorer)
        except InvalidValue:
            continue
        names.append(name)
    return names


def _compute_scores(
    scorer: Scorer,
    evidence: Any,
    data: DatasetIdentity,
    seed: int,
    provenance: EvidenceFields,
    out: str | Path | None,
) -> Scores:
    values, stderr = scorer(evidence)
    if len(values) > 1 and bool((values == values[0]).all()):
        advice = TIE_HINTS.get(scorer.needs, "")
        info(f"{scorer.name}: every sample has the same score, {values[0]:.4g}: it cannot rank{advice}")
    unreadable = names = labels = images = None
    if isinstance(data, Dataset):
        names, labels, images = data.class_names, data.train.labels.astype(np.int32), data.image_hashes
        if data.corrupt_ids:
            unreadable = tuple(map(int, data.corrupt_ids))
            values, stderr = _rank_last(values, stderr, data)
    meta = ScoresMetadata(
        **common_fields(data), scorer=scorer.name, source=scorer.source, sign=scorer.sign, seed=seed,
        class_names=names, unreadable=unreadable, **provenance,
    )  # fmt: skip
    scores = Scores(values, meta, stderr, labels, images)
    if out is not None:
        save_if_new(scores, Path(out))
    return scores


def _rank_last(values: Values, stderr: Values | None, data: Dataset) -> tuple[Values, Values | None]:
    """Return the scores with unreadable images one float32 step below the lowest of the others, without standard error."""
    lost = list(data.corrupt_ids)
    values, stderr = np.array(values, np.float32), None if stderr is None else np.array(stderr, np.float32)
    values[lost] = np.nextafter(np.nanmin(values[data.valid_ids]), np.float32(-np.inf))
    if stderr is not None:
        stderr[lost] = 0
    return values, stderr
