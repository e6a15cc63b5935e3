"""Pruned students in the report: averages, comparisons, figures and costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from datapruning.config.sparsity import SparsityConfig
from datapruning.config.toml import to_toml
from datapruning.data.dataset import Dataset
from datapruning.report import write_report
from datapruning.report.comparison import Comparison, compare, dense_comparison
from datapruning.report.costs import RecordedCost
from datapruning.report.find_runs import find_runs
from datapruning.report.inputs import ReportInputs
from datapruning.report.run_records import NO_KD, RunRecord
from datapruning.report.sections import accuracy, cost
from datapruning.report.sections import sparsity as pruned
from datapruning.report.sections.sparsity_figures import find_lines, mean_layers
from datapruning.runs.result import StudentResult
from datapruning.runs.training_records import SparsityRecord
from tests.report.test_find_runs import FORWARD_FLOPS, cost_of, write_run
from tests.report.test_report import check_stands_alone

LAYERS = (("0.weight", [8, 1, 3, 3], 72, 16), ("4.weight", [16, 8, 3, 3], 1152, 4), ("8.weight", [10, 16], 160, 1))
"""Name, shape, weights, positions."""
DENSE = ("dense", 0.0, "", "none")
KINDS = (DENSE, ("cs", 0.0, "", "cs-kd"), ("snip9", 0.9, "snip", "none"), ("snip99", 0.99, "snip", "none"),
         ("epsd9", 0.9, "epsd", "cs-kd"))  # fmt: skip
"""Name, share removed, criterion, method."""
SNIP = SparsityConfig(sparsity=0.9, criterion="snip")


def record_of(kept: Sequence[int], settings: SparsityConfig = SNIP, protected: Sequence[str] = ()) -> dict[str, Any]:
    """Make the sparsity record of a run whose LAYERS keep these numbers of weights."""
    layers = [
        {"name": name, "shape": shape, "total": total, "kept": count, "positions": positions}
        for (name, shape, total, positions), count in zip(LAYERS, kept, strict=True)
    ]
    flops = sum(2 * total * positions for _, _, total, positions in LAYERS)
    sparse = sum(2 * count * positions for count, (_, _, _, positions) in zip(kept, LAYERS, strict=True))
    total = sum(layer[2] for layer in LAYERS)
    return {
        "settings": settings.to_dict(), "rounds": 1, "kept": sum(kept), "total": total, "masks": "m", "layers": layers,
        "protected": list(protected), "flops": flops, "flops_without_zeros": sparse,
    }  # fmt: skip


def pruned_record(removed: float, by: str, protected: Sequence[str] = ()) -> dict[str, Any]:
    """Make the sparsity record of a run with the same sparsity in every layer."""
    kept = [max(round(total * (1 - removed)), 1) for _, _, total, _ in LAYERS]
    return record_of(kept, SparsityConfig(sparsity=removed, criterion=by), protected)


def write(folder: Path, data: Dataset, kind: tuple[str, float, str, str] = DENSE, seed: int = 0, **more: Any) -> Path:
    """Write a finished student, optionally pruned or self-distilled."""
    name, removed, by, method = kind
    tables: dict[str, dict[str, Any]] = {"self_distill": {"method": method}} if method != "none" else {}
    if removed:
        settings = more.pop("settings", {})
        tables["sparsity"] = SparsityConfig(sparsity=removed, criterion=by, **settings).to_dict()
        more = {
            "sparsity": pruned_record(removed, by),
            "costs": {"prune": cost_of(128, 0, 0.5)},
            **more,
        }
    run = write_run(folder / f"{name}-{more.get('fraction', 0.3)}-{seed}", data, seed=seed, **more)
    with (run / "config.toml").open("a") as file:
        file.write("\n" + to_toml(tables))
    return run


def inputs_of(*runs: Path) -> ReportInputs:
    """Return the inputs of the report's sections."""
    result = find_runs(runs)
    return ReportInputs(result, compare(result.runs), [], [], None, "it is not asked for", Path("/"))


def family_of(*runs: Path) -> list[Comparison]:
    """Return the family of setups of the runs."""
    (family,) = inputs_of(*runs).families
    return family


@pytest.fixture
def runs(tmp_path: Path, digits: Dataset) -> list[Path]:
    """Two seeds of each of KINDS, and runs on the full data."""
    all_runs = [
        write(tmp_path / "students", digits, kind, seed, accuracy=90.0 - 10 * kind[1] * (1 + seed))
        for kind in KINDS for seed in (0, 1)
    ]  # fmt: skip
    return [*all_runs, write(tmp_path / "students", digits, fraction=1.0, accuracy=95.0)]


def test_runs_that_were_pruned_in_other_ways_are_never_averaged(runs: list[Path]) -> None:
    family = family_of(*runs)
    assert [(c.sparsity, c.criterion, c.method, [g.n for g in c.groups]) for c in family] == [
        (0.0, "", "none", [2, 1]), (0.0, "", "cs-kd", [2]), (0.9, "snip", "none", [2]), (0.9, "epsd", "cs-kd", [2]),
        (0.99, "snip", "none", [2]),
    ]  # fmt: skip
    assert [c.name for c in family] == list("ABCDE")
    assert [c.short_label for c in family[1:]] == [
        "none removed, cs-kd", "90% removed by snip", "90% removed by epsd, cs-kd", "99% removed by snip",
    ]  # fmt: skip
    assert family[0].differences == "dense, no self-distillation"
    assert {key for c in family for key in c.differing} == {
        "sparsity.sparsity",
        "sparsity.criterion",
        "self_distill.method",
    }


def test_settings_of_pruned_runs_differ_only_between_pruned_runs(tmp_path: Path, digits: Dataset) -> None:
    dense, snip = write(tmp_path, digits), write(tmp_path, digits, KINDS[2])
    more = write(tmp_path / "more", digits, KINDS[2], settings={"inner_steps": 9})
    assert set(compare(find_runs([dense, snip]).runs)[0].differing) == {"sparsity.sparsity"}
    setups = compare(find_runs([dense, snip, more]).runs)
    assert sorted(s.differences for s in setups) == [
        "90% of the weights removed by snip, sparsity.inner_steps = 3",
        "90% of the weights removed by snip, sparsity.inner_steps = 9", "dense"
    ]  # fmt: skip
    longer = write(tmp_path / "longer", digits, KINDS[2], epochs=9)
    assert [[c.name for c in family] for family in inputs_of(dense, snip, longer).families] == [["A", "B"], ["C"]]


def test_a_run_without_its_config_is_still_valid(tmp_path: Path, digits: Dataset) -> None:
    folders = [write(tmp_path, digits, kind) for kind in (DENSE, KINDS[2], KINDS[3])]
    record = {"method": "cs-kd", "settings": {"cs_kd_weight": 1.0}, "extra_passes": {"trained": 0, "forward": 9}}
    folders.append(write(tmp_path, digits, KINDS[4], self_distill=record))
    students = [RunRecord(run, StudentResult.read(run / "result.json"), {}) for run in folders]
    assert [(s.sparsity, s.criterion, s.method) for s in compare(students)] == [
        (0.0, "", "none"), (0.9, "snip", "none"), (0.9, "epsd", "cs-kd"), (0.99, "snip", "none"),
    ]  # fmt: skip


def test_lines_begin_at_the_dense_student_of_their_self_distillation(runs: list[Path]) -> None:
    family = family_of(*runs)
    lines = {(line.criterion, line.method): line for line in find_lines(family, (0.3, "random", NO_KD))}
    assert {key: [removed for removed, _ in line.points] for key, line in lines.items()} == {
        ("snip", "none"): [0.0, 0.9, 0.99], ("epsd", "cs-kd"): [0.0, 0.9],
    }  # fmt: skip
    assert lines["epsd", "cs-kd"].points[0][1] is family[1].groups[0]
    assert lines["snip", "none"].points[0][1] is family[0].groups[0]
    assert find_lines(family, (0.5, "random", NO_KD)) == []


def test_against_dense_is_paired_by_seed(runs: list[Path], tmp_path: Path, digits: Dataset) -> None:
    unpaired = write(tmp_path / "students", digits, KINDS[2], seed=7)  # no dense run has that seed
    family = family_of(*runs, unpaired)
    snip = next(c for c in family if c.short_label == "90% removed by snip")
    assert pruned.dense_gains(snip.groups[0], snip, family) == [-9.0, -18.0]
    assert dense_comparison(snip, family) is family[0]
    assert dense_comparison(family[0], family) is None
    assert pruned.dense_gains(family[0].groups[0], family[0], family) == []


def test_pruning_is_paid_by_each_student(runs: list[Path]) -> None:
    family = family_of(*runs)
    prices = [c.groups[0].cost.prune for c in family]
    assert prices == [RecordedCost(0, 0), RecordedCost(0, 0), *([RecordedCost(384 * FORWARD_FLOPS, 0.5)] * 3)]
    flops = [c.groups[0].cost.per_student.flops for c in family]
    assert flops[3] == flops[0] + 384 * FORWARD_FLOPS


def test_layers_are_means_over_runs_of_one_network() -> None:
    def run(*kept: int) -> SparsityRecord:
        return SparsityRecord.model_validate_json(json.dumps(record_of(kept)))

    first, second, third = mean_layers([run(72, 0, 16), run(36, 0, 32)])
    assert (first.share, second.share, third.share) == (0.75, 0.0, pytest.approx(0.15))
    assert first.sd == pytest.approx(0.5 / 2**0.5)
    assert mean_layers([run(72, 0, 16)])[0].sd == 0
    other = run(72, 0, 16).model_copy(update={"layers": run(72, 0, 16).layers[:1]})
    assert len(mean_layers([run(72, 0, 16), other])) == 3


def test_the_page_has_what_runs_differ_in_and_no_more(runs: list[Path], tmp_path: Path, digits: Dataset) -> None:
    thin = write(tmp_path / "students", digits, KINDS[2], seed=2, sparsity=pruned_record(0.9, "snip", ["4.weight"]))
    written = write_report([*runs, thin], tmp_path / "r.html")
    html = check_stands_alone(written.page)
    for words in ("Single zeros save weights, not time", "zeros skipped", "kept their strongest weight: 4.weight",
                  "of it pruning", "8 x 1 x 3 x 3", "90% by snip", "\N{MINUS SIGN}13.50 ± 6.36"):  # fmt: skip
        assert words in html, words
    figures = {p.stem for p in written.figures.glob("*.svg")}
    assert {n for n in figures if n.startswith("pruned")} == {"pruned-a-random-keeping-30-no-kd"}
    assert {n for n in figures if n.startswith("layers")} == {"layers-c", "layers-d", "layers-e"}
    assert (written.figures / "layers-c.png").read_bytes().startswith(b"\x89PNG")
    assert "accuracy-d-random" not in figures, "one fraction of a pruned student is no curve"

    few = inputs_of(*(run for run in runs if run.name.startswith(("dense", "cs"))))
    assert pruned.section(few) is None
    only = inputs_of(*(run for run in runs if run.name.startswith("snip99")))
    assert accuracy.section(only) is None
    section = pruned.section(only)
    assert section is not None
    assert [d.name for d in section.figures] == ["layers"]
    assert "in floating-point operations" in cost.section(only).html, "there is no dense run to count in"


def test_pruned_students_at_several_fractions_have_curves(tmp_path: Path, digits: Dataset) -> None:
    some = [write(tmp_path, digits, KINDS[2], fraction=f) for f in (0.1, 0.3)]
    section = accuracy.section(inputs_of(*some, write(tmp_path, digits)))
    assert section is not None
    assert [d.name for d in section.figures] == ["accuracy-a-random", "accuracy-b-random"]
    assert "random, 90% removed by snip" in section.figures[1].inline
    result = json.loads((some[0] / "result.json").read_text())
    assert result["sparsity"]["settings"]["sparsity"] == 0.9
