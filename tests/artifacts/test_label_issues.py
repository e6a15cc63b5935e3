"""Lists of label issues: readable as plain CSV, checked when read, never overwriting other files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datapruning.artifacts.label_issues import COLUMNS, COLUMNS_WITH_PATH, LabelIssue, LabelIssues, load_label_issues
from datapruning.artifacts.metadata import LabelIssuesMetadata
from datapruning.errors import InvalidFile, OutputExists
from datapruning.io.json import write_json


def listed(*rows: LabelIssue, **meta: Any) -> LabelIssues:
    """Make a list with complete metadata."""
    base = {"dataset": "d", "fingerprint": "f", "total": 9, "package_version": "0", "created": "", "scorer": "aum"}
    return LabelIssues(rows, LabelIssuesMetadata(**{**base, "end": "highest", "seed": 0, **meta}))


ROWS = (
    LabelIssue(3, 1, 'a "b", c', 0, "ü\nx", 0.1 + 0.2, 1e-9), LabelIssue(8, 0, "=2+2", None, "", -1.5, None),
)  # fmt: skip


def test_the_csv_reads_back_and_the_csv_module_reads_it(tmp_path: Path) -> None:
    path = listed(*ROWS).save(tmp_path / "s.csv")
    issues = load_label_issues(path)
    assert issues.rows[1] == ROWS[1]
    assert issues.rows[0].score == pytest.approx(0.3, rel=1e-8)
    assert (issues.rows[0].label_name, issues.rows[0].suggested_name) == ('a "b", c', "ü\nx")
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert [(line["rank"], line["id"], line["suggested"]) for line in lines] == [("1", "3", "0"), ("2", "8", "")]
    assert json.loads((tmp_path / "s.json").read_text())["scorer"] == "aum"


OF_FILES = tuple(replace(row, path=path) for row, path in zip(ROWS, ("dog/a, b.jpg", "cat/ü.png"), strict=True))


def test_paths_are_the_last_column(tmp_path: Path) -> None:
    with listed(*OF_FILES).save(tmp_path / "s.csv").open(newline="") as file:
        lines = list(csv.reader(file))
    assert [line[-1] for line in lines] == ["path", "dog/a, b.jpg", "cat/ü.png"]
    issues = load_label_issues(tmp_path / "s.csv")
    assert (issues.rows[1], issues.rows[0].path, issues.has_paths) == (OF_FILES[1], "dog/a, b.jpg", True)
    old = load_label_issues(listed(*ROWS).save(tmp_path / "old.csv"))
    assert ([row.path for row in old.rows], old.has_paths) == (["", ""], False)
    assert listed(OF_FILES[0], ROWS[1]).csv_text().endswith(",-1.5,,\n"), "an empty cell"


def test_paths_are_added_to_the_same_list_and_never_taken_away(tmp_path: Path) -> None:
    path = listed(*ROWS).save(tmp_path / "s.csv")
    listed(*OF_FILES).save(path)
    assert [row.path for row in load_label_issues(path).rows] == [row.path for row in OF_FILES]
    listed(*ROWS).save(path)  # a recording read without its dataset
    assert load_label_issues(path).has_paths
    with pytest.raises(OutputExists, match=r"holds other label issues"):
        listed(*(replace(row, path="x.png") for row in ROWS)).save(path)
    with pytest.raises(OutputExists, match=r"holds other label issues"):
        listed(OF_FILES[1]).save(path)


def test_lists_edited_by_spreadsheets_are_read(tmp_path: Path) -> None:
    path = listed(*ROWS).save(tmp_path / "s.csv")
    text = path.read_text().split("\n", 1)[0] + "\n2,8,0,=2+2,,,-1.5,\n\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load_label_issues(path).rows == ROWS[1:]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\n1,2\n", "its first line is not rank,id"),
        ("", "its first line is not rank,id"),
        (",".join(COLUMNS) + "\n1,x,0,a,,,0.5,\n", "line 2 is no label issue: 1,x,0,a"),
        (",".join(COLUMNS) + "\n1,3\n", "line 2 is no label issue: 1,3"),
        (",".join(COLUMNS) + "\n1,9,0,a,,,0.5,\n", "line 2: sample id 9 is outside the 9 samples"),
        (",".join(COLUMNS_WITH_PATH) + "\n1,3,0,a,,,0.5,\n", "line 2 is no label issue: 1,3,0,a"),
        (",".join(COLUMNS) + "\n1,3,0,a,,,0.5,,x.png\n", "line 2 is no label issue: 1,3,0,a"),
    ],
)
def test_invalid_lists_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = listed(*ROWS).save(tmp_path / "s.csv")
    path.write_text(text)
    with pytest.raises(InvalidFile, match=message):
        load_label_issues(path)


def test_a_list_requires_its_metadata(tmp_path: Path) -> None:
    path = listed(*ROWS).save(tmp_path / "s.csv")
    metadata_path = tmp_path / "s.json"
    for value, message in (
        ({"format": "datapruning.scores"}, "its format is 'datapruning.scores'"),
        (None, "cannot be read as JSON"),
    ):
        metadata_path.write_text("{") if value is None else write_json(metadata_path, value)
        with pytest.raises(InvalidFile, match=message):
            load_label_issues(path)
    metadata_path.unlink()
    with pytest.raises(InvalidFile, match=r"s\.json is not there"):
        load_label_issues(path)
    with pytest.raises(InvalidFile, match=r"none\.csv is not there"):
        load_label_issues(tmp_path / "none.csv")


def test_files_are_not_overwritten(tmp_path: Path) -> None:
    path, one = tmp_path / "s.csv", listed(*ROWS)
    one.save(path)
    stamp = path.stat().st_mtime_ns
    one.save(path)
    assert path.stat().st_mtime_ns == stamp
    for other in (listed(ROWS[0]), listed(*ROWS, scorer="loss"), listed(*ROWS, fingerprint="g")):
        with pytest.raises(OutputExists, match=r"holds other label issues"):
            other.save(path)
    path.write_text("custom")
    with pytest.raises(OutputExists, match=r"s\.csv holds something else"):
        one.save(path)
    assert path.read_text() == "custom"
    path.unlink()
    one.save(path)  # as after a kill between the two files
    (tmp_path / "t.json").write_text('{"custom": 1}')
    with pytest.raises(OutputExists, match=r"t\.json holds something else"):
        one.save(tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()
