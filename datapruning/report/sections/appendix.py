"""Where every number comes from: each run's folder and the command that repeats it; what was left out; what failed."""

import json
import shlex

from datapruning.report.inputs import ReportInputs
from datapruning.report.render import Section, render
from datapruning.report.run_records import RunRecord
from datapruning.runs.run import CONFIG


def section(inputs: ReportInputs) -> Section:
    """The runs and the scores files."""

    def command(run: RunRecord) -> str:
        """The command that repeats a run; empty where its folder is gone."""
        path = run.folder / CONFIG
        return f"dprune train --recipe {shlex.quote(inputs.display_path(path))}" if path.exists() else ""

    return Section("runs", "Every run and its command", render("appendix.html", inputs=inputs, command=command))


def left_out_section(inputs: ReportInputs) -> Section | None:
    """What was found and is not in the report; None if there is nothing."""
    collection = inputs.collection
    if not (collection.failures or collection.left_out or collection.repeated):
        return None
    failures = [(json.dumps(config), error) for config, error in collection.failures]
    return Section("left-out", "Not in this report", render("left_out.html", collection=collection, failures=failures))
