"""Shared parts of benchmarks: the data folder, the machine, mean and spread, and result files."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from datapruning.data.registry import ROOT_VARIABLE
from datapruning.io.atomic import write_text
from datapruning.io.json import write_json
from datapruning.io.trial_store import Trial

HERE = Path(__file__).parent
RESULTS = HERE / "results"
RUNS = HERE / "runs"


def data_folder() -> Path:
    """Return `$DPRUNE_DATA`, or exit with a message."""
    folder = os.environ.get(ROOT_VARIABLE)
    if not folder or not Path(folder).is_dir():
        sys.exit(f"this benchmark needs real data: set ${ROOT_VARIABLE} to the folder that holds it")
    return Path(folder)


def machine() -> dict[str, Any]:
    """Describe the machine and versions of a measurement."""
    cpu = next((li.split(":")[1].strip() for li in _cpuinfo() if li.startswith("model name")), platform.processor())
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": cpu, "cores": os.cpu_count(), "gpu": gpu, "python": platform.python_version(), "torch": torch.__version__}


def fast_precision() -> str:
    """The `precision` in which training passes are fastest on this CPU: "bf16" where it has AMX tiles, else "fp32"."""
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", None)  # from torch 2.6 on; private
    return "bf16" if has_amx is not None and has_amx() else "fp32"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _devices(name: str) -> str:
    path = RESULTS / f"{name}.rows.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return " and ".join(sorted({json.loads(line)["device"] for line in lines}))


def mean_spread(values: Sequence[float], digits: int = 2) -> str:
    """Format mean and standard deviation over runs, as "91.20 ± 0.15 (n=3)"."""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread} (n={len(values)})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


PUBLISHED = (
    "test_accuracy",
    "kept",
    "total",
    "kd_weight",
    "temperature",
    "confidence_weighting",
    "kd_weight_search",
    "samples_seen",
    "seconds",
    "device",
    "threads",
)


def records(rows: Sequence[Trial], keep: Sequence[str] | None = PUBLISHED) -> list[dict[str, Any]]:
    """Return rows for a commit: of a run's result, the given keys without paths of the machine; None keeps all."""
    return [
        {
            "config": dict(r.config),
            "result": {key: value for key, value in r.result.items() if keep is None or key in keep},
            "seconds": r.seconds,
        }
        for r in rows
    ]


def publish(name: str, title: str, command: str, body: str, data: dict[str, Any]) -> None:
    """Print the result and write `results/NAME.md` and `results/NAME.json`.

    Where rows are committed, they were measured on the devices that they name, else on this machine.
    """
    here = machine()
    where = _devices(name) or f"{here['cores']} cores of {here['cpu']}" + (f", {here['gpu']}" if here["gpu"] else "")
    text = (
        f"# {title}\n\n{body}\n\nMeasured on {where}; Python {here['python']}, torch {here['torch']}. Again: `{command}`\n"
    )
    write_text(RESULTS / f"{name}.md", text)
    write_json(RESULTS / f"{name}.json", {"machine": here, **data})
    print(text)
