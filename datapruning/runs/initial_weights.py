"""Weights that a training starts from, instead of from a random initialisation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from datapruning.artifacts.init_record import InitRecord
from datapruning.errors import IncompatibleInputs, InvalidFile
from datapruning.models import meta_model
from datapruning.models.fastnet import WhiteningConv
from datapruning.models.features import linear_layers
from datapruning.models.weights import hash_weights
from datapruning.runs.run import MODEL
from datapruning.runs.weight_names import fit_names
from datapruning.runs.weights_file import read_checkpoint_metadata, read_described_weights
from datapruning.utils.console import info


@dataclass(frozen=True)
class InitialWeights:
    """Weights by name that fit a network, perhaps without its last linear layer; `record` says where they come from."""

    weights: Mapping[str, Tensor]
    record: InitRecord

    @torch.no_grad()
    def load_into(self, model: nn.Module) -> None:
        """Copy them into a network; weights that they lack stay as they are."""
        state = model.state_dict()
        for name, value in self.weights.items():
            state[name].copy_(value)
        for module in model.modules():
            if isinstance(module, WhiteningConv):
                module.whitened = True


def open_initial_weights(path: Path, model: str, shape: tuple[int, int, int], class_names: Sequence[str]) -> InitialWeights:
    """Read the weights that a network is to start from; a line says which were taken.

    Its last linear layer is left out where the file has it for another number of classes, or for other classes, as far as
    their names are known (from the description in a model.safetensors, or from NAME.json, see `CheckpointMetadata`). Classes
    in another order are put in the order of the dataset.

    Args:
        path: a file of weights, as `read_weights` takes it (safetensors, .pth, .pt), or a run folder.
        model: name of the network, as `create_model` takes it.
        shape: (height, width, channels) of its images.
        class_names: of the dataset.

    Raises:
        InvalidFile: missing, broken, no weights, or weights of another network (the first that does not fit is named).
        IncompatibleInputs: the weights of a network of another name.
    """
    source = path / MODEL if path.is_dir() else path
    weights, described = read_described_weights(source)
    if described is not None and described.model != model:
        raise IncompatibleInputs(f"{path} has the weights of {described.model}, the network is {model}", parameter="init")
    network = meta_model(model, shape, len(class_names))
    expected, linear = network.state_dict(), linear_layers(network)
    head = [full for full, module in network.named_modules() if linear and module is linear[-1]]
    head_names = [name for name in expected if name.rpartition(".")[0] in head]
    weights = fit_names(weights, expected, path)
    names = described.class_names if described is not None else read_checkpoint_metadata(source).classes
    weights = _in_class_order(weights, head_names, names, class_names)
    left_out = [
        name for name in head_names if name not in weights or weights[name].shape[1:] != expected[name].shape[1:]
        or len(weights[name]) != len(expected[name])
    ]  # fmt: skip
    left_out = head_names if left_out else []
    _check_fit(path, {n: w for n, w in weights.items() if n not in left_out}, expected, left_out, model)
    taken = {name: weights[name] for name in expected if name not in left_out}
    reason = ""
    if left_out:
        there = next((f"{len(weights[name])} classes there" for name in left_out if name in weights), "none there")
        if names and not set(class_names) <= set(names):
            there = f"class '{next(name for name in class_names if name not in names)}' is unknown there"
        reason = f", not {' and '.join(left_out)}, which begin at random ({there}, {len(class_names)} classes here)"
    info(f"initial weights: {len(taken)} of {len(expected)} tensors from {path}{reason}")
    record = InitRecord(path=str(path), weights=hash_weights(taken)[:16], left_out=tuple(left_out))
    return InitialWeights(taken, record)


def _in_class_order(
    weights: Mapping[str, Tensor], head: Sequence[str], names: Sequence[str], class_names: Sequence[str]
) -> dict[str, Tensor]:
    """The weights with the rows of the last linear layer (the weights `head`) in the order of the dataset's classes.

    `names` are the classes of the file; where they are unknown (none), the rows stay as they are. Without the layer where it
    lacks one of the dataset's classes.
    """
    if not names:
        return dict(weights)
    if not set(class_names) <= set(names):
        return {name: value for name, value in weights.items() if name not in head}
    rows = [names.index(name) for name in class_names]
    return {
        name: value[rows] if name in head and len(value) == len(names) else value for name, value in weights.items()
    }  # fmt: skip


def _check_fit(
    path: Path, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], left_out: Sequence[str], model: str
) -> None:
    """Refuse weights of another network; those that are `left_out` are not looked at.

    Raises:
        InvalidFile: naming the first that is missing, surplus or of another shape.
    """
    wanted = {name: list(value.shape) for name, value in expected.items() if name not in left_out}
    shapes = {name: list(value.shape) for name, value in weights.items()}
    different = [name for name in {**wanted, **shapes} if wanted.get(name) != shapes.get(name)]
    if different:
        first = different[0]
        raise InvalidFile(
            f"{path} has the weights of another network than {model}: weight '{first}' is {shapes.get(first, 'missing')} "
            f"there, {wanted.get(first, 'missing')} here ({len(different)} such)",
            parameter="init",
        )
