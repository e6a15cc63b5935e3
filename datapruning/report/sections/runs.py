"""The tables of runs: the summary by scorer, kind of KD and fraction, every run with its command, and what is left out."""

import json
import shlex
from pathlib import Path

import numpy as np

from datapruning.report.comparison import Comparison, family_name
from datapruning.report.format import join_words, percent
from datapruning.report.groups import Group, kd_gains, pivot
from datapruning.report.inputs import ReportInputs
from datapruning.report.render import Section, render
from datapruning.report.run_records import RunRecord
from datapruning.runs.run import CONFIG
from datapruning.utils.intervals import wilson_interval
from datapruning.utils.plural import plural

MAX_LOST_CLASSES = 5
"""Classes that are named; of more, their number is given."""


def summary(inputs: ReportInputs) -> Section:
    """A row for each scorer, kind of KD and fraction, with the main results in sentences above."""
    num_test = 0 if inputs.data is None else len(inputs.data.test)
    html = render(
        "summary.html", inputs=inputs, family_name=family_name, kd_gains=kd_gains, main_gains=_main_gains,
        kd_weights=_kd_weights, kept=_kept, num_test=num_test, lost_classes=_lost_classes(inputs),
        interval=lambda group: _test_set_interval(group.mean, num_test),
    )  # fmt: skip
    return Section("summary", "Summary", html)


def _test_set_interval(accuracy: float, num_test: int) -> str:
    """The 95% interval of an accuracy in percent on `num_test` images, as in "93.1 to 95.0"; empty where it is 0."""
    if not num_test:
        return ""
    return " to ".join(f"{100 * limit:.1f}" for limit in wilson_interval(round(accuracy / 100 * num_test), num_test))


def _lost_classes(inputs: ReportInputs) -> list[str]:
    """Sentences about subsets without a sample of a class, for each scorer and fraction; none without the dataset."""
    if inputs.data is None:
        return []
    labels, names = inputs.data.train.labels, inputs.data.class_names
    totals = np.bincount(labels, minlength=len(names))
    pruned = [run for run in inputs.collection.runs if run.subset is not None and not run.is_full]
    sentences = []
    for (scorer, fraction), runs in pivot(pruned, lambda run: (run.scorer, run.fraction)).items():
        kept = [np.bincount(labels[run.subset.indices], minlength=len(names)) for run in runs if run.subset is not None]
        lost = np.array([(totals > 0) & (counts == 0) for counts in kept])  # [runs, classes]
        if classes := np.flatnonzero(lost.any(0)).tolist():
            shown = [names[label] for label in classes[:MAX_LOST_CLASSES]]
            others = [f"{len(classes) - len(shown)} more"] if len(classes) > len(shown) else []
            sentences.append(
                f"{scorer}, keeping {percent(fraction)}: no sample of {plural(len(classes), 'class', 'classes')} "
                f"({join_words([*shown, *others])}) in {int(lost.any(1).sum())} of {plural(len(runs), 'subset')}"
            )
    return sentences


def _main_gains(comparison: Comparison) -> dict[float, list[tuple[str, list[float]]]]:
    """By fraction below 1, each scorer and its gains by the main kind of KD, which is not chosen by its accuracy."""
    table: dict[float, list[tuple[str, list[float]]]] = {}
    for group in comparison.groups:
        gains = kd_gains(group, comparison.groups)
        if gains and not group.is_full and group.kd == comparison.main_kd:
            table.setdefault(group.fraction, []).append((group.scorer, gains))
    return table


def _kd_weights(group: Group) -> str:
    """The KD weights that the runs were trained with; empty without KD."""
    weights = sorted({f"{run.result.kd_weight:.3g}" for run in group.runs}, key=float) if group.has_kd else []
    return ", ".join(weights) if len(weights) <= 4 else f"{weights[0]} to {weights[-1]}"


def _kept(group: Group) -> str:
    """The number of kept samples."""
    kept = sorted({run.result.kept for run in group.runs})
    return f"{kept[0]:,}" if len(kept) == 1 else f"{kept[0]:,} to {kept[-1]:,}"


def appendix(inputs: ReportInputs) -> Section:
    """Where every number comes from: each run's folder and the command that repeats it, and the scores files."""

    def command(run: RunRecord) -> str:
        """The command that repeats a run; empty where its folder is gone."""
        path = run.folder / CONFIG
        return f"dprune train --recipe {shlex.quote(inputs.display_path(path))}" if path.exists() else ""

    runs: dict[Path, tuple[RunRecord, list[str]]] = {}  # one on all the data may belong to several set-ups
    for comparison in inputs.comparisons:
        for run in (run for group in comparison.groups for run in group.runs):
            runs.setdefault(run.folder, (run, []))[1].append(comparison.name)
    html = render("appendix.html", inputs=inputs, command=command, runs=runs.values())
    return Section("runs", "Every run and its command", html)


def left_out(inputs: ReportInputs) -> Section | None:
    """What was found and is not in the report; None if there is nothing."""
    collection = inputs.collection
    if not (collection.failures or collection.left_out or collection.repeated):
        return None
    failures = [(json.dumps(config), error) for config, error in collection.failures]
    return Section("left-out", "Not in this report", render("left_out.html", collection=collection, failures=failures))
