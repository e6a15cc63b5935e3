"""Masks: which weights of a network are kept. Made before training, enforced during it, saved in the run folder."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from datapruning.errors import IncompatibleInputs, InvalidFile
from datapruning.io.npz import read_npz, write_npz
from datapruning.runs.training_records import SparsityRecord
from datapruning.training.sparsity.prunable import prunable
from datapruning.training.state import Checkpointed
from datapruning.utils.cost import ComputeCost
from datapruning.utils.records import Record, parse_record

MASKS_FILE = "masks.npz"


class MasksMetadata(Record):
    """The metadata of a masks file: the shape of each mask by the weight's name, how they were made, what that cost."""

    format: Literal["datapruning.masks"] = "datapruning.masks"
    version: Literal[1] = 1
    shapes: dict[str, tuple[Annotated[int, Field(ge=1)], ...]]
    sparsity: SparsityRecord
    cost: ComputeCost


@dataclass(frozen=True, eq=False)
class Masks:
    """`tensors`: a bool array for each prunable weight, by the weight's name; True is kept."""

    tensors: Mapping[str, NDArray[np.bool_]]

    @property
    def total(self) -> int:
        """Prunable weights."""
        return sum(mask.size for mask in self.tensors.values())

    @property
    def kept(self) -> int:
        """Weights that are kept."""
        return sum(self.kept_by_layer.values())

    @property
    def kept_by_layer(self) -> dict[str, int]:
        """Weights that are kept, by name."""
        return {name: int(mask.sum()) for name, mask in self.tensors.items()}

    @property
    def digest(self) -> str:
        """Hash of the masks."""
        sha = hashlib.sha256()
        for name, mask in sorted(self.tensors.items()):
            sha.update(f"{name}{mask.shape}".encode())
            sha.update(np.packbits(mask).tobytes())
        return sha.hexdigest()[:16]

    def __str__(self) -> str:
        sparsity = 1 - self.kept / self.total
        return f"keeping {format_count(self.kept)} of {format_count(self.total)} weights ({sparsity:.2%} removed)"

    def check_fits(self, model: nn.Module, source: str = "these masks") -> None:
        """Refuse another model; `source` says in the message where the masks come from.

        Raises:
            IncompatibleInputs: naming the first weight that differs.
        """
        shapes = {name: tuple(weight.shape) for name, weight in prunable(model).items()}
        mask_shapes = {name: mask.shape for name, mask in self.tensors.items()}
        for name in {**shapes, **mask_shapes}:
            if shapes.get(name) != mask_shapes.get(name):
                raise IncompatibleInputs(
                    f"{source} belong to another model: weight '{name}' is {shapes.get(name, 'missing')} in the "
                    f"model, {mask_shapes.get(name, 'missing')} in the masks"
                )

    def save(self, path: Path, sparsity: SparsityRecord, cost: ComputeCost) -> None:
        """Write the masks packed, eight entries to a byte, with the record of how they were made."""
        shapes = {name: mask.shape for name, mask in self.tensors.items()}
        metadata = MasksMetadata(shapes=shapes, sparsity=sparsity, cost=cost)
        write_npz(path, {name: np.packbits(mask) for name, mask in self.tensors.items()}, metadata.to_json())


def format_count(count: int) -> str:
    """A number of weights for people: 560, 61.2 k, 11.2 M."""
    if count >= 10**6:
        return f"{count / 10**6:.1f} M"
    return f"{count / 10**3:.1f} k" if count >= 10**4 else f"{count:,}"


def load_masks(path: Path) -> tuple[Masks, MasksMetadata]:
    """Masks and the record of how they were made.

    Raises:
        InvalidFile: missing, broken, or no masks.
    """
    arrays, meta = read_npz(path, "a masks")
    metadata = parse_record(MasksMetadata, meta, f"{path} is not a masks file")
    masks = {}
    for name, shape in metadata.shapes.items():
        masks[name] = unpack_mask(arrays.get(name), name, shape, path)
    return Masks(masks), metadata


def unpack_mask(packed: NDArray[Any] | None, name: str, shape: tuple[int, ...], path: Path) -> NDArray[np.bool_]:
    """The mask of a weight from its packed bits, uint8.

    Raises:
        InvalidFile: it is missing from the file, or of another size or type.
    """
    size = math.prod(shape)
    if packed is None or packed.dtype != np.uint8 or packed.shape != (-(-size // 8),):
        raise InvalidFile(f"{path}: the mask of weight '{name}' is missing or of another size than {list(shape)}")
    return np.unpackbits(packed, count=size).astype(np.bool_).reshape(shape)


class MaskEnforcer(Checkpointed):
    """Masks on a model in training: removed weights have no gradient before a step, and are zero after it.

    Without gradient, momentum and decay a weight of zero stays zero under most optimisers; the orthogonalised updates of
    Muon change every weight of a matrix.
    """

    def __init__(self, masks: Masks, model: nn.Module) -> None:
        """Set the removed weights to zero.

        Raises:
            IncompatibleInputs: masks of another model.
        """
        masks.check_fits(model)
        self._masks = masks
        self._weights = prunable(model)
        self._is_removed = {
            name: torch.from_numpy(~masks.tensors[name]).to(weight.device) for name, weight in self._weights.items()
        }
        self._is_kept = {  # numbers, for a launch that serves all weights
            name: torch.empty_like(weight).copy_(~self._is_removed[name]).detach()
            for name, weight in self._weights.items()
            if weight.device.type == "cuda"
        }
        self.after_update()

    @torch.no_grad()
    def before_update(self) -> None:
        """Set gradients of removed weights to zero, before the optimiser's step."""
        self._zero({name: weight.grad for name, weight in self._weights.items() if weight.grad is not None})

    @torch.no_grad()
    def after_update(self) -> None:
        """Set removed weights to zero, after the optimiser's step."""
        self._zero(self._weights)

    def _zero(self, tensors: Mapping[str, Tensor]) -> None:
        if self._is_kept and tensors:
            torch._foreach_mul_(list(tensors.values()), [self._is_kept[name] for name in tensors])
            return
        for name, tensor in tensors.items():
            tensor.masked_fill_(self._is_removed[name], 0)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: the masks, packed."""
        return {f"mask.{name}": torch.from_numpy(np.packbits(mask)) for name, mask in self._masks.tensors.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Refuse a checkpoint of other masks.

        Raises:
            IncompatibleInputs: naming the first weight whose mask differs.
        """
        for name, packed in self.tensors().items():
            if name not in tensors or not torch.equal(tensors[name].cpu(), packed):
                raise IncompatibleInputs(
                    f"the checkpoint was made with other masks: that of '{name.removeprefix('mask.')}' differs"
                )
