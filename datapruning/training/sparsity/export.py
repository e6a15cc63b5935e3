"""Pruned weights for other programs, compact: kept values and packed masks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from datapruning.errors import IncompatibleInputs, InvalidFile, InvalidValue, OutputExists
from datapruning.io.npz import read_npz, write_npz
from datapruning.io.tensors import load_tensors
from datapruning.runs.result import RunResult
from datapruning.runs.run import MODEL, Run
from datapruning.training.sparsity.masks import MASKS_FILE, Masks, load_masks, unpack_mask
from datapruning.utils.records import Record, parse_record

KEPT, MASK, DENSE = "kept.", "mask.", "dense."


class SparseWeightsMetadata(Record):
    """The metadata of a file of sparse weights: the network, and the shape of each pruned weight by its name."""

    format: Literal["datapruning.sparse-weights"] = "datapruning.sparse-weights"
    version: Literal[1] = 1
    model: str
    classes: int
    dataset: str
    shapes: dict[str, tuple[Annotated[int, Field(ge=1)], ...]]


def save_sparse(path: Path, weights: Mapping[str, Tensor], masks: Masks, result: RunResult) -> None:
    """Write an `.npz`: of each pruned weight its mask, eight entries to a byte, and its kept values in the mask's order.

    Everything else in the state dict (biases, norms, buffers) is written as it is.

    Raises:
        IncompatibleInputs: a weight that is not zero where its mask removes it, or a mask without its weight.
    """
    _check_masks(masks, weights)
    arrays: dict[str, Any] = {}
    for name, tensor in weights.items():
        values = tensor.detach().cpu().float().numpy() if tensor.dtype == torch.bfloat16 else tensor.detach().cpu().numpy()
        if name not in masks.tensors:
            arrays[DENSE + name] = values
            continue
        bits = masks.tensors[name]
        arrays[MASK + name], arrays[KEPT + name] = np.packbits(bits), values[bits]
    shapes = {name: bits.shape for name, bits in masks.tensors.items()}
    metadata = SparseWeightsMetadata(model=result.model, classes=result.classes, dataset=result.dataset, shapes=shapes)
    write_npz(path, arrays, metadata.to_json())


def _check_masks(masks: Masks, weights: Mapping[str, Tensor]) -> None:
    """Refuse masks of another model, and a weight that is not zero where its mask removes it (IncompatibleInputs)."""
    for name, bits in masks.tensors.items():
        if name not in weights or tuple(weights[name].shape) != bits.shape:
            raise IncompatibleInputs(f"these masks belong to another model: weight '{name}' is missing or of another shape")
        if weights[name].detach().cpu()[torch.from_numpy(~bits)].any():
            raise IncompatibleInputs(f"weight '{name}' is not zero where its mask removes it")


def load_sparse(path: Path) -> dict[str, Tensor]:
    """The state dict of a file that `save_sparse` wrote, zeros put back.

    Raises:
        InvalidFile: missing, broken, or of another kind.
    """
    arrays, meta = read_npz(path, "a sparse weights")
    metadata = parse_record(SparseWeightsMetadata, meta, f"{path} holds no sparse weights")
    weights = {name.removeprefix(DENSE): torch.from_numpy(a) for name, a in arrays.items() if name.startswith(DENSE)}
    for name, shape in metadata.shapes.items():
        mask, kept = unpack_mask(arrays.get(MASK + name), name, shape, path), arrays.get(KEPT + name)
        if kept is None or kept.shape != (int(mask.sum()),):
            raise InvalidFile(f"{path}: the values of weight '{name}' are not those of its {int(mask.sum()):,} kept entries")
        dense = np.zeros(shape, kept.dtype)
        dense[mask] = kept
        weights[name] = torch.from_numpy(dense)
    return weights


def export_sparse_weights(folder: Path, out: Path) -> str:
    """Export a finished run's kept weights as a compact `.npz`; returns a line about the file.

    Raises:
        InvalidFile: no finished run, or one that was not pruned. InvalidValue: another suffix. OutputExists: `out` exists.
    """
    if out.suffix != ".npz":
        raise InvalidValue(f"{out}: sparse weights are written as .npz", parameter="out")
    if out.exists():
        raise OutputExists(f"{out} exists; name another file", parameter="out")
    result = Run(folder).result(RunResult)
    if result is None:
        raise InvalidFile(f"{folder} is no finished run: it has no result.json")
    if not (folder / MASKS_FILE).exists():
        raise InvalidFile(f"{folder} was not pruned: it has no {MASKS_FILE}; export all its weights", parameter="sparse")
    weights, _ = load_tensors(folder / MODEL)
    dense = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    masks, _ = load_masks(folder / MASKS_FILE)
    save_sparse(out, weights, masks, result)
    return (
        f"{out}: {masks}, {out.stat().st_size / 1e3:,.1f} kB instead of {dense / 1e3:,.1f} kB; that saves space in the "
        "file, not time or memory: loaded, the network is a dense one with zeros"
    )


def describe_zeros(folder: Path) -> str:
    """What the zeros of a pruned run save in a file of all its weights, as the end of a line; empty for other runs.

    Raises:
        IncompatibleInputs: the masks in the run folder are not those of its weights.
    """
    if not (folder / MASKS_FILE).exists():
        return ""
    masks, _ = load_masks(folder / MASKS_FILE)
    _check_masks(masks, load_tensors(folder / MODEL)[0])
    removed = 1 - masks.kept / masks.total
    return (
        f"; pruned: {removed:.2%} of the weights of its layers are zeros, which save neither space nor time here; the file "
        "of kept weights alone (sparse, .npz) saves space"
    )
