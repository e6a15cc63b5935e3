"""The exceptions of this package.

DataPruningError                 catch this one to catch them all
├── UserError                    the user's mistake: one clear line, exit code 2
│   ├── InvalidValue             a number or an option outside what is allowed
│   ├── UnknownName              no scorer, model, recipe or dataset of that name
│   ├── InvalidFile              a file that is missing, broken, or of another kind than the one needed
│   ├── IncompatibleInputs       inputs that do not belong together: another dataset, teacher or configuration
│   ├── OutputExists             the output path holds something else
│   ├── DiskFull                 a disk is full; names the file and the space that is needed
│   └── MissingPackage           an optional package (FFCV, faiss, ...) is not installed
├── LoaderError                  a loader failed while reading; carries the worker's exception
├── OutOfMemory                  the memory of the machine or the GPU is too small
├── DeviceError                  a GPU failed during the work
├── Diverged                     a loss or a weight became NaN or infinite; names the training step and its samples
└── TimeLimitReached             a training stopped at its time limit with all that is needed to resume; exit code 3
"""

import difflib
import re
from collections.abc import Iterable
from typing import Any


class DataPruningError(Exception):
    """Everything this package raises on purpose."""


UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks of direction, odd line breaks, and halves of letters, which have no UTF-8."""


def escape_control_chars(text: str) -> str:
    """The text as a terminal may show it: what would move the cursor, change colours or turn the direction is escaped.

    Names in files from elsewhere may hold anything. Plain line breaks and tabs stay.
    """
    return UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)


class UserError(DataPruningError):
    """An error that the user can correct. Its one-line message states what is wrong, where, and what to do.

    Args:
        message: without names of command-line options, so that it reads well in Python too.
        parameter: name of the argument that is wrong, such as "out"; the command line adds its option (`--out`).
    """

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter

    def __str__(self) -> str:
        return escape_control_chars(super().__str__()).replace("\n", "\\n")


class InvalidValue(UserError):
    """A number or an option outside what is allowed."""


class UnknownName(UserError):
    """No such name; the message offers the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'? " if near else ""
        super().__init__(f"unknown {kind} '{name[:200]}': {hint}known: {', '.join(names)}")


class InvalidFile(UserError):
    """A file that is missing, broken, or of the wrong kind."""


class IncompatibleInputs(UserError):
    """A file made from another dataset, teacher or configuration."""


class OutputExists(UserError):
    """The output place holds something else; nothing of it is touched."""


class DiskFull(UserError):
    """A disk is full. No partial file is left, and the same command resumes once there is space."""


class MissingPackage(UserError):
    """An optional part is not installed; the message names the package."""


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its name if the message is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)


class LoaderError(DataPruningError):
    """The loader failed while reading."""


class OutOfMemory(DataPruningError):
    """The memory of the machine or of the GPU is too small; what was saved stays."""


class DeviceError(DataPruningError):
    """A GPU failed. The last checkpoint is kept, and the same call resumes from it."""


class Diverged(DataPruningError):
    """A training's loss or a weight is no finite number any more; nothing was saved after that.

    Attributes:
        epoch: counted from 0.
        step: the update, in the schedule, counted from 0.
        ids: int64, the samples of that update.
    """

    def __init__(self, message: str, epoch: int, step: int, ids: Any) -> None:
        super().__init__(message)
        self.epoch, self.step, self.ids = epoch, step, ids


class TimeLimitReached(DataPruningError):
    """Training reached its time limit and stopped at the end of an epoch; the same call resumes it."""
