"""Labels beside the points of a figure, none over another."""

from collections.abc import Iterable

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

OFFSETS = ((-5, 4, "right"), (5, 4, "left"), (-5, -11, "right"), (5, -11, "left"))
"""Where a label may lie, in points from its point, and its alignment; the first place that is free is taken."""


def label_points(axes: Axes, points: Iterable[tuple[float, float, str]], colour: str, size: float = 7.5) -> list[str]:
    """Write a label beside each point (x, y, text); one that finds no free place is left out. Returns those written.

    The axes have all lines, scales and margins already.
    """
    axes.autoscale_view()
    taken: list[Bbox] = []
    written = []
    for x, y, text in points:
        for dx, dy, side in OFFSETS:
            label = axes.annotate(
                text, (x, y), (dx, dy), textcoords="offset points", ha=side, fontsize=size, color=colour
            )  # fmt: skip
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                written.append(text)
                break
            label.remove()
    return written
