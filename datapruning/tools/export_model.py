"""Exporting a trained network: ONNX, torch.export's .pt2, or weights; each is checked against the network on real images."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datapruning.errors import DataPruningError, InvalidValue, OutputExists, first_line
from datapruning.io.atomic import atomic_write
from datapruning.runs.model_file import save_model
from datapruning.tools.trained_model import TrainedModel, load_model, training_dataset
from datapruning.utils.console import info

MODEL_SUFFIXES = (".onnx", ".pt2", ".safetensors")
NUM_CHECKED = 16
"""Images that the exported network is compared on."""
TOLERANCE = 1e-3
"""Largest difference of a logit, relative to the largest logit."""
INPUT, OUTPUT = "images", "logits"


class WithPreprocessing(nn.Module):
    """A network that takes images as they are: uint8 [n, height, width, channels]."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        description = model.description
        self.network, self.size = model.network, description.shape[:2]
        height, width, _ = description.image_shape
        self.down, self.right = (height - self.size[0]) // 2, (width - self.size[1]) // 2
        self.register_buffer("mean", torch.tensor(description.mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(description.std, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [n, height, width, channels] -> logits float32 [n, classes]."""
        height, width = self.size
        middle = images[:, self.down : self.down + height, self.right : self.right + width]
        pixels = (middle.to(torch.float32) - self.get_buffer("mean")) / self.get_buffer("std")
        logits: Tensor = self.network(pixels.permute(0, 3, 1, 2))
        return logits


def export_model(source: Path, out: Path, *, with_preprocessing: bool = False) -> str:
    """Write the network of a run (or of its model.safetensors) for other programs; returns a line about the file.

    `.onnx` and `.pt2` hold one function: one input "images", float32 [n, channels, height, width], normalised as in
    training, n free; one output "logits" float32 [n, classes]. With `with_preprocessing` the input is uint8 [n, height,
    width, channels]. `.safetensors` holds the weights and the description.

    Raises:
        InvalidValue: another suffix, preprocessing of weights alone, or a network with an operator that the format lacks.
        InvalidFile: no finished run. OutputExists: `out` exists. DataPruningError: the exported network differs.
    """
    if out.suffix not in MODEL_SUFFIXES:
        raise InvalidValue(f"{out}: a network is written as .onnx, .pt2 or .safetensors", parameter="out")
    if out.exists():
        raise OutputExists(f"{out} exists; name another file", parameter="out")
    if with_preprocessing and out.suffix == ".safetensors":
        raise InvalidValue(f"{out}: weights have no preprocessing; write .onnx or .pt2", parameter="with_preprocessing")
    model = load_model(source, "cpu")
    if out.suffix == ".safetensors":
        weights = dict(model.network.state_dict())
        save_model(out, weights, model.description)
        return f"{out}: {len(weights)} tensors, {out.stat().st_size / 1e3:,.1f} kB"
    images, origin = _sample_images(source, model)
    inputs = torch.from_numpy(images) if with_preprocessing else model.preprocess(images).contiguous()
    network = WithPreprocessing(model).eval() if with_preprocessing else model
    with atomic_write(out) as temporary:
        with _quiet_exporters():
            written = _write_onnx if out.suffix == ".onnx" else _write_pt2
            try:
                outputs = written(network, inputs, temporary)
            except Exception as error:  # torch's exporters raise nearly anything
                raise InvalidValue(
                    f"the network {model.description.model} cannot be written as {out.suffix}: {_cause(error)}"
                ) from error
        difference = _largest_difference(network, inputs, outputs)
    kind, shape = ("uint8", images.shape[1:]) if with_preprocessing else ("float32", inputs.shape[1:])
    takes = f"{kind} [n, {', '.join(map(str, shape))}]"
    return (
        f"{out}: takes {takes}, gives float32 [n, {len(model.class_names)}]; its logits of {len(images)} {origin} differ "
        f"from the network's by {difference:.1e} at most"
    )


def _cause(error: BaseException) -> str:
    """What an exporter's error began with, such as an operator that ONNX lacks; its own message is general advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def _write_onnx(network: nn.Module, inputs: Tensor, path: Path) -> Tensor:
    """Write the network; returns what the file's own network gives for the inputs."""
    program = torch.onnx.export(
        network, (inputs[:2],), dynamo=True, dynamic_shapes={INPUT: {0: torch.export.Dim("n")}}, input_names=[INPUT],
        output_names=[OUTPUT], verbose=False,
    )  # fmt: skip
    assert program is not None
    program.save(str(path))
    from onnx.reference import ReferenceEvaluator

    (outputs,) = ReferenceEvaluator(str(path)).run(None, {INPUT: inputs.numpy()})
    return torch.from_numpy(np.asarray(outputs))


def _write_pt2(network: nn.Module, inputs: Tensor, path: Path) -> Tensor:
    """The same with torch.export."""
    program = torch.export.export(network, (inputs[:2],), dynamic_shapes={INPUT: {0: torch.export.Dim("n")}})
    with path.open("wb") as written:
        torch.export.save(program, written)
    with path.open("rb") as file, torch.inference_mode():
        outputs: Tensor = torch.export.load(file).module()(inputs)
    return outputs


def _largest_difference(network: nn.Module, inputs: Tensor, outputs: Tensor) -> float:
    """The largest difference of a logit.

    Raises:
        DataPruningError: it is too large.
    """
    with torch.inference_mode():
        expected: Tensor = network(inputs)
    difference = float((outputs - expected).abs().max())
    if outputs.shape != expected.shape or not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise DataPruningError(f"the exported network gives other logits than the network: they differ by {difference:.1e}")
    return difference


def _sample_images(source: Path, model: TrainedModel) -> tuple[NDArray[np.uint8], str]:
    """Images uint8 [n, height, width, channels] of the run's test set, or random ones, and which they are."""
    shape = model.description.image_shape
    with suppress(DataPruningError):
        images = np.array(training_dataset(source).test.images[:NUM_CHECKED])
        if images.shape[1:] == shape:
            return images, "test images"
    info("export: the run's dataset cannot be opened here; the network is checked on random images")
    return np.random.default_rng(0).integers(0, 256, (NUM_CHECKED, *shape), np.uint8), "random images"


@contextmanager
def _quiet_exporters() -> Iterator[None]:
    """Without what torch's exporters log, warn of and print on the way."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
