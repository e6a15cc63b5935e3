"""`dprune report`: the page is self-contained and complete; incompatible runs and other files are refused."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from datapruning.artifacts.metadata import ScoresMetadata, common_fields
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset, load_subset
from datapruning.data.dataset import Dataset
from datapruning.io.json import write_json
from datapruning.io.tensors import save_tensors
from datapruning.models import create_model
from datapruning.report import write_report
from datapruning.report.figures import COLOURS, draw, set_title
from datapruning.report.render import Section, render_page
from datapruning.report.run_records import AUTO, RunRecord
from datapruning.report.sections.gallery import MAX_PIXELS, data_uri
from datapruning.report.teacher_predictions import TeacherPredictions, predict_samples
from datapruning.runs.result import StudentResult
from datapruning.utils.intervals import wilson_interval
from tests.conftest import CommandResult
from tests.report.test_find_runs import write_failure, write_run

LONER = re.compile(r"""(?:src|href)=["'](?!#|data:)|@import|url\((?!#)|<script|<link""")

TEACHER = {
    "role": "teacher", "test_accuracy": 90.0, "model": "tinynet8", "classes": 10, "dataset": "digits", "fingerprint": "f",
    "samples_seen": 5000, "package_version": "0", "kept": 1438, "total": 1438, "budget": "epochs", "epochs": 4, "steps": 9,
    "seed": 0, "device": "cpu", "threads": 1, "processes": 1,
}  # fmt: skip


class Page(HTMLParser):
    """Ids and links of a page, and whether all tags are closed in order."""

    VOID = ("meta", "img", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [str(values["id"])] if "id" in values else []
        self.targets += [t for key in ("href", "xlink:href") if (t := values.get(key) or "").startswith("#")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_stands_alone(path: Path) -> str:
    """Return the checked HTML of a page: well formed, no external resources, valid links; lines joined by spaces."""
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert not page.open
    assert len(page.ids) == len(set(page.ids))
    assert {t[1:] for t in page.targets} <= set(page.ids)
    assert not LONER.search(html)
    assert "mathdefault" not in html, "tick labels are plain text"
    return " ".join(html.split())


@pytest.fixture
def workspace(tmp_path: Path, digits: Dataset) -> Path:
    """Two scorers, with and without KD, two seeds, full data, scores files, a teacher with weights."""
    root = tmp_path / "w"
    metas = {s: ScoresMetadata(**common_fields(digits), scorer=s, seed=0) for s in ("random", "el2n")}
    for seed in (0, 1):
        for scorer, meta in metas.items():
            for kd in (0.0, AUTO):
                for f in (0.1, 0.3):
                    name = f"{scorer}-{f}-{kd}-{seed}"
                    write_run(root / "students" / name, digits, f, kd, seed, scorer=scorer, scores=meta)
        write_run(root / "students" / f"full-{seed}", digits, 1.0, 0.0, seed)
    for i, (scorer, meta) in enumerate(metas.items()):
        values = np.random.default_rng(i).random(digits.total, np.float32)
        Scores(values, meta).save(root / "scores" / f"{scorer}.npz")
    teacher = root / "teachers" / "t"
    save_tensors(teacher / "model.safetensors", dict(create_model("tinynet8", digits.train.shape, 10, seed=0).state_dict()))
    write_json(teacher / "result.json", {**TEACHER, "fingerprint": digits.fingerprint})
    return root


def test_the_report_is_self_contained_and_complete(
    dprune: Callable[..., CommandResult], workspace: Path, tmp_path: Path
) -> None:
    command = dprune("report", workspace)
    assert (command.code, command.err) == (0, "")
    assert "18 runs" in command.out
    html = check_stands_alone(tmp_path / "report.html")
    for words in ("pays off after", "Spearman", "Highest scores, kept first", "KD gain"):
        assert words in html
    assert html.count("data:image/png;base64,") == 2 * 9, "both ends of el2n; the ends of random say nothing"
    assert "dprune train --recipe w/students/full-0/config.toml" in html
    listed = json.loads((tmp_path / "report-figures" / "figures.json").read_text())["files"]
    files = {p.name for p in (tmp_path / "report-figures").iterdir()}
    assert files == {*listed, "figures.json"}
    for name in ("accuracy-no-kd", "accuracy-el2n", "weight-random-10", "cost-el2n-seconds", "break-even-el2n", "agreement"):
        assert {f"{name}.png", f"{name}.svg"} <= files
    assert (tmp_path / "report-figures" / "agreement.png").read_bytes().startswith(b"\x89PNG")


def test_a_report_replaces_only_a_report_and_its_figures(
    dprune: Callable[..., CommandResult], expect_refusal: Callable[..., str], workspace: Path, tmp_path: Path
) -> None:
    students = workspace / "students"
    assert dprune("report", students / "full-0", "--out", "page.html").code == 0
    before = {p.name for p in (tmp_path / "page-figures").iterdir()}
    user_file = tmp_path / "page-figures" / "my.txt"
    user_file.write_text("custom")
    assert dprune("report", students / "el2n-0.1-0.0-0", students / "full-1", "--out", "page.html").code == 0
    after = {p.name for p in (tmp_path / "page-figures").iterdir()}
    assert "accuracy-el2n.svg" in after - before
    assert user_file.read_text() == "custom"
    (tmp_path / "notes.html").write_text("<html>my notes</html>")
    assert "notes.html exists and is no page of datapruning" in expect_refusal(
        "report", students / "full-0", "--out", "notes.html"
    )
    (tmp_path / "other-figures").mkdir()
    (tmp_path / "other-figures" / "my.txt").write_text("custom")
    assert "other-figures exists and holds no figures" in expect_refusal(
        "report", students / "full-0", "--out", "other.html"
    )
    assert "ends in .html" in expect_refusal("report", students / "full-0", "--out", "report.pdf")


def test_folders_without_runs_or_with_other_data_are_refused(
    expect_refusal: Callable[..., str], workspace: Path, small_dataset: Dataset
) -> None:
    (workspace / "empty").mkdir()
    assert "nowhere is not there" in expect_refusal("report", "nowhere")
    assert "dprune-runs is not there" in expect_refusal("report")
    assert "is no run folder" in expect_refusal("report", workspace / "empty")
    full = workspace / "students" / "full-0"
    assert "unknown dataset 'digit'" in expect_refusal("report", full, "--data", "digit")
    other = write_run(workspace / "other" / "a", small_dataset)
    refusal = expect_refusal("report", full, other)
    assert "2 datasets and do not compare: digits (1,438 samples" in refusal
    assert refusal.endswith("name the dataset of this report (--data)")
    assert "not the dataset of these runs" in expect_refusal("report", other, "--data", "digits")
    assert "is no scores file" in expect_refusal("report", full, "--scores", full / "subset.npz")


def test_a_named_dataset_is_reported_and_the_runs_on_others_are_left_out(
    dprune: Callable[..., CommandResult], workspace: Path, small_dataset: Dataset, tmp_path: Path
) -> None:
    other = write_run(workspace / "students" / "a-generated", small_dataset)
    command = dprune("report", workspace, "--data", "digits")
    assert (command.code, "18 runs" in command.out) == (0, True)
    assert f"left out: {other}: on another dataset, generated" in command.err
    assert "on another dataset, generated" in check_stands_alone(tmp_path / "report.html")


def test_scores_next_to_the_workspace_and_in_named_folders_are_shown(
    dprune: Callable[..., CommandResult],
    expect_refusal: Callable[..., str],
    workspace: Path,
    digits: Dataset,
    tmp_path: Path,
) -> None:
    for number, path in enumerate(("mine.npz", "scores/theirs.npz", "elsewhere/named.npz")):
        meta = ScoresMetadata(**common_fields(digits), scorer=f"scorer-{number}", seed=0)
        Scores(np.random.default_rng(number).random(digits.total, np.float32), meta).save(tmp_path / path)
    np.savez(tmp_path / "unrelated.npz", meta=np.arange(3))
    assert dprune("report", workspace).code == 0
    html = check_stands_alone(tmp_path / "report.html")
    assert ["scorer-0" in html, "scorer-1" in html, "scorer-2" in html] == [True, True, False]
    assert dprune("report", workspace, "--scores", "elsewhere").code == 0
    assert "scorer-2" in check_stands_alone(tmp_path / "report.html")
    (tmp_path / "empty").mkdir()
    assert "empty holds no scores file" in expect_refusal("report", workspace, "--scores", "empty")


def test_a_class_that_a_subset_loses_is_named(dprune: Callable[..., CommandResult], digits: Dataset, tmp_path: Path) -> None:
    run = write_run(tmp_path / "w" / "students" / "a", digits, scorer="el2n")
    ids = np.flatnonzero(digits.train.labels > 1)
    load = load_subset(run / "subset.npz")
    Subset(ids, load.meta).save(run / "subset.npz")
    assert dprune("report", run).code == 0
    html = check_stands_alone(tmp_path / "report.html")
    assert "el2n, keeping 30%: no sample of 2 classes (0 and 1) in 1 of 1 subset" in html
    num_test = len(digits.test)
    low, high = wilson_interval(round(0.59 * num_test), num_test)
    assert f"{100 * low:.1f} to {100 * high:.1f}" in html, "the interval of 59% on the test set"


def test_without_the_dataset_the_report_notes_it_and_continues(
    dprune: Callable[..., CommandResult], workspace: Path, small_dataset: Dataset, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "s" / "students" / "a", small_dataset)
    command = dprune("report", run)
    assert command.code == 0
    assert "no images and no classes: unknown dataset 'generated'" in command.err
    html = check_stands_alone(tmp_path / "report.html")
    assert "The classes of the samples are not known: unknown dataset" in html
    assert "no run on all the data without KD" in html, "so nothing can be said about break-even"


def test_other_budgets_have_separate_panels_and_failures_are_shown(
    dprune: Callable[..., CommandResult], workspace: Path, digits: Dataset, tmp_path: Path
) -> None:
    long = write_run(workspace / "students" / "long", digits, epochs=9)
    write_failure(workspace / "sweeps" / "s", {"seed": 1}, "it <broke>")
    students = workspace / "students"
    runs = (students / "el2n-0.1-0.0-0", students / "el2n-0.1-0.0-1", long, workspace / "sweeps" / "s")
    command = dprune("report", *runs)
    assert command.code == 0
    assert "2 set-ups that do not compare (train.epochs differ)" in command.err
    assert "it <broke>" in command.err
    html = check_stands_alone(tmp_path / "report.html")
    assert "Set-up B: train.epochs = 9" in html
    assert "it &lt;broke&gt;" in html
    assert {"accuracy-a-el2n.svg", "accuracy-b-random.svg"} <= {p.name for p in (tmp_path / "report-figures").iterdir()}


def test_write_report_takes_one_run_of_ids_with_odd_names(tmp_path: Path, digits: Dataset) -> None:
    run = write_run(tmp_path / "a $b <c> d", digits, scorer="my $scorer$ <b>", fraction=0.05, kd=AUTO)
    written = write_report([run], tmp_path / "r.html")
    html = check_stands_alone(written.page)
    assert "my $scorer$ &lt;b&gt;" in html
    assert "&#39;" in html, "the folder is quoted in its command"


def test_text_is_escaped_and_markup_is_not() -> None:
    html = render_page('<a> "b"', Markup("<p>&amp;</p>"), [Section("x", "<i>", Markup("<b></b>"))])
    assert "<h1>&lt;a&gt; &#34;b&#34;</h1><p>&amp;</p>" in html
    assert "<h2>&lt;i&gt;</h2><b></b>" in html


def test_a_drawing_follows_the_page_and_its_files_do_not() -> None:
    def paint(figure: Any) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#0072b2")
        set_title(axes, "$5 & more words than fit in one line of a figure")

    drawing = draw("name", "what <it> shows", paint)
    assert 'aria-label="what &lt;it&gt; shows"' in drawing.inline
    assert "var(--s1)" in drawing.inline
    assert not any(colour in drawing.inline for colour in COLOURS)
    assert "$5 &amp; more words" in drawing.inline, "text stays text"
    assert "<style" not in drawing.inline
    assert b"var(" not in drawing.svg
    assert b"#0072b2" in drawing.svg
    assert draw("name", "what <it> shows", paint) == drawing, "the same bytes again"


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 20, 3), (300, 450, 3), (9, 9, 5)])
def test_images_are_embedded_as_png(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    head, _, content = data_uri(image).partition(",")
    assert head == "data:image/png;base64"
    decoded = Image.open(io.BytesIO(base64.b64decode(content)))
    if max(shape[:2]) > MAX_PIXELS:
        assert decoded.size == (MAX_PIXELS, 149)
    else:
        shown = image if shape[2] == 3 else image[:, :, 0]
        np.testing.assert_array_equal(np.asarray(decoded), shown)


def test_teacher_predictions_use_unaugmented_images(workspace: Path, digits: Dataset) -> None:
    folder = workspace / "students" / f"el2n-0.1-{AUTO}-0"
    student = RunRecord(folder, StudentResult.read(folder / "result.json"), {})
    ids = np.array([3, 1437, 0])
    predictions = predict_samples([student], digits, ids)
    assert isinstance(predictions, TeacherPredictions)
    assert sorted(predictions.by_id) == [0, 3, 1437]
    assert all(0 <= c < 10 and 0.1 <= p <= 1 for c, p in predictions.by_id.values())
    (workspace / "teachers" / "t" / "model.safetensors").write_bytes(b"broken")
    assert str(predict_samples([student], digits, ids)).startswith("the teacher cannot be loaded")
    assert "no run had a teacher" in str(predict_samples([], digits, ids))
