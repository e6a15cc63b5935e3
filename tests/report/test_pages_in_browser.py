"""Every page in headless Chromium: no error, nothing loaded from outside, nothing wider than a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import datapruning as dp
from datapruning.report import write_report
from datapruning.report.scores_page import write_scores_page
from datapruning.tools.diff.page import write_diff_page
from tests.helpers.browser import WIDE_ELEMENTS, Browser, open_browser
from tests.helpers.image_files import make_image_folder

pytestmark = pytest.mark.slow
PHONE, DESKTOP = 390, 1280


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Write one page of each kind about a folder of images with long names."""
    folder = tmp_path_factory.mktemp("pages")
    root = make_image_folder(folder / ("a-dataset-with-a-rather-long-name" * 2))
    data = dp.open_dataset(str(root), image_size=16, workspace=folder / "w")
    context = dp.open_context(data, workspace=folder / "w", device="cpu")
    for table in ("train", "teacher", "proxy"):
        context = context.with_settings(table, epochs=2, model="tinynet8")
    dp.score(context, "el2n", out=folder / "el2n.npz")
    for fraction, weight in ((0.5, 0.0), (0.5, 0.9), (1, 0.0)):
        dp.train(context, fraction=fraction, kd_weight=weight)
    dp.score(context, "forgetting", out=folder / "forgetting.npz")
    scores = [folder / "el2n.npz", folder / "forgetting.npz"]
    return {
        "report": write_report([folder / "w"], folder / "report.html").page,
        "scores": write_scores_page(scores, folder / "scores.html", data=data),
        "difference": write_diff_page(*scores, folder / "difference.html", data=data),
    }


def check_page(browser: Browser, page: Path, width: int) -> None:
    for scheme in ("light", "dark"):
        browser.open(page, width, scheme=scheme)
        assert browser.messages == []
        assert browser.loaded == [page.resolve().as_uri()]
        assert browser.evaluate(WIDE_ELEMENTS) == []
        assert browser.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_pages_load_nothing_log_nothing_and_fit(browser: Browser, pages: dict[str, Path], width: int) -> None:
    for page in pages.values():
        check_page(browser, page, width)


def test_the_accuracy_stays_in_sight_on_a_phone(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["report"], PHONE)
    for position in ("0", "box.scrollWidth"):
        browser.evaluate(f"box = document.querySelector('#summary .scroll'); box.scrollLeft = {position}")
        cell = "box.querySelector('td.sticky').getBoundingClientRect()"
        left, right = browser.evaluate(f"[{cell}.left, {cell}.right]")
        assert 0 <= left < right <= PHONE


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("<img src='other.png'>", "loads"),
        ("<p style='width: 900px'>x</p>", "wide"),
        ("<script>undefined_function()</script>", "logs"),
    ],
)
def test_a_faulty_page_is_noticed(browser: Browser, tmp_path: Path, body: str, fault: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta name=viewport content='width=device-width'><body>{body}")
    with pytest.raises(AssertionError):
        check_page(browser, page, PHONE)
