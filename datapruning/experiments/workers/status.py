"""The status of a store's trials: done, failed, running or remaining, whichever process on whichever machine runs them."""

from __future__ import annotations

from collections.abc import Sequence

from datapruning.io.trial_store import Claim, Config, Failure, Row, RowStore
from datapruning.utils.hashing import digest


def trial_name(config: Config) -> str:
    """A trial's name in this package and in file names: the hash of its configuration."""
    return digest(config, 16)


class StoreStatus:
    """The status of some trials of a store; `refresh()` brings it up to date.

    Attributes:
        store: the trial store.
        configs: configurations of all trials, in order.
        done: finished trials by name.
        failed: failed trials by name.
        running: trials that a live process runs, by name.
        died: trials whose process died and that nobody has taken over, by name.
    """

    def __init__(self, store: RowStore, configs: Sequence[Config]) -> None:
        self.store, self.configs = store, [dict(config) for config in configs]
        self.done: dict[str, Row] = {}
        self.failed: dict[str, Failure] = {}
        self.running: dict[str, Claim] = {}
        self.died: dict[str, Claim] = {}
        self.refresh()

    def label(self, config: Config) -> str:
        """A trial's settings as text."""
        return ", ".join(f"{key} {value}" for key, value in config.items())

    def refresh(self) -> list[Row | Failure]:
        """Read the store again. Returns the trials that ended since the last time, in order."""
        news: list[Row | Failure] = []
        self.running, self.died = {}, {}
        for config in self.remaining:
            name = trial_name(config)
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
    def remaining(self) -> list[Config]:
        """Trials that have not ended, running ones included."""
        return [c for c in self.configs if trial_name(c) not in self.done and trial_name(c) not in self.failed]

    def rows(self) -> list[Row]:
        """Finished trials, in order."""
        return [self.done[trial_name(c)] for c in self.configs if trial_name(c) in self.done]

    def failures(self) -> list[Failure]:
        """Failed trials, in order."""
        return [self.failed[trial_name(c)] for c in self.configs if trial_name(c) in self.failed]

    def clear_failures(self) -> int:
        """Let the failed trials be tried again; returns how many there were."""
        for failure in self.failed.values():
            self.store.forget_failure(failure.config)
        count = len(self.failed)
        self.failed = {}
        return count
