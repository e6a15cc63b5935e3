"""Names of subsets: what tells runs apart whose samples were chosen by the same scorer, but otherwise not alike.

Runs are seeds of one another only if their samples were chosen alike, with another seed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datapruning.report.groups import pivot
from datapruning.report.run_records import RunRecord
from datapruning.utils.hashing import config_hash
from datapruning.utils.records import flatten

IDS = "ids"
"""The scorer of subsets that were chosen elsewhere: nothing says how, so that each list is a selection of its own."""
NOT_IDENTIFYING = frozenset({
    "format", "version", "dataset", "spec", "fingerprint", "total", "package_version", "created", "source", "sign", "seed",
    "fraction", "kept",
    "recording", "costs", "unreadable",
})  # fmt: skip
"""Metadata that may differ between subsets that were chosen alike."""
MAX_NAMED_SETTINGS = 3
"""Settings that a name has; more are told apart by a hash."""


def name_selections(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs, with the names of their selections where one scorer did not choose alike for runs that compare."""
    names: dict[Path, str] = {}
    pruned = (run for run in runs if not run.is_full)
    by_scorer = pivot(pruned, lambda run: (run.result.scorer, run.result.fingerprint, repr(sorted(run.settings.items()))))
    for (scorer, *_), members in by_scorer.items():
        known = {run.folder: selection for run in members if (selection := _selection(run))}
        names |= _name_lists(known) if scorer == IDS else _name_settings(known)
    # most runs have no name, and keep the subset that they have read
    return [replace(run, selection=name) if (name := names.get(run.folder)) else run for run in runs]


def _selection(run: RunRecord) -> dict[str, Any]:
    """How the samples of a run were chosen, as "key" -> value; empty where its subset cannot be read."""
    subset = run.subset
    if subset is None:
        return {}
    if subset.meta.scorer == IDS:
        content = hashlib.sha256(subset.indices.tobytes()).hexdigest()[:4]
        return {"fraction": run.fraction, "list": Path(subset.meta.source or "").name, "content": content}
    values = flatten(subset.meta.to_json())
    return {
        key.removeprefix("scores."): value
        for key, value in values.items()
        if not NOT_IDENTIFYING.intersection(key.split("."))
    }


def _name_lists(selections: Mapping[Path, Mapping[str, Any]]) -> dict[Path, str]:
    """The names of the files where there are two lists of one fraction, with a hash where two files have one name."""
    lists = pivot(selections.values(), lambda selection: (selection["fraction"], selection["content"]))
    fractions = [fraction for fraction, _ in lists]
    if len(set(fractions)) == len(fractions):
        return {}
    contents = pivot(lists, lambda key: (key[0], lists[key][0]["list"]))
    return {
        folder: s["list"] if len(contents[s["fraction"], s["list"]]) == 1 else f"{s['list']} {s['content']}"
        for folder, s in selections.items()
    }


def _name_settings(selections: Mapping[Path, Mapping[str, Any]]) -> dict[Path, str]:
    """The settings of scorer and strategy in which the selections differ, as in "proxy.epochs = 4"."""
    keys = dict.fromkeys(key for selection in selections.values() for key in selection)
    differing = [key for key in keys if len({repr(selection.get(key)) for selection in selections.values()}) > 1]
    unnamed = {"strategy", "balance"}  # named by the run record
    shown = [key for key in differing if key not in unnamed and not key.startswith("settings.")]
    names = {}
    for folder, selection in selections.items():
        settings = [f"{key} = {selection[key]}" for key in shown if key in selection]
        if len(settings) > MAX_NAMED_SETTINGS:
            others = config_hash({key: selection.get(key) for key in shown}, 4)
            settings = [*settings[:MAX_NAMED_SETTINGS], f"other settings {others}"]
        names[folder] = ", ".join(settings)
    return names
