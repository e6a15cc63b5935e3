"""A page about how two scores files, or two subsets, of one dataset differ: in numbers, by class, and in images."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from datapruning.artifacts.scores import Scores
from datapruning.artifacts.subset import Subset
from datapruning.data.dataset import Dataset
from datapruning.errors import InvalidFile
from datapruning.io.atomic import write_text
from datapruning.report.figures import SERIES, Figure, plot
from datapruning.report.render import Section, check_page, render, render_page
from datapruning.report.sections.gallery import SampleImage, make_sample_image, path_lines
from datapruning.selection.draw import rank_descending
from datapruning.tools.diff.diff import diff, load_pair

NUM_IMAGES = 18
"""Images of each group."""
MAX_POINTS = 2000
"""Samples in the scatter plot."""
Ids = NDArray[np.int64]


def write_diff_page(a: Path, b: Path, out: Path, *, data: Dataset | None = None) -> Path:
    """Write a self-contained HTML page about how A and B differ; an older page there is replaced.

    Args:
        a: A scores file or a subset file.
        b: Another of the same kind.
        out: The page, a path that ends in .html.
        data: Their dataset, for classes and images; None: the page has neither.

    Raises:
        InvalidFile, IncompatibleInputs: As `diff`; or they are run folders.
        InvalidValue, OutputExists: As `check_page`.
    """
    check_page(out, "out")
    left, right = load_pair(a, b)
    if isinstance(left, Scores) and isinstance(right, Scores):
        figures, groups = [_rank_figure(left, right)], _moved_most(left, right)
    elif isinstance(left, Subset) and isinstance(right, Subset):
        figures, groups = [], _shared_and_not(left, right)
    else:
        raise InvalidFile(f"{a} and {b} are run folders, of which there is no page here; a report shows runs")
    lines = render("diff_lines.html", lines=diff(a, b, data=data), figures=figures)
    sections = [Section("differences", "Differences", lines, figures)]
    if data is not None:
        images = [(title, _images(ids, data, left, right)) for title, ids in groups if ids.size]
        sections.append(Section("images", "Images", render("diff_images.html", groups=images)))
    lead = render("diff_lead.html", a=a, b=b, dataset=left.meta.dataset, total=left.meta.total, has_data=data is not None)
    write_text(out, render_page(f"{left.meta.dataset}: A and B", lead, sections))
    return out


def _ranks(scores: Scores) -> Ids:
    """int64 [N], 0 for the sample that is kept first."""
    return np.argsort(rank_descending(scores.values), kind="stable")


def _moved_most(a: Scores, b: Scores) -> list[tuple[str, Ids]]:
    """The samples whose places in the two orders differ most."""
    later_in_b = _ranks(b) - _ranks(a)
    order = np.argsort(-later_in_b, kind="stable")
    first_by_a = order[later_in_b[order] > 0][:NUM_IMAGES]
    first_by_b = order[::-1][later_in_b[order[::-1]] < 0][:NUM_IMAGES]
    return [("Early in A's order, late in B's", first_by_a), ("Early in B's order, late in A's", first_by_b)]


def _shared_and_not(a: Subset, b: Subset) -> list[tuple[str, Ids]]:
    """Samples of A alone, of B alone, and of both: drawn at random where there are many."""
    groups = [
        ("Only in A", np.setdiff1d(a.indices, b.indices)), ("Only in B", np.setdiff1d(b.indices, a.indices)),
        ("In both", np.intersect1d(a.indices, b.indices)),
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    return [
        (f"{title}: {len(ids):,} samples", np.sort(rng.permutation(ids)[:NUM_IMAGES])) for title, ids in groups
    ]  # fmt: skip


def _images(ids: Ids, data: Dataset, a: Scores | Subset, b: Scores | Subset) -> list[SampleImage]:
    images = []
    for sample_id in map(int, ids):
        notes = [f"id {sample_id}", *path_lines(sample_id, data)]
        if isinstance(a, Scores) and isinstance(b, Scores):
            notes.insert(0, f"A {a.values[sample_id]:.3g} · B {b.values[sample_id]:.3g}")
        images.append(make_sample_image(sample_id, data, "", False, notes))
    return images


def _rank_figure(a: Scores, b: Scores) -> Figure:
    ranks = [_ranks(scores) / max(len(scores.values) - 1, 1) for scores in (a, b)]
    shown = np.sort(np.random.default_rng(0).permutation(len(a.values))[:MAX_POINTS])

    def paint(axes: Axes) -> None:
        axes.plot(100 * ranks[0][shown], 100 * ranks[1][shown], linestyle="none", marker="o", markersize=2, color=SERIES[0],
                  alpha=0.35)  # fmt: skip
        axes.set_xlabel(f"place in A's order ({a.scorer}), %")
        axes.set_ylabel(f"place in B's order ({b.scorer}), %")

    return plot("ranks", "Places of the samples in both orders", "0%: kept first", paint, 3.6)
