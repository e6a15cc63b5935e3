"""Scores on a dataset that was changed since: relabelled samples, samples that were added, removed or moved.

Samples are recognised by their images, so an image file that moves to the folder of another class, which changes the ids of
many samples, is one relabelled sample.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import check_same_dataset
from datapruning.artifacts.scores import Scores
from datapruning.data.dataset import Dataset
from datapruning.utils.console import info

MIN_KNOWN = 0.5
"""Share of the samples of either dataset that the other must have; with fewer it is another dataset."""


def adapt_scores(scores: Scores, data: Dataset) -> Scores:
    """The scores for a dataset that may have changed since they were made.

    The scores of samples whose image and label are the same are used. Those of the others are set aside: they come last, and
    one line counts them. A scorer that reads nothing, such as "random", asks for the same image alone.

    Raises:
        IncompatibleInputs: another dataset, of which less than half of the images are known.
    """
    meta = scores.meta
    if meta.fingerprint == data.fingerprint:
        return scores
    if scores.images is None or scores.labels is None or meta.class_names is None:
        check_same_dataset("these scores", meta, data)
    assert scores.images is not None
    assert scores.labels is not None
    assert meta.class_names is not None
    images = data.image_hashes
    is_known = np.isin(images, scores.images)
    if min(is_known.mean(), np.isin(scores.images, images).mean()) < MIN_KNOWN:
        check_same_dataset("these scores", meta, data)
    names_before, names = [*meta.class_names, None], data.class_names  # label -1: set aside before
    before: list[Hashable] = scores.images.tolist()
    now: list[Hashable] = images.tolist()
    if meta.costs is not None or meta.embeddings is not None:
        before = [(image, names_before[label]) for image, label in zip(before, scores.labels.tolist(), strict=True)]
        now = [(image, names[label]) for image, label in zip(now, data.train.labels.tolist(), strict=True)]
    old_ids = _match(before, now)
    is_used = old_ids >= 0
    values, stderr = _carry_over(scores.values, old_ids), None
    lowest = values[is_used].min(initial=np.float32(np.inf))
    values[~is_used] = np.nextafter(lowest, np.float32(-np.inf))
    if scores.stderr is not None:
        stderr = _carry_over(scores.stderr, old_ids)
    new, set_aside = int((~is_known).sum()), int((~is_used).sum())
    info(
        f"scores: {data.name} has changed since they were made: {set_aside - new:,} of {data.total:,} samples have another "
        f"label, {new:,} are new; these come last, the scores of {data.total - set_aside:,} are used"
    )
    is_moved = not np.array_equal(old_ids[is_used], np.flatnonzero(is_used)) or data.total != meta.total
    changes: dict[str, Any] = {
        "dataset": data.name, "spec": data.spec, "fingerprint": data.fingerprint, "total": data.total, "class_names": names,
        "set_aside": set_aside, "unreadable": tuple(map(int, data.corrupt_ids)) or None,
    }  # fmt: skip
    if is_moved:  # the rows of the evidence are of other ids
        changes |= {"recording": None, "embeddings": None}
    labels = np.where(is_used, data.train.labels, -1).astype(np.int32)
    return replace(scores, values=values, stderr=stderr, labels=labels, images=images, meta=meta.model_copy(update=changes))


def _match(before: Sequence[Hashable], now: Sequence[Hashable]) -> NDArray[np.int64]:
    """For each key of `now` the position of the same key in `before`, each used once, the first first; -1: there is none."""
    positions: defaultdict[Hashable, list[int]] = defaultdict(list)
    for position, key in enumerate(before):
        positions[key].append(position)
    used: Counter[Hashable] = Counter()
    matched = np.full(len(now), -1)
    for number, key in enumerate(now):
        if used[key] < len(positions.get(key, ())):
            matched[number] = positions[key][used[key]]
            used[key] += 1
    return matched


def _carry_over(values: NDArray[np.float32], old_ids: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.where(old_ids >= 0, values[old_ids], np.float32(0))
