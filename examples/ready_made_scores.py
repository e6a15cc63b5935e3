"""From ready-made scores to a student: a subset is chosen without any image, and trains where the images are.

The scores come with the package, with labels: classes are balanced before the dataset is there. Call `choose` where you
like, and `train` on the machine that has the dataset (see `$DPRUNE_DATA`).
"""

from pathlib import Path

import datapruning as dp


def choose(scores: str = "cifar100:forgetting", fraction: float = 0.3) -> dp.Subset:
    """Keep a fraction of each class by ready-made scores; the subset is written to `subset.npz`."""
    return dp.select(scores, fraction, balance="class", out="subset.npz")


def train(data: str = "cifar100", changes: tuple[str, ...] = ()) -> dp.FinishedRun:
    """Train a student on the subset, with labels alone; another dataset than that of the scores is refused."""
    return dp.train(dp.open_context(dp.open_dataset(data), changes=changes), "subset.npz", kd_weight=0)


if __name__ == "__main__":
    subset = choose()
    print(f"{subset} of {subset.meta.dataset}: {Path('subset.npz').resolve()}")
    student = train()
    print(f"{student.test_accuracy:.1f}% on the test set")
