"""Does stronger augmentation help a student, with soft labels and without? Same subset and budget, paired by seed.

    DPRUNE_DATA=... python -m benchmarks.stronger_views [--jobs 2]

Which views are compared here was decided on 5,000 pruned-away training samples (docs/views.md says what was tried). The
test set is looked at once, at the end of each run.
"""

from __future__ import annotations

from typing import Any

from benchmarks.common import mean_spread, publish, records, table
from benchmarks.view_rows import filled, paired
from datapruning.io.trial_store import Trial

REFERENCE = "flip, crop 2"
VIEWS: dict[str, dict[str, Any]] = {
    "none: the image as it is": {"flip": False, "crop": 0},
    "flip, crop 1": {"crop": 1},
    REFERENCE: {"crop": 2},
    "flip, crop 2, cutout 8": {"crop": 2, "cutout": 8},
    "flip, crop 1, CutMix 0.7": {"crop": 1, "cutmix": 0.7},
}
NONE, CROP_1, _, CUTOUT, CUTMIX = VIEWS
COUNT = 64
SEEDS = 5
CELLS: tuple[tuple[str, int, float, tuple[str, ...]], ...] = (
    ("0.02", 16, 0.9, tuple(VIEWS)),
    ("0.02", 16, 0.0, (NONE, REFERENCE, CUTMIX)),
    ("0.02", 256, 0.9, (CROP_1, REFERENCE, CUTMIX)),
    ("0.02", 256, 0.0, (REFERENCE, CUTMIX)),
    ("0.2", 16, 0.9, tuple(name for name in VIEWS if name != CUTOUT)),
    ("0.2", 16, 0.0, (NONE, REFERENCE, CUTMIX)),
)
"""Fraction, epochs, KD weight, views."""
COMMAND = "DPRUNE_DATA=... python -m benchmarks.stronger_views"


def row(fraction: str, epochs: int, weight: float, name: str, seed: int) -> dict[str, Any]:
    """Return the configuration of one run."""
    views = {"num_views": COUNT, **VIEWS[name]}
    return {"fraction": fraction, "epochs": epochs, "kd_weight": weight, "views": views, "seed": seed}


def main() -> None:
    grid = [row(f, e, w, name, seed) for seed in range(SEEDS) for f, e, w, names in CELLS for name in names]
    rows = filled(grid, "stronger views", __doc__)
    lines = []
    for fraction, epochs, weight, names in CELLS:

        def of(name: str, cell: tuple[str, int, float] = (fraction, epochs, weight)) -> list[Trial]:
            return [r for r in rows if r.config in [row(*cell, name, seed) for seed in range(SEEDS)]]

        for name in names:
            lines.append([
                f"{fraction} ({of(name)[0].result['kept']:,})", f"{epochs}", f"{weight:g}" if weight else "no KD", name,
                mean_spread([r.result["test_accuracy"] for r in of(name)]),
                "" if name == REFERENCE else mean_spread(paired(of(name), of(REFERENCE))),
            ])  # fmt: skip
    about = (
        "Test accuracy in percent of tinynet16 on uniformly random subsets of Fashion-MNIST; mean ± standard deviation over "
        "seeds (a seed draws subset, initialisation and order). Everything but the views is the same, seed by seed. The "
        f"teacher, tinynet16 on the full data, was trained with flip and crop 2. V = {COUNT}."
    )
    head = ["fraction (kept)", "epochs", "KD weight", "views", "test accuracy", "minus flip, crop 2, paired"]
    publish(
        "stronger_views", f"Stronger views for students, {SEEDS} seeds", COMMAND, f"{about}\n\n{table(head, lines)}",
        {"rows": records(rows)},
    )  # fmt: skip


if __name__ == "__main__":
    main()
