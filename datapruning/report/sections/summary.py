"""The summary: a row for each scorer, kind of KD and fraction."""

from datapruning.report.comparison import Comparison, family_name
from datapruning.report.groups import Group, kd_gains
from datapruning.report.inputs import ReportInputs
from datapruning.report.render import Section, render


def section(inputs: ReportInputs) -> Section:
    """The table, with the main results in sentences above it."""
    html = render(
        "summary.html", inputs=inputs, family_name=family_name, kd_gains=kd_gains, main_gains=_main_gains,
        kd_weights=_kd_weights, kept=_kept,
    )  # fmt: skip
    return Section("summary", "Summary", html)


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
