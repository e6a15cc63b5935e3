"""The exception tree.

DataPruningError                 catch this one to catch them all
├── UserError                    the user's mistake: one clear line, exit code 2
│   ├── BadValue                 a number or an option outside what is allowed
│   ├── UnknownName              no scorer, model, recipe or dataset of that name
│   ├── BadFile                  a file that is missing, broken, or not what its place asks for
│   ├── Mismatch                 a file made from another dataset, teacher or configuration
│   └── OutputTaken              the output place holds something else
├── MissingPackage               an optional part (FFCV, faiss, ...) is not installed
├── LoaderError                  the loader failed while reading; carries the worker's own exception
└── TimeIsUp                     --max-seconds: a training stopped with all that is needed to go on; exit code 3
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DataPruningError(Exception):
    """Everything this package raises on purpose."""


class UserError(DataPruningError):
    """A mistake the user can mend; the message says what is wrong, where, and what to do."""


class BadValue(UserError):
    """A number or an option outside what is allowed."""


class UnknownName(UserError):
    """No such name; the message offers the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'? " if near else ""
        super().__init__(f"unknown {kind} '{name}': {hint}known: {', '.join(names)}")


class BadFile(UserError):
    """A file that is missing, broken, or not what its place asks for."""


class Mismatch(UserError):
    """A file made from another dataset, teacher or configuration."""


class OutputTaken(UserError):
    """The output place holds something else; nothing of it is touched."""


def reason(error: BaseException) -> str:
    """The first line of what an exception says, or its name: some of zipfile's and numpy's say nothing."""
    return next(iter(str(error).splitlines()), type(error).__name__)


class MissingPackage(DataPruningError):
    """An optional part is not installed; the message names the package."""


class LoaderError(DataPruningError):
    """The loader failed while reading."""


class TimeIsUp(DataPruningError):
    """A training stopped at the end of an epoch because it was told to; the same call goes on from there."""
