"""Describing files and run folders in words, after checking them as every reader does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.artifacts.influence import load_influence
from datapruning.artifacts.label_issues import load_suspects
from datapruning.artifacts.metadata import check_format
from datapruning.artifacts.scores import load_scores
from datapruning.artifacts.subset import load_subset
from datapruning.data.loaders.beton import Beton
from datapruning.data.registry import open_npz
from datapruning.errors import InvalidFile, first_line
from datapruning.evidence.recording import MANIFEST, open_recording
from datapruning.io.npz import read_meta, read_npz
from datapruning.io.tensors import load_tensors
from datapruning.runs.run import MODEL, Run
from datapruning.selection.settings import spelled
from datapruning.training.sparsity.export import load_sparse
from datapruning.training.sparsity.masks import load_masks


def describe(path: Path) -> list[str]:
    """Lines about a file or a folder of this package, after reading it to its end.

    Raises:
        InvalidFile: it is of no kind that is known here, or it is broken.
    """
    try:
        return _described(path)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:  # what its reader left unchecked
        raise InvalidFile(f"{path} is broken: {type(error).__name__}, {first_line(error)}") from None


def _described(path: Path) -> list[str]:
    if path.is_dir():
        return _recording(path) if (path / MANIFEST).exists() else _run_folder(path)
    if not path.exists():
        raise InvalidFile(f"{path} is not there")
    if path.suffix in OF_ENDING:
        return OF_ENDING[path.suffix](path)
    if path.suffix != ".npz":
        raise InvalidFile(
            f"{path} is nothing that inspect knows: a scores, subset or dataset .npz, a .safetensors, a .beton, suspects, "
            "a recording or a run folder"
        )
    try:
        meta = read_meta(path, "a scores or subset")
    except InvalidFile as error:
        if "no readable 'meta'" not in str(error):
            raise
        data = open_npz(path)
        return [
            f"{path}: a dataset, whole",
            f"  {data.total:,} training and {len(data.test):,} test images of {'x'.join(map(str, data.train.shape))}",
            f"  {data.classes} classes, fingerprint {data.fingerprint}",
        ]
    kind = str(meta.get("format"))
    if kind not in READERS:
        raise InvalidFile(f"{path} is neither a scores nor a subset file: its format is '{kind}'")
    return READERS[kind](path)


def _scores(path: Path) -> list[str]:
    scores = load_scores(path)
    finite = scores.values[np.isfinite(scores.values)].astype(np.float64)
    low, middle, high = np.quantile(finite, [0, 0.5, 1]) if finite.size else [np.nan] * 3
    endless = len(scores.values) - len(finite)
    stderr = f"; {endless:,} are infinite" if endless else ""
    if scores.stderr is not None:
        stderr += f", standard error {scores.stderr.astype(np.float64).mean():.3g} on average"
    return [
        f"{path}: a scores file, whole",
        f"  scorer {scores.scorer} ({scores.meta.get('sign')}), higher = keep first",
        f"  lowest {low:.4g}, median {middle:.4g}, highest {high:.4g}{stderr}",
        *_origin(scores.meta),
    ]


def _subset(path: Path) -> list[str]:
    subset = load_subset(path)
    meta = subset.meta
    settings = meta.get("settings")
    given = f" ({', '.join(spelled(settings))})" if isinstance(settings, dict) and settings else ""
    how = f"scorer {meta['scorer']}, strategy {meta.get('strategy', 'ids')}{given}, balance {meta.get('balance', 'none')}"
    return [
        f"{path}: a subset file, whole",
        f"  {subset}; {how}",
        *_origin(meta),
    ]


def _suspects(path: Path) -> list[str]:
    suspects = load_suspects(path)
    return [
        f"{path}: a list of {len(suspects):,} samples whose label is likely wrong, whole",
        f"  by {suspects.order}",
        *_origin(suspects.meta),
    ]


def _influence(path: Path) -> list[str]:
    found = load_influence(path)
    meta = found.meta
    return [
        f"{path}: an influence file, whole",
        f"  {len(found):,} pairs of high influence ({meta.get('pairs')}), {meta.get('members')} members; by chance "
        f"{meta.get('expected')}",
        *_origin(meta),
    ]


def _probs(path: Path) -> list[str]:
    arrays, meta = read_npz(path, "a probabilities", ("pred_probs", "labels"))
    check_format(path, meta, PROBS)
    probs = arrays.get("pred_probs", np.empty(0))
    if probs.dtype != np.float32 or probs.ndim != 2 or len(probs) != meta["total"] or not np.isfinite(probs).all():
        raise InvalidFile(f"{path} holds no probabilities of {meta.get('total')} samples")
    return [f"{path}: out-of-sample probabilities of {probs.shape[1]} classes, whole", *_origin(meta)]


PROBS = "datapruning.probs"
MASKS, SPARSE = "datapruning.masks", "datapruning.sparse-weights"


def _masks(path: Path) -> list[str]:
    masks, about = load_masks(path)
    layers = about.get("story", {}).get("layers", [])
    return [f"{path}: masks of a pruned network, whole", f"  {masks}", *_layers(layers)]


def _sparse(path: Path) -> list[str]:
    weights = load_sparse(path)
    count, zeros = (sum(f(t) for t in weights.values()) for f in (lambda t: t.numel(), lambda t: int((t == 0).sum())))
    return [f"{path}: sparse weights of a pruned network, whole", f"  {count - zeros:,} of {count:,} numbers are not zero"]


def _layers(layers: list[Mapping[str, Any]]) -> list[str]:
    return [
        f"  {each['name']}: {each['kept']:,} of {each['total']:,} kept ({each['kept'] / each['total']:.1%})"
        for each in layers
    ]


READERS: dict[str, Callable[[Path], list[str]]] = {
    "datapruning.scores": _scores, "datapruning.subset": _subset, "datapruning.influence": _influence, PROBS: _probs,
    MASKS: _masks, SPARSE: _sparse,
}  # fmt: skip


def _tensors(path: Path) -> list[str]:
    weights, metadata = load_tensors(path)
    count = sum(tensor.numel() for tensor in weights.values())
    return [f"{path}: {len(weights)} tensors of {count:,} numbers, whole", *(f"  {key}" for key in metadata)]


def _beton(path: Path) -> list[str]:
    beton = Beton(path)
    return [f"{path}: an FFCV cache of {len(beton):,} images of {'x'.join(map(str, beton.shape))}, whole"]


def _recording(path: Path) -> list[str]:
    recording = open_recording(path)
    recording.labels()
    numbers = recording.runs()
    for number in numbers:
        recording.check_run(number)
    return [
        f"{path}: a recording of {len(numbers)} runs of {recording.about['epochs']} epochs, whole",
        f"  made from {recording.name} ({recording.total:,} samples), fingerprint {recording.fingerprint}",
    ]


OF_ENDING: dict[str, Callable[[Path], list[str]]] = {".csv": _suspects, ".safetensors": _tensors, ".beton": _beton}


def _origin(meta: Mapping[str, Any]) -> list[str]:
    return [
        f"  made from {meta['dataset']} ({meta['total']:,} samples), fingerprint {meta['fingerprint']}",
        f"  seed {meta.get('seed')}, by datapruning {meta.get('package_version')} on {meta.get('created')}",
    ]


def _run_folder(path: Path) -> list[str]:
    run = Run(path)
    if not (path / "config.toml").exists():
        raise InvalidFile(f"{path} is no run folder: it has no config.toml")
    made_with = "  made with " + ", ".join(f"{name} {value}" for name, value in run.environment.items())
    result = run.result()
    if result is None:
        state = _state(path)
        return [
            f"{path}: a run that is not finished{state}; the command that began it goes on",
            made_with,
        ]
    weights, _ = load_tensors(path / MODEL)
    count = sum(t.numel() for t in weights.values())
    lines = [f"{path}: a finished run, whole ({count:,} numbers in {MODEL})"]
    order = ("role", "dataset", "model", "test_accuracy", "fraction", "kept", "total", "scorer", "kd_weight", "budget")
    lines += [f"  {key}: {result[key]}" for key in order if result.get(key) is not None]
    if result.get("self_distill"):
        used = {k: v for k, v in result["self_distill"].items() if k not in ("method", "extra_passes")}
        numbers = ", ".join(f"{key} {value:g}" for key, value in used.items())
        lines.append(f"  self-distillation: {result['self_distill']['method']} ({numbers})")
    pruned = result.get("epsd")
    if pruned:
        share = 1 - pruned["kept"] / pruned["total"]
        lines.append(
            f"  weights: {pruned['kept']:,} of {pruned['total']:,} kept ({share:.2%} removed) by {pruned['prune_by']}, "
            f"{pruned['flops_without_zeros'] / 1e6:.2f} of {pruned['flops'] / 1e6:.2f} M FLOPs if zeros were skipped"
        )
        lines += [f"  {line}" for line in _layers(pruned["layers"])]
    lines += [f"  teacher: {t['folder']} ({t['test_accuracy']:.2f}%)" for t in result.get("teacher") or []]
    lines.append(f"  seconds: {', '.join(f'{phase} {s:.1f}' for phase, s in result['seconds'].items())}")
    lines.append(made_with)
    return lines


def _state(path: Path) -> str:
    """How far a begun run is, in words."""
    checkpoint = path / "checkpoint" / "state.safetensors"
    if not checkpoint.exists():
        return ""
    _, metadata = load_tensors(checkpoint)
    return f" (checkpoint after epoch {json.loads(metadata['state'])['epoch']})"
