"""The report at equal epochs and at equal compute, and what it says of scorers that do not beat random subsets."""

from __future__ import annotations

from pathlib import Path

import pytest

from datapruning.data.dataset import Dataset
from datapruning.report.budgets import by_budget, full_training, has_equal_compute
from datapruning.report.comparison import Comparison, compare
from datapruning.report.find_runs import find_runs
from datapruning.report.random_baseline import compare_with_random, random_sentences
from datapruning.report.run_records import AUTO
from datapruning.report.write import write_report
from tests.report.test_find_runs import FORWARD_FLOPS, write_run
from tests.report.test_report import check_stands_alone


def accuracies(root: Path, data: Dataset, scorer: str, fraction: float, values: list[float]) -> list[Path]:
    """Write a run without KD for each accuracy, one a seed."""
    folder = root / "students"
    return [
        write_run(folder / f"{scorer}-{fraction}-{i}", data, fraction, 0.0, i, scorer=scorer, accuracy=value)
        for i, value in enumerate(values)
    ]


def comparison_of(runs: list[Path]) -> Comparison:
    """Return the one comparison of these runs."""
    (comparison,) = compare(find_runs(runs).runs)
    return comparison


def test_both_budgets_are_drawn_side_by_side_in_the_same_unit(tmp_path: Path, digits: Dataset) -> None:
    runs = [
        write_run(tmp_path / "w" / "students" / f"{budget}-{kd}-{f}", digits, f, kd, budget=budget)
        for budget in ("epochs", "samples") for kd in (0.0, AUTO) for f in (0.1, 0.5)
    ]  # fmt: skip
    runs.append(write_run(tmp_path / "w" / "students" / "full", digits, 1.0))
    comparisons = compare(find_runs(runs).runs)
    ((at_epochs, at_compute),) = by_budget(comparisons)
    assert (has_equal_compute(at_epochs), has_equal_compute(at_compute)) == (False, True)
    unit = full_training(at_compute, comparisons)
    assert unit == full_training(at_epochs, comparisons)
    assert unit.flops == 3 * FORWARD_FLOPS * 2 * digits.total, "one training on all the data without a teacher"
    assert at_compute.full_data is not None, "all the data is one training under both budgets"
    assert [run.folder for run in at_compute.full_data.runs] == [tmp_path / "w" / "students" / "full"]

    written = write_report(runs, tmp_path / "r.html")
    html = check_stands_alone(written.page)
    figures = [html.index(f'id="fig-accuracy-{c.name.lower()}-random"') for c in (at_epochs, at_compute)]
    assert 0 < figures[1] - figures[0] < html.index('class="figures"', figures[0]) - figures[0], "in one row"
    for c, label in ((at_epochs, "equal epochs"), (at_compute, "equal compute")):
        assert f"random, {label} ({c.name})" in html
    labels = {kd: 2 * round(0.5 * digits.total) if kd else 0 for kd in (0, 1)}
    search = 300 * 3 + 900
    for c, trained in ((at_epochs, round(0.5 * digits.total) * 2), (at_compute, digits.total * 2)):
        students = [3 * trained + (labels[kd] + search if kd else 0) for kd in (0, 1)]
        assert [g.cost.per_student.flops for g in c.groups if g.fraction == 0.5] == [FORWARD_FLOPS * s for s in students]
        assert f"{students[1] / (3 * 2 * digits.total):.2f} with KD auto" in html
        assert f'<td class="number">{students[1] / (3 * 2 * digits.total):.2f} / ' in html


def test_runs_on_all_the_data_go_with_every_budget_of_as_many_epochs(tmp_path: Path, digits: Dataset) -> None:
    runs = [
        write_run(tmp_path / f"{budget}-{fraction}-{seed}", digits, fraction, seed=seed, budget=budget)
        for budget, fraction, seed in [
            ("steps", 0.1, 0), ("samples", 0.1, 0), ("epochs", 1.0, 0), ("epochs", 1.0, 1), ("samples", 1.0, 1)
        ]
    ]  # fmt: skip
    comparisons = compare(find_runs(runs).runs)
    assert {c.runs[0].result.budget for c in comparisons} == {"steps", "samples"}, "none of all the data by itself"
    for c in comparisons:
        assert c.full_data is not None
        seeds = sorted(run.result.seed for run in c.full_data.runs)
        assert seeds == [0, 1], "a seed that is there twice counts once"
    other = write_run(tmp_path / "longer", digits, 1.0, epochs=3)
    assert len(compare(find_runs([*runs, other]).runs)) == 3, "other epochs are another training"


def test_equal_compute_is_named_where_there_is_nothing_else(tmp_path: Path, digits: Dataset) -> None:
    runs = [write_run(tmp_path / "students" / str(f), digits, f, budget="steps") for f in (0.1, 0.3)]
    html = check_stands_alone(write_report(runs, tmp_path / "r.html").page)
    assert "random, equal compute" in html
    assert "Equal compute: every student trains for as many steps as 2 epochs of all the data" in html


def test_a_scorer_that_does_not_beat_random_is_named(tmp_path: Path, digits: Dataset) -> None:
    runs = accuracies(tmp_path, digits, "random", 0.1, [60.0, 61.0, 62.0])
    runs += accuracies(tmp_path, digits, "random", 0.3, [70.0, 71.0])
    runs += accuracies(tmp_path, digits, "el2n", 0.1, [58.0, 59.5, 60.1])
    runs += accuracies(tmp_path, digits, "el2n", 0.3, [73.0, 74.2])
    runs += accuracies(tmp_path, digits, "el2n", 0.5, [90.0])  # with no random run to compare with
    runs += accuracies(tmp_path, digits, "aum", 0.3, [70.5])
    groups = comparison_of(runs).groups
    baselines = {(b.group.scorer, b.group.fraction): b for b in compare_with_random(groups)}
    assert set(baselines) == {("el2n", 0.1), ("el2n", 0.3), ("aum", 0.3)}
    assert baselines["el2n", 0.1].differences == pytest.approx([-2.0, -1.5, -1.9])
    assert baselines["el2n", 0.1].stderr == pytest.approx(0.1528, abs=1e-4)
    assert baselines["aum", 0.3].stderr is None
    assert random_sentences(groups) == [
        "el2n (no KD) does not beat random keeping 10% (\N{MINUS SIGN}1.80 ± 0.15 points, 3 seeds); it does keeping 30% "
        "(+3.10 ± 0.10 points, 2 seeds).",
        "aum (no KD) beats random keeping 30% (+0.50 points, one seed).",
    ]
    html = check_stands_alone(write_report(runs, tmp_path / "r.html").page)
    assert all(sentence in html for sentence in random_sentences(groups))


def test_a_gain_within_the_noise_is_no_gain(tmp_path: Path, digits: Dataset) -> None:
    runs = accuracies(tmp_path, digits, "random", 0.1, [60.0, 60.0, 60.0])
    groups = comparison_of([*runs, *accuracies(tmp_path, digits, "el2n", 0.1, [60.0, 60.2, 61.0])]).groups
    assert random_sentences(groups) == ["el2n (no KD) does not beat random keeping 10% (+0.40 ± 0.31 points, 3 seeds)."]
