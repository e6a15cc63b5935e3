"""`write_report`: from folders of runs to a page and a folder of figures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datapruning.errors import InvalidFile, InvalidValue, OutputExists
from datapruning.io.atomic import atomic_write, write_text
from datapruning.io.json import read_json, write_json
from datapruning.report.comparison import check_one_dataset, compare
from datapruning.report.figures import Figure
from datapruning.report.find_runs import find_runs
from datapruning.report.format import plural
from datapruning.report.inputs import ReportInputs
from datapruning.report.label_issue_files import find_label_issue_files
from datapruning.report.open_data import open_data
from datapruning.report.page import is_our_page, make_page, make_sections
from datapruning.report.score_files import find_scores
from datapruning.utils.console import info

FIGURE_LIST = "figures.json"
FORMAT = {"format": "datapruning.figures", "version": 1}


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
    """Write one self-contained HTML page about student runs, and its figures as PNG and SVG in a folder beside it.

    Args:
        paths: Run folders, sweep folders, workspaces, or folders of run folders.
        out: The page; an older report there is replaced. The figures go to the folder of its name, "-figures" added.
        data: The dataset, for classes and images. Default: as recorded by the runs, and left out where it is not there.
        data_root: Folder of the torchvision datasets.
        scores: Scores files beside those that lie in the workspaces.
        label_issues: Lists of label issues (.csv) beside those that lie in the workspaces.

    Raises:
        InvalidFile: A path holds no run.
        InvalidValue: There is no finished student, or `out` does not end in .html.
        IncompatibleInputs: Runs, scores or data are of different datasets.
        OutputExists: Something else than a report is at `out`.
    """
    page = Path(out)
    figures_folder = page.with_name(f"{page.stem}-figures")
    _check_free(page, figures_folder)
    collection = find_runs([Path(path) for path in paths])
    runs, roots = collection.runs, collection.roots
    check_one_dataset(runs)
    fingerprint = runs[0].result.fingerprint
    score_files, unreadable_scores = find_scores([Path(path) for path in scores], roots, fingerprint)
    issue_files, unreadable_issues = find_label_issue_files([Path(path) for path in label_issues], roots, fingerprint)
    collection.left_out += [*unreadable_scores, *unreadable_issues]
    dataset, data_error = open_data(runs, data, Path(data_root) if data_root else None, roots)
    inputs = ReportInputs(collection, compare(runs), score_files, issue_files, dataset, data_error, Path.cwd())
    _announce_gaps(inputs)
    sections = make_sections(inputs)
    html = make_page(inputs, sections)
    _write_figures(figures_folder, [figure for section in sections for figure in section.figures])
    write_text(page, html)
    return ReportFiles(page, figures_folder, len(runs))


def _check_free(page: Path, figures_folder: Path) -> None:
    if page.suffix not in (".html", ".htm"):
        raise InvalidValue(f"{page} is to be the page; name a file that ends in .html", parameter="out")
    if page.is_dir():
        raise OutputExists(f"{page} is a folder; name a file that ends in .html", parameter="out")
    if page.exists() and not is_our_page(page):
        raise OutputExists(f"{page} exists and is no report; name another file", parameter="out")
    if not figures_folder.exists():
        return
    if not figures_folder.is_dir() or (any(figures_folder.iterdir()) and not _listed_files(figures_folder)):
        raise OutputExists(
            f"{figures_folder} exists and holds no figures of a report; name another page, or move it away", parameter="out"
        )


def _listed_files(folder: Path) -> list[str]:
    """The files that an older report wrote into a folder; empty where the folder is not a report's."""
    try:
        value = read_json(folder / FIGURE_LIST)
    except InvalidFile:
        return []
    names = value.get("files") if {key: value.get(key) for key in FORMAT} == FORMAT else None
    return [name for name in names if isinstance(name, str) and Path(name).name == name] if isinstance(names, dict) else []


def _write_figures(folder: Path, figures: Sequence[Figure]) -> None:
    """Write the figures and a list of them, and delete those that an older report listed and this one does not have."""
    old = _listed_files(folder)
    contents = {f"{f.name}.{kind}": (f.alt, content) for f in figures for kind, content in (("svg", f.svg), ("png", f.png))}
    files = {name: alt for name, (alt, _) in contents.items()}
    write_json(
        folder / FIGURE_LIST, {**FORMAT, "files": {**dict.fromkeys(old, ""), **files}}
    )  # first, in case we are killed
    for name, (_, content) in contents.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)
    for name in set(old) - set(files):
        (folder / name).unlink(missing_ok=True)
    write_json(folder / FIGURE_LIST, {**FORMAT, "files": files})


def _announce_gaps(inputs: ReportInputs) -> None:
    for path, why in inputs.collection.left_out:
        info(f"left out: {path}: {why}")
    for config, error in inputs.collection.failures:
        info(f"failed: {json.dumps(config)}: {error}")
    if len(inputs.comparisons) > 1:
        differing = ", ".join(inputs.comparisons[0].differing)
        info(f"{plural(len(inputs.comparisons), 'set-up')} that do not compare ({differing} differ): panels for each")
    if inputs.data is None:
        info(f"no pictures and no classes: {inputs.data_error}")
