"""`dprune label-issues`: samples whose label is likely wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datapruning.cli import options as o

if TYPE_CHECKING:
    from datapruning.artifacts.label_issues import LabelIssues
    from datapruning.runs.context import Context

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
    from datapruning.analysis import label_issues as s
    from datapruning.analysis.pred_probs import ensemble_pred_probs
    from datapruning.errors import InvalidValue
    from datapruning.io.disk_space import check_writable
    from datapruning.report.label_issue_page import check_page, write_page

    if list_scorers:
        for name, (end, why) in s.ISSUE_END.items():
            o.print_result(f"{name}\n  {end} first: {why}")
        return
    s.check_scorer(scorer)
    if gallery is not None:
        check_page(gallery)
    if recording is not None:
        if probs is not None:
            raise InvalidValue("a recording holds no ensemble, and --probs come from one; leave --recording out")
        dataset = options.open_named()
        if gallery is not None and dataset is None:
            raise InvalidValue("--gallery needs the images: say with --data which dataset was recorded")
        issues = s.find_label_issues_of_recording(recording, scorer, count=count, fraction=fraction, data=dataset)
        path = _output_path(out, recording / "label-issues" / f"{scorer}-{len(issues)}.csv")
        issues.check_output_path(path)
        if gallery is not None and dataset is not None:
            write_page(issues, dataset, gallery)
        issues.save(path)
        _show(issues, path, gallery=gallery)
        return
    if probs is not None and (scorer not in (s.ENSEMBLE, s.MEMORIZATION) or probs.suffix != ".npz"):
        raise InvalidValue(f"--probs {probs} is an .npz of the ensemble's probabilities; it goes with --scorer {s.ENSEMBLE}")
    for output in (out, probs):
        if output is not None:
            check_writable(output)  # before networks are trained for it
    context = options.open_context()
    s.resolve_count(count, fraction, context.data.total)  # before evidence is made for it
    _print_cost_estimate(context, scorer)
    issues = s.find_label_issues(context, scorer, count=count, fraction=fraction, seed=seed)
    path = _output_path(out, s.label_issues_path(context, scorer, len(issues), seed))
    issues.check_output_path(path)
    if probs is not None:
        ensemble_pred_probs(context, seed).save(probs)
    if gallery is not None:
        write_page(issues, context.data, gallery)
    issues.save(path)
    _show(issues, path, gallery=gallery, probs=probs)


def _output_path(out: Path | None, default: Path) -> Path:
    return default if out is None else out if out.suffix == ".csv" else out / default.name


def _print_cost_estimate(context: Context, scorer: str) -> None:
    from datapruning.analysis.label_issues import ENSEMBLE, MEMORIZATION
    from datapruning.evidence.estimate import print_evidence_cost
    from datapruning.scorers import get_scorer

    print_evidence_cost(context, [get_scorer(MEMORIZATION if scorer == ENSEMBLE else scorer)])


def _show(issues: LabelIssues, path: Path, **others: Path | None) -> None:
    """The first ones as a table, then where all are."""
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
    for what, other in others.items():
        if other is not None:
            o.print_result(f"{what}: {other}")
    o.print_result(f"label issues: {path}")
