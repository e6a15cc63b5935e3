"""Weights from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.fuzz_readers.reader import BYTES, DATA, NONE, Reader
from datapruning.models import create_model
from datapruning.runs.weights_file import read_checkpoint_metadata, read_weights


def make_foreign(folder: Path) -> None:
    weights = dict(create_model("tinynet8", DATA.train.shape, 3, seed=0).state_dict())
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / "net.safetensors")
    torch.save({"state_dict": weights}, folder / "net.pth")
    torch.save(weights, folder / "old.pt", _use_new_zipfile_serialization=False)
    (folder / "map.json").write_text('{"classes": ["one", "two", "three"], "mean": [0.5], "std": [0.25]}')


def read_foreign(folder: Path) -> Any:
    return read_weights(folder / "net.safetensors")


def make_checkpoint_files(folder: Path) -> None:
    """Make checkpoints as training frameworks write them: weights among other things, with prefixes, or averaged."""
    weights = dict(create_model("tinynet8", DATA.train.shape, 3, seed=0).state_dict())
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    lightning = {f"model.{name}": value for name, value in weights.items()}
    torch.save({"epoch": 3, "state_dict": lightning, "optimizer_states": [optimizer]}, folder / "lightning.ckpt")
    compiled = {f"module._orig_mod.{name}": value for name, value in weights.items()}
    torch.save({"state_dict": compiled, "state_dict_ema": weights, "arch": "x", "metric": 51.5}, folder / "timm.pth")
    parallel = {f"module.{name}": value for name, value in weights.items()}
    torch.save({"model": parallel, "optimizer": optimizer, "best": True}, folder / "parallel.pth")


def _reads_weights(name: str) -> Callable[[Path], Any]:
    return lambda folder: read_weights(folder / name)


READERS = (
    Reader("teacher .pth", ("net.pth",), make_foreign, lambda f: read_weights(f / "net.pth"), BYTES),
    Reader("teacher, old .pt", ("old.pt",), make_foreign, lambda f: read_weights(f / "old.pt"), NONE),
    Reader("teacher .safetensors", ("net.safetensors",), make_foreign, read_foreign, NONE),
    Reader("teacher .json", ("map.json",), make_foreign, lambda f: read_checkpoint_metadata(f / "map.pth"), NONE),
    Reader("Lightning .ckpt", ("lightning.ckpt",), make_checkpoint_files, _reads_weights("lightning.ckpt"), BYTES),
    Reader("timm .pth", ("timm.pth",), make_checkpoint_files, _reads_weights("timm.pth"), BYTES),
    Reader("parallel .pth", ("parallel.pth",), make_checkpoint_files, _reads_weights("parallel.pth"), BYTES),
)
