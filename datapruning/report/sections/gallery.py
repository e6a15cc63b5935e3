"""Images of training samples: the first and the last of each scorer, and those whose label is likely wrong."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.label_issues import LabelIssues
from datapruning.data.dataset import Dataset
from datapruning.report.dataset_files import ScoresFile
from datapruning.report.format import MINUS
from datapruning.report.inputs import ReportInputs
from datapruning.report.render import Section, render
from datapruning.report.teacher_predictions import TeacherPredictions, predict_samples

MAX_CRISP_PIXELS = 64
"""Pixels a side up to which an image is shown with hard edges."""
MAX_PIXELS = 224
"""Pixels a side to which larger images are reduced."""
NUM_SMALL, NUM_LARGE = 9, 6
"""Images from each end of a scorer's order, small and large ones."""
MAX_LISTED = 18
"""Images of a list of label issues in the report."""


@dataclass(frozen=True)
class SampleImage:
    """A training sample as the page shows it.

    Attributes:
        alt: A description of the image.
        label: The name of its class.
        source: A data URI.
        shape: Height and width in pixels.
        claim: What networks say of the label; "" for nothing.
        is_marked: Whether `claim` contradicts the label.
        notes: Lines below.
    """

    alt: str
    label: str
    source: str
    shape: tuple[int, int]
    claim: str
    is_marked: bool
    notes: Sequence[str]

    @property
    def is_crisp(self) -> bool:
        """Whether the image is so small that it is shown with hard edges."""
        return max(self.shape) <= MAX_CRISP_PIXELS


def section(inputs: ReportInputs) -> Section:
    """Both ends of every scorer's order, with the label and the teacher's prediction."""
    files, data = [file for file in inputs.scores if not file.is_random], inputs.data
    galleries: list[tuple[ScoresFile, list[tuple[str, list[SampleImage]]]]] = []
    predictions: TeacherPredictions | str = ""
    if files and data is not None:
        count = min(NUM_SMALL if max(data.train.shape[:2]) <= MAX_CRISP_PIXELS else NUM_LARGE, data.total // 2)
        ends = [_ends(file, count) for file in files]
        predictions = predict_samples(
            inputs.collection.runs, data, np.unique(np.concatenate([ids for e in ends for ids in e]))
        )
        galleries = [
            (file, [(_ties(file, ids), _sample_images(ids, data, predictions, file)) for ids in file_ends])
            for file, file_ends in zip(files, ends, strict=True)
        ]
    values = {"files": files, "galleries": galleries, "predictions": predictions}
    return Section("images", "Images: first and last of each scorer", render("gallery.html", inputs=inputs, **values))


def _ends(file: ScoresFile, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids with the highest and lowest scores; ties by lower id."""
    values = file.scores.values
    return np.argsort(-values, kind="stable")[:count], np.argsort(values, kind="stable")[:count]


def _ties(file: ScoresFile, ids: NDArray[np.int64]) -> str:
    """Return a note if the choice between equal scores was arbitrary."""
    values = file.scores.values
    last = values[ids[-1]]
    same, shown = int((values == last).sum()), int((values[ids] == last).sum())
    return f" ({same:,} samples share the score {last:.4g}; {shown} of them are shown)." if same > shown else "."


def _sample_images(
    ids: NDArray[np.int64], data: Dataset, predictions: TeacherPredictions | str, file: ScoresFile
) -> list[SampleImage]:
    images = []
    for sample_id in map(int, ids):
        claim, differs = "", False
        if isinstance(predictions, TeacherPredictions):
            predicted, probability = predictions.by_id[sample_id]
            differs = predicted != data.train.labels[sample_id]
            claim = f"{'≠ ' if differs else ''}{data.class_names[predicted]}, {100 * probability:.0f}%"
        notes = [f"{file.scores.values[sample_id]:.3g} · id {sample_id}", *path_lines(sample_id, data)]
        images.append(make_sample_image(sample_id, data, claim, differs, notes))
    return images


def label_issues(inputs: ReportInputs) -> Section | None:
    """The first of every list of likely wrong labels, with the label that networks suggest; None where there is no list."""
    if not inputs.label_issues:
        return None
    lists = [
        (path, issues, issue_images(issues, inputs.data, MAX_LISTED))
        for path, issues in inputs.label_issues if inputs.data is not None
    ]  # fmt: skip
    return Section("label-issues", "Likely wrong labels", render("label_issues.html", inputs=inputs, lists=lists))


def issue_images(issues: LabelIssues, data: Dataset, limit: int) -> list[SampleImage]:
    """The first images of a list, at most `limit`."""
    images = []
    for issue in issues.rows[:limit]:
        claim = f"rather {issue.suggested_name}" if issue.suggested is not None else ""
        probability = [] if issue.label_prob is None else [f"label {100 * issue.label_prob:.0f}%"]
        score = f"score {issue.score:.3g}".replace("-", MINUS)
        notes = [*probability, score, f"id {issue.id}", *path_lines(issue.id, data)]
        images.append(make_sample_image(issue.id, data, claim, bool(claim), notes))
    return images


def path_lines(sample_id: int, data: Dataset) -> list[str]:
    """The path of a sample's file as the lines below its image; none where samples are no files."""
    return [] if data.train_paths is None else [data.train_paths[sample_id]]


def make_sample_image(sample_id: int, data: Dataset, claim: str, is_marked: bool, notes: Sequence[str]) -> SampleImage:
    """Return training sample `sample_id` with its label and notes, see `SampleImage`."""
    label = data.class_names[data.train.labels[sample_id]]
    source = data_uri(data.train.images[sample_id])
    height, width = data.train.shape[:2]
    return SampleImage(f"sample {sample_id}, {label}", label, source, (height, width), claim, is_marked, notes)


def data_uri(image: NDArray[np.uint8]) -> str:
    """An image as a PNG inside the page.

    Args:
        image: uint8 [height, width, channels]; of other than 1, 3 or 4 channels the first is shown.
    """
    from PIL import Image

    channels = image.shape[2]
    shown = Image.fromarray(image if channels in (3, 4) else image[:, :, 0])
    if max(shown.size) > MAX_PIXELS:
        shown.thumbnail((MAX_PIXELS, MAX_PIXELS), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    shown.save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
