"""Workers as tasks of Ray: of a cluster (RAY_ADDRESS), or of one that is started here. They end with the command."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from datapruning.errors import InvalidValue, MissingPackage, UnknownName, first_line
from datapruning.experiments.workers.jobs import command_of, forget, number, process_of, write_task
from datapruning.experiments.workers.local import A_MOMENT, ended
from datapruning.experiments.workers.task import Task
from datapruning.experiments.workers.workers import Ending, Process, Workers

SETTINGS = ("address", "cpus", "gpus", "memory")
GIGABYTE = 10**9


def check_ray(settings: Mapping[str, str]) -> None:
    """Refuse what cannot be, before anything is written.

    Raises:
        MissingPackage: ray is not installed. UnknownName, InvalidValue: a setting that cannot be.
    """
    if importlib.util.find_spec("ray") is None:  # imported only once it is used: that takes seconds
        raise MissingPackage("--launcher ray needs ray; install it: pip install 'datapruning-toolkit[ray]'")
    for key in settings:
        if key not in SETTINGS:
            raise UnknownName("setting of --launcher ray", key, SETTINGS)
    for key in SETTINGS[1:]:
        number(settings, key, 0)


class RayTasks(Workers):
    """Each task runs a worker as a command, and ends with it.

    Args:
        jobs: how many.
        folder: of the store.
        tell: gets a line for people.
        settings: checked.
        cpus: of each task, where the settings do not say.
        gpus: likewise.

    Raises:
        InvalidValue: no Ray at that address, or no machine of it is large enough.
    """

    def __init__(
        self, jobs: int, folder: Path, tell: Callable[[str], None], settings: Mapping[str, str], cpus: int, gpus: int
    ) -> None:
        super().__init__(jobs, folder, tell)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to Ray's makers from here
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self._ray = importlib.import_module("ray")
        self._mine = not self._ray.is_initialized()
        if self._mine:
            self._connect(settings.get("address") or os.environ.get("RAY_ADDRESS") or "local")
        self._options: dict[str, Any] = {
            "num_cpus": number(settings, "cpus", cpus), "num_gpus": number(settings, "gpus", gpus), "max_retries": 0,
        }  # fmt: skip
        if "memory" in settings:
            self._options["memory"] = int(number(settings, "memory", 0) * GIGABYTE)
        self._check_fits()
        self._task = Path()
        self._started = 0
        self._tasks: dict[str, Any] = {}

    def _connect(self, address: str) -> None:
        here = {"include_dashboard": False} if address == "local" else {}
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", **here)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise InvalidValue(f"Ray at {address} cannot be reached: {first_line(error)}") from None

    def _check_fits(self) -> None:
        """Raises: InvalidValue: a task would wait for ever."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        needs = {"CPU": self._options["num_cpus"], "GPU": self._options["num_gpus"]}
        if not any(all(machine.get(key, 0) >= need for key, need in needs.items()) for machine in machines):
            self._leave()
            asked = " and ".join(f"{need:g} {key}s" for key, need in needs.items() if need)
            raise InvalidValue(
                f"no machine of this Ray has {asked} for a worker; see --launcher-set cpus, gpus, and --threads"
            )

    def go(self, task: Task) -> None:
        """Start the tasks; Ray runs as many at once as there is room for."""
        self._task = write_task(self.folder, task)
        self.start(self.jobs)

    def start(self, count: int) -> None:
        """What Ray carries is a function of the standard library and a list of words."""
        call = self._ray.remote(subprocess.call).options(**self._options)
        for _ in range(count):
            self._started += 1
            name = f"ray-{self._started}-{os.getpid()}"
            self._tasks[name] = call.remote(command_of(self._task, name))

    def names(self) -> list[str]:
        """ray-1-PID, ray-2-PID, ..., by the process that started them."""
        return list(self._tasks)

    def process(self, name: str) -> Process | None:
        """As it said itself."""
        return process_of(self.folder, name)

    def drop(self, name: str) -> None:
        """Forget it."""
        del self._tasks[name]
        forget(self.folder, name)

    def ending(self, name: str) -> Ending | None:
        """By its exit code, or by what became of Ray's own process."""
        ready, _ = self._ray.wait([self._tasks[name]], timeout=0)
        if not ready:
            return None
        try:
            return Ending(ended(self._ray.get(ready[0])))
        except self._ray.exceptions.OutOfMemoryError:
            return Ending("was ended by Ray: its machine was out of memory")
        except self._ray.exceptions.RayError as error:
            return Ending(f"was ended by Ray ({type(error).__name__})", blames=False)

    def wait(self) -> None:
        """Let the workers end by themselves, for a moment: no row is left for them."""
        if self._tasks:
            self._ray.wait(list(self._tasks.values()), num_returns=len(self._tasks), timeout=A_MOMENT)

    def stop(self) -> None:
        """End every task that is left, and Ray, if it was started or entered here."""
        for name, task in list(self._tasks.items()):
            with suppress(self._ray.exceptions.RayError):
                self._ray.cancel(task, force=True)
            self.drop(name)
        self._leave()

    def _leave(self) -> None:
        if self._mine:
            self._ray.shutdown()
