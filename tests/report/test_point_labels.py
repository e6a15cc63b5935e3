"""Labels beside points: all are written where there is room, and none lies over another."""

from itertools import combinations

from matplotlib.figure import Figure

from datapruning.report.point_labels import label_points


def axes_with(points: list[tuple[float, float, str]]):  # type: ignore[no-untyped-def]
    axes = Figure(figsize=(3.75, 3.5)).add_subplot()
    axes.plot([x for x, _, _ in points], [y for _, y, _ in points], "o")
    axes.set_xscale("log")
    return axes


def test_labels_of_distant_points_are_all_written() -> None:
    points = [(10.0**k, float(k), f"{k}0%") for k in range(1, 5)]
    axes = axes_with(points)
    assert label_points(axes, points, "#000000") == ["10%", "20%", "30%", "40%"]
    assert [text.get_text() for text in axes.texts] == ["10%", "20%", "30%", "40%"]


def test_labels_of_close_points_do_not_lie_over_one_another() -> None:
    points = [(100.0 * 1.01**k, 90 + 0.01 * k, f"{k}%") for k in range(9)] + [(1e4, 95.0, "100%")]
    axes = axes_with(points)
    written = label_points(axes, points, "#000000")
    assert 3 < len(written) < 10
    assert "100%" in written
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
