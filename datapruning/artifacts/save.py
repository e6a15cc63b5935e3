"""Saving what a command made: never over anything else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from datapruning.artifacts.scores import Scores, load_scores
from datapruning.artifacts.subset import Subset, load_subset
from datapruning.errors import InvalidFile, OutputExists
from datapruning.utils.console import info


def save_if_new(made: Scores | Subset, path: Path) -> None:
    """Save to `path`, unless the very same content is there already.

    Raises:
        OutputExists: something else is there; it is left as it is.
    """
    if check_output_path(path, "scores" if isinstance(made, Scores) else "samples", lambda: _same_content(path, made)):
        made.save(path)
    else:
        info(f"{path} is there already, with the same content")


def check_output_path(path: Path, what: str, same: Callable[[], bool], parameter: str = "out") -> bool:
    """Whether there is anything to write at `path`: False where the very same content is there already.

    Args:
        path: where it is to go.
        what: the content in words, as in "other scores".
        same: reads what is there and compares; it may raise InvalidFile.
        parameter: name of the argument that names the path.

    Raises:
        OutputExists: something else is there.
    """
    if not path.exists():
        return True
    try:
        if same():
            return False
    except InvalidFile:
        raise OutputExists(f"{path} holds something else; name another output path", parameter=parameter) from None
    raise OutputExists(f"{path} holds other {what}; name another output path", parameter=parameter)


def _same_content(path: Path, made: Scores | Subset) -> bool:
    there = load_scores(path) if isinstance(made, Scores) else load_subset(path)
    if there.meta.fingerprint != made.meta.fingerprint:
        return False
    if isinstance(there, Scores) and isinstance(made, Scores):
        return there.scorer == made.scorer and np.array_equal(there.values, made.values)
    return isinstance(there, Subset) and isinstance(made, Subset) and np.array_equal(there.indices, made.indices)


def out_path(out: str | Path, name: str) -> Path:
    """The file that `out` stands for: itself if it ends as `name` does, else `name` in that folder."""
    return Path(out) if Path(out).suffix == Path(name).suffix else Path(out) / name
