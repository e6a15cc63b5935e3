"""Label issues: samples whose label is likely wrong, as a CSV file, with metadata in a JSON file."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from datapruning.artifacts.metadata import LabelIssuesMetadata, parse_metadata
from datapruning.artifacts.save import check_output_path, out_path
from datapruning.errors import InvalidFile, OutputExists, first_line
from datapruning.io.atomic import write_text
from datapruning.io.json import read_json, write_json
from datapruning.io.text import read_text
from datapruning.utils.console import info

MAX_FILE_BYTES = 2**30


@dataclass(frozen=True)
class LabelIssue:
    """A sample, its label, and the class that the networks suggest.

    Attributes:
        id: Sample id.
        label: Class of the sample in the dataset.
        label_name: Name of that class.
        suggested: The most likely class other than the label; None: not recorded.
        suggested_name: Name of that class, "" where there is none.
        score: Score by the scorer, higher = keep first; for "ensemble" the probability of the label.
        label_prob: Probability of the label (`meta.label_prob` says by which networks); None: not recorded.
        path: Image file, relative to the dataset's folder; "": the dataset has no files.
    """

    id: int
    label: int
    label_name: str
    suggested: int | None
    suggested_name: str
    score: float
    label_prob: float | None
    path: str = ""


COLUMNS_WITH_PATH = ("rank", *(field.name for field in fields(LabelIssue)))
COLUMNS = COLUMNS_WITH_PATH[:-1]
"""Where no label issue has a path."""


@dataclass(frozen=True)
class LabelIssues:
    """A list of label issues.

    Attributes:
        rows: The label issues, the most likely one first.
        meta: Scorer, seed and settings of the ranking.
    """

    rows: tuple[LabelIssue, ...]
    meta: LabelIssuesMetadata

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def scorer(self) -> str:
        """Name of the scorer that ranked them."""
        return self.meta.scorer

    @property
    def order(self) -> str:
        """The scorer and the end of its ranking, as in "aum, highest scores first"."""
        return f"{self.scorer}, {self.meta.end} scores first"

    @property
    def has_paths(self) -> bool:
        """Whether the samples are files."""
        return any(row.path for row in self.rows)

    def csv_text(self) -> str:
        """A header and a line for each issue; unknown values are empty cells. Without any path there is no such column."""
        return self._text(COLUMNS_WITH_PATH if self.has_paths else COLUMNS)

    def _text(self, columns: tuple[str, ...]) -> str:
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for rank, row in enumerate(self.rows, 1):
            cells = (f"{c:.9g}" if isinstance(c, float) else "" if c is None else c for c in astuple(row))
            writer.writerow((rank, *cells)[: len(columns)])
        return file.getvalue()

    def output_path(self, out: str | Path) -> Path:
        """Return the file that `save(out)` writes: `out`, or in that folder a file named by dataset, scorer and content."""
        digest = hashlib.sha256(self._text(COLUMNS).encode()).hexdigest()[:8]
        return out_path(out, f"{self.meta.dataset}-{self.scorer}-{len(self)}-{digest}.csv")

    def check_output_path(self, out: str | Path) -> bool:
        """Whether `save(out)` has anything to write: False where the same rows are there already.

        Paths are added to the same rows without paths (of a recording that was read without its dataset).

        Raises:
            OutputExists: Something else is there.
        """
        path = self.output_path(out)
        metadata = path.with_suffix(".json")
        free = check_output_path(path, "label issues", lambda: self._same(load_label_issues(path)))
        if free and metadata.exists() and not _is_label_issues_file(metadata):
            raise OutputExists(
                f"{metadata} holds something else, and the metadata of {path} go there; name another output path",
                parameter="out",
            )
        return free or (self.has_paths and not load_label_issues(path).has_paths)

    def _same(self, other: LabelIssues) -> bool:
        columns = COLUMNS_WITH_PATH if self.has_paths and other.has_paths else COLUMNS
        metadata = [(issues.meta.fingerprint, issues.scorer, issues.meta.seed) for issues in (self, other)]
        return other._text(columns) == self._text(columns) and metadata[0] == metadata[1]

    def save(self, out: str | Path) -> Path:
        """Write the CSV and the JSON of the same name, unless the same rows are there already; return the CSV's path.

        Args:
            out: The file if it ends in .csv, else a folder.

        Raises:
            OutputExists: Something else is there; it is left as it is.
        """
        path = self.output_path(out)
        if self.check_output_path(path):
            write_json(path.with_suffix(".json"), self.meta.to_json())
            write_text(path, self.csv_text())  # last: where it is, both are
        else:
            info(f"{path} is there already, with the same content")
        return path


def _is_label_issues_file(path: Path) -> bool:
    try:
        return bool(_read_metadata(path))
    except InvalidFile:
        return False


def load_label_issues(path: str | Path) -> LabelIssues:
    """Read and check a CSV that `save` wrote; lines may have been deleted since.

    Raises:
        InvalidFile: it or the JSON beside it is missing, broken, or of another kind; naming the line.
    """
    path = Path(path)
    if path.suffix != ".csv":
        raise InvalidFile(f"{path} is no list of label issues: it does not end in .csv")
    try:
        lines = list(csv.reader(io.StringIO(read_text(path, MAX_FILE_BYTES), newline="")))
    except FileNotFoundError:
        raise InvalidFile(
            f"{path} is not there; a list of label issues is needed here (dprune label-issues makes one)"
        ) from None
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidFile(f"{path} cannot be read as CSV: {first_line(error)}") from None
    if not lines or tuple(lines[0]) not in (COLUMNS, COLUMNS_WITH_PATH):
        raise InvalidFile(f"{path} is no list of label issues: its first line is not {','.join(COLUMNS)}")
    meta = _read_metadata(path.with_suffix(".json"))
    rows = [_row(f"{path}, line {n}", line, len(lines[0]), meta.total) for n, line in enumerate(lines[1:], 2) if line]
    return LabelIssues(tuple(rows), meta)


def _read_metadata(path: Path) -> LabelIssuesMetadata:
    return parse_metadata(LabelIssuesMetadata, read_json(path), path)


def _row(where: str, cells: list[str], columns: int, total: int) -> LabelIssue:
    try:
        if len(cells) != columns:
            raise ValueError
        _, sample, label, label_name, suggested, suggested_name, score, label_prob, *path = cells
        row = LabelIssue(
            int(sample), int(label), label_name, int(suggested) if suggested else None, suggested_name, float(score),
            float(label_prob) if label_prob else None, *path,
        )  # fmt: skip
    except ValueError:
        raise InvalidFile(f"{where} is no label issue: {','.join(cells)[:200]}") from None
    numbers = [row.score, *([] if row.label_prob is None else [row.label_prob])]
    if row.label < 0 or (row.suggested or 0) < 0 or any(math.isnan(number) for number in numbers):
        raise InvalidFile(f"{where}: a class below 0, or a number that is none")
    if not 0 <= row.id < total:
        raise InvalidFile(f"{where}: sample id {row.id} is outside the {total:,} samples")
    return row
