"""Labels of training samples that were corrected, in a CSV beside the dataset: `--corrected-labels FILE`."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from datapruning.data.dataset import Dataset, Split
from datapruning.errors import InvalidFile, UnknownName, first_line
from datapruning.io.text import read_text
from datapruning.utils.console import info

ID_COLUMN, LABEL_COLUMN = "id", "corrected"
MAX_FILE_BYTES = 2**30
DELIMITERS = (",", ";", "\t")
"""Between columns; spreadsheets write semicolons where the comma is in numbers."""
NUMBER = re.compile(r"[0-9]{1,18}")
NEEDED = (
    f"a CSV with the columns {ID_COLUMN} and {LABEL_COLUMN} is needed (a list of label issues to which you add the second)"
)


class Correction(NamedTuple):
    """A line of the file: the sample, and the name or number of its class."""

    where: str
    sample: str
    label: str


def correct_labels(data: Dataset, path: Path) -> Dataset:
    """The dataset with the labels that a CSV gives to some of its training samples; one line counts them.

    The file has a header and the columns `id` and `corrected`, others are passed over; where `corrected` is empty, the label
    stays. A class is given by its name, or by its number where no class has such a name.

    Raises:
        InvalidFile: missing or unreadable; no sample id, or one twice; naming the line.
        UnknownName: a class that the dataset does not have; the nearest is named.
    """
    numbers = {name: number for number, name in enumerate(data.class_names)}
    labels = data.train.labels.copy()
    lines: dict[int, str] = {}
    for where, sample, label in _read(path):
        if not NUMBER.fullmatch(sample) or int(sample) >= data.total:
            raise InvalidFile(f"{where}: {sample[:40]!r} is no sample id of {data.name}, which has {data.total:,} samples")
        number = numbers.get(label, int(label) if NUMBER.fullmatch(label) else data.classes)
        if number >= data.classes:
            raise UnknownName(f"class in {where}:", label, data.class_names)
        if int(sample) in lines:
            raise InvalidFile(f"{where}: sample {sample} has a line before, {lines[int(sample)]}")
        lines[int(sample)] = where
        labels[int(sample)] = number
    count = int((labels != data.train.labels).sum())
    info(f"{data.name}: {count:,} of {data.total:,} labels are changed by {path}")
    return replace(data, train=Split(data.train.images, labels))


def _read(path: Path) -> Iterator[Correction]:
    """The lines with a correction."""
    try:
        text = read_text(path, MAX_FILE_BYTES)
        delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except FileNotFoundError:
        raise InvalidFile(f"{path} is not there; {NEEDED}", parameter="corrected_labels") from None
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidFile(f"{path} cannot be read as CSV: {first_line(error)}; {NEEDED}") from None
    head = [name.strip().lower() for name in rows[0]] if rows else []
    if head.count(ID_COLUMN) != 1 or head.count(LABEL_COLUMN) != 1:
        raise InvalidFile(f"the first line of {path} is {','.join(head)[:80]!r}; {NEEDED}")
    for number, row in enumerate(rows[1:], 2):
        where = f"{path}, line {number}"
        if row and len(row) != len(head):
            raise InvalidFile(f"{where}: {len(row)} columns, and the first line has {len(head)}")
        if row and (label := row[head.index(LABEL_COLUMN)].strip()):
            yield Correction(where, row[head.index(ID_COLUMN)].strip(), label)
