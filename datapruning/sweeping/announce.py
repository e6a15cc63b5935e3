"""What a sweep says before it starts: how many rows, how many are done, and what the others will cost."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from datapruning.context import Context
from datapruning.progress import say
from datapruning.scorer import Scorer
from datapruning.sweeping.board import Board
from datapruning.sweeping.cost import samples_of
from datapruning.sweeping.grid import AUTO
from datapruning.sweeping.shared import shared_work
from datapruning.sweeping.show import standing


def announce(context: Context, board: Board, scorers: Mapping[str, Scorer], jobs: int, retried: int) -> None:
    """Say how many rows there are, how many are done, and what the others will cost.

    Args:
        context: of the sweep.
        board: refreshed.
        scorers: those of the grid.
        jobs: worker processes.
        retried: how many failures were forgotten.
    """
    grid, left = board.grid, board.left
    asked = [
        (len(grid.fractions), "fractions"), (len(grid.scorers), "scorers"), (len(grid.kd_weights), "KD weights"),
        (len(grid.seeds), "seeds"), (max(len(grid.teachers), 1), "teachers"),
    ]  # fmt: skip
    one = ""
    if math.prod(count for count, _ in asked) > len(board.configs):
        one = " (no KD needs no teacher, keeping everything no scorer: such rows are one)"
    shape = " x ".join(f"{count} {word}" for count, word in asked if count > 1) or "one of each"
    say(f"sweep: {len(board.configs)} rows, {shape}{one}; {standing(board)}; in {board.store.folder}")
    if retried:
        say(f"{retried} rows that failed before are tried again")
    elif board.failed:
        say(f"{len(board.failed)} rows failed before and are left alone; --retry-failed tries them again")
    if not left:
        return
    samples = samples_of(board.training, grid, left)
    searched = sum(c["kd_weight"] == AUTO for c in left)
    search = f", and the search for the KD weight in {searched} of them" if searched else ""
    say(f"to train: {len(left)} students, {samples:,} samples in all{search}")
    for line in shared_work(context, left, scorers):
        say(f"shared by them, made once if it is not there: {line}")
    cores = os.cpu_count() or 1
    if jobs > 1 and jobs * context.threads > cores:
        say(f"{jobs} processes of {context.threads} threads share {cores} cores; --threads says how many each takes")
