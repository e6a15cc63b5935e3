"""The row store: independent runs as rows, each written once, filled by any number of processes in any order.

A store is a folder: `store.json` says what it is for, `rows/` has one JSON file a finished row. A row's name is the
digest of its configuration, so the same run is never done twice, and a killed process loses at most the row it was in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from datapruning.differences import first_difference
from datapruning.errors import BadFile, Mismatch
from datapruning.files import read_json, write_json
from datapruning.hashing import digest
from datapruning.locks import lock_of
from datapruning.progress import say

Config = Mapping[str, Any]
FORMAT = {"format": "datapruning.store", "version": 1}
WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class Row:
    """A finished row: its configuration, its result and the seconds it took."""

    config: Config
    result: Mapping[str, Any]
    seconds: float


class RowStore:
    """Rows in a folder.

    Args:
        folder: made if it is not there.
        about: plain data that all rows share (dataset fingerprint, recipe, thread count, ...); part of the store's
            identity.

    Raises:
        Mismatch: the folder is a store about something else.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self.folder = folder
        manifest = {**FORMAT, "about": dict(about)}
        path = folder / "store.json"
        with lock_of(path):
            if not path.exists():
                write_json(path, manifest)
        found = read_json(path)
        if digest(found, 64) != digest(manifest, 64):
            differing = first_difference(found, manifest)
            raise Mismatch(f"{folder} is a store of other runs ({differing}); name another folder")

    def path(self, config: Config) -> Path:
        """The file of a row."""
        return self.folder / "rows" / f"{digest(config, 16)}.json"

    def get(self, config: Config) -> Row | None:
        """The finished row, or None.

        Raises:
            BadFile: the file is there but is not this row.
        """
        path = self.path(config)
        return _read(path) if path.exists() else None

    def rows(self) -> Iterator[Row]:
        """All finished rows, in no promised order.

        Raises:
            BadFile: a file among them that is no row.
        """
        for path in sorted((self.folder / "rows").glob("[!.]*.json")):
            yield _read(path)

    def run(self, config: Config, work: Callable[[Config], Mapping[str, Any]], *, wait: bool = True) -> Row | None:
        """Do one row, unless it is done. While another process has it: wait for that one, or return None."""
        found = self.get(config)
        if found is not None:
            return found
        lock = lock_of(self.path(config))
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            return None
        try:
            found = self.get(config)  # another process may have finished it while we waited
            if found is None:
                started = time.perf_counter()
                result = dict(work(config))
                seconds = round(time.perf_counter() - started, 3)
                write_json(self.path(config), {"config": dict(config), "result": result, "seconds": seconds})
                found = Row(config, result, seconds)
            return found
        finally:
            lock.release()

    def run_all(
        self, configs: Sequence[Config], work: Callable[[Config], Mapping[str, Any]], label: str = "row"
    ) -> list[Row]:
        """Do all rows that nobody has done or is doing, then wait for the others'. Returns them in the order given."""
        done = sum(self.get(c) is not None for c in configs)
        say(f"{label}: {done} of {len(configs)} rows are done")
        left: Iterable[Config] = [c for c in configs if self.get(c) is None]
        while left:
            taken_elsewhere = []
            for config in left:
                row = self.run(config, work, wait=False)
                if row is None:
                    taken_elsewhere.append(config)
                else:
                    done += 1
                    say(f"{label}: {done} of {len(configs)} done, {row.seconds:.0f} s")
            left = taken_elsewhere
            if left:
                time.sleep(WAIT_SECONDS)
        return [row for c in configs if (row := self.get(c)) is not None]


def _read(path: Path) -> Row:
    value = read_json(path)
    if set(value) != {"config", "result", "seconds"} or digest(value["config"], 16) != path.stem:
        raise BadFile(f"{path} is not the row it should be; delete it to have it run again")
    return Row(value["config"], value["result"], value["seconds"])
