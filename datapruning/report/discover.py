"""Files of the runs' dataset: those that were named, and those that lie in the workspaces of the runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from datapruning.errors import IncompatibleInputs, InvalidFile, first_line


class _WithStory(Protocol):
    @property
    def meta(self) -> Mapping[str, Any]: ...


T = TypeVar("T", bound=_WithStory)


def of_dataset(
    named: Sequence[Path], roots: Sequence[Path], pattern: str, load: Callable[[Path], T], fingerprint: str
) -> tuple[list[tuple[Path, T]], list[tuple[Path, T]], list[tuple[str, str]]]:
    """Files of the dataset with that fingerprint.

    Args:
        named: those that the user named.
        roots: workspaces.
        pattern: where such files lie in a workspace, as in "scores/*.npz": any depth below the folder, hidden ones aside.
        load: reads one; what it gives has a `meta`. It may raise InvalidFile.
        fingerprint: of the dataset.

    Returns:
        The named ones; those of that dataset in the workspaces; and (path, why) of those there that cannot be read.

    Raises:
        InvalidFile, IncompatibleInputs: one that was named cannot be read, or is of another dataset.
    """
    asked, lying, left_out = list[tuple[Path, T]](), list[tuple[Path, T]](), list[tuple[str, str]]()
    for path in named:
        found = load(path)
        if found.meta["fingerprint"] != fingerprint:
            raise IncompatibleInputs(f"{path} is of another dataset ({found.meta['dataset']}) than the runs")
        asked.append((path, found))
    folder, _, kind = pattern.partition("/")
    for path in (p for root in roots for p in sorted((root / folder).rglob(f"[!.]{kind}"))):
        try:
            found = load(path)
        except InvalidFile as error:
            left_out.append((str(path), first_line(error)))
            continue
        if found.meta["fingerprint"] == fingerprint:
            lying.append((path, found))
    return asked, lying, left_out
