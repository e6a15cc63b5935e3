"""Recordings, embeddings, soft labels and FFCV caches."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.fuzz_readers.reader import DATA, NONE, Reader, floats, inspects
from datapruning.config.augmentation import AugmentPolicy
from datapruning.data.augment.augmentation import Augmentation
from datapruning.data.loaders.ffcv import Beton
from datapruning.data.loaders.ffcv_cache import write_beton
from datapruning.evidence.manifests import RecordingManifest
from datapruning.evidence.own_embeddings import open_embeddings
from datapruning.evidence.recording import (
    FEATURES,
    LABELS,
    RUNNER_UP,
    Recording,
    create_recording,
    open_recording,
    write_array,
)
from datapruning.evidence.sample_stats import RECORDED
from datapruning.teachers.soft_label_store import ReplayedViews, SoftLabelManifest, SoftLabelStore
from datapruning.teachers.soft_labels import SoftLabelCache
from datapruning.utils.cost import ComputeCost


def make_beton(folder: Path) -> None:
    write_beton(folder / "train.beton", DATA.train, np.arange(12))


def read_beton(folder: Path) -> Any:
    beton = Beton(folder / "train.beton")
    return beton.read(np.arange(len(beton), dtype=np.uint64))


def make_recording(folder: Path) -> None:
    manifest = RecordingManifest(dataset=DATA.name, fingerprint=DATA.fingerprint, total=40, epochs=2, early_epoch=1, seed=0)
    recording = create_recording(folder, manifest)
    write_array(folder / LABELS, DATA.train.labels)
    for track in (recording.stats(0, "train_passes"), recording.stats(0, "early"), recording.stats(0, "final")):
        for name, array in track.arrays.items():
            array[:] = 1 if name == RECORDED else np.abs(floats(*array.shape))
        track.flush()
    write_array(recording.run_folder(0) / FEATURES, floats(40, 5).astype(np.float16))
    write_array(recording.run_folder(0) / RUNNER_UP, np.ones(40, np.int32))
    recording.finish_run(0, epochs=2, early=True, final=True, cost=ComputeCost(80, 80, 1.5, 19_200))


def read_recording(folder: Path) -> Any:
    recording: Recording = open_recording(folder)
    tracks = [*recording.dynamics().train_passes, *recording.early_evaluation().early, *recording.final_evaluation().final]
    arrays = [{name: np.array(array) for name, array in track.arrays.items()} for track in tracks]
    features = np.array(recording.embeddings().features)
    return dict(recording.manifest), arrays, features, recording.runner_up_classes(), recording.labels()


def make_embeddings(folder: Path) -> None:
    np.save(folder / "emb.npy", floats(40, 5))


def read_embeddings(folder: Path) -> Any:
    embeddings = open_embeddings(folder / "emb.npy", 40)
    return np.array(embeddings.features), embeddings.record


def _labels(folder: Path) -> SoftLabelCache:
    teacher: Any = SimpleNamespace(folder=folder, weights_hash="made-up", model=nn.Linear(1, 1))
    views = Augmentation(AugmentPolicy(num_views=2), (100.0,), (50.0,))
    return SoftLabelCache(teacher, views, DATA.fingerprint, 40, 3)


def make_labels(folder: Path) -> None:
    cache = _labels(folder)
    _write_labels(cache.store)
    for path in cache.folder.glob("[!.]*.*"):
        path.rename(folder / path.name)
        path.symlink_to(folder / path.name)


def _write_labels(store: SoftLabelStore) -> None:
    ids, classes = np.arange(40), store.manifest.classes
    store.fill(ids, range(2), lambda missing, view: iter([(missing, torch.from_numpy(floats(40, classes) + view))]))


def read_labels(folder: Path) -> Any:
    cache, ids = _labels(folder), np.arange(40)
    return [cache[ids, view] for view in range(2)]


TOP_K_LABELS = SoftLabelManifest(
    fingerprint="of a sample: 0", teacher="made-up", views=ReplayedViews(num_views=2), rows=40, total=40, classes=30,
    top_k=3, temperature=4.0, device="cpu",
)  # fmt: skip


def make_top_k_labels(folder: Path) -> None:
    _write_labels(SoftLabelStore(folder, TOP_K_LABELS))


def read_top_k_labels(folder: Path) -> Any:
    store, ids = SoftLabelStore(folder, TOP_K_LABELS), np.arange(40)
    return [store.read(ids, view) for view in range(2)]


TRACKS = tuple(
    f"run-000/{name}"
    for name in (
        "train_passes/loss.npy", "train_passes/recorded.npy", "train_passes/correct.npy", "early/error_norm.npy",
        "final/margin.npy", "features.npy", "runner_up.npy", "done.json",
    )
)  # fmt: skip


READERS = (
    Reader("recording", ("recording.json", "labels.npy", *TRACKS), make_recording, read_recording),
    Reader("soft labels", ("logits.npy", "done.npy", "sums.npy", "manifest.json"), make_labels, read_labels),
    Reader("top-k soft labels", ("logits.npy", "classes.npy", "manifest.json"), make_top_k_labels, read_top_k_labels),
    Reader("FFCV cache", ("train.beton", "train.beton.sha256.json"), make_beton, read_beton),
    Reader("embeddings .npy", ("emb.npy",), make_embeddings, read_embeddings, NONE),
    Reader("inspect recording", ("recording.json", "labels.npy", *TRACKS), make_recording, inspects("")),
    Reader("inspect FFCV cache", ("train.beton",), make_beton, inspects("train.beton")),
)
