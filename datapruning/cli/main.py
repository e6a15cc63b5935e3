"""`dprune`: the verbs, and what a user sees when something is wrong: one line, and an exit code.

0 done, 2 the user's mistake, 3 stopped by --max-seconds, 130 interrupted (the same command resumes, after
both), 1 anything else.
"""

import errno
import os
import sys
from typing import Annotated

import typer

from datapruning.cli import (
    advise,
    cache,
    check,
    demo,
    diff,
    duplicates,
    evaluate,
    export,
    influence,
    inspect,
    label_issues,
    predict,
    recipes,
    report,
    score,
    select,
    sweep,
    teach,
    train,
)
from datapruning.cli.options import with_options
from datapruning.errors import DataPruningError, InvalidFile, TimeLimitReached, UserError, escape_control_chars
from datapruning.io.disk_space import disk_full_message
from datapruning.training.distributed.start import run_together, under_torchrun
from datapruning.utils.device_errors import as_device_error
from datapruning.utils.malloc import keep_freed_memory
from datapruning.utils.names import check_utf8
from datapruning.utils.processes import error_prefix
from datapruning.utils.streams import prepare_standard_streams
from datapruning.version import __version__

INTERRUPTED, TIME_IS_UP = 130, 3
DISTRIBUTED_COMMANDS = ("teach", "train", "score")
"""Verbs whose work several processes can share."""
app = typer.Typer(
    name="dprune",
    help="Train image classifiers on less data and lose as little as possible: score, select, train with a teacher.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
VERBS = (
    demo, score, select, label_issues, duplicates, influence, teach, train, predict, evaluate, advise, sweep, report, cache,
    export, inspect, diff, recipes, check,
)  # fmt: skip
for verb in VERBS:
    app.command(name=verb.__name__.rpartition(".")[2].replace("_", "-"))(with_options(verb.command))


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"datapruning {__version__}\n")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Options of `dprune` itself."""


def run(arguments: list[str] | None = None) -> int:
    """Run a command, or show the help if there is none; returns the exit code.

    Prints at most one line about an error, on stderr.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        for word in words:
            check_utf8(word, "the argument")
        check_utf8(_present_folder(), "the present folder")
        code = app(words or ["--help"], standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # typer keeps Ctrl-C to itself and returns this
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except UserError as error:
        option = "" if error.parameter is None else f" (--{error.parameter.replace('_', '-')})"
        return _fail(2, f"{error}{option}")
    except TimeLimitReached as stopped:
        return _fail(TIME_IS_UP, str(stopped))
    except DataPruningError as error:
        return _fail(1, str(error))
    except (KeyboardInterrupt, typer.Abort):
        return _fail(INTERRUPTED, "interrupted; the same command resumes")
    except (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        is_in_the_way = isinstance(error, FileExistsError) and os.path.isfile(error.filename)
        reason = ", a file where a folder is needed" if is_in_the_way else ""
        return _fail(2, f"{error.filename}: {error.strerror}{reason}")
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            return _fail(2, f"{error.filename}: {error.strerror}")
        what = disk_full_message(error)
        return _fail(1, str(error)) if what is None else _fail(2, f"{error.filename or 'a file'}: {what}")
    except Exception as error:
        hardware = as_device_error(error, "dprune")
        if hardware is not None:
            return _fail(1, str(hardware).removeprefix("dprune: "))
        message = getattr(error, "format_message", None)  # how typer's own usage errors say what is wrong
        if message is None:
            raise
        text = message()
        return _fail(2, " ".join(text.split()) + " (dprune --help)") if text else 2


def _present_folder() -> str:
    """The path of the present folder.

    Raises:
        InvalidFile: it was deleted, which other errors would not say.
    """
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise InvalidFile("the present folder is not there any more; change to another (cd)") from None


def _fail(code: int, line: str) -> int:
    sys.stderr.write(f"dprune: {error_prefix(code)}{escape_control_chars(line).strip()}\n")
    return code


def main() -> None:
    """The console command; under torchrun, that of every process."""
    prepare_standard_streams()
    keep_freed_memory()
    if not under_torchrun():
        sys.exit(run())
    code = run_together(run_distributed)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads of gloo or NCCL that outlive the interpreter would abort it


def run_distributed() -> int:
    """Run the command in a process that is one of several."""
    asked = sys.argv[1:2]
    if asked and not asked[0].startswith("-") and asked[0] not in DISTRIBUTED_COMMANDS:
        return _fail(
            2, f"torchrun is for {', '.join(DISTRIBUTED_COMMANDS)}; start dprune {asked[0]} without it, as one process"
        )
    return run()
