"""How the rows of a store stand: done, failed, running, left; whoever does them, in whatever process, on any machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from datapruning.io.trial_store import Claim, Config, Failure, Row, RowStore
from datapruning.utils.hashing import digest


def name_of(config: Mapping[str, Any]) -> str:
    """A row's name here and in messages: the digest of its configuration."""
    return digest(config, 16)


class Board:
    """Reads the store; `refresh()` brings it up to date.

    Attributes:
        configs: all rows, in order.
        done: finished rows by name.
        failed: failed rows by name.
        running: rows that a live process is at.
        died: rows whose process died and that nobody has taken over.
    """

    def __init__(self, store: RowStore, configs: Sequence[Config]) -> None:
        self.store, self.configs = store, [dict(config) for config in configs]
        self.done: dict[str, Row] = {}
        self.failed: dict[str, Failure] = {}
        self.running: dict[str, Claim] = {}
        self.died: dict[str, Claim] = {}
        self.refresh()

    def label(self, config: Config) -> str:
        """A row in words."""
        return ", ".join(f"{key} {value}" for key, value in config.items())

    def refresh(self) -> list[Row | Failure]:
        """Look again. Returns what ended since the last time, in the order of the rows."""
        news: list[Row | Failure] = []
        self.running, self.died = {}, {}
        for config in self.left:
            name = name_of(config)
            if row := self.store.get(config):
                self.done[name] = row
                news.append(row)
            elif failure := self.store.failure(config):
                self.failed[name] = failure
                news.append(failure)
            elif claim := self.store.claim(config):
                (self.running if claim.alive else self.died)[name] = claim
        return news

    @property
    def left(self) -> list[dict[str, Any]]:
        """Rows that have not ended, running ones among them."""
        return [c for c in self.configs if name_of(c) not in self.done and name_of(c) not in self.failed]

    def rows(self) -> list[Row]:
        """Finished rows, in order."""
        return [self.done[name_of(c)] for c in self.configs if name_of(c) in self.done]

    def failures(self) -> list[Failure]:
        """Failed rows, in order."""
        return [self.failed[name_of(c)] for c in self.configs if name_of(c) in self.failed]

    def forget_failures(self) -> int:
        """Let the failed rows be tried again; returns how many there were."""
        for failure in self.failed.values():
            self.store.forget_failure(failure.config)
        count = len(self.failed)
        self.failed = {}
        return count

    def work_left(self) -> float | None:
        """Seconds of one process for the rows that have not ended; None: not known yet."""
        seconds = [row.seconds for row in self.rows()]
        return len(self.left) * statistics.median(seconds) if seconds else None

    def time_left(self) -> float | None:
        """Seconds until all rows have ended, if those that run now go on side by side; None: not known yet."""
        alone = self.work_left()
        if alone is None:
            return None
        elapsed = sum(time.time() - claim.since for claim in self.running.values())
        return max(alone - elapsed, 0.0) / max(len(self.running), 1)
