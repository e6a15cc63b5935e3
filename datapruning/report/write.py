"""`write_report`: from folders of runs to a page and a folder of figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datapruning.errors import InvalidFile, InvalidValue, OutputExists
from datapruning.io.atomic import write_text, written_whole
from datapruning.io.json import read_json, write_json
from datapruning.report.comparison import Inputs
from datapruning.report.data import open_data
from datapruning.report.figures import Drawing
from datapruning.report.find_runs import find_students
from datapruning.report.format import plural
from datapruning.report.label_issue_files import find_label_issue_files
from datapruning.report.page import is_ours, page, sections
from datapruning.report.score_files import find_scores
from datapruning.report.setups import check_one_dataset, find_setups
from datapruning.utils.console import say

LIST = "figures.json"
FORMAT = {"format": "datapruning.figures", "version": 1}


@dataclass(frozen=True)
class Written:
    """A report: the page, the folder of its figures, and how many runs are in it."""

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
) -> Written:
    """Write one self-contained HTML page about student runs, and its figures as PNG and SVG in a folder beside it.

    Args:
        paths: run folders, sweep folders, workspaces, or folders of run folders.
        out: the page; an older report there is replaced. The figures go to the folder of its name, "-figures" added.
        data: the dataset, for classes and pictures; default: as recorded by the runs, and left out where it is not there.
        data_root: folder of the torchvision sets.
        scores: scores files beside those that lie in the workspaces.
        label_issues: lists of likely wrong labels (.csv) beside those that lie in the workspaces.

    Raises:
        InvalidFile: a path that holds no run. InvalidValue: no finished student, or `out` is no .html.
        IncompatibleInputs: runs, scores or
        data of different datasets. OutputExists: something else than a report is at `out`.
    """
    page_path = Path(out)
    folder = page_path.with_name(f"{page_path.stem}-figures")
    _check_free(page_path, folder)
    found = find_students([Path(path) for path in paths])
    check_one_dataset(found.students)
    fingerprint = str(found.students[0].result["fingerprint"])
    files, unread = find_scores([Path(s) for s in scores], found.roots, fingerprint)
    listed, unread_lists = find_label_issue_files([Path(s) for s in label_issues], found.roots, fingerprint)
    found.left_out += unread + unread_lists
    opened, why = open_data(found.students, data, Path(data_root) if data_root else None, found.roots)
    inputs = Inputs(found, find_setups(found.students), files, listed, opened, why, Path.cwd())
    _say_what_is_missing(inputs)
    made = sections(inputs)
    text = page(inputs, made)
    _write_figures(folder, [drawing for section in made for drawing in section.drawings])
    write_text(page_path, text)
    return Written(page_path, folder, len(found.students))


def _check_free(page_path: Path, folder: Path) -> None:
    if page_path.suffix not in (".html", ".htm"):
        raise InvalidValue(f"--out {page_path} is the page; name a file that ends in .html")
    if page_path.is_dir():
        raise OutputExists(f"{page_path} is a folder; name a file that ends in .html")
    if page_path.exists() and not is_ours(page_path):
        raise OutputExists(f"{page_path} exists and is no report; name another --out")
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not _listed(folder))):
        raise OutputExists(f"{folder} exists and holds no figures of a report; name another --out, or move it away")


def _listed(folder: Path) -> list[str]:
    """The files that an older report wrote; empty if the folder is not one's."""
    try:
        value = read_json(folder / LIST)
    except InvalidFile:
        return []
    names = value.get("files") if {k: value.get(k) for k in FORMAT} == FORMAT else None
    return [n for n in names if isinstance(n, str) and Path(n).name == n] if isinstance(names, dict) else []


def _write_figures(folder: Path, drawings: Sequence[Drawing]) -> None:
    old = _listed(folder)
    files = {f"{d.name}.{kind}": d.alt for d in drawings for kind in ("svg", "png")}
    write_json(folder / LIST, {**FORMAT, "files": {**dict.fromkeys(old, ""), **files}})  # ours, should this be killed
    for drawing in drawings:
        for kind, content in (("svg", drawing.svg), ("png", drawing.png)):
            with written_whole(folder / f"{drawing.name}.{kind}") as temporary:
                temporary.write_bytes(content)
    for name in set(old) - set(files):
        (folder / name).unlink(missing_ok=True)
    write_json(folder / LIST, {**FORMAT, "files": files})


def _say_what_is_missing(inputs: Inputs) -> None:
    found = inputs.found
    for where, why in found.left_out:
        say(f"left out: {where}: {why}")
    for config, error in found.failures:
        say(f"failed: {json.dumps(config)}: {error}")
    if len(inputs.setups) > 1:
        differing = ", ".join(inputs.setups[0].differing)
        say(f"{plural(len(inputs.setups), 'set-up')} that do not compare ({differing} differ): panels for each")
    if inputs.data is None:
        say(f"no pictures and no classes: {inputs.no_data}")
