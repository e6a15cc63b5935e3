"""How two runs differ: their results, their settings and the subsets that they were trained on."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datapruning.artifacts.subset import Subset, load_subset
from datapruning.config.recipe import ENVIRONMENT_TABLE, RUN_TABLE
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile
from datapruning.runs.result import RunResult, StudentResult, TrainedResult
from datapruning.runs.run import CONFIG, Run
from datapruning.tools.diff.subsets import compare_subsets

MAX_SETTINGS = 12
"""Settings that are listed, at most."""


@dataclass(frozen=True)
class ComparedRun:
    """A run folder as far as it is compared.

    Attributes:
        settings: "table.key" -> value of its config.toml, without the [environment].
        result: The result of the run; None: the run is not finished.
        subset: The samples it was trained on; None: the folder has no subset file.
    """

    settings: Mapping[str, Any]
    result: RunResult | None
    subset: Subset | None

    @property
    def dataset(self) -> str:
        """Name of the dataset; "None" where the config.toml names none."""
        return str(self.settings.get(f"{RUN_TABLE}.data"))

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the dataset; "None" where the config.toml has none."""
        return str(self.settings.get(f"{RUN_TABLE}.fingerprint"))


def load_run(folder: Path) -> ComparedRun:
    """Read a run folder.

    Raises:
        InvalidFile: It is no run folder, or a file in it is broken.
    """
    config, subset = folder / CONFIG, folder / "subset.npz"
    if not config.is_file():
        raise InvalidFile(f"{folder} is no run folder: it has no {CONFIG}")
    try:
        tables = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{config} cannot be read: {error}") from None
    tables.pop(ENVIRONMENT_TABLE, None)
    return ComparedRun(flatten(tables), Run(folder).result(RunResult), load_subset(subset) if subset.exists() else None)


def compare_runs(a: ComparedRun, b: ComparedRun, data: Dataset | None = None) -> list[str]:
    """Describe the results of two runs, the settings that differ and, where both have one, how their subsets differ."""
    lines = [f"A: {_describe(a.result)}", f"B: {_describe(b.result)}"]
    accuracies = [run.result.test_accuracy for run in (a, b) if run.result is not None]
    if len(accuracies) == 2:
        lines.append(f"test accuracy, B - A: {accuracies[1] - accuracies[0]:+.2f} points")
    keys = [key for key in {**a.settings, **b.settings} if a.settings.get(key) != b.settings.get(key)]
    lines.append(f"settings that differ: {len(keys)}" if keys else "settings: the same")
    values = [[repr(run.settings[key]) if key in run.settings else "missing" for run in (a, b)] for key in keys]
    lines += [f"  {key}: {left} in A, {right} in B" for key, (left, right) in zip(keys[:MAX_SETTINGS], values, strict=False)]
    if len(keys) > MAX_SETTINGS:
        lines.append(f"  and {len(keys) - MAX_SETTINGS} more")
    if a.subset is not None and b.subset is not None:
        lines += ["subsets", *(f"  {line}" for line in compare_subsets(a.subset, b.subset, data))]
    return lines


def flatten(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, with keys such as "table.key"."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _describe(result: RunResult | None) -> str:
    if result is None:
        return "not finished"
    parts = [f"test accuracy {result.test_accuracy:.2f}%", result.role, result.model]
    if isinstance(result, TrainedResult):
        parts.append(f"keeping {result.kept:,} of {result.total:,}")
    if isinstance(result, StudentResult):
        parts.append(f"KD weight {result.kd_weight:g}")
    return ", ".join(parts)
