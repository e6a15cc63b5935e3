"""Text files: read with a size limit, parsed as TOML, and carrying a checksum in a comment."""

import codecs
import hashlib
import tomllib
from pathlib import Path
from typing import Any

from datapruning.errors import InvalidFile
from datapruning.io.disk_space import format_bytes as size_text
from datapruning.io.regular_file import open_regular_file

CHECKSUM = "checksum"
"""The key under which JSON files, and the metadata of arrays and tensors, carry the checksum of all else."""
CHECKSUM_PREFIX = f"# {CHECKSUM} "
MAX_TOML_BYTES = 2**20


def read_text(path: Path, longest: int) -> str:
    """The text of a UTF-8 file of at most `longest` bytes; a byte order mark is left out.

    Raises:
        OSError: it is not there, or cannot be read. ValueError: no ordinary file, larger, or no UTF-8.
    """
    with open_regular_file(path) as (file, size):
        if size > longest:
            raise ValueError(f"it has {size_text(size)}, and such a file has {size_text(longest)} at most")
        content = file.read(size)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16 text; save it as UTF-8")
    return content.decode("utf-8-sig")


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ValueError: no TOML, or nested too deeply.
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def prepend_checksum(text: str) -> str:
    """A text with its checksum in a comment before it, for formats in which # begins one."""
    return f"{CHECKSUM_PREFIX}{_text_checksum(text)}\n{text}"


def verify_text(path: Path, text: str) -> None:
    """Refuse a text that is not the one that `prepend_checksum` returned.

    Raises:
        InvalidFile: it was changed, or has no checksum.
    """
    before, _, after = text.partition(CHECKSUM_PREFIX)
    recorded, _, content = after.partition("\n")
    check_recorded(path, recorded or None, _text_checksum(before + content))


def check_recorded(path: Path, recorded: object, actual: object) -> None:
    """Refuse a file whose recorded checksum is missing (None) or is not the actual one, that of what was read.

    Raises:
        InvalidFile: the file was changed since it was written, or was not written by this package.
    """
    if recorded is None:
        raise InvalidFile(f"{path} has no {CHECKSUM}: it was changed, or not written by datapruning; make it again")
    if recorded != actual:
        raise InvalidFile(f"{path} was changed since it was written: its content has another {CHECKSUM}; make it again")


def _text_checksum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
