"""`dprune label-issues`: lists, prints and shows likely wrong labels; invalid input is refused before training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import datapruning as dp
from datapruning.analysis import label_issues
from datapruning.artifacts.label_issues import LabelIssue, LabelIssues
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidValue
from datapruning.runs.opening import OpenSettings
from tests.analysis.test_label_issues import recorded
from tests.artifacts.test_label_issues import listed
from tests.conftest import FAST, CommandResult
from tests.helpers.image_files import make_image_folder
from tests.report.test_find_runs import write_run
from tests.report.test_report import check_stands_alone


def words(*more: str) -> list[str]:
    """Return the arguments of the command with settings that take a second."""
    settings = (
        *FAST,
        "ensemble.num_members=10",
        "ensemble_member.epochs=1",
        "ensemble_member.model=tinynet8",
        "proxy.model=tinynet8",
    )
    return ["label-issues", "--loader", "memory", *(w for s in settings for w in ("--set", s)), *more]


def test_the_command_lists_prints_and_shows(dprune: Callable[..., CommandResult], tmp_path: Path, digits: Dataset) -> None:
    first = dprune(*words("--count", "12", "--gallery", "s.html"))
    assert first.code == 0, first.err
    lines = first.out.splitlines()
    assert lines[0].startswith("Likely wrong labels in digits: the first 10 of 12, by aum, highest scores first: ")
    assert "no verdict" in lines[1]
    path = Path(lines[-1].removeprefix("label issues: "))
    issues = dp.load_label_issues(path)
    assert len(issues) == 12
    shown = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert shown == ["sample id", "---------", *(str(row.id) for row in issues.rows[:10])]
    assert all(row.label == digits.train.labels[row.id] != row.suggested for row in issues.rows)
    html = check_stands_alone(tmp_path / "s.html")
    assert html.count("data:image/png;base64,") == 12
    assert f"rather {issues.rows[0].suggested_name}" in html
    for row in issues.rows:
        score = f"{row.score:.3g}".replace("-", "\N{MINUS SIGN}")
        assert f"label {100 * (row.label_prob or 0):.0f}%<br>score {score}<br>id {row.id}</span>" in html
    assert "<nav" not in html, "there is one section"
    repeated = dprune(*words("--count", "12", "--gallery", "s.html"))
    assert repeated.out == first.out
    assert "with the same content" in repeated.err
    assert "12 samples whose label is likely wrong" in dprune("inspect", path).out
    assert dprune(*words("--count", "2", "--out", "folder")).out.endswith(".csv\n")
    assert len(list((tmp_path / "folder").glob("digits-aum-*.csv"))) == 1


def test_issues_of_an_image_folder_have_paths(dprune: Callable[..., CommandResult], tmp_path: Path) -> None:
    data = ("--data", make_image_folder(tmp_path / "pets"), "--image-size", "8")
    command = dprune(*words("--count", "24", "--out", "s.csv", "--gallery", "s.html"), *data)
    assert command.code == 0, command.err
    paths = dp.open_dataset(str(tmp_path / "pets"), image_size=8).train_paths
    assert paths is not None
    rows = dp.load_label_issues("s.csv").rows
    assert sorted(row.path for row in rows) == sorted(paths)
    assert all(row.path == paths[row.id] for row in rows)
    shown = [line.split("|")[-2].strip() for line in command.out.splitlines() if line.startswith("| ")]
    assert shown[2:] == [row.path for row in rows[:10]]
    html = check_stands_alone(tmp_path / "s.html")
    assert all(f"<br>id {row.id}<br>{row.path}</span>" in html for row in rows)


def test_the_ensemble_s_probabilities_are_saved_and_are_those_of_python(
    dprune: Callable[..., CommandResult], tmp_path: Path, digits: Dataset
) -> None:
    command = dprune(*words("--scorer", "ensemble", "--fraction", "0.01", "--probs", "p.npz", "--out", "s.csv"))
    assert command.code == 0, command.err
    assert "Confident learning counts " in command.out
    with np.load(tmp_path / "p.npz") as file:
        probs, labels = file["pred_probs"], file["labels"]
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(labels, digits.train.labels)
    issues = dp.load_label_issues("s.csv")
    assert len(issues) == 14
    label_probs = probs[np.arange(len(labels)), labels]
    assert [r.id for r in issues.rows] == np.argsort(label_probs, kind="stable")[:14].tolist()
    assert "probabilities of 10 classes, intact" in dprune("inspect", "p.npz").out
    changes = [
        *FAST, "ensemble.num_members=10", "ensemble_member.epochs=1", "ensemble_member.model=tinynet8",
        "proxy.model=tinynet8",
    ]  # fmt: skip
    settings: OpenSettings = {"loader": "memory", "device": "cpu", "changes": changes}
    context = dp.open_context(digits, **settings)
    np.testing.assert_array_equal(dp.pred_probs(context), probs)
    dp.find_label_issues("digits", "ensemble", fraction=0.01, out="python", gallery="python.html", **settings)
    assert [path.read_text() for path in (tmp_path / "python").glob("*.csv")] == [(tmp_path / "s.csv").read_text()]
    assert check_stands_alone(tmp_path / "python.html").count("data:image/png;base64,") == 14
    with pytest.raises(InvalidValue, match="a context has its own settings"):
        dp.pred_probs(context, device="cpu")
    repeated = dprune(*words("--scorer", "memorization", "--fraction", "0.01", "--probs", "p.npz"))
    assert (repeated.code, "p.npz is there already" in repeated.err) == (0, True)
    other = dprune(*words("--scorer", "ensemble", "--seed", "1", "--probs", "p.npz", "--out", "t.csv"))
    assert other.code == 2
    assert "p.npz holds other probabilities; name another output path (--probs)" in other.err
    assert not (tmp_path / "t.csv").exists()


def test_invalid_arguments_are_refused_before_training(expect_refusal: Callable[..., str], tmp_path: Path) -> None:
    assert "did you mean 'loss'" in expect_refusal("label-issues", "--scorer", "los")
    assert "not by both" in expect_refusal("label-issues", "--count", "3", "--fraction", "0.1")
    assert "1,438 training samples" in expect_refusal("label-issues", "--count", "2000")
    assert "goes with scorer 'ensemble' (--probs)" in expect_refusal("label-issues", "--probs", "p.npz")
    assert "ends in .html" in expect_refusal("label-issues", "--gallery", "p.png")
    (tmp_path / "p.html").write_text("custom")
    assert "p.html exists and is no page of datapruning" in expect_refusal("label-issues", "--gallery", "p.html")
    assert "is not a recording" in expect_refusal("label-issues", "--recording", tmp_path)
    line = expect_refusal("label-issues", "--recording", tmp_path, "--gallery", "q.html")
    assert "say which dataset was recorded (--data)" in line


def test_an_external_recording_has_label_issues(dprune: Callable[..., CommandResult], tmp_path: Path) -> None:
    recorded(tmp_path / "custom")
    command = dprune("label-issues", "--recording", "custom", "--count", "2")
    assert command.code == 0, command.err
    path = Path(command.out.splitlines()[-1].removeprefix("label issues: "))
    assert path.parent == Path("custom/label-issues")
    assert [r.id for r in dp.load_label_issues(path).rows] == [2, 3]


def test_list_shows_at_which_end_labels_are_suspect(dprune: Callable[..., CommandResult]) -> None:
    command = dprune("label-issues", "--list")
    assert (command.code, command.err) == (0, "")
    assert [line for line in command.out.splitlines() if not line.startswith(" ")] == list(label_issues.ISSUE_END)


def test_the_report_shows_the_label_issues_of_its_workspace(
    dprune: Callable[..., CommandResult],
    expect_refusal: Callable[..., str],
    tmp_path: Path,
    digits: Dataset,
    small_dataset: Dataset,
) -> None:
    write_run(tmp_path / "w" / "students" / "a", digits)
    labels = digits.train.labels

    def make(count: int, scorer: str, data: Dataset = digits) -> LabelIssues:
        rows = (LabelIssue(i, int(labels[i]), "a<b", 3, "<three>", 0.5, None) for i in range(count))
        meta = {"fingerprint": data.fingerprint, "total": data.total, "dataset": data.name, "scorer": scorer}
        return listed(*rows, **meta)

    assert "Likely wrong labels" not in (dprune("report", "w"), (tmp_path / "report.html").read_text())[1]
    for name, issues in {"few": make(3, "aum"), "many": make(25, "aum"), "other": make(2, "aum", small_dataset)}.items():
        issues.save(tmp_path / "w" / "label-issues" / f"{name}.csv")
    (tmp_path / "w" / "label-issues" / "broken.csv").write_text("x")
    command = dprune("report", "w")
    assert command.code == 0
    assert "left out: " in command.err
    assert "broken.csv" in command.err
    html = check_stands_alone(tmp_path / "report.html")
    assert html.count("data:image/png;base64,") == 18, "of one scorer the longest list, and of that the first 18"
    assert "The first 18 of 25" in html
    assert "rather &lt;three&gt;" in html
    assert '<a href="#label-issues">Likely wrong labels</a>' in html
    assert ">score 0.5<br>id 0</span>" in html, "the label's probability is not known"
    make(2, "loss").save(tmp_path / "custom.csv")
    assert dprune("report", "w", "--label-issues", "custom.csv").code == 0
    assert check_stands_alone(tmp_path / "report.html").count("data:image/png;base64,") == 20
    make(2, "aum", small_dataset).save(tmp_path / "small.csv")
    assert "small.csv is of another dataset" in expect_refusal("report", "w", "--label-issues", "small.csv")
