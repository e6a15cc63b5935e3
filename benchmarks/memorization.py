"""Memorization at a fraction of the cost: our estimate and the plain one against ensembles 3 and 10 times as large.

    DPRUNE_DATA=... python -m benchmarks.memorization [--jobs 2]

A slice of 4,000 Fashion-MNIST samples. 400 members are trained to about 100% on a random 70%. Quarters take turns: the
other 300 are the reference, right and wrong counted as Feldman and Zhang (2020) do; estimates come from the 100 left, a
third of the reference's cost, or from 30 of them, a tenth. Another 200 members are trained half as long each, at a third
of the cost together, 60 of them at a tenth. Members are rows of a store: stop it and start it again.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import datapruning as dp
from benchmarks.common import RUNS, data_folder, mean_spread, publish, table
from datapruning.data.dataset import Dataset, Split
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.members import open_ensemble
from datapruning.runs.context import Context
from datapruning.scorers import get_scorer
from datapruning.utils.hashing import hash_permutation
from datapruning.utils.malloc import keep_freed_memory

SAMPLES, SLICE_KEY = 4000, 0x5A11CE
PLAIN = ("ensemble_member.model=tinynet16", "ensemble_member.batch_size=64", "ensemble_member.epochs=20")
"""The recipe of the reference: the first of a few tried that fits its samples (99.9%)."""
SHORT = ("ensemble_member.model=tinynet16", "ensemble_member.batch_size=32", "ensemble_member.epochs=10")
QUARTER, TENTH, SHORT_TENTH, SPLITS = 100, 30, 60, 20
ESTIMATORS = ("memorization", "memorization-plain")
COMMAND = "DPRUNE_DATA=... python -m benchmarks.memorization"


@dataclasses.dataclass(frozen=True)
class Kind:
    """The settings of an ensemble of this benchmark."""

    seed: int
    members: int
    settings: tuple[str, ...]


KINDS = {"long": Kind(0, 400, PLAIN), "short": Kind(2, 200, SHORT)}


def open_slice(settings: tuple[str, ...], workspace: Path) -> Context:
    """Open a context on the slice of the data, with one thread."""
    data = dp.open_dataset("fashion-mnist", root=data_folder())
    ids = np.sort(hash_permutation(np.arange(data.total), SLICE_KEY)[:SAMPLES])
    train = Split(data.train.images[ids], data.train.labels[ids])
    part = Dataset(f"fashion-mnist-{SAMPLES}", train, data.test, data.class_names)
    return dp.open_context(
        part, recipe="fashion-mnist", device="cpu", loader="memory", threads=1, changes=settings, workspace=workspace
    )


def ensemble(kind: str, workspace: Path) -> SubsetEnsemble:
    """Return an ensemble, training its missing members."""
    what = KINDS[kind]
    keep_freed_memory()
    return open_ensemble(open_slice((*what.settings, f"ensemble.num_members={what.members}"), workspace), what.seed)


def part_of(ensemble: SubsetEnsemble, members: list[int]) -> SubsetEnsemble:
    """Return an ensemble of some members."""
    return dataclasses.replace(ensemble, paths=tuple(ensemble.paths[k] for k in members))


def estimate(name: str, members: SubsetEnsemble) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return scores and the reliability estimated from their standard errors."""
    values, _ = get_scorer(name)(members)
    return np.asarray(values)


def agreement(
    one: np.ndarray[tuple[int], np.dtype[np.float32]], other: np.ndarray[tuple[int], np.dtype[np.float32]]
) -> float:
    """Return Spearman's rank correlation with average ranks for ties."""
    return float(spearmanr(one, other).statistic)


def reliability(reference: SubsetEnsemble) -> float:
    """Return the reliability of the reference: rank correlation of its halves, Spearman-Brown corrected."""
    random, blocks, correlations = np.random.default_rng(0), np.arange(len(reference)).reshape(-1, 10), []
    for _ in range(SPLITS):
        order = random.permutation(len(blocks))
        halves = [blocks[part].ravel().tolist() for part in (order[: len(order) // 2], order[len(order) // 2 :])]
        correlations.append(agreement(*(estimate("memorization-plain", part_of(reference, half)) for half in halves)))
    half = float(np.mean(correlations))
    return 2 * half / (1 + half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="processes that train members")
    parser.add_argument("--workspace", type=Path, default=RUNS / "memorization")
    args = parser.parse_args()
    spawn, ensembles = multiprocessing.get_context("spawn"), dict[str, SubsetEnsemble]()
    for kind in KINDS:
        others = [spawn.Process(target=ensemble, args=(kind, args.workspace)) for _ in range(args.jobs - 1)]
        for process in others:
            process.start()
        ensembles[kind] = ensemble(kind, args.workspace)
    long, short = ensembles["long"], ensembles["short"]
    shares: dict[tuple[str, str], list[float]] = {}
    reliable, never = [], []
    for first in range(0, len(long), QUARTER):
        rest = list(range(first, first + QUARTER))
        reference = part_of(long, [k for k in range(len(long)) if k not in rest])
        truth = estimate("memorization-plain", reference)
        reliable.append(reliability(reference))
        never.append(float((truth <= 0).mean()))
        sources = {
            "a third": part_of(long, rest), "a third, short members": short, "a tenth": part_of(long, rest[:TENTH]),
            "a tenth, short members": part_of(short, list(range(SHORT_TENTH))),
        }  # fmt: skip
        for cost, members in sources.items():
            for name in ESTIMATORS:
                share = agreement(estimate(name, members), truth) / reliable[-1] ** 0.5
                shares.setdefault((cost, name), []).append(share)
    costs = list(dict.fromkeys(cost for cost, _ in shares))
    counts = {
        "a third": QUARTER, "a third, short members": len(short), "a tenth": TENTH, "a tenth, short members": SHORT_TENTH,
    }  # fmt: skip
    lines = [[cost, f"{counts[cost]}", *(mean_spread(shares[cost, name], 3) for name in ESTIMATORS)] for cost in costs]
    fits = {kind: np.mean([m.correct[m.in_subset].mean() for m in members]) for kind, members in ensembles.items()}
    seconds, attainable = long.cost.seconds / len(long), np.mean(reliable) ** 0.5
    body = (
        f"{SAMPLES:,} Fashion-MNIST samples, tinynet16, members on 70% each; the long ones (20 epochs, {seconds:.0f} s "
        f"here) fit {fits['long']:.1%} of them, the short ones (10 epochs) {fits['short']:.1%}. References of 300 long "
        f"members: rank correlation with another like it {mean_spread(reliable, 3)} (from split halves), so at most its "
        "square root, "
        f"{attainable:.3f}, can be reached; {np.mean(never):.0%} of the samples have no memorization at all there.\n\n"
        "Rank correlation with the reference, as a share of what is attainable; mean ± standard deviation over the four "
        "references (of the short members: the same members against four references). Cost: samples seen in training, as a "
        "share of the reference's; each member is also looked at once, 14,000 forward passes.\n\n"
        + table(["cost", "members", "`memorization` (ours)", "`memorization-plain`"], lines)
        + "\n\nThe kernel's width was chosen on other members (80 of 10 epochs, 133 of 6) of the same slice."
    )  # fmt: skip
    data = {
        "reliability": reliable, "shares": [{"cost": c, "scorer": n, "shares": s} for (c, n), s in shares.items()],
        "members": {kind: [dataclasses.asdict(m.cost) for m in members] for kind, members in ensembles.items()},
    }  # fmt: skip
    publish("memorization", "Memorization at a third and a tenth of the price", COMMAND, body, data)


if __name__ == "__main__":
    main()
