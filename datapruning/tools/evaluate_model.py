"""Evaluating a trained network on a dataset: accuracy with its interval, by class, and what is taken for what."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs
from datapruning.tools.trained_model import BATCH_SIZE, TrainedModel, load_model
from datapruning.utils.console import ProgressBar
from datapruning.utils.intervals import wilson_interval
from datapruning.utils.records import Record

Count = Annotated[int, Field(ge=0)]


class ClassAccuracy(Record):
    """Of `count` images of a class, `correct` were classified correctly."""

    name: str
    count: Count
    correct: Count


class Evaluation(Record):
    """How a network did on a split of a dataset.

    `accuracy` is in percent, `interval` its 95% interval (Wilson's). `confusion` [classes of the network, classes of the
    network] counts images by their class (row) and the predicted one (column).
    """

    format: Literal["datapruning.evaluation"] = "datapruning.evaluation"
    version: Literal[1] = 1
    model: str
    dataset: str
    split: str
    count: Count
    accuracy: float
    interval: tuple[float, float]
    classes: tuple[ClassAccuracy, ...]
    confusion: tuple[tuple[Count, ...], ...]

    @property
    def most_confused(self) -> list[tuple[str, str, int]]:
        """(class, the class that it was taken for, images), the most frequent first."""
        names = [entry.name for entry in self.classes]
        counts = [
            (names[row], names[column], count)
            for row, of_class in enumerate(self.confusion)
            for column, count in enumerate(of_class)
            if count and row != column
        ]
        return sorted(counts, key=lambda entry: -entry[2])


def evaluate(model: TrainedModel | str | Path, data: Dataset, split: Literal["train", "test"] = "test") -> Evaluation:
    """Evaluate a trained network on a split of a dataset whose classes, by name, it knows.

    Args:
        model: from `load_model`, or a run folder or file that it takes.
        data: from `open_dataset`. Images of another size or number of channels are converted, see `TrainedModel.preprocess`.
        split: "test" or "train".

    Raises:
        IncompatibleInputs: a class that the network does not know. InvalidFile, InvalidValue: see `load_model`.
    """
    if not isinstance(model, TrainedModel):
        model = load_model(model)
    names = model.class_names
    unknown = [name for name in data.class_names if name not in names]
    if unknown:
        raise IncompatibleInputs(
            f"{data.name} has the class '{unknown[0]}', which the network does not know ({len(unknown)} of {data.classes}); "
            f"its classes are {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        )
    samples = data.split(split)
    ids = data.valid_ids if split == "train" else np.arange(len(samples))
    of_network = np.array([names.index(name) for name in data.class_names])
    confusion = np.zeros((len(names), len(names)), np.int64)
    with ProgressBar.open("evaluation", len(ids)) as bar:
        for start in range(0, len(ids), BATCH_SIZE):
            batch = ids[start : start + BATCH_SIZE]
            predicted = model.predict(np.asarray(samples.images[batch])).labels
            np.add.at(confusion, (of_network[samples.labels[batch]], predicted), 1)
            bar.advance(len(batch))
    return make_evaluation(model.description.model, names, data.name, split, confusion)


def make_evaluation(
    model: str, names: tuple[str, ...], dataset: str, split: str, confusion: NDArray[np.int64]
) -> Evaluation:
    """The evaluation of a network with classes `names` from its confusion matrix int64 [classes, classes]."""
    counts, correct = confusion.sum(1).tolist(), confusion.diagonal().tolist()
    count, right = int(confusion.sum()), int(confusion.trace())
    low, high = wilson_interval(right, count)
    classes = tuple(ClassAccuracy(name=n, count=c, correct=r) for n, c, r in zip(names, counts, correct, strict=True))
    return Evaluation(
        model=model, dataset=dataset, split=split, count=count, accuracy=round(100 * right / count, 4),
        interval=(round(100 * low, 4), round(100 * high, 4)), classes=classes,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )  # fmt: skip
