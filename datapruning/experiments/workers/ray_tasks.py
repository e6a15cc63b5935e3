"""Workers as tasks of Ray: of a cluster (RAY_ADDRESS), or of a Ray that is started here. They end with the command."""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from datapruning.errors import InvalidValue, MissingPackage, first_line
from datapruning.experiments.workers.pool import WorkerExit, WorkerPool, describe_exit, worker_command

if TYPE_CHECKING:
    from ray import ObjectRef

BYTES_PER_GB = 10**9


class RaySettings(BaseModel):
    """Settings of a task.

    Attributes:
        address: of the cluster; default: RAY_ADDRESS, else a Ray that is started here.
        cpus: of a task; the launcher's default: its torch threads.
        gpus: of a task; the launcher's default: 1 if networks run on a GPU. A part of one shares it.
        memory: GB of a task.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    address: str | None = None
    cpus: float | None = Field(None, ge=0)
    gpus: float | None = Field(None, ge=0)
    memory: float | None = Field(None, gt=0)


def check(values: Mapping[str, str]) -> RaySettings:
    """Parse settings and check that Ray is installed.

    Raises:
        MissingPackage: it is not. pydantic.ValidationError: a value out of range.
    """
    if importlib.util.find_spec("ray") is None:  # it is imported only once it is used: that takes seconds
        raise MissingPackage("Ray is not installed; install it: pip install 'datapruning-toolkit[ray]'")
    return RaySettings.model_validate(values)


class RayTasks(WorkerPool):
    """Tasks that each run a worker's command and return its exit code. Ray runs as many at once as there is room for.

    Raises:
        InvalidValue: no Ray at that address, or no machine of it is large enough.
    """

    handles: dict[str, ObjectRef[int]]

    def __init__(self, num_workers: int, folder: Path, info: Callable[[str], None], settings: RaySettings) -> None:
        super().__init__(num_workers, folder, info)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers from here
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self._started_ray = not ray.is_initialized()
        if self._started_ray:
            address = settings.address or os.environ.get("RAY_ADDRESS") or "local"
            dashboard = False if address == "local" else None
            try:
                ray.init(address=address, include_dashboard=dashboard, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
                raise InvalidValue(f"Ray at {address} cannot be reached: {first_line(error)}") from None
        needs = {"CPU": settings.cpus or 0, "GPU": settings.gpus or 0}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(all(node.get(key, 0) >= need for key, need in needs.items()) for node in nodes):
            self.close(finished=False)
            wanted = " and ".join(f"{need:g} {key}s" for key, need in needs.items() if need)
            raise InvalidValue(f"no machine of this Ray has {wanted} for a worker; see the launcher's settings, and threads")
        memory = {} if settings.memory is None else {"memory": int(settings.memory * BYTES_PER_GB)}
        self._options: dict[str, Any] = {"num_cpus": needs["CPU"], "num_gpus": needs["GPU"], "max_retries": 0, **memory}

    def start(self, count: int) -> None:
        """Submit tasks. What Ray pickles is the name of a function of the standard library and a list of words."""
        import ray

        call = ray.remote(subprocess.call).options(**self._options)
        for _ in range(count):
            name = f"ray-{next(self.numbers)}-{os.getpid()}"
            self.handles[name] = call.remote(worker_command(self.task_path, name))

    def poll(self, name: str) -> WorkerExit | None:
        """How a worker ended: by its exit code, or because Ray's own process ended."""
        import ray

        ready, _ = ray.wait([self.handles[name]], timeout=0)
        if not ready:
            return None
        try:
            return WorkerExit(describe_exit(ray.get(ready[0])))
        except ray.exceptions.OutOfMemoryError:
            return WorkerExit("was ended by Ray: its machine was out of memory")
        except ray.exceptions.RayError as error:
            return WorkerExit(f"was ended by Ray ({type(error).__name__})", blame_trial=False)

    def close(self, finished: bool) -> None:
        """Cancel the tasks that are left, and leave Ray if it was entered or started here."""
        import ray

        for name, task in list(self.handles.items()):
            with suppress(ray.exceptions.RayError):
                ray.cancel(task, force=True)
            self.remove(name)
        if self._started_ray:
            ray.shutdown()
