"""Take pictures of every page that the toolkit writes, at the width of a desktop and of a phone, for docs/pages.md.

    python -m benchmarks.screenshots

Two minutes on two cores; the digits that come with scikit-learn. It needs Chromium (`scripts/setup.sh browser`). The
pictures show the first screens of each page; docs/figures/ holds them.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import chdir
from pathlib import Path

from PIL import Image

import datapruning as dp
from benchmarks.figures import FIGURE_DIR
from datapruning.report import write_report
from datapruning.report.scores_page import write_scores_page
from datapruning.tools.diff.page import write_diff_page
from tests.helpers.browser import open_browser

WINDOWS = {"desktop": (1280, 1600), "phone": (390, 1600)}
COLOURS = 64
"""Colours of the pictures: they are a quarter of the size and look alike."""


def write_pages() -> dict[str, Path]:
    """Score, train and compare on the digits, and return the pages about it by the name of their kind.

    Paths are relative, because the pages name them.
    """
    workspace = Path("dprune-runs")
    data = dp.open_dataset("digits")
    context = dp.open_context(data, recipe="default", workspace=workspace)
    scores = [Path("scores") / f"{scorer}.npz" for scorer in ("random", "el2n", "forgetting")]
    for path in scores:
        dp.score(context, path.stem, out=path)
    for seed in (0, 1):
        for fraction in (0.1, 0.3):
            for path in scores[:2]:
                subset = dp.select(path, fraction=fraction)
                for weight in (0, "auto"):
                    dp.train(context, subset, kd_weight=weight, seed=seed, budget="steps")
        dp.train(context, fraction=1, kd_weight=0, seed=seed)
    issues = Path("label-issues.html")
    dp.find_label_issues(context, count=20, out=workspace / "label-issues", gallery=issues)
    return {
        "report": write_report([workspace], Path("report.html"), scores=scores).page,
        "inspect": write_scores_page(scores, Path("scores.html"), data=data),
        "diff": write_diff_page(scores[1], scores[2], Path("difference.html"), data=data),
        "label-issues": issues,
    }


def main() -> None:
    """Write the pages to a temporary folder and take the pictures."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    figures = FIGURE_DIR.resolve()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, chdir(folder):
        pages = write_pages()
        with open_browser(Path(folder) / "profile") as browser:
            for name, page in pages.items():
                for device, (width, height) in WINDOWS.items():
                    path = figures / f"page-{name}-{device}.png"
                    browser.open(page, width, height)
                    browser.screenshot(path)
                    Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)
                    print(path)


if __name__ == "__main__":
    main()
