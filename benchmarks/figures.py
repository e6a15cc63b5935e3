"""Draw the figures of README and docs/concepts.md and write them to docs/figures/.

    python -m benchmarks.figures

`kept` and `weights` are drawn from the committed rows of `benchmarks.cifar_findings` and `benchmarks.cifar_regret`. The
other figures need one scoring and one teacher on the digits, which takes half a minute to train.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn

import datapruning as dp
from benchmarks.cifar_findings import AT_T4, FRACTIONS, NO_KD, SAMPLES
from benchmarks.cifar_regret import JUDGE
from benchmarks.class_sets import JUDGED_PRIOR
from benchmarks.committed import CommittedRows
from benchmarks.kd_grid import Cell, Point, auto, fixed
from datapruning.artifacts.scores import Scores
from datapruning.evidence.recording import Recording
from datapruning.io.atomic import write_text
from datapruning.report.figures import GRID, INK, MARKERS, MUTED, SERIES, add_legend, draw, fraction_axis
from datapruning.report.format import percent
from datapruning.runs.context import Context
from datapruning.teachers.load import load_teacher
from datapruning.utils.hashing import config_hash

FIGURE_DIR = Path(__file__).parent.parent / "docs" / "figures"
KEPT_FRACTION = 0.3


def accuracies(fraction: str, point: Point | None) -> list[float]:
    """Test accuracies of students on random subsets, of a candidate or (None) of `--kd-weight auto`; no row, no value."""
    rows = {**CommittedRows("cifar_regret").read(), **CommittedRows("cifar_findings").read()}
    cell = Cell("random", fraction, SAMPLES[fraction])
    configs = [fixed(*run, cell, point) if point else auto(*run, cell, JUDGED_PRIOR.name) for run in JUDGE]
    present = [rows.get(config_hash(config, 16)) for config in configs]
    return [row["result"]["test_accuracy"] for row in present if row is not None]


def curve(axes: Axes, x: Sequence[float], runs: Sequence[Sequence[float]], k: int, label: str, line: str = "-") -> None:
    """Plot means with standard deviations as error bars."""
    spread = [statistics.stdev(run) for run in runs]
    mean = [statistics.mean(run) for run in runs]
    axes.errorbar(x, mean, yerr=spread, color=SERIES[k], marker=MARKERS[k], ls=line, label=label)


def paint_kept(figure: Figure) -> None:
    """Draw accuracy against the fraction of random subsets, with a teacher and without."""
    axes = figure.subplots()
    for k, (point, label) in enumerate(((None, "auto, with a teacher"), (NO_KD, "labels alone"))):
        runs = {float(f): values for f in FRACTIONS if len(values := accuracies(f, point)) == len(JUDGE)}
        curve(axes, list(runs), list(runs.values()), k, label, ":" if point else "-")
    axes.set(ylabel="test accuracy, %")
    fraction_axis(axes, [float(f) for f in FRACTIONS])
    add_legend(figure, axes)


def paint_weights(figure: Figure) -> None:
    """Draw accuracy against the KD weight, one line per fraction, relative to the best weight of that fraction."""
    axes = figure.subplots()
    for k, fraction in enumerate(FRACTIONS):
        runs = [accuracies(fraction, point) for point in AT_T4.values()]
        if all(len(values) == len(JUDGE) for values in runs):
            best = max(statistics.mean(values) for values in runs)
            curve(axes, list(AT_T4), [[v - best for v in run] for run in runs], k, f"keeping {percent(float(fraction))}")
    axes.set(xlabel="KD weight: 0 labels alone, 1 teacher alone", ylabel="points behind the best weight")
    add_legend(figure, axes)


def paint_flow(figure: Figure) -> None:
    """Draw the data flow from the full data to a student."""
    axes = figure.subplots()
    axes.set(xlim=(0, 100), ylim=(0, 34))
    axes.axis("off")
    boxes = {
        "data": (2, 13, "all the data"),
        "evidence": (22, 23, "evidence\nper-sample outputs\nof short trainings"),
        "scores": (45, 23, "scores\none number per sample,\nhigher = keep first"),
        "subset": (67, 23, "subset\nthe fraction\nthat is kept"),
        "teacher": (22, 3, "teacher\ntrained on\nall the data"),
        "soft": (50, 3, "soft labels\nteacher outputs\nfor each view"),
        "student": (86, 13, "student"),
    }
    wide = {"data": 13, "student": 12, "subset": 14, "teacher": 16}
    middle = {}
    for name, (x, y, text) in boxes.items():
        width = wide.get(name, 18)
        colour = SERIES[0] if name in ("evidence", "scores", "subset") else SERIES[1] if name in ("teacher", "soft") else INK
        axes.add_patch(
            FancyBboxPatch((x, y), width, 8, boxstyle="round,pad=0.4,rounding_size=1", fc="none", ec=colour, lw=1.4)
        )
        head, _, rest = text.partition("\n")
        axes.text(x + width / 2, y + (6.2 if rest else 4), head, ha="center", va="center", weight="bold")
        axes.text(x + width / 2, y + 2.6, rest, ha="center", va="center", size=7.5, linespacing=1.15)
        middle[name] = (x, x + width, y + 4)
    for a, b in (
        ("data", "evidence"), ("evidence", "scores"), ("scores", "subset"), ("subset", "student"), ("data", "teacher"),
        ("teacher", "soft"), ("soft", "student"),
    ):  # fmt: skip
        start, end = (middle[a][1] + 0.8, middle[a][2]), (middle[b][0] - 0.8, middle[b][2])
        axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, color=MUTED, lw=1.2))


def paint_scores(figure: Figure, data: Any, scores: Scores) -> None:
    """Draw the histogram of scores with the kept samples, and the images with the highest and lowest scores."""
    histogram, gallery = figure.subplots(1, 2, width_ratios=(1, 1))
    subset = dp.select(scores, KEPT_FRACTION)
    edges = np.linspace(0, float(scores.values.max()), 40)
    histogram.hist(scores.values, edges, color=GRID, label=f"all {data.total:,} digits")
    histogram.hist(
        scores.values[subset.indices], edges, color=SERIES[0], label=f"kept: the highest {percent(KEPT_FRACTION)}"
    )
    histogram.set(xlabel="EL2N score", ylabel="digits", title="Scores become a subset")
    order = np.argsort(-scores.values, kind="stable")
    show(gallery, [data.train.images[ids] for ids in (order[:16], order[-16:])])
    gallery.set_title("First (hard) and last (easy)")
    add_legend(figure, histogram)


def show(axes: Axes, groups: Sequence[Any], columns: int = 8) -> None:
    """Show groups of small grey images, each uint8 [n, h, w, 1], in rows of `columns` with a gap between groups."""
    axes.axis("off")
    top = 0.0
    for images in groups:
        for k, image in enumerate(images[..., 0]):
            x, y = k % columns, top + k // columns
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=255, extent=(x, x + 0.92, y + 0.92, y), interpolation="nearest")
        top += -(-len(images) // columns) + 0.5
    axes.set(xlim=(0, columns), ylim=(top - 0.5, 0), aspect="equal")


def paint_evidence(figure: Figure, recording: Recording, chosen: dict[str, int]) -> None:
    """Draw the label probability by epoch for a few samples."""
    axes = figure.subplots()
    (train_pass,) = recording.dynamics().train_passes
    for k, (name, sample) in enumerate(chosen.items()):
        probability = np.exp(-np.asarray(train_pass["loss"])[:, sample])
        axes.plot(range(1, 1 + len(probability)), probability, color=SERIES[k], marker=MARKERS[k], ms=3.5, label=name)
    axes.set(xlabel="epoch of the proxy's training", ylabel="probability of the label", ylim=(-0.03, 1.03))
    axes.set_xticks(range(2, 1 + len(probability), 2))
    add_legend(figure, axes)


def paint_views(figure: Figure, context: Context, network: nn.Module, sample: int) -> None:
    """Draw one digit, four of its views, and the teacher's probabilities for each."""
    data = context.data
    image = torch.from_numpy(data.train.images[[sample]])
    label = int(data.train.labels[sample])
    panels = figure.subplots(2, 5, height_ratios=(1, 1.1))
    mean, std = context.views.mean[0], context.views.std[0]
    ids = np.array([sample])
    for view, (above, below) in enumerate(panels.T):
        shown = context.views.normalise(image) if view == 0 else context.views.apply(image, ids, view)
        above.imshow(shown[0, 0] * std + mean, cmap="gray_r", vmin=0, vmax=255)
        above.set(xticks=[], yticks=[])
        above.grid(visible=False)
        above.set_title("original" if view == 0 else f"view {view}", weight="normal", size=9)
        with torch.inference_mode():
            logits = network(shown)[0]
        for k, (t, colour) in enumerate(((1, SERIES[1]), (4, SERIES[0]))):
            probabilities = torch.softmax(logits / t, 0).numpy()
            below.bar(np.arange(10) + 0.4 * k - 0.2, probabilities, 0.4, color=colour, label=f"teacher, T = {t}")
        below.set(ylim=(0, 1), xticks=range(10), yticks=[0, 0.5, 1] if view == 0 else [])
        below.tick_params(labelsize=6.5)
    panels[1, 0].set_ylabel(f"probability; label: {label}", size=8)
    add_legend(figure, panels[1, 0])


def save(name: str, alt: str, paint: Callable[[Figure], None], width: float = 7.2, height: float = 3.2) -> None:
    """Draw a figure and write it as SVG."""
    write_text(FIGURE_DIR / f"{name}.svg", draw(name, alt, paint, height, width).svg.decode())


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    save("kept", "Test accuracy against the fraction that is kept", paint_kept, 5.2, 3.2)
    save("weights", "Accuracy against the KD weight", paint_weights, 4.6, 3.2)
    save("flow", "From all the data to a student", paint_flow, 7.2, 2.5)
    with tempfile.TemporaryDirectory() as folder:
        context = dp.open_context(dp.open_dataset("digits"), loader="memory", device="cpu", workspace=folder)
        scores, teacher = dp.score(context, "el2n"), dp.teach(context)
        recording = dp.open_recording(str(scores.meta.recording))
        save("scores", "A histogram of scores", lambda figure: paint_scores(figure, context.data, scores), 7.2, 3.0)
        chosen = chosen_samples(scores, recording)
        save("evidence", "Probability of the label by epoch", lambda figure: paint_evidence(figure, recording, chosen), 4.6)
        network = load_teacher(teacher.folder, context.data, torch.device("cpu")).model.eval()
        with torch.inference_mode():
            logits = network(context.views.normalise(torch.from_numpy(context.data.train.images)))
        unsure = int(torch.softmax(logits, 1).amax(1).argmin())
        save("views", "Views and soft labels", lambda figure: paint_views(figure, context, network, unsure))


def chosen_samples(scores: Scores, recording: Recording) -> dict[str, int]:
    """Return the ids of the digits with the lowest and the highest score, and of the digit forgotten most often."""
    (train_pass,) = recording.dynamics().train_passes
    correct = np.asarray(train_pass["correct"]).astype(int)
    forgotten = int((np.diff(correct, axis=0) < 0).sum(0).argmax())
    return {"easy": int(scores.values.argmin()), "hard": int(scores.values.argmax()), "forgotten repeatedly": forgotten}


if __name__ == "__main__":
    main()
