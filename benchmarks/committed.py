"""Trials whose results are committed: `results/NAME.rows.jsonl` is read first, so that a fresh clone goes on from there."""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, RUNS, machine
from datapruning.io.locks import exclusive_lock
from datapruning.io.trial_store import TrialStore
from datapruning.utils.console import info
from datapruning.utils.hashing import config_hash
from datapruning.utils.malloc import keep_freed_memory

Config = Mapping[str, Any]
Row = dict[str, Any]
Work = Callable[[Config, Path], Mapping[str, Any]]
"""(configuration, folder for everything that is written) -> the result of a trial, plain data."""


class CommittedRows:
    """The rows of one benchmark: a line of JSON each, with `config`, `result`, `seconds` and the machine's `cpu`."""

    def __init__(self, name: str, folder: Path = RESULTS) -> None:
        self.name, self.path = name, folder / f"{name}.rows.jsonl"

    def read(self) -> dict[str, Row]:
        """All rows by the hash of their configuration."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        rows = [json.loads(line) for line in lines]
        return {config_hash(row["config"], 16): row for row in rows}

    def append(self, row: Row) -> None:
        """Add a row, unless another process has added it."""
        with exclusive_lock(self.path, f"another process writes {self.path}"):
            if config_hash(row["config"], 16) not in self.read():
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row, sort_keys=True) + "\n")

    def fill(self, configs: Sequence[Config], work: Work, workspace: Path) -> None:
        """Run the trials that no row is committed of, in the order given, together with other processes that do the same."""
        keep_freed_memory()  # as `dprune` does
        store = TrialStore(workspace / self.name, {"benchmark": self.name})
        committed = self.read()
        missing = [config for config in configs if config_hash(config, 16) not in committed]
        info(f"{self.name}: {len(configs) - len(missing)} of {len(configs)} rows are committed")
        for number, config in enumerate(missing, 1):
            trial = store.run(config, lambda config: work(config, workspace / "runs"), wait=False)
            if trial is not None:
                result, cpu = dict(trial.result), machine()["gpu"] or machine()["cpu"]
                self.append({"config": dict(config), "result": result, "seconds": trial.seconds, "device": cpu})
                info(f"{self.name}: {number} of {len(missing)} done, {trial.seconds:.0f} s")


def run_rows(name: str, configs: Sequence[Config], work: Work, doc: str | None, folder: Path | None = None) -> list[Row]:
    """Parse `--jobs`, `--workspace` and `--report-only`, run what is missing, and return the rows in the order of `configs`.

    The rows are in `folder`, by default those of the committed results. A trial that another process has is left to it; the
    rows that exist are returned.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="processes that run trials")
    parser.add_argument("--workspace", type=Path, default=RUNS / "committed")
    parser.add_argument("--report-only", action="store_true", help="report the committed rows, run nothing")
    args = parser.parse_args()
    rows = CommittedRows(name, folder or RESULTS)
    if not args.report_only:
        spawn = multiprocessing.get_context("spawn")
        others = [spawn.Process(target=rows.fill, args=(configs, work, args.workspace)) for _ in range(args.jobs - 1)]
        for process in others:
            process.start()
        rows.fill(configs, work, args.workspace)
        for process in others:
            process.join()
    by_config = rows.read()
    return [by_config[key] for key in (config_hash(config, 16) for config in configs) if key in by_config]
