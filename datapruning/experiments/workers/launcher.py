"""Where workers run: `--launcher local|slurm|ray` and its settings, which are no part of what is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from datapruning.errors import InvalidValue, UnknownName
from datapruning.experiments.workers.local import Crew
from datapruning.experiments.workers.ray_tasks import RayTasks, check_ray
from datapruning.experiments.workers.slurm import SlurmJobs, check_slurm
from datapruning.experiments.workers.workers import Workers
from datapruning.runs.context import Context

LOCAL, SLURM, RAY = LAUNCHERS = ("local", "slurm", "ray")


@dataclass(frozen=True)
class Launcher:
    """How workers are started; from `find_launcher`."""

    name: str = LOCAL
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def elsewhere(self) -> bool:
        """Whether the workers may be on other machines: they prepare what rows share, and this process computes nothing."""
        return self.name != LOCAL

    def device(self, asked: str) -> str:
        """The device that the workers are to have: with GPUs in the settings, "auto" is one of those."""
        return "cuda" if asked == "auto" and float(self.settings.get("gpus", 0)) > 0 else asked

    def crew(self, jobs: int, folder: Path, tell: Callable[[str], None], context: Context) -> Workers:
        """The workers, or a way to them.

        Raises:
            InvalidValue: there is none.
        """
        if self.name == LOCAL:
            return Crew(jobs, folder, tell)
        kind = SlurmJobs if self.name == SLURM else RayTasks
        return kind(jobs, folder, tell, self.settings, context.threads, int(context.device.type == "cuda"))


def find_launcher(name: str, settings: Sequence[str] | Mapping[str, str] = ()) -> Launcher:
    """A launcher that can be used here.

    Args:
        name: "local", "slurm" or "ray".
        settings: "key=value" each.

    Raises:
        UnknownName: no such launcher or setting. InvalidValue: a value that cannot be, or no Slurm here. MissingPackage: the
        launcher's package is not installed.
    """
    if name not in LAUNCHERS:
        raise UnknownName("launcher", name, LAUNCHERS)
    found = dict(settings) if isinstance(settings, Mapping) else dict(_read(each) for each in settings)
    if name == LOCAL and found:
        raise InvalidValue("--launcher-set is for --launcher slurm and ray; processes of this machine need no settings")
    if name != LOCAL:
        (check_slurm if name == SLURM else check_ray)(found)
    return Launcher(name, found)


def _read(setting: str) -> tuple[str, str]:
    key, equals, value = setting.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise InvalidValue(f"--launcher-set takes key=value (for example time=60), got '{setting}'")
    return key.strip(), value.strip()


def is_here(device: str) -> bool:
    """Whether this machine has the device."""
    return not device.startswith("cuda") or torch.cuda.is_available()


def on_device(context: Context, device: str, loader: str) -> Context:
    """The context of workers on machines with a device that this one has not; there they choose what loader "auto" is."""
    return replace(context, device=torch.device(device), loader=loader)


def side_of(context: Context) -> Context:
    """What this machine itself may look at networks with, whatever the workers have."""
    return context if is_here(context.device.type) else replace(context, device=torch.device("cpu"))
