"""Networks of other packages: `torchvision:resnet50`, `timm:convnext_tiny`, and a user's `package.module:function`."""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from datapruning.errors import DataPruningError, InvalidValue, MissingPackage, UnknownName, first_line

NUM_COLOR_CHANNELS = 3
SINGLE_HEAD_KWARGS = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
"""Arguments of torchvision's networks with auxiliary heads, which switch those off."""

Build = Callable[[tuple[int, int, int], int], nn.Module]
"""(height, width, channels) of an image, number of classes -> a freshly initialised network."""


def find_external(name: str) -> Build:
    """The factory that a name with a colon stands for.

    Raises:
        InvalidValue, UnknownName: there is none. MissingPackage: "timm:..." where timm is not installed.
    """
    where, _, what = name.partition(":")
    if where == "torchvision":
        return _torchvision_factory(what)
    if where == "timm":
        return _timm_factory(what)
    return _user_factory(name, where, what)


def _torchvision_factory(what: str) -> Build:
    from torchvision import models

    _check_listed("torchvision", what, models.list_models(module=models))

    def build(shape: tuple[int, int, int], classes: int) -> nn.Module:
        height, width, channels = shape
        arguments: dict[str, Any] = dict(SINGLE_HEAD_KWARGS.get(what, {}))
        if what.startswith("vit_") and height == width:
            arguments["image_size"] = height
        model: nn.Module = models.get_model(what, weights=None, num_classes=classes, **arguments)
        if channels != NUM_COLOR_CHANNELS:
            adapt_to_grayscale(model, channels)
        return model

    return build


def _timm_factory(what: str) -> Build:
    try:
        import timm
    except ImportError as error:
        raise MissingPackage(f"model 'timm:{what}' needs timm ({first_line(error)}); install it: pip install timm") from None
    _check_listed("timm", what, timm.list_models())
    return lambda shape, classes: timm.create_model(what, pretrained=False, num_classes=classes, in_chans=shape[2])


def _check_listed(package: str, what: str, known: Collection[str]) -> None:
    if what not in known:
        near = difflib.get_close_matches(what, known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise InvalidValue(f"{package} has no classifier '{what}': {hint}it has {len(known)}, see {package}'s list_models()")


def adapt_to_grayscale(model: nn.Module, channels: int) -> None:
    """Let a network for colour images take grey ones: its first convolution's weights are summed over the channels.

    So its output is that of the former network for the grey image in all three channels.

    Raises:
        InvalidValue: the images have neither one channel nor three, or the network does not begin with a convolution.
    """
    convolutions = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    if (
        channels != 1
        or not convolutions
        or convolutions[0][1].in_channels != NUM_COLOR_CHANNELS
        or convolutions[0][1].groups != 1
    ):
        raise InvalidValue(f"it takes images of 3 channels (or 1, which stands for all three); these have {channels}")
    name, old = convolutions[0]
    with torch.random.fork_rng(devices=[]):  # the new layer's weights are replaced
        new = nn.Conv2d(
            1, old.out_channels, old.kernel_size, old.stride, old.padding, old.dilation,  # type: ignore[arg-type]
            bias=old.bias is not None, padding_mode=old.padding_mode, device=old.weight.device,
        )  # fmt: skip
    with torch.no_grad():
        new.weight.copy_(old.weight.sum(1, keepdim=True))
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, new)


def _user_factory(name: str, where: str, what: str) -> Build:
    if where.partition(".")[0] in sys.stdlib_module_names:  # a run folder from elsewhere may name anything
        raise InvalidValue(f"model '{name}': '{where}' is a module of Python, and makes no networks")
    with _cwd_on_path():
        try:
            module = importlib.import_module(where)
        except DataPruningError:
            raise
        except Exception as error:
            raise InvalidValue(
                f"model '{name}': importing '{where}' failed: {type(error).__name__}: {first_line(error)}"
            ) from None
    function = getattr(module, what, None)
    if not callable(function):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UnknownName(f"function in '{where}'", what, functions)

    def build(shape: tuple[int, int, int], classes: int) -> nn.Module:
        with _cwd_on_path():
            model = function(shape[2], classes)
        if not isinstance(model, nn.Module):
            raise InvalidValue(f"it returned {type(model).__name__}, not a torch.nn.Module")
        return model

    return build


@contextmanager
def _cwd_on_path() -> Iterator[None]:
    """Modules in the working directory can be imported, too, after all others."""
    directory = os.getcwd()
    sys.path.append(directory)
    try:
        yield
    finally:
        if directory in sys.path:
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(directory)]  # the last one, which was added above
