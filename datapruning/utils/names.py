"""Names and paths that users give."""

import os
import sys
from pathlib import Path

from datapruning.errors import InvalidFile


def check_utf8(name: str, what: str) -> None:
    """Refuse a name that is not UTF-8: Python puts half of a surrogate pair in the place of each such byte.

    Raises:
        InvalidFile: with `what` it is.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        is_locale = sys.getfilesystemencoding().lower() not in ("utf-8", "utf8")
        remedy = "set PYTHONUTF8=1, because this locale has no such letters" if is_locale else "rename it"
        raise InvalidFile(f"{what} {name!a} is not UTF-8; {remedy}")


def expand_user(name: str | Path) -> Path:
    """The path with the home folder in place of "~" or "~name"; that of an unknown user stays as it is."""
    return Path(os.path.expanduser(name))
