"""Scores, subsets and other artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.fuzz_readers.reader import DATA, NONE, Reader, floats, inspects
from datapruning.artifacts.influence import Influence, load_influence
from datapruning.artifacts.label_issues import LabelIssue, LabelIssues, load_label_issues
from datapruning.artifacts.metadata import (
    InfluenceMetadata,
    LabelIssuesMetadata,
    PredProbsMetadata,
    ScoresMetadata,
    common_fields,
)
from datapruning.artifacts.pred_probs import PredProbs
from datapruning.artifacts.scores import Scores, load_scores
from datapruning.artifacts.subset import load_subset, subset_from_ids
from datapruning.config.ensemble import EnsembleConfig
from datapruning.config.sparsity import SparsityConfig
from datapruning.config.training import TrainConfig
from datapruning.evidence.ensemble import Member, read_member, write_member
from datapruning.io.tensors import load_tensors, save_tensors
from datapruning.runs.result import TeacherResult
from datapruning.runs.training_records import PrunedLayer, SparsityRecord
from datapruning.training.sparsity.export import load_sparse, save_sparse
from datapruning.training.sparsity.masks import Masks, load_masks
from datapruning.utils.cost import ComputeCost


def make_scores(folder: Path) -> None:
    meta = ScoresMetadata(**common_fields(DATA), scorer="made-up", sign="as it is", seed=0, unreadable=(3, 5))
    meta = meta.model_copy(update={"class_names": DATA.class_names})
    labels, images = np.arange(40, dtype=np.int32) % 3, np.arange(40, dtype=np.uint64)
    Scores(floats(40), meta, np.abs(floats(40)), labels, images).save(folder / "scores.npz")


def make_subset(folder: Path) -> None:
    subset_from_ids(np.arange(0, 40, 3), DATA, "made up").save(folder / "subset.npz")


def make_influence(folder: Path) -> None:
    ids, top = np.arange(6, dtype=np.int64), np.zeros((20, 2), np.int64)
    meta = InfluenceMetadata(
        **common_fields(DATA), tests=20, top=2, pairs="all", least_memorization=0.25, least_influence=0.15, members=4,
        considered=800, num_pairs_found=6, kept=6, expected=0.1, permutations=10, seed=0, source="made up",
        ensemble=EnsembleConfig(), ensemble_member=TrainConfig(), costs=ComputeCost(40, 80, 1.5, 12_000),
    )  # fmt: skip
    numbers = (floats(6), floats(6), floats(6), top, floats(20, 2), floats(20, 2), floats(40))
    Influence(ids, ids, *numbers, meta=meta).save(folder / "influence.npz")


RESULT = TeacherResult(
    test_accuracy=51.5, model="tinynet8", classes=3, dataset=DATA.name, fingerprint=DATA.fingerprint, samples_seen=80,
    package_version="0", kept=40, total=40, budget="epochs", epochs=2, steps=4, seed=0, device="cpu", threads=1, processes=1,
)  # fmt: skip


def make_probs(folder: Path) -> None:
    meta = PredProbsMetadata(**common_fields(DATA), seed=0, ensemble=EnsembleConfig(), ensemble_member=TrainConfig())
    PredProbs(np.abs(floats(40, 3)), DATA.train.labels, meta).save(folder / "probs.npz")


def random_masks() -> Masks:
    return Masks({"0.weight": floats(4, 3) > 0})


def make_masks(folder: Path) -> None:
    layer = PrunedLayer(name="0.weight", shape=(4, 3), total=12, kept=5, positions=1)
    record = SparsityRecord(
        settings=SparsityConfig(sparsity=0.5), rounds=1, kept=5, total=12, masks="m", protected=(), flops=24,
        flops_without_zeros=10, layers=(layer,),
    )  # fmt: skip
    random_masks().save(folder / "masks.npz", record, ComputeCost(40, 0, 0.5, 7_200))


def random_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(network().state_dict())


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def make_sparse(folder: Path) -> None:
    weights = random_weights()
    weights["0.weight"] = weights["0.weight"] * torch.from_numpy(random_masks().tensors["0.weight"])
    save_sparse(folder / "sparse.npz", weights, random_masks(), RESULT)


def make_member(folder: Path) -> None:
    inside = np.arange(40) % 3 > 0
    outside = np.abs(floats(int((~inside).sum()), 3)).astype(np.float16)
    member = Member(
        inside, inside, np.abs(floats(40)), floats(40), outside, np.ones(20, bool), ComputeCost(40, 60, 1.5, 10_800)
    )
    write_member(folder / "member.npz", member, 0)


def make_label_issues(folder: Path) -> None:
    rows = tuple(LabelIssue(i, i % 3, "one", (i + 1) % 3, "two", 0.5 - i, 0.1 * i) for i in range(5))
    LabelIssues(rows, LabelIssuesMetadata(**common_fields(DATA), scorer="aum", end="lowest", seed=0)).save(
        folder / "label-issues.csv"
    )


def read_label_issues(folder: Path) -> Any:
    return load_label_issues(folder / "label-issues.csv")


def make_tensors(folder: Path) -> None:
    save_tensors(folder / "model.safetensors", random_weights(), {"state": '{"epoch": 1}'})


READERS = (
    Reader("scores", ("scores.npz",), make_scores, lambda f: load_scores(f / "scores.npz")),
    Reader("subset", ("subset.npz",), make_subset, lambda f: load_subset(f / "subset.npz")),
    Reader("influence", ("influence.npz",), make_influence, lambda f: load_influence(f / "influence.npz")),
    Reader("masks", ("masks.npz",), make_masks, lambda f: load_masks(f / "masks.npz")),
    Reader("sparse weights", ("sparse.npz",), make_sparse, lambda f: load_sparse(f / "sparse.npz")),
    Reader("ensemble member", ("member.npz",), make_member, lambda f: read_member(f / "member.npz", 40)),
    Reader("tensors", ("model.safetensors",), make_tensors, lambda f: load_tensors(f / "model.safetensors")),
    Reader("label-issues", ("label-issues.csv", "label-issues.json"), make_label_issues, read_label_issues, NONE),
    Reader("inspect scores", ("scores.npz",), make_scores, inspects("scores.npz")),
    Reader("inspect subset", ("subset.npz",), make_subset, inspects("subset.npz")),
    Reader("inspect influence", ("influence.npz",), make_influence, inspects("influence.npz")),
    Reader("inspect probabilities", ("probs.npz",), make_probs, inspects("probs.npz")),
    Reader("inspect masks", ("masks.npz",), make_masks, inspects("masks.npz")),
    Reader("inspect tensors", ("model.safetensors",), make_tensors, inspects("model.safetensors")),
    Reader(
        "inspect label-issues",
        ("label-issues.csv", "label-issues.json"),
        make_label_issues,
        inspects("label-issues.csv"),
        NONE,
    ),
)
