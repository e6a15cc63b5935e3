"""A page about scores files, without runs: histograms, kept samples by class, agreement, and images by class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.artifacts.metadata import check_same_dataset
from datapruning.artifacts.scores import load_scores
from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs
from datapruning.io.atomic import write_text
from datapruning.report.dataset_files import ScoresFile, name_scores
from datapruning.report.format import percent
from datapruning.report.render import Section, check_page, render, render_page
from datapruning.report.sections import agreement, histograms
from datapruning.report.sections.gallery import SampleImage, make_sample_image, path_lines
from datapruning.selection.select import select
from datapruning.utils.fraction import parse_fraction

IMAGES_PER_END = 4
"""Images from each end of a class's order."""
MAX_CLASSES = 100
"""Classes whose images are shown."""
MAX_OPEN_CLASSES = 12
"""Classes from which on the images of a scorer are folded."""


@dataclass(frozen=True)
class ClassImages:
    """The samples of a class with the highest scores, and those with the lowest; how many of its samples are kept."""

    name: str
    kept: int
    total: int
    highest: Sequence[SampleImage]
    lowest: Sequence[SampleImage]


def write_scores_page(
    paths: Sequence[str | Path], out: str | Path, *, data: Dataset | None = None, fraction: float | str = "0.3"
) -> Path:
    """Write a self-contained HTML page about scores files of one dataset; an older page there is replaced.

    Args:
        paths: The scores files.
        out: The page, a path that ends in .html.
        data: Their dataset, for classes and images; None: the page has no images, and the classes of the labels in the
            first file, if it has any.
        fraction: The share of the samples that counts as kept.

    Raises:
        InvalidFile: A path is no scores file.
        IncompatibleInputs: The files are of different datasets, or not of `data`.
        InvalidValue: A fraction outside 0..1, or a path that does not end in .html.
        OutputExists: Something else than a page of this package is at `out`.
    """
    page = Path(out)
    check_page(page, "out")
    kept_share = float(parse_fraction(fraction))
    loaded = [(Path(path), load_scores(path)) for path in paths]
    first = loaded[0][1].meta
    for path, scores in loaded[1:]:
        if scores.meta.fingerprint != first.fingerprint:
            raise IncompatibleInputs(f"{path} was made from {scores.meta.dataset}, {paths[0]} from {first.dataset}")
    if data is not None:
        check_same_dataset("these scores", first, data)
    names = name_scores([scores.meta for _, scores in loaded])
    files = [ScoresFile(name, path, scores) for name, (path, scores) in zip(names, loaded, strict=True)]
    kept = {file.name: select(file.scores, fraction).indices for file in files}
    labels = files[0].scores.complete_labels if data is None else data.train.labels
    class_names = first.class_names if data is None else data.class_names
    missing = [] if data is not None else ["images"] if labels is not None else ["classes", "images"]
    lead = render("scores_lead.html", files=files, meta=first, fraction=kept_share, missing=missing)
    sections = [_histograms(files, kept, kept_share)]
    if labels is not None and class_names is not None:
        sections.append(_classes(files, kept, kept_share, labels, class_names))
    sections += [agreement.matrix_section(files)] if len(files) > 1 else []
    sections += [_images(files, kept, data)] if data is not None else []
    write_text(page, render_page(f"{first.dataset}: scores", lead, sections))
    return page


Kept = dict[str, NDArray[np.int64]]
"""Name of a scores file -> ids that its scores keep."""


def _histograms(files: Sequence[ScoresFile], kept: Kept, fraction: float) -> Section:
    figures = [histograms.score_figure(file, {fraction: kept[file.name]}) for file in files if not file.is_random]
    return Section("histograms", "Scores", render("figures.html", figures=figures), figures)


def _classes(
    files: Sequence[ScoresFile], kept: Kept, fraction: float, labels: NDArray[np.int64], names: tuple[str, ...]
) -> Section:
    figures = [histograms.class_figure(file.name, {fraction: kept[file.name]}, labels, names) for file in files]
    totals = np.bincount(labels, minlength=len(names))
    counts = [np.bincount(labels[kept[file.name]], minlength=len(names)) for file in files]
    rows = [
        (names[label], int(totals[label]), [f"{int(n[label]):,} ({percent(n[label] / totals[label])})" for n in counts])
        for label in np.flatnonzero(totals)
    ]
    columns = [f"#{file.name}" for file in files]
    html = render("class_table.html", figures=figures, rows=rows, names=columns, is_folded=len(rows) > MAX_OPEN_CLASSES)
    return Section("classes", f"What keeping {percent(fraction)} keeps of each class", html, figures)


def _images(files: Sequence[ScoresFile], kept: Kept, data: Dataset) -> Section:
    by_file = [(file, _images_by_class(file, kept[file.name], data)) for file in files if not file.is_random]
    html = render("class_images.html", files=by_file, max_open=MAX_OPEN_CLASSES, num_classes=data.classes)
    return Section("images", "Images: highest and lowest scores of each class", html)


def _images_by_class(file: ScoresFile, kept: NDArray[np.int64], data: Dataset) -> list[ClassImages]:
    values, labels = file.scores.values, data.train.labels
    num_kept = np.bincount(labels[kept], minlength=data.classes)
    classes = []
    for label in np.unique(labels)[:MAX_CLASSES]:
        ids = np.flatnonzero(labels == label)
        order = ids[np.argsort(-values[ids], kind="stable")]
        count = min(IMAGES_PER_END, max(1, len(ids) // 2))
        highest, lowest = ([_image(i, file, data) for i in ends] for ends in (order[:count], order[: -count - 1 : -1]))
        classes.append(ClassImages(data.class_names[label], int(num_kept[label]), len(ids), highest, lowest))
    return classes


def _image(sample_id: int, file: ScoresFile, data: Dataset) -> SampleImage:
    notes = [f"{file.scores.values[sample_id]:.3g} · id {sample_id}", *path_lines(int(sample_id), data)]
    return make_sample_image(int(sample_id), data, "", False, notes)
