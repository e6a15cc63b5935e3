"""What a user gives to `dp.WeightSearch`, and what the functions of the user return, checked."""

import copy
from collections.abc import Sequence
from typing import TypeVar, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from datapruning.errors import InvalidValue, UnknownName, first_line
from datapruning.runs.training_records import Augmentation, Candidate

State = TypeVar("State")


def check_candidates(
    temperatures: Sequence[float], augmentations: Sequence[str], teacher_ages: Sequence[float], *, resized_crops: bool
) -> None:
    """Refuse what cannot be searched, with InvalidValue or UnknownName."""
    if not (temperatures and augmentations and teacher_ages):
        raise InvalidValue("temperatures, augmentations and teacher_ages name at least one each")
    if not all(0 < temperature < float("inf") for temperature in temperatures):
        raise InvalidValue(f"temperatures are numbers above 0; got {list(temperatures)}")
    if not all(0 < age <= 1 for age in teacher_ages):
        raise InvalidValue(f"teacher_ages are shares of a training, above 0 and up to 1; got {list(teacher_ages)}")
    for name in augmentations:
        if name not in get_args(Augmentation):
            raise UnknownName("augmentation", str(name), get_args(Augmentation))
        if resized_crops and "resized" in name:
            raise InvalidValue(f"augmentation '{name}' adds nothing where your own has random resized crops")


def to_integers(values: ArrayLike | Tensor, name: str) -> NDArray[np.int64]:
    """The numbers int64; `name` names them in messages.

    Raises:
        InvalidValue: other than whole numbers from 0 in one dimension.
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu" or array.min() < 0:
        raise InvalidValue(
            f"{name}: whole numbers from 0, at least one, in one dimension; got {array.dtype} {list(array.shape)}"
        )
    return array.astype(np.int64)


def to_weights(weights: ArrayLike | None, count: int) -> NDArray[np.float64]:
    """Weights float64 [count] that sum to 1; None: all alike.

    Raises:
        InvalidValue: another number of them, or negative ones.
    """
    if weights is None:
        return np.full(count, 1 / count)
    array = np.asarray(weights, np.float64)
    if array.shape != (count,) or not (array >= 0).all() or not 0 < array.sum() < np.inf:
        raise InvalidValue(f"validation_weights: {count:,} numbers from 0, not all of them 0")
    return np.asarray(array / array.sum())


def check_classes(labels: NDArray[np.int64], classes: int) -> None:
    """Refuse labels that the teacher does not know, with InvalidValue."""
    if labels.max() >= classes:
        raise InvalidValue(f"the soft labels have {classes} classes; the labels go up to {labels.max()}")


def copy_state(state: State) -> State:
    """A copy that later training does not change, as it changes a state dictionary with its network.

    Raises:
        InvalidValue: it cannot be copied.
    """
    try:
        return copy.deepcopy(state)
    except Exception as error:  # a generator, a lock, a tensor with a graph
        raise InvalidValue(
            f"the state that train(...) returned cannot be copied ({first_line(error)}); return a dictionary of tensors, or "
            "the path of a checkpoint"
        ) from error


def check_state(state: object, candidate: Candidate) -> None:
    """Refuse a missing state, with InvalidValue."""
    if state is None:
        raise InvalidValue(f"train(...) returned None for KD weight {candidate}; it returns the state after its steps")


def to_correct(outputs: ArrayLike | Tensor, targets: NDArray[np.int64], candidate: Candidate) -> NDArray[np.bool_]:
    """Which validation samples are classified correctly, bool [n]."""
    array = outputs.detach().cpu().float().numpy() if isinstance(outputs, Tensor) else np.asarray(outputs)
    where = f"evaluate(...), after a probe of KD weight {candidate},"
    if array.ndim != 2 or array.dtype.kind != "f" or len(array) != len(targets):
        raise InvalidValue(
            f"{where} returned {array.dtype} {list(array.shape)}; logits or probabilities of the {len(targets):,} "
            "validation samples are needed, float [n, classes]"
        )
    if not (finite := np.isfinite(array).all(1)).all():
        raise InvalidValue(f"{where} returned NaN or infinite numbers, the first for validation sample {np.argmin(finite)}")
    if targets.max() >= array.shape[1]:
        raise InvalidValue(f"{where} returned {array.shape[1]} classes; the validation labels go up to {targets.max()}")
    return np.asarray(array.argmax(1) == targets)
