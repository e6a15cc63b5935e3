"""The exception tree, and the exit code of each branch."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

from datapruning import errors
from datapruning.errors import (
    DataPruningError,
    DeviceError,
    DiskFull,
    InvalidFile,
    LoaderError,
    MissingPackage,
    OutOfMemory,
    TimeLimitReached,
    UserError,
    first_line,
)
from tests.conftest import CommandResult

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)]


def test_one_base_class_for_all_errors() -> None:
    assert all(f" {kind.__name__} " in str(errors.__doc__) for kind in ERRORS if kind is not DataPruningError), (
        "the tree is whole"
    )
    assert all(issubclass(kind, DataPruningError) for kind in ERRORS)
    assert issubclass(MissingPackage, UserError)
    assert not issubclass(LoaderError, UserError)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidFile("x is broken"), 2),
        (MissingPackage("x is broken"), 2),
        (DiskFull("x is broken"), 2),
        (OSError(28, "broken", "x is"), 2),
        (OutOfMemory("x is broken"), 1),
        (DeviceError("x is broken"), 1),
        (DataPruningError("x is broken"), 1),
        (TimeLimitReached("x is broken"), 3),
        (OSError("x is broken"), 1),
        (PermissionError(13, "broken", "x is"), 2),
        (FileExistsError(17, "broken", "x is"), 2),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    dprune: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr("datapruning.recipes.names", fails)
    command = dprune("recipes")
    assert (command.code, command.out) == (code, "")
    assert command.err.replace("x is: ", "x is ").replace("the disk is full", "broken") == "dprune: x is broken\n"


def test_an_interruption_is_one_line_and_130(dprune: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("datapruning.recipes.names", interrupted)
    assert dprune("recipes") == CommandResult(130, "", "dprune: interrupted; the same command resumes\n")


def test_internal_errors_are_not_hidden(dprune: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("datapruning.recipes.names", broken)
    with pytest.raises(ZeroDivisionError):
        dprune("recipes")


def test_the_reason_is_one_line() -> None:
    assert first_line(ValueError("first\nsecond")) == "first"
    assert first_line(EOFError()) == "EOFError"
