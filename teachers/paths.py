"""How teachers are named, and whether they are there; the networks are loaded by `load.py`."""

import re
from pathlib import Path

from datapruning.errors import InvalidFile
from datapruning.runs.result import RunResult
from datapruning.runs.run import Run
from datapruning.runs.weights_path import is_weights_file


def parse_teacher_path(path: Path) -> tuple[Path, int | None]:
    """RUN@EPOCH as run folder and epoch; the epoch of any other path, and of one that exists, is None."""
    match = re.fullmatch(r"(.+)@(\d+)", str(path), re.DOTALL)
    return (path, None) if match is None or path.exists() else (Path(match[1]), int(match[2]))


def check_teacher(path: Path) -> None:
    """Refuse a teacher that is not there, as it is named on the command line.

    Raises:
        InvalidFile: neither a finished run nor a file of weights.
    """
    folder, _ = parse_teacher_path(path)
    if not is_weights_file(folder):
        finished_run(folder)
    elif not folder.exists():
        raise InvalidFile(f"teacher {folder} is not there")


def finished_run(folder: Path) -> tuple[Run, RunResult]:
    """The run of a teacher's folder, and its result.

    Raises:
        InvalidFile: no finished run.
    """
    if not folder.is_dir():
        raise InvalidFile(f"teacher {folder} is not there; 'dprune teach' makes one")
    run = Run(folder)
    result = run.result(RunResult)
    if result is None:
        raise InvalidFile(f"{folder} is no finished run: it has no result.json")
    return run, result
