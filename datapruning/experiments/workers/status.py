"""The status of a store's trials: done, failed, running or remaining, whichever process on whichever machine runs them."""

from collections.abc import Sequence

from datapruning.io.trial_store import FailedTrial, RunningTrial, Trial, TrialConfig, TrialStore
from datapruning.utils.hashing import config_hash


def trial_name(config: TrialConfig) -> str:
    """A trial's name in this package and in file names: the hash of its configuration."""
    return config_hash(config, 16)


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

    def __init__(self, store: TrialStore, configs: Sequence[TrialConfig]) -> None:
        self.store, self.configs = store, [dict(config) for config in configs]
        self.done: dict[str, Trial] = {}
        self.failed: dict[str, FailedTrial] = {}
        self.running: dict[str, RunningTrial] = {}
        self.died: dict[str, RunningTrial] = {}
        self.refresh()

    def label(self, config: TrialConfig) -> str:
        """A trial's settings as text."""
        return ", ".join(f"{key} {value}" for key, value in config.items())

    def refresh(self) -> list[Trial | FailedTrial]:
        """Read the store again. Returns the trials that ended since the last time, in order."""
        news: list[Trial | FailedTrial] = []
        self.running, self.died = {}, {}
        for config in self.remaining:
            name = trial_name(config)
            if row := self.store.get(config):
                self.done[name] = row
                news.append(row)
            elif failure := self.store.failure(config):
                self.failed[name] = failure
                news.append(failure)
            elif claim := self.store.running_trial(config):
                (self.running if claim.alive else self.died)[name] = claim
        return news

    @property
    def remaining(self) -> list[TrialConfig]:
        """Trials that have not ended, running ones included."""
        return [c for c in self.configs if trial_name(c) not in self.done and trial_name(c) not in self.failed]

    def trials(self) -> list[Trial]:
        """Finished trials, in order."""
        return [self.done[trial_name(c)] for c in self.configs if trial_name(c) in self.done]

    def failures(self) -> list[FailedTrial]:
        """Failed trials, in order."""
        return [self.failed[trial_name(c)] for c in self.configs if trial_name(c) in self.failed]

    def clear_failures(self) -> int:
        """Let the failed trials be tried again; returns how many there were."""
        for failure in self.failed.values():
            self.store.clear_failure(failure.config)
        count = len(self.failed)
        self.failed = {}
        return count
