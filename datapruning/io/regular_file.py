"""Regular files opened for reading; this module needs no NumPy, so that reading text stays cheap to import."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def open_regular_file(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """(the file, opened for reading; its size). Folders, pipes and devices are refused, which could be read for ever.

    Raises:
        OSError: it is not there, or cannot be opened. ValueError: it is no ordinary file.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("it is a folder" if stat.S_ISDIR(about.st_mode) else "it is no ordinary file")
    with path.open("rb") as file:
        yield file, about.st_size
