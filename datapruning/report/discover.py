"""Finding files of a dataset: those that the user named, and those that lie in workspaces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from datapruning.artifacts.metadata import Metadata
from datapruning.errors import IncompatibleInputs, InvalidFile, first_line


class _HasMeta(Protocol):
    @property
    def meta(self) -> Metadata: ...


T = TypeVar("T", bound=_HasMeta)


@dataclass(frozen=True)
class DatasetFiles(Generic[T]):
    """Files of a dataset, as (path, content).

    Attributes:
        named: Those that the user named.
        discovered: Those that lie in the workspaces.
        unreadable: (path, reason) of those there that cannot be read.
    """

    named: Sequence[tuple[Path, T]]
    discovered: Sequence[tuple[Path, T]]
    unreadable: Sequence[tuple[str, str]]


def find_dataset_files(
    named: Sequence[Path], workspaces: Sequence[Path], pattern: str, load: Callable[[Path], T], fingerprint: str
) -> DatasetFiles[T]:
    """Find the files of the dataset with a fingerprint.

    Args:
        named: Files that the user named.
        workspaces: Folders to look in.
        pattern: Where such files lie in a workspace, as in "scores/*.npz": at any depth below the folder, hidden ones
            aside.
        load: Reads a file; its content has a `meta`. It may raise InvalidFile.
        fingerprint: The fingerprint of the dataset.

    Raises:
        InvalidFile: A named file cannot be read.
        IncompatibleInputs: A named file is of another dataset.
    """
    loaded = [(path, load(path)) for path in named]
    for path, content in loaded:
        if content.meta.fingerprint != fingerprint:
            raise IncompatibleInputs(f"{path} is of another dataset ({content.meta.dataset}) than the runs")
    folder, _, name = pattern.partition("/")
    discovered, unreadable = list[tuple[Path, T]](), list[tuple[str, str]]()
    for path in (path for root in workspaces for path in sorted((root / folder).rglob(f"[!.]{name}"))):
        try:
            content = load(path)
        except InvalidFile as error:
            unreadable.append((str(path), first_line(error)))
        else:
            discovered += [(path, content)] if content.meta.fingerprint == fingerprint else []
    return DatasetFiles(loaded, discovered, unreadable)
