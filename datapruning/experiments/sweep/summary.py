"""What a sweep says before it starts: how many rows, how many are done, and what the others will cost."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping

from datapruning.artifacts.scorer import Scorer
from datapruning.experiments.sweep.cost import passes_of, samples_of
from datapruning.experiments.sweep.grid import AUTO
from datapruning.experiments.sweep.live_table import standing
from datapruning.experiments.sweep.shared_artifacts import shared_work
from datapruning.experiments.sweep.status import Board
from datapruning.experiments.sweep.variants import context_of_row
from datapruning.io.trial_store import Config
from datapruning.runs.context import Context
from datapruning.training.sparsity.prune import announce as announce_pruning
from datapruning.utils.console import say


def announce(context: Context, board: Board, scorers: Mapping[str, Scorer], jobs: int, retried: int) -> None:
    """Say how many rows there are, how many are done, and what the others will cost.

    Args:
        context: of the sweep.
        board: refreshed.
        scorers: those of the grid.
        jobs: worker processes of this machine; 0: the workers are elsewhere.
        retried: how many failures were forgotten.
    """
    grid, left = board.grid, board.left
    asked = [
        (len(grid.fractions), "fractions"), (len(grid.scorers), "scorers"), (len(grid.kd_weights), "KD weights"),
        (len(grid.seeds), "seeds"), (max(len(grid.teachers), 1), "teachers"),
        (len(grid.variants.epsd), "ways of pruning"), (len(grid.variants.self_distill), "ways of self-distillation"),
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
    passes = round(passes_of(context, grid, left))
    itself = f" ({passes:,} with what self-distillation adds)" if passes != samples else ""
    say(f"to train: {len(left)} students, {samples:,} samples in all{itself}{search}")
    for line in _pruning(context, left):
        say(line)
    for line in shared_work(context, left, scorers):
        by = "" if jobs else " (by one worker, the others wait for it)"
        say(f"shared by them, made once{by} if it is not there: {line}")
    cores = os.cpu_count() or 1
    if jobs > 1 and jobs * context.threads > cores:
        say(f"{jobs} processes of {context.threads} threads share {cores} cores; --threads says how many each takes")


def _pruning(context: Context, configs: Iterable[Config]) -> list[str]:
    """How many weights the pruned rows keep, a line for each share."""
    lines: dict[str, list[str]] = {}
    for config in configs:
        recipe = context_of_row(context, config).recipe
        if recipe.sparsity.sparsity:
            words = announce_pruning(context.new_model(recipe.train.model, 0), recipe.sparsity)
            by = lines.setdefault(words, [])
            by += [recipe.sparsity.criterion] if recipe.sparsity.criterion not in by else []
    return [f"students pruned before training: {words}, by {', '.join(by)}" for words, by in lines.items()]
