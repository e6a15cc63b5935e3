"""Memorization for a fraction of the price: our estimate against a plain ensemble of 400 members.

    DPRUNE_DATA=... python -m benchmarks.memorization [--jobs 2]

A slice of 4,000 Fashion-MNIST samples. The reference: 400 members, each trained to about 100% on a random 70%, right or
wrong counted as Feldman and Zhang (2020) do. Members are rows of a store: stop it and start it again.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
from pathlib import Path

import numpy as np

import datapruning as dp
from benchmarks.common import RUNS, data_folder
from datapruning.context import Context
from datapruning.data.dataset import Dataset, Split
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.members import open_ensemble
from datapruning.hashing import shuffled
from datapruning.memory import keep_freed_memory

SAMPLES, SLICE_KEY = 4000, 0x5A11CE
PLAIN = ("member.model=tinynet16", "member.batch_size=64", "member.epochs=20")
"""The recipe of the reference: the first of a few tried that fits its samples (99.9%)."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """An ensemble of this benchmark."""

    seed: int
    members: int
    settings: tuple[str, ...]


KINDS = {"reference": Kind(0, 400, PLAIN)}


def open_slice(settings: tuple[str, ...], workspace: Path) -> Context:
    """The slice, on one thread."""
    data = dp.open_dataset("fashion-mnist", root=data_folder())
    ids = np.sort(shuffled(np.arange(data.total), SLICE_KEY)[:SAMPLES])
    train = Split(data.train.images[ids], data.train.labels[ids])
    part = Dataset(f"fashion-mnist-{SAMPLES}", train, data.test, data.class_names)
    return dp.open_context(
        part, recipe="fashion-mnist", device="cpu", loader="resident", threads=1, changes=settings, workspace=workspace
    )


def ensemble(kind: str, workspace: Path) -> SubsetEnsemble:
    """One of the ensembles; members that are missing are trained."""
    what = KINDS[kind]
    keep_freed_memory()
    return open_ensemble(open_slice((*what.settings, f"ensemble.members={what.members}"), workspace), what.seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="processes that train members")
    parser.add_argument("--workspace", type=Path, default=RUNS / "memorization")
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    for kind in KINDS:
        others = [spawn.Process(target=ensemble, args=(kind, args.workspace)) for _ in range(args.jobs - 1)]
        for process in others:
            process.start()
        ensemble(kind, args.workspace)


if __name__ == "__main__":
    main()
