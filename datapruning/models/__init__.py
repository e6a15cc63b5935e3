"""Networks by name: `create_model("convnet", shape=(28, 28, 1), classes=10, seed=0)`.

The names are here, and the factories in `builtin.py`, so that a wrong name is found before torch is imported.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

from datapruning.errors import DataPruningError, InvalidValue, UnknownName, first_line

if TYPE_CHECKING:
    from torch import nn

    from datapruning.models.external import Build

MODELS = (
    "convnet", *(f"tinynet{width}" for width in (8, 16, 32, 64)), *(f"fastnet{width}" for width in (16, 32, 64, 128)),
    *(f"fastnet{width}-random-init" for width in (16, 32, 64, 128)),
    "resnet18", "resnet34", "resnet50", "tinyresnet", *(f"resnet{depth}" for depth in (8, 20, 32, 44, 56, 110)),
    "wrn-16-2", "wrn-28-10", "wrn-40-2", "vgg16-bn",
)  # fmt: skip
"""Networks that come with the package."""
NAME_FORMS = ("torchvision:NAME", "timm:NAME", "package.module:function")
"""Names of others."""
META_DEVICE_OK = ("torchvision:", "timm:")
SPEC_ATTRIBUTE = "_datapruning_made_by"
MIN_SIDE = 8
"""Every network of `MODELS` takes images of at least so many pixels a side."""


def create_model(name: str, shape: tuple[int, int, int], classes: int, seed: int) -> nn.Module:
    """A network with an initialisation that depends on `seed` alone, in training mode, channels last.

    Args:
        name: one of `MODELS`, "torchvision:NAME", "timm:NAME" or "package.module:function" (a factory, see `builtin.py`).
        shape: (height, width, channels) of the images.
        classes: number of outputs.
        seed: random seed of the initialisation; torch's random state is not changed.

    Raises:
        UnknownName, InvalidValue: no such model, or its factory fails. MissingPackage: "timm:..." without timm.
    """
    import torch

    build = _find(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = _build_checked(name, build, shape, classes)
    model.__dict__[SPEC_ATTRIBUTE] = (name, shape, classes)
    return model.train().to(memory_format=torch.channels_last)


def model_spec(model: nn.Module) -> tuple[str, tuple[int, int, int], int] | None:
    """The name, shape and classes that `create_model` made a network from; None: it was made elsewhere."""
    spec: tuple[str, tuple[int, int, int], int] | None = model.__dict__.get(SPEC_ATTRIBUTE)
    return spec


def check_model(name: str, shape: tuple[int, int, int] | None = None, classes: int = 0) -> None:
    """Refuse a model that cannot be trained: an unknown name and, with `shape`, one that does not take such images or does
    not have `classes` outputs. It is tried once, on torch's meta device or else on images of zeros.

    Raises:
        UnknownName: no such model; the nearest is named. InvalidValue: it does not fit. MissingPackage: see `create_model`.
    """
    if name not in MODELS:
        _find(name)
    if shape is not None:
        _try_model(name, shape, classes)


def check_builtin_name(name: str) -> None:
    """Refuse a misspelt name of one of `MODELS`; networks of others (`NAME_FORMS`) are not looked for.

    Raises:
        UnknownName: no such model; the nearest is named.
    """
    if ":" not in name:
        check_model(name)


def _find(name: str) -> Build:
    if name in MODELS:
        from datapruning.models.builtin import FACTORIES

        return lambda shape, classes: FACTORIES[name](shape[2], classes)
    if ":" not in name:
        raise UnknownName("model", name, [*MODELS, *NAME_FORMS])
    from datapruning.models.external import find_external

    return find_external(name)


def _build_checked(name: str, build: Build, shape: tuple[int, int, int], classes: int) -> nn.Module:
    try:
        return build(shape, classes)
    except InvalidValue as error:
        raise InvalidValue(f"model '{name}': {error}") from None
    except (DataPruningError, MemoryError, RecursionError):
        raise
    except Exception as error:  # a user's code may raise anything
        raise InvalidValue(f"model '{name}' cannot be made: {type(error).__name__}: {first_line(error)}") from None


def meta_model(name: str, shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A network for counting: if possible on torch's meta device, which holds shapes and no numbers, and is fast even for
    networks that take many seconds to make. Takes and raises what `create_model` does.
    """
    build = _find(name)
    if _supports_meta_device(name):
        with suppress(InvalidValue), _shapes_alone():
            return _build_checked(name, build, shape, classes)
    return create_model(name, shape, classes, seed=0)


def _supports_meta_device(name: str) -> bool:
    """Not a user's factory: what it imports or keeps while it runs would stay without numbers."""
    return name in MODELS or name.startswith(META_DEVICE_OK)


@contextmanager
def _shapes_alone() -> Iterator[None]:
    import torch

    with torch.random.fork_rng(devices=[]), torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about numbers that are not stored
        yield


@cache
def _try_model(name: str, shape: tuple[int, int, int], classes: int) -> None:
    if name in MODELS and min(shape[:2]) >= MIN_SIDE:
        return
    import torch

    if _supports_meta_device(name):
        with suppress(InvalidValue), _shapes_alone():  # raised by a wrong model, or by one that needs numbers
            _try_on_cpu(name, shape, classes)
            return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        _try_on_cpu(name, shape, classes)


def _try_on_cpu(name: str, shape: tuple[int, int, int], classes: int) -> None:
    """Build and try a network on the device that torch builds on."""
    import torch

    height, width, channels = shape
    images = torch.zeros(2, channels, height, width)
    model = _build_checked(name, _find(name), shape, classes)
    weights = list(model.parameters())
    if any(isinstance(weight, torch.nn.parameter.UninitializedParameter) for weight in weights):
        raise InvalidValue(f"model '{name}' has lazy layers, whose sizes are not known; name their sizes")
    if not any(weight.requires_grad for weight in weights):
        raise InvalidValue(f"model '{name}' has no weights to train")
    for training in (True, False):
        try:
            with torch.no_grad():
                logits = model.train(training)(images)
        except Exception as error:  # a user's code
            raise InvalidValue(
                f"model '{name}' does not take images of {height}x{width} with {channels} "
                f"channel{'s' * (channels != 1)}: {type(error).__name__}: {first_line(error)}"
            ) from None
        if not isinstance(logits, torch.Tensor):
            raise InvalidValue(
                f"model '{name}' gives {type(logits).__name__}; a tensor [samples, {classes}] of logits is needed"
            )
        if logits.shape != (2, classes):
            raise InvalidValue(f"model '{name}' gives {list(logits.shape)} for 2 images; [2, {classes}] is needed")


def parameter_count(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(math.prod(p.shape) for p in model.parameters() if p.requires_grad)
