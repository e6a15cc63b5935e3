"""Launchers: where workers run (local, slurm or ray) and with which settings. They are no part of what is computed."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

from pydantic import ValidationError

from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue, UnknownName
from datapruning.experiments.workers import ray_tasks, slurm
from datapruning.experiments.workers.pool import LocalWorkers, WorkerPool
from datapruning.experiments.workers.ray_tasks import RaySettings, RayTasks
from datapruning.experiments.workers.slurm import SlurmJobs, SlurmSettings
from datapruning.runs.context import Context
from datapruning.runs.opening import ContextSettings, DatasetOrContext, as_context
from datapruning.utils.records import describe_error

LOCAL, SLURM, RAY = LAUNCHERS = ("local", "slurm", "ray")


@dataclass(frozen=True)
class Launcher:
    """How workers are started: by the settings of a Slurm job or of a Ray task; None: as processes of this machine."""

    settings: SlurmSettings | RaySettings | None = None

    @property
    def is_remote(self) -> bool:
        """Whether workers may be on other machines: they make what trials share, and this process computes nothing."""
        return self.settings is not None

    def resolve_device(self, device: str) -> str:
        """The device that the workers are to use: with GPUs in the settings, "auto" is one of those."""
        return "cuda" if device == "auto" and self.settings is not None and self.settings.gpus else device

    def open_pool(self, jobs: int, folder: Path, info: Callable[[str], None], context: Context) -> WorkerPool:
        """A pool of `jobs` workers for the trial store in `folder`.

        Raises:
            InvalidValue: no Ray can be reached, or none that is large enough.
        """
        if self.settings is None:
            return LocalWorkers(jobs, folder, info, visible_gpus(os.environ) if str(context.device) == "cuda" else ())
        defaults = {"cpus": context.threads, "gpus": int(context.device.type == "cuda")}
        missing = {key: value for key, value in defaults.items() if getattr(self.settings, key) is None}
        settings = self.settings.model_copy(update=missing)
        if isinstance(settings, SlurmSettings):
            return SlurmJobs(jobs, folder, info, settings)
        return RayTasks(jobs, folder, info, settings)


def find_launcher(name: str, settings: Sequence[str] | Mapping[str, str] = ()) -> Launcher:
    """A launcher that can be used here, from its name and its settings: texts "key=value", or a mapping.

    Raises:
        UnknownName: no such launcher or setting. InvalidValue: a value out of range, or no Slurm here. MissingPackage: the
        launcher's package is not installed.
    """
    if name not in LAUNCHERS:
        raise UnknownName("launcher", name, LAUNCHERS)
    values = dict(settings) if isinstance(settings, Mapping) else dict(map(_split, settings))
    if name == LOCAL:
        if values:
            raise InvalidValue("launcher settings are for slurm and ray; processes of this machine need none")
        return Launcher()
    known = slurm.OPTIONS if name == SLURM else tuple(RaySettings.model_fields)
    for key in values:
        if key not in known:
            raise UnknownName(f"setting of launcher {name}", key, known)
    try:
        return Launcher(slurm.check(values) if name == SLURM else ray_tasks.check(values))
    except ValidationError as error:
        raise InvalidValue(f"launcher setting {describe_error(SlurmSettings, error)}") from None


def visible_gpus(variables: Mapping[str, str]) -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    shown = variables.get("CUDA_VISIBLE_DEVICES")
    import torch

    count = torch.cuda.device_count()
    return [str(number) for number in range(count)] if shown is None else shown.split(",")[:count]


def has_device(device: str) -> bool:
    """Whether this machine has the device."""
    if not device.startswith("cuda"):
        return True
    import torch

    return torch.cuda.is_available()


def open_worker_context(data: DatasetOrContext, launcher: Launcher, **settings: Unpack[ContextSettings]) -> Context:
    """The context as the workers have it: `as_context`, but this machine need not have the GPU of workers elsewhere.

    Raises:
        InvalidValue, UnknownName, InvalidFile, MissingPackage: see `as_context`.
    """
    if isinstance(data, Context | Dataset):  # open already: these two are for the workers, who open it by its name
        settings.pop("data_root", None), settings.pop("download", None)
    if isinstance(data, Context):
        return as_context(data, **settings)
    device = launcher.resolve_device(settings.get("device", "auto"))
    local_device = device if has_device(device) or not launcher.is_remote else "cpu"
    settings["device"] = local_device
    context = as_context(data, **settings)
    if local_device == device:
        return context
    hardware = replace(context.hardware, device_name=device, loader_name=settings.get("loader", "auto"), is_remote=True)
    return replace(context, hardware=hardware)


def local_context(context: Context) -> Context:
    """The context in which this machine itself can build networks, whatever device the workers have."""
    if has_device(context.device.type):
        return context
    return replace(context, hardware=replace(context.hardware, device_name="cpu", is_remote=False))


def _split(setting: str) -> tuple[str, str]:
    key, equals, value = setting.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise InvalidValue(f"a launcher setting is key=value (for example time=60), got '{setting}'")
    return key.strip(), value.strip()
