"""Out-of-sample class probabilities of the training samples: what cleanlab and confident learning read."""

from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import PredProbsMetadata, common_fields
from datapruning.artifacts.pred_probs import PredProbs
from datapruning.evidence.collect import check_evidence
from datapruning.evidence.members import open_ensemble
from datapruning.io.disk_space import check_writable
from datapruning.runs.opening import ContextSettings, DatasetOrContext, as_context
from datapruning.scorers import get_scorer


def pred_probs(
    data: DatasetOrContext, seed: int = 0, *, out: str | Path | None = None, **settings: Unpack[ContextSettings]
) -> NDArray[np.float32]:
    """Compute out-of-fold class probabilities of the training samples from the subset ensemble, float32 [N, classes].

    Each is the mean over the members that were not trained on the sample; members that are missing are trained. This is what
    cleanlab calls `pred_probs`.

    Args:
        data: A dataset, its name or path, or a context.
        seed: Random seed of the ensemble.
        out: An .npz to write, with the labels and metadata; default: none.
        settings: Recipe, device and others, see `ContextSettings`; not beside a context.

    Raises:
        InvalidValue: An ensemble so small that every member saw some sample, or a network that does not take these images.
        OutputExists: `out` holds something else.
    """
    if out is not None:
        check_writable(out)
    context = as_context(data, **settings)
    check_evidence(context, [get_scorer("memorization")])
    probs, recipe = open_ensemble(context, seed).pred_probs(), context.recipe
    if out is not None:
        meta = PredProbsMetadata(
            **common_fields(context.data), seed=seed, ensemble=recipe.ensemble, ensemble_member=recipe.ensemble_member
        )
        PredProbs(probs, context.data.train.labels, meta).save(Path(out))
    return probs


def most_likely_other_class(probs: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the most probable class other than the label, int64 [N]; of equal probabilities the lower class.

    Args:
        probs: Float32 [N, classes].
        labels: Int64 [N].
    """
    others = probs.copy()
    others[np.arange(len(labels)), labels] = -1
    return np.asarray(others.argmax(1), np.int64)


def count_confident_label_issues(probs: NDArray[np.float32], labels: NDArray[np.int64]) -> int:
    """Count the samples that are confidently of another class than their label, as confident learning does.

    Northcutt et al. 2021, section 3.1: a sample counts for the most probable of the classes whose probability reaches
    that class's mean over the samples with its label. This is the sum off the diagonal of the confident joint, before any
    calibration.

    Args:
        probs: Float32 [N, classes], out-of-fold.
        labels: Int64 [N].
    """
    classes = probs.shape[1]
    label_probs = probs[np.arange(len(labels)), labels].astype(np.float64)
    counts = np.bincount(labels, minlength=classes)
    thresholds = np.where(counts > 0, np.bincount(labels, label_probs, classes) / np.maximum(counts, 1), np.inf)
    confident = np.where(probs >= thresholds, probs, -1.0)
    return int(((confident.max(1) >= 0) & (confident.argmax(1) != labels)).sum())
