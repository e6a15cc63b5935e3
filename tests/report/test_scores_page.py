"""`dprune inspect --out` and `dprune diff --out`: pages about scores and subsets, with the right images."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datapruning.artifacts.metadata import ScoresMetadata, common_fields
from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import subset_from_ids
from datapruning.data.dataset import Dataset
from datapruning.report.format import percent
from datapruning.report.sections.gallery import data_uri
from tests.conftest import CommandResult
from tests.report.test_report import check_stands_alone


def images_of(html: str) -> list[str]:
    return re.findall(r'src="(data:[^"]*)"', html)


@pytest.fixture
def files(tmp_path: Path, digits: Dataset) -> list[Path]:
    """Write scores that rise with the id, and scores that fall."""
    paths = []
    for name, values in (("up", np.arange(digits.total)), ("down", -np.arange(digits.total))):
        scores = Scores(values.astype(np.float32), ScoresMetadata(**common_fields(digits), scorer=name, seed=0))
        paths.append(scores.save(tmp_path / f"{name}.npz"))
    return paths


def test_the_page_shows_both_ends_of_each_class_and_what_is_kept(
    dprune: Callable[..., CommandResult], files: list[Path], digits: Dataset, tmp_path: Path
) -> None:
    command = dprune("inspect", *files, "--out", "page.html", "--fraction", "0.1")
    assert command.code == 0
    html = check_stands_alone(tmp_path / "page.html")
    shown = images_of(html)
    assert len(shown) == 2 * digits.classes * 2 * 4
    zeros = np.flatnonzero(digits.train.labels == 0)
    expected = [*zeros[::-1][:4], *zeros[:4]]
    assert shown[:8] == [data_uri(digits.train.images[i]) for i in expected], "highest first, then lowest first"
    kept = digits.train.labels[-round(0.1 * digits.total) :]
    assert f"0: {(kept == 0).sum()} of {len(zeros)} are kept" in html
    assert "Random scores" not in html, "there are none"
    assert re.search("(up and down|down and up) correlate at .1.00", html)


def test_a_page_needs_scores_of_one_dataset(
    dprune: Callable[..., CommandResult], expect_refusal: Callable[..., str], files: list[Path], small_dataset: Dataset,
    digits: Dataset, tmp_path: Path,
) -> None:  # fmt: skip
    other = ScoresMetadata(**common_fields(small_dataset), scorer="other", seed=0)
    path = Scores(np.zeros(small_dataset.total, np.float32), other).save(tmp_path / "other.npz")
    assert "was made from generated" in expect_refusal("inspect", files[0], path, "--out", "p.html")
    assert "ends in .html" in expect_refusal("inspect", files[0], "--out", "p.pdf")
    subset = subset_from_ids(np.arange(9), digits, "x").save(tmp_path / "subset.npz")
    assert "is no scores file" in expect_refusal("inspect", subset, "--out", "p.html")
    assert not list(tmp_path.glob("p.*"))
    command = dprune("inspect", path, "--out", "p.html")
    assert command.code == 0
    assert "no images: unknown dataset 'generated'" in command.err
    html = check_stands_alone(tmp_path / "p.html")
    assert not images_of(html)
    assert "there are no classes and no images" in html


def test_a_page_without_the_dataset_has_the_classes_of_the_scores_labels(
    dprune: Callable[..., CommandResult], small_dataset: Dataset, tmp_path: Path
) -> None:
    meta = ScoresMetadata(**common_fields(small_dataset), scorer="up", class_names=small_dataset.class_names)
    labels = small_dataset.train.labels.astype(np.int32)
    Scores(np.arange(small_dataset.total, dtype=np.float32), meta, labels=labels).save(tmp_path / "up.npz")
    assert dprune("inspect", "up.npz", "--out", "p.html", "--fraction", "0.5").code == 0
    html = check_stands_alone(tmp_path / "p.html")
    assert "What keeping 50% keeps of each class" in html
    kept, total = (labels[-60:] == 1).sum(), (labels == 1).sum()
    assert f"{kept} ({percent(kept / total)})" in html
    assert "there are no images" in html


def test_diff_shows_the_samples_that_moved_most(
    dprune: Callable[..., CommandResult], files: list[Path], digits: Dataset, tmp_path: Path
) -> None:
    assert dprune("diff", *files, "--out", "page.html").code == 0
    shown = images_of(check_stands_alone(tmp_path / "page.html"))
    assert len(shown) == 36
    assert shown[0] == data_uri(digits.train.images[-1]), "first in A's order, last in B's"
    assert shown[18] == data_uri(digits.train.images[0])


def test_diff_shows_what_two_subsets_do_not_share(
    dprune: Callable[..., CommandResult], digits: Dataset, tmp_path: Path
) -> None:
    for name, ids in (("a", np.arange(10)), ("b", np.arange(8, 13))):
        subset_from_ids(ids, digits, name).save(tmp_path / f"{name}.npz")
    assert dprune("diff", "a.npz", "b.npz", "--out", "page.html").code == 0
    html = check_stands_alone(tmp_path / "page.html")
    assert [title in html for title in ("Only in A: 8 samples", "Only in B: 3 samples", "In both: 2 samples")] == [True] * 3
    assert images_of(html) == [data_uri(digits.train.images[i]) for i in [*range(8), 10, 11, 12, 8, 9]]
