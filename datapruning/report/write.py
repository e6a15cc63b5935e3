"""Writing pages that need nothing else: a report with a folder of its figures, and all of a list of label issues."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datapruning.artifacts.label_issues import LabelIssues
from datapruning.artifacts.metadata import check_same_dataset
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile, OutputExists
from datapruning.io.atomic import atomic_write, write_text
from datapruning.io.json import read_json, write_json
from datapruning.report.comparison import compare
from datapruning.report.dataset_files import find_label_issues, find_scores
from datapruning.report.find_runs import find_runs
from datapruning.report.inputs import ReportInputs, open_data
from datapruning.report.render import Section, check_page, render, render_page
from datapruning.report.sections import gallery
from datapruning.utils.console import info
from datapruning.utils.plural import plural
from datapruning.utils.records import Record, parse_record

if TYPE_CHECKING:
    from datapruning.report.figures import Figure

MAX_LISTED_COMPARISONS = 6
"""Comparisons that the header lists; of more the list is folded."""
FIGURE_LIST = "figures.json"


class FigureList(Record):
    """The content of `figures.json`: the files of a report's figures, each with what it shows."""

    format: Literal["datapruning.figures"] = "datapruning.figures"
    version: Literal[1] = 1
    files: dict[str, str]


@dataclass(frozen=True)
class ReportFiles:
    """A report: the path of the page, the folder of its figures, and the number of runs in it."""

    page: Path
    figures: Path
    runs: int


def write_report(
    paths: Sequence[str | Path],
    out: str | Path = "report.html",
    *,
    data: str | None = None,
    data_root: str | Path | None = None,
    scores: Sequence[str | Path] = (),
    label_issues: Sequence[str | Path] = (),
) -> ReportFiles:
    """Write one self-contained HTML page about student runs, and its figures as PNG and SVG in a folder next to it.

    Args:
        paths: Run folders, sweep folders, workspaces, or folders of run folders.
        out: The page; an older report there is replaced. The figures go to the folder of its name, "-figures" added.
        data: The dataset, for classes and images. Default: as recorded by the runs, and left out where it is not
            there. Runs on another dataset are left out where it is named, and refused where it is not.
        data_root: Folder of the torchvision datasets.
        scores: Scores files, or folders of them, in addition to those in the workspaces and beside them.
        label_issues: Lists of label issues (.csv) in addition to those in the workspaces.

    Raises:
        InvalidFile: A path holds no run.
        InvalidValue: There is no finished student, or `out` does not end in .html.
        IncompatibleInputs: Runs, scores or data are of different datasets.
        OutputExists: Something else than a report is at `out`.
    """
    page = Path(out)
    figures_folder = page.with_name(f"{page.stem}-figures")
    check_page(page, "out")
    _check_figures_folder(figures_folder)
    collection = find_runs([Path(path) for path in paths])
    roots = collection.roots
    dataset, data_error = open_data(collection, data, Path(data_root) if data_root else None)
    result = collection.runs[0].result
    score_files, unreadable_scores = find_scores([Path(path) for path in scores], roots, result.fingerprint)
    issue_lists, unreadable_issues = find_label_issues([Path(path) for path in label_issues], roots, result.fingerprint)
    collection.left_out += [*unreadable_scores, *unreadable_issues]
    inputs = ReportInputs(collection, compare(collection.runs), score_files, issue_lists, dataset, data_error, Path.cwd())
    _announce_gaps(inputs)
    sections = _make_sections(inputs)
    teachers = {teacher.weights: teacher for run in collection.runs for teacher in run.teachers}
    names = sorted(teacher.description for teacher in teachers.values())
    lead = render("lead.html", inputs=inputs, result=result, teachers=names, max_listed=MAX_LISTED_COMPARISONS)
    html = render_page(f"{result.dataset}: training on a fraction of the data", lead, sections)
    _write_figures(figures_folder, [figure for section in sections for figure in section.figures])
    write_text(page, html)
    return ReportFiles(page, figures_folder, len(collection.runs))


def _make_sections(inputs: ReportInputs) -> list[Section]:
    """The sections of a report that have something to show; they import matplotlib."""
    from datapruning.report.sections import accuracy, agreement, cost, histograms, kd_weight, runs, sparsity

    functions = (
        runs.summary, accuracy.section, sparsity.section, kd_weight.section, cost.section, agreement.section,
        histograms.section, gallery.section, gallery.label_issues, runs.left_out, runs.appendix,
    )  # fmt: skip
    return [section for make_section in functions if (section := make_section(inputs)) is not None]


def _check_figures_folder(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not _listed_files(folder))):
        raise OutputExists(
            f"{folder} exists and holds no figures of a report; name another page, or move it away", parameter="out"
        )


def _listed_files(folder: Path) -> list[str]:
    """The files that an older report wrote into a folder; empty where the folder is not a report's."""
    path = folder / FIGURE_LIST
    try:
        names = parse_record(FigureList, read_json(path), str(path)).files
    except InvalidFile:
        return []
    return [name for name in names if Path(name).name == name]


def _write_figures(folder: Path, figures: Sequence[Figure]) -> None:
    """Write the figures and a list of them, and delete those that an older report listed and this one does not have."""
    old = _listed_files(folder)
    escaped = "".join(sorted(set("".join(figure.escaped for figure in figures))))
    if escaped:
        example = escaped[0].encode("ascii", "backslashreplace").decode()
        info(f"no installed font draws {escaped}: PNG figures have code points ({example}), SVG and the page have text")
    files = {f"{figure.name}.{kind}": figure.alt for figure in figures for kind in ("svg", "png")}
    every = FigureList(files=dict.fromkeys(old, "") | files)
    write_json(folder / FIGURE_LIST, every.to_json())  # first, in case we are killed
    for figure in figures:
        for kind, content in (("svg", figure.svg), ("png", figure.png)):
            with atomic_write(folder / f"{figure.name}.{kind}") as temporary:
                temporary.write_bytes(content)
    for name in set(old) - set(files):
        (folder / name).unlink(missing_ok=True)
    write_json(folder / FIGURE_LIST, FigureList(files=files).to_json())


def _announce_gaps(inputs: ReportInputs) -> None:
    for path, why in inputs.collection.left_out:
        info(f"left out: {path}: {why}")
    for config, error in inputs.collection.failures:
        info(f"failed: {json.dumps(config)}: {error}")
    if len(inputs.comparisons) > 1:
        differing = ", ".join(inputs.comparisons[0].differing)
        info(f"{plural(len(inputs.comparisons), 'set-up')} that do not compare ({differing} differ): panels for each")
    if inputs.data is None:
        info(f"no images and no classes: {inputs.data_error}")


def write_label_issue_page(issues: LabelIssues, data: Dataset, path: Path) -> Path:
    """Write a self-contained HTML page of all label issues of a list; an older page there is replaced.

    Raises:
        IncompatibleInputs: The list is of another dataset.
        InvalidValue, OutputExists: See `check_page`.
    """
    check_page(path, "gallery")
    check_same_dataset("this list of label issues", issues.meta, data)
    lead = render("label_issue_lead.html", issues=issues, total=data.total)
    images = gallery.issue_images(issues, data, len(issues))
    section = Section("label-issues", "Images", render("label_issue_list.html", issues=issues, images=images))
    write_text(path, render_page(f"{data.name}: likely wrong labels", lead, [section]))
    return path
