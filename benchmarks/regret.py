"""Does `--kd-weight auto` find the weight as well as an exhaustive grid? On Fashion-MNIST, in seven conditions.

    DPRUNE_DATA=... python -m benchmarks.regret [--jobs 2]

The oracle picks the best weight of the grid by TEST accuracy on half the seeds and is measured on the other half, both
ways: the best of several noisy means flatters itself on the seeds it was picked on. `auto` never sees the test set.
"""

from __future__ import annotations

import statistics
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import mean_spread, publish, records, table
from benchmarks.tiny import filled, row

GRID = (0.0, 0.3, 0.6, 0.9, 1.0)
SEEDS = tuple(range(6))
CONDITIONS = {
    "random": "random",
    "wrong": "random, 20% wrong labels",
    "el2n": "EL2N",
}
CELLS = [(condition, fraction) for fraction in ("0.02", "0.2") for condition in CONDITIONS] + [("random", "1")]
COMMAND = "DPRUNE_DATA=... python -m benchmarks.regret"
Accuracies = dict[tuple[str, str], dict[float | str, NDArray[np.float64]]]


def regrets(fixed: NDArray[np.float64], auto: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return oracle minus auto by seed: each half of the seeds against the best weight of the other half.

    Args:
        fixed: accuracies [weights, seeds].
        auto: accuracies [seeds].
    """
    halves = np.arange(len(auto)) % 2
    picked = [fixed[:, halves != half].mean(1).argmax() for half in (0, 1)]
    return np.array([fixed[picked[half], seed] for seed, half in enumerate(halves)]) - auto


def bootstrap(per_cell: list[NDArray[np.float64]], draws: int = 10_000) -> tuple[float, float]:
    """Return the 95% bootstrap interval of the mean over cells, with seeds resampled in each cell."""
    random = np.random.default_rng(0)
    means = [cell[random.integers(0, len(cell), (draws, len(cell)))].mean(1) for cell in per_cell]
    low, high = np.quantile(np.mean(means, axis=0), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    configs = [row(c, f, w, seed) for seed in SEEDS for c, f in CELLS for w in (*GRID, "auto")]
    rows = filled(configs, "regret", __doc__)
    accuracies: Accuracies = defaultdict(dict)
    autos = defaultdict(list)
    for cell in CELLS:
        for weight in (*GRID, "auto"):
            matching = [
                r for r in rows if (r.config["condition"], r.config["fraction"], r.config["kd_weight"]) == (*cell, weight)
            ]
            accuracies[cell][weight] = np.array([r.result["test_accuracy"] for r in matching])
            if weight == "auto":
                autos[cell] = matching
    lines, per_cell = [], []
    for cell in CELLS:
        regret = regrets(np.stack([accuracies[cell][w] for w in GRID]), accuracies[cell]["auto"])
        per_cell.append(regret)
        results = [r.result for r in autos[cell]]
        chosen = ", ".join(sorted(f"{r['kd_weight']:g}{'' if r['confidence_weighting'] else '*'}" for r in results))
        cost = statistics.mean(1 + r["kd_weight_search"]["cost"] for r in results)
        lines.append([
            f"{cell[1]}, {CONDITIONS[cell[0]]}", *(f"{accuracies[cell][w].mean():.2f}" for w in GRID),
            mean_spread([float(a) for a in accuracies[cell]["auto"]]),
            f"{regret.mean():+.2f} ± {regret.std(ddof=1):.2f}", chosen,
            f"{results[0]['samples_seen']:,}", f"{cost:.2f}",
        ])  # fmt: skip
    low, high = bootstrap(per_cell)
    means = [float(cell_regrets.mean()) for cell_regrets in per_cell]
    over_cells = {w: statistics.mean(float(accuracies[cell][w].mean()) for cell in CELLS) for w in (*GRID, "auto")}
    head = ["fraction, condition", *(f"a={w:g}" for w in GRID), "auto", "oracle - auto", "weights chosen", "samples seen",
            "cost in trainings"]  # fmt: skip
    body = (
        f"Test accuracy in percent, mean over {len(SEEDS)} paired seeds (a seed draws subset, initialisation and order), "
        "± standard deviation. a=... are fixed KD weights at T=4. The oracle is the best of them, picked on half the seeds "
        "and measured on the other half, both ways; negative regret: auto is ahead of it. With wrong labels the teacher and "
        "the search see them too, the test set is clean. Cost: the whole auto run, probes and validation included, "
        "soft labels apart; a forward pass counts as a third of a training pass. * labels at their word.\n\n"
        f"{table(head, lines)}\n\n"
        f"**Oracle minus auto, mean over cells: {statistics.mean(means):+.2f} points, 95% interval {low:+.2f} to "
        f"{high:+.2f}; worst cell {max(means):+.2f}.**\n\n"
        "Mean over all cells: "
        + ", ".join(f"{'auto' if w == 'auto' else f'a={w:g}'} {value:.2f}" for w, value in over_cells.items())
        + "."
    )
    publish("regret", "KD weight auto against an exhaustive grid", COMMAND, body, {"rows": records(rows)})


if __name__ == "__main__":
    main()
