"""Pictures of the samples that each scorer puts first and last, with their label and what the teacher makes of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from datapruning.data.dataset import Dataset
from datapruning.report.comparison import Inputs
from datapruning.report.html import Markup, Section, join, paragraph, tag
from datapruning.report.score_files import ScoresFile
from datapruning.report.teacher_predictions import Opinions, ask_teacher

CRISP = 64
"""Pixels a side up to which a picture is drawn with hard edges."""
LARGEST = 224
"""Pixels a side to which larger pictures are reduced."""
MOST, MOST_LARGE = 9, 6
"""Pictures from each end of a scorer's order."""


def section(inputs: Inputs) -> Section:
    """Both ends of every scorer's order."""
    title = "Pictures: first and last of each scorer"
    shown = [f for f in inputs.scores if f.scores.scorer != "random"]
    if not shown:
        text = "There are no scores files of this dataset near the runs, but for random ones, whose order says nothing."
        return Section("pictures", title, paragraph(text, class_="note"))
    data = inputs.data
    if data is None:
        return Section("pictures", title, paragraph(f"The pictures cannot be shown: {inputs.no_data}.", class_="warn"))
    count = min(MOST if _crisp(data) else MOST_LARGE, data.total // 2)
    ends = {file.name: _ends(file, count) for file in shown}
    wanted = np.unique(np.concatenate([ids for pair in ends.values() for ids in pair]))
    opinions = ask_teacher(inputs.students, data, wanted)
    parts = [_caption(inputs, opinions)]
    for file in shown:
        first, last = ends[file.name]
        parts += [
            tag("h3", file.name),
            paragraph("Highest scores, kept first", _sign(file), _ties(file, first), class_="above"),
            _row(first, data, opinions, file),
            paragraph("Lowest scores, the first to go", _ties(file, last), class_="above"),
            _row(last, data, opinions, file),
        ]
    return Section("pictures", title, join(parts))


def _ends(file: ScoresFile, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ids with the highest and with the lowest scores, the lower id first among equals."""
    order = np.argsort(-file.scores.values, kind="stable")
    upward = np.argsort(file.scores.values, kind="stable")
    return order[:count], upward[:count]


def _sign(file: ScoresFile) -> str:
    sign = file.scores.meta.get("sign")
    return f": {sign}" if isinstance(sign, str) else ""


def _ties(file: ScoresFile, ids: NDArray[np.int64]) -> str:
    """Says so where the choice among equal scores was arbitrary."""
    values = file.scores.values
    last = values[ids[-1]]
    same = int((values == last).sum())
    shown = int((values[ids] == last).sum())
    return f" ({same:,} samples share the score {last:.4g}; {shown} of them are shown)." if same > shown else "."


def _caption(inputs: Inputs, opinions: Opinions | str) -> Markup:
    if isinstance(opinions, str):
        words = f"What the teacher thinks is not shown: {opinions}."
    else:
        words = (
            f"The teacher is {inputs.shown(opinions.teacher)} ({opinions.accuracy:.2f}% on the test set); it saw these "
            "samples with these labels while it was trained. Where it names another class than the label, that is marked."
        )
    return paragraph("Above: the label. Below: the teacher's class and its probability, the score, the sample id. ", words,
                     class_="note")  # fmt: skip


def _row(ids: NDArray[np.int64], data: Dataset, opinions: Opinions | str, file: ScoresFile) -> Markup:
    items = []
    for i in map(int, ids):
        said: list[object] = []
        if not isinstance(opinions, str):
            guess, probability = opinions.by_id[i]
            wrong = guess != data.train.labels[i]
            mark = "≠ " if wrong else ""
            words = f"{mark}{data.class_names[guess]}, {100 * probability:.0f}%"
            said = [tag("span", words, class_="differs" if wrong else None), Markup("<br>")]
        note = tag("span", f"{file.scores.values[i]:.3g} · id {i}", class_="muted")
        items.append(picture(i, data, *said, note))
    return gallery(items, data)


def gallery(items: Iterable[Markup], data: Dataset) -> Markup:
    """Pictures beside each other."""
    return tag("ul", *items, class_="pictures" if _crisp(data) else "pictures large")


def picture(i: int, data: Dataset, *said: object) -> Markup:
    """Training sample `i` above its label and what is said of it."""
    label, crisp = data.class_names[data.train.labels[i]], "crisp" if _crisp(data) else None
    image = tag("img", src=data_uri(data.train.images[i]), alt=f"sample {i}, {label}", class_=crisp,
                width=data.train.shape[1], height=data.train.shape[0])  # fmt: skip
    return tag("li", Markup(image.removesuffix("</img>")), tag("b", label), *said)


def _crisp(data: Dataset) -> bool:
    return max(data.train.shape[:2]) <= CRISP


def data_uri(image: NDArray[np.uint8]) -> str:
    """A picture as a PNG inside the page.

    Args:
        image: uint8 [height, width, channels]; of other than 1, 3 or 4 channels the first is shown.
    """
    from PIL import Image

    channels = image.shape[2]
    picture = Image.fromarray(image if channels in (3, 4) else image[:, :, 0])
    if max(picture.size) > LARGEST:
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
