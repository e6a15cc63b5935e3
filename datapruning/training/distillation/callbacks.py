"""The callbacks of a training that has a run folder."""

from datapruning.runs.context import Context
from datapruning.runs.run import Run
from datapruning.training.callbacks import Callback, LogHistory, StopAtTimeLimit


def run_callbacks(context: Context, run: Run) -> list[Callback]:
    """Those that write metrics.jsonl after each epoch, and stop at the context's time limit, if it has one."""
    callbacks: list[Callback] = [LogHistory(run.write_metrics)]
    if context.time_limit is not None:
        callbacks.append(StopAtTimeLimit(context.time_limit))
    return callbacks
