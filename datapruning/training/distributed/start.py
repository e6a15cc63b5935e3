"""What `dprune` does under torchrun, in process 0 and in the others."""

import os
import re
import sys
from collections.abc import Callable

from datapruning.errors import DataPruningError, UserError, first_line

TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")
"""Variables that torchrun sets for the processes that it starts."""
CONNECTION_LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|timed out|timeout", re.IGNORECASE)


def under_torchrun() -> bool:
    """Whether torchrun started this process as one of several."""
    return all(name in os.environ for name in TORCHRUN_VARIABLES) and int(os.environ["WORLD_SIZE"]) > 1


def run_together(command: Callable[[], int]) -> int:
    """Run `command` in process 0; the others serve it until it ends. Returns the exit code of this process."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # or torch warns of what `parallel` intends
    from datapruning.runs.channel import Channel
    from datapruning.runs.process_group import ProcessGroup, set_group
    from datapruning.training.distributed.messages import EndRun
    from datapruning.training.distributed.worker import Worker

    channel = Channel()
    try:
        if channel.rank:
            Worker(channel).serve()
            channel.close()
            return 0
        group = ProcessGroup(channel)
        set_group(group)
        code = command()
        if group.synchronized:
            channel.send_message(EndRun())
            channel.close()
        return code
    except KeyboardInterrupt:
        return 130
    except DataPruningError as error:  # `command` reports those of process 0
        return _fail(2 if isinstance(error, UserError) else 1, f"process {channel.rank}: {first_line(error)}")
    except RuntimeError as error:
        if not CONNECTION_LOST.search(str(error)):
            raise
        if channel.rank:
            return _fail(1, f"process {channel.rank} ends: process 0 has ended")
        return _fail(1, "another process of this run has ended; the same command resumes from the last checkpoint")


def _fail(code: int, line: str) -> int:
    sys.stderr.write(f"dprune: {line}\n")
    return code
