"""How two runs differ: in their settings, in what they reached, and in what they were trained on."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datapruning.artifacts.subset import load_subset
from datapruning.config.recipe import ENVIRONMENT_TABLE, RUN_TABLE
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile
from datapruning.runs.run import CONFIG, Run
from datapruning.tools.diff.inputs import check_same_dataset
from datapruning.tools.diff.subsets import subset_lines

MOST = 12
"""Settings that are shown, at most."""


def run_tables(folder: Path) -> dict[str, Any]:
    """The tables of a run's config.toml.

    Raises:
        InvalidFile: missing or no TOML.
    """
    path = folder / CONFIG
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidFile(f"{path} cannot be read: {error}") from None


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(table.key, value in A, value in B) of all that two configurations do not share, in their order; None: not there."""
    left, right = _flat(a), _flat(b)
    return [(key, left.get(key), right.get(key)) for key in {**left, **right} if left.get(key) != right.get(key)]


def _flat(tables: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found


def run_lines(a: Path, b: Path, data: Dataset | None = None) -> list[str]:
    """What two run folders reached, which settings differ (the first one first), and how their subsets differ.

    Raises:
        InvalidFile: a broken run folder. IncompatibleInputs: runs on different datasets, or not on `data`.
    """
    configs = [run_tables(folder) for folder in (a, b)]
    origins = [_origin(config) for config in configs]
    check_same_dataset(a, origins[0], b, origins[1])
    if data is not None:
        check_same_dataset(a, origins[0], "--data", {"dataset": data.name, "fingerprint": data.fingerprint})
    results = [Run(folder).result() for folder in (a, b)]
    lines = [f"{side}: {_told(result)}" for side, result in zip("AB", results, strict=True)]
    reached = [None if result is None else result.get("test_accuracy") for result in results]
    if reached[0] is not None and reached[1] is not None:
        lines.append(f"test accuracy, B less A: {reached[1] - reached[0]:+.2f} points")
    for config in configs:
        config.pop(ENVIRONMENT_TABLE, None)
    found = differing(configs[0], configs[1])
    lines.append(f"settings that differ: {len(found)}" if found else "settings: the same")
    lines += [f"  {key}: {_value(left)} in A, {_value(right)} in B" for key, left, right in found[:MOST]]
    if len(found) > MOST:
        lines.append(f"  and {len(found) - MOST} more")
    paths = [folder / "subset.npz" for folder in (a, b)]
    if all(path.exists() for path in paths):
        subsets = [load_subset(path) for path in paths]
        lines += ["subsets", *(f"  {line}" for line in subset_lines(subsets[0], subsets[1], data))]
    return lines


def _origin(config: Mapping[str, Any]) -> dict[str, Any]:
    run = config.get(RUN_TABLE)
    known = run if isinstance(run, dict) else {}
    return {"dataset": known.get("data"), "fingerprint": known.get("fingerprint")}


def _told(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return "not finished"
    words = [f"test accuracy {result['test_accuracy']:.2f}%"] if "test_accuracy" in result else []
    words += [str(result[key]) for key in ("role", "model") if result.get(key) is not None]
    if result.get("kept") is not None:
        words.append(f"keeping {result['kept']:,} of {result['total']:,}")
    words += [f"KD weight {result['kd_weight']:g}"] if result.get("kd_weight") is not None else []
    return ", ".join(words)


def _value(value: Any) -> str:
    return "not there" if value is None else repr(value)
