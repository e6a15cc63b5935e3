"""`select`: keep a fraction of the samples."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.changed_dataset import adapt_scores
from datapruning.artifacts.id_lists import LIST_SUFFIXES, read_ids
from datapruning.artifacts.save import save_if_new
from datapruning.artifacts.scores import Scores, load_scores
from datapruning.artifacts.subset import Subset, load_subset, validate_ids
from datapruning.artifacts.subset_file import open_subset
from datapruning.data.dataset import Dataset
from datapruning.data.dataset_spec import parse_dataset_spec
from datapruning.data.missing_classes import announce_lost_classes
from datapruning.data.registry import SOURCES, open_dataset
from datapruning.errors import IncompatibleInputs, InvalidValue
from datapruning.evidence.own_embeddings import OwnEmbeddings
from datapruning.runs.context import WORKSPACE
from datapruning.selection.select import Balance, check_balance, open_embeddings_for, open_recording_for
from datapruning.selection.select import select as select_from
from datapruning.selection.strategies import get_strategy


def select(
    scores: Scores | str | Path,
    fraction: float | str,
    *,
    strategy: str = "top",
    settings: Mapping[str, object] | None = None,
    balance: str = "none",
    data: Dataset | str | Path | None = None,
    recording: str | Path | None = None,
    embeddings: OwnEmbeddings | NDArray[Any] | str | Path | None = None,
    seed: int = 0,
    exclude: Subset | str | Path | None = None,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    download: bool = False,
    workspace: str | Path = WORKSPACE,
) -> Subset:
    """Keep a fraction of the samples (see `datapruning.selection.select.select`).

    Args:
        scores: from `score` or `load_scores`, a file of them, or the name of ready-made ones, such as
            "cifar100:forgetting".
        fraction: share of the samples that is kept, 0 < fraction <= 1.
        strategy: name of the strategy: "top", "random", "ccs", ... (see docs/strategies.md).
        settings: of the strategy, for example {"cutoff": 0.2}; the others have their defaults.
        balance: "none", or "class", which needs labels: those in the scores, or of the dataset.
        data: the dataset, or its name or path; checked against the scores (see `adapt_scores`). Default: opened by the
            name in the scores where labels are needed that the scores do not have.
        recording: folder of the evidence that some strategies read; default: the one the scores were made from.
        embeddings: float [N, width] in the order of the sample ids, or a `.npy` file of them, from a network of your own;
            for strategies that read embeddings, instead of a recording. Default: those that the scores were made from.
        seed: random seed of strategies that draw.
        exclude: samples that are not kept: a subset, a file of one, or a list as `subset_from_file` takes it (of image paths
            with `data` alone).
        out: file to write; default: none.
        data_root: folder of the torchvision datasets, for a dataset that is opened by its name.
        download: whether torchvision fetches a dataset that is missing.
        workspace: folder that holds decoded image files.

    Raises:
        InvalidValue, UnknownName: bad arguments. InvalidFile: no recording there.
        IncompatibleInputs: scores or a recording of another
        dataset. MissingPackage: "d2" without faiss. OutputExists: `out` holds something else.
    """
    check_balance(balance)
    scores = scores if isinstance(scores, Scores) else load_scores(scores)
    labels = scores.complete_labels
    needs_dataset = data is not None or (balance == "class" and labels is None)
    dataset = _open_dataset(scores, data, data_root, download, workspace) if needs_dataset else None
    if dataset is not None:
        labels = dataset.train.labels
    used = scores if dataset is None else adapt_scores(scores, dataset)
    if used.meta.recording is None and used.meta.embeddings is None:  # or else they are of the same ids
        scores = used
    rule, evidence = get_strategy(strategy), None
    if embeddings is not None and recording is not None:
        raise InvalidValue("a strategy reads a recording or embeddings: leave one of them out", parameter="embeddings")
    opened = open_embeddings_for(rule, scores, embeddings) if recording is None else None
    if opened is None:
        evidence = open_recording_for(rule, scores, recording)
    scores = used
    subset = select_from(
        scores, fraction, strategy=strategy, settings=settings, balance=cast(Balance, balance), labels=labels, seed=seed,
        evidence=evidence, embeddings=opened, exclude=None if exclude is None else _excluded_ids(exclude, scores, dataset),
    )  # fmt: skip
    complete_labels = scores.complete_labels
    if complete_labels is not None and scores.meta.class_names is not None:
        announce_lost_classes(complete_labels[subset.indices], scores.meta.class_names)
    if out is not None:
        save_if_new(subset, Path(out))
    return subset


def _excluded_ids(exclude: Subset | str | Path, scores: Scores, dataset: Dataset | None) -> NDArray[np.int64]:
    if not isinstance(exclude, Subset):
        if Path(exclude).suffix in LIST_SUFFIXES and dataset is None:
            return validate_ids(read_ids(exclude), scores.meta.total, str(exclude))
        exclude = load_subset(exclude) if dataset is None else open_subset(exclude, dataset)
    if exclude.meta.fingerprint != scores.meta.fingerprint:
        raise IncompatibleInputs(
            f"the excluded samples are of {exclude.meta.dataset}, the scores of {scores.meta.dataset}: another dataset",
            parameter="exclude",
        )
    return exclude.indices


def subset_path(subset: Subset, folder: str | Path) -> Path:
    """Return a file name from dataset, scorer, strategy, number of samples and a hash of their ids."""
    digest = hashlib.sha256(subset.indices.tobytes()).hexdigest()[:8]
    strategy = subset.meta.strategy
    strategies = [] if strategy in (None, "top", "random") else [strategy]
    return Path(folder) / (
        "-".join([subset.meta.dataset, subset.meta.scorer, *strategies, str(len(subset)), digest]) + ".npz"
    )


def _open_dataset(
    scores: Scores,
    data: Dataset | str | Path | None,
    data_root: str | Path | None,
    download: bool,
    workspace: str | Path,
) -> Dataset:
    """The dataset that is given, else that of the scores, which have no labels.

    Raises:
        InvalidValue: the dataset of the scores is not there.
    """
    if isinstance(data, Dataset):
        return data
    name = str((scores.meta.spec or scores.meta.dataset) if data is None else data)
    if data is None and name not in SOURCES and not Path(parse_dataset_spec(name).name.removeprefix("hf:")).exists():
        raise InvalidValue(f"balance 'class' needs the labels of {name}: say where that dataset is", parameter="data")
    return open_dataset(name, root=data_root, download=download, workspace=workspace)
