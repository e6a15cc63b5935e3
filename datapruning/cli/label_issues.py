"""`dprune label-issues`: samples whose label is likely wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datapruning.cli import options as o

if TYPE_CHECKING:
    from datapruning.artifacts.label_issues import LabelIssues

MAX_PRINTED = 10


def command(
    options: o.ContextOptions,
    scorer: Annotated[str, typer.Option(help="The scorer that ranks them; ensemble: by out-of-fold probabilities.")] = "aum",
    count: Annotated[int | None, typer.Option(help="Number of samples listed.", show_default="50")] = None,
    fraction: Annotated[
        str | None, typer.Option(help="Instead of a count: the fraction of the training set that is listed.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A file if it ends in .csv, else a folder.", show_default="in the workspace")
    ] = None,
    gallery: Annotated[Path | None, typer.Option(help="Also write a page (.html) that shows all of them.")] = None,
    probs: Annotated[
        Path | None, typer.Option(help="Also write the out-of-fold probabilities of all samples (.npz), for cleanlab.")
    ] = None,
    seed: o.Seed = 0,
    recording: Annotated[
        Path | None, typer.Option(help="Read a recording of your own training loop, instead of training proxies.")
    ] = None,
    list_scorers: Annotated[
        bool, typer.Option("--list", help="List which end of each scorer's ranking suggests wrong labels, and why.")
    ] = False,
) -> None:
    """List the samples whose label is likely wrong, with the label that the networks suggest. A ranking, no verdict.

    Writes a CSV, and a JSON beside it that says how it was made. dprune report shows the images.

    Example: dprune label-issues --data digits --count 20
    """
    from datapruning.analysis.label_issues import ISSUE_END, find_label_issues, find_label_issues_of_recording
    from datapruning.errors import InvalidValue

    if list_scorers:
        for name, (end, meaning) in ISSUE_END.items():
            o.print_result(f"{name}\n  {end} first: {meaning}")
        return
    if recording is None:
        out = out or options.workspace / "label-issues"
        issues = find_label_issues(
            options.named_data(), scorer, count=count, fraction=fraction, seed=seed, out=out, gallery=gallery, probs=probs,
            **options.settings,
        )  # fmt: skip
    else:
        if probs is not None:
            raise InvalidValue("a recording holds no ensemble, and --probs come from one; leave --recording out")
        out = out or recording / "label-issues"
        issues = find_label_issues_of_recording(
            recording, scorer, count=count, fraction=fraction, data=options.open_named(), out=out, gallery=gallery
        )
    _print(issues, issues.output_path(out), gallery=gallery, probs=probs)


def _print(issues: LabelIssues, path: Path, **other_outputs: Path | None) -> None:
    """Print the first ones as a table, then the paths of the files."""
    from datapruning.experiments.sweep.table import markdown

    meta = issues.meta
    more = f"the first {MAX_PRINTED} of {len(issues)}" if len(issues) > MAX_PRINTED else f"{len(issues)}"
    o.print_result(f"Likely wrong labels in {meta.dataset}: {more}, by {issues.order}: {meta.means}.")
    o.print_result("A ranking, no verdict: it always lists as many as were asked for, however many labels are wrong.")
    if meta.confident_others is not None:
        others_count = f"{meta.confident_others:,} of {meta.total:,}"
        o.print_result(f"Confident learning counts {others_count} samples as of another class than their label.")
    head = ["sample id", "label", "suggested", "score", "p(label)", *(["path"] if issues.has_paths else [])]
    lines = [
        [
            str(row.id), row.label_name, row.suggested_name or "not recorded", f"{row.score:.4g}",
            "" if row.label_prob is None else f"{row.label_prob:.3f}", *([row.path] if issues.has_paths else []),
        ]
        for row in issues.rows[:MAX_PRINTED]
    ]  # fmt: skip
    o.print_result("\n" + markdown([head, *lines]) + "\n")
    if meta.label_prob:
        o.print_result(f"p(label): probability of the label, {meta.label_prob}.")
    for kind, output in other_outputs.items():
        if output is not None:
            o.print_result(f"{kind}: {output}")
    o.print_result(f"label issues: {path}")
