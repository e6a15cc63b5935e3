"""Launchers: where workers run (local, slurm or ray) and with which settings. They are no part of what is computed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Unpack

import torch
from pydantic import ValidationError

from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue, UnknownName
from datapruning.experiments.workers import ray_tasks, slurm
from datapruning.experiments.workers.local import LocalWorkers
from datapruning.experiments.workers.pool import WorkerPool
from datapruning.experiments.workers.ray_tasks import RaySettings, RayTasks
from datapruning.experiments.workers.slurm import SlurmJobs, SlurmSettings
from datapruning.runs.context import Context
from datapruning.runs.opening import DatasetOrContext, OpenSettings, as_context
from datapruning.utils.records import describe_error

LOCAL, SLURM, RAY = LAUNCHERS = ("local", "slurm", "ray")


@dataclass(frozen=True)
class Launcher:
    """How workers are started; `find_launcher` makes it from names.

    Attributes:
        settings: of a Slurm job or of a Ray task; None: workers are processes of this machine.
    """

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
            return LocalWorkers(jobs, folder, info)
        defaults = {"cpus": context.threads, "gpus": int(context.device.type == "cuda")}
        missing = {key: value for key, value in defaults.items() if getattr(self.settings, key) is None}
        settings = self.settings.model_copy(update=missing)
        if isinstance(settings, SlurmSettings):
            return SlurmJobs(jobs, folder, info, settings)
        return RayTasks(jobs, folder, info, settings)


def find_launcher(name: str, settings: Sequence[str] | Mapping[str, str] = ()) -> Launcher:
    """A launcher that can be used here.

    Args:
        name: "local", "slurm" or "ray".
        settings: texts "key=value", or a mapping.

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
    known = slurm.OPTIONS if name == SLURM else ray_tasks.OPTIONS
    for key in values:
        if key not in known:
            raise UnknownName(f"setting of launcher {name}", key, known)
    try:
        return Launcher(slurm.check(values) if name == SLURM else ray_tasks.check(values))
    except ValidationError as error:
        raise InvalidValue(f"launcher setting {describe_error(SlurmSettings, error)}") from None


def has_device(device: str) -> bool:
    """Whether this machine has the device."""
    return not device.startswith("cuda") or torch.cuda.is_available()


def open_worker_context(
    data: DatasetOrContext,
    launcher: Launcher,
    data_root: str | Path | None = None,
    download: bool = False,
    **settings: Unpack[OpenSettings],
) -> Context:
    """The context as the workers have it; where they are on other machines, this one need not have their GPU.

    Args:
        data: a dataset, its name or path, or a context, which is returned.
        launcher: where the workers run.
        data_root: folder of the torchvision datasets, for a dataset that is opened by its name.
        download: whether torchvision may download a dataset that is missing.
        settings: see `OpenSettings`.

    Raises:
        InvalidValue, UnknownName, InvalidFile, MissingPackage: see `as_context`.
    """
    if isinstance(data, Context):
        return as_context(data, **settings)
    device = launcher.resolve_device(settings.get("device", "auto"))
    local_device = device if has_device(device) or not launcher.is_remote else "cpu"
    settings["device"] = local_device
    if isinstance(data, Dataset):
        context = as_context(data, **settings)
    else:
        context = as_context(data, data_root=data_root, download=download, **settings)
    return context if local_device == device else with_device(context, device, settings.get("loader", "auto"))


def with_device(context: Context, device: str, loader: str) -> Context:
    """The context of workers on machines with a device that this one lacks; they resolve the loader "auto" there."""
    return replace(context, device=torch.device(device), loader_kind=loader)


def local_context(context: Context) -> Context:
    """The context in which this machine itself can build networks, whatever device the workers have."""
    return context if has_device(context.device.type) else replace(context, device=torch.device("cpu"))


def _split(setting: str) -> tuple[str, str]:
    key, equals, value = setting.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise InvalidValue(f"a launcher setting is key=value (for example time=60), got '{setting}'")
    return key.strip(), value.strip()
