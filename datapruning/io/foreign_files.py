"""What a file is that has the name of another kind: failed downloads, pointers of Git LFS, archives."""

import re
from pathlib import Path

from datapruning.io.regular_file import open_regular_file

KINDS = (
    (rb"version https://git-lfs\.github\.com", "a pointer of Git LFS, not the file itself; git lfs pull fetches it"),
    (rb"\s*<(!doctype\s+html|html)", "a web page, as a failed download leaves it; download it again"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--[^>]*-->\s*)?(<!doctype\s+svg[^>]*>\s*)?<svg", "a drawing (SVG); export it as PNG"),
    (rb"\x1f\x8b", "compressed by gzip; unpack it"),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (rb"%PDF-", "a PDF"),
)
BEGINNING_BYTES = 512


def foreign_kind(content: bytes) -> str:
    """In words, what a file that begins so is; "" where it is none of the `KINDS`."""
    head = content[:BEGINNING_BYTES]
    return next((words for pattern, words in KINDS if re.match(pattern, head, re.IGNORECASE)), "")


def foreign_kind_of(path: Path) -> str:
    """`foreign_kind` of a file; "" where it cannot be read."""
    try:
        with open_regular_file(path) as (file, _):
            return foreign_kind(file.read(BEGINNING_BYTES))
    except (OSError, ValueError):
        return ""
