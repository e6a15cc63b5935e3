"""The names of weights as people save them, brought to those of a network: wrappers, profilers, missing counters."""

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from datapruning.errors import InvalidFile
from datapruning.utils.console import info

WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts of names that torch.compile, FSDP and activation checkpointing add, anywhere."""
EMA_PREFIXES = ("ema", "ema_model", "model_ema")
PREFIXES = ("module", "model", "net", "network", *EMA_PREFIXES)
"""Parts that DataParallel, Lightning modules and averaged models begin names with, in any order."""
SURPLUS = ("total_ops", "total_params", "n_averaged")
"""Last parts of buffers that profilers (thop) and averaged models add."""
COUNTER = "num_batches_tracked"
"""Of a batch norm, which needs it in training alone, and which old files lack."""
MAX_SHOWN_NAMES = 3


def fit_names(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights under the names that a network expects, as far as they differ in what wrappers add.

    Under several prefixes those are taken that have most of the expected names, an average of weights (EMA) first. What lies
    outside the prefix, such as the weights of a loss, is left out and printed. Missing counters of batch norms become 0.

    Args:
        weights: as they were saved, by name.
        expected: the state of the network.
        path: of the file, for the line that is printed.

    Returns:
        The weights by name; names that do not fit in other ways stay, for whoever checks them.

    Raises:
        InvalidFile: whole or complex numbers, as of a quantised network, where the network has real ones.
    """
    named = {_without(name, WRAPPERS) if name not in expected else name: value for name, value in weights.items()}
    named = {name: value for name, value in named.items() if name in expected or name.rpartition(".")[2] not in SURPLUS}
    prefixes = {prefix for name in named for prefix in _prefixes(name)}

    def quality(prefix: str) -> tuple[int, bool, int]:
        num_expected = sum(prefix + name in named for name in expected)
        return num_expected, any(part in EMA_PREFIXES for part in prefix.split(".")), -len(prefix)

    prefix = max(sorted(prefixes), key=quality)
    fitted = {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
    for name, value in fitted.items():
        if name in expected and expected[name].is_floating_point() and not value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            raise InvalidFile(f"{path}: weight '{name}' is {kind}; floating-point numbers are needed, not quantised ones")
    others = [name for name in named if not name.startswith(prefix)]
    if others:
        shown = ", ".join(others[:MAX_SHOWN_NAMES]) + (", ..." if len(others) > MAX_SHOWN_NAMES else "")
        info(f"{path}: the weights '{prefix}*' are taken, {len(others):,} others are not ({shown})")
    counters = {
        name: torch.zeros(value.shape, dtype=value.dtype)
        for name, value in expected.items()
        if name.rpartition(".")[2] == COUNTER
    }
    return {**counters, **fitted} if fitted.keys() & expected.keys() else fitted


def _without(name: str, parts: Collection[str]) -> str:
    return ".".join(part for part in name.split(".") if part not in parts)


def _prefixes(name: str) -> list[str]:
    """The ways in which a name may begin with wrappers, none among them, as in "", "model.", "model.module."."""
    parts, prefixes = name.split("."), [""]
    for part in parts[:-1]:
        if part not in PREFIXES:
            break
        prefixes.append(f"{prefixes[-1]}{part}.")
    return prefixes
