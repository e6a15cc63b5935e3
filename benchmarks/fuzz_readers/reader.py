"""What a reader under test is: how a valid file of a kind is written and read, and its content.

Nothing is trained: files are written by the package's own writers from random numbers.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datapruning.cli.main import run
from datapruning.data.dataset import Dataset, Split
from datapruning.errors import InvalidFile

ALL, BYTES, NONE = "all", "bytes", "none"


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Attributes:
        name: for people.
        files: those that are changed, one at a time, relative to the folder.
        make: writes valid ones into an empty folder.
        read: reads them, to anything that `content` takes.
        sealed: which changes must be noticed: `ALL`; `BYTES`, where the format has checksums of its bytes that whoever
            packs the file anew makes anew; `NONE`, of lists, recipes and images, which people write themselves.
    """

    name: str
    files: tuple[str, ...]
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    sealed: str = ALL


def content(value: Any) -> str:
    """Return a hash of what a reader returns: arrays, tensors, data classes and plain data."""
    state = hashlib.sha256()
    _add(state, value)
    return state.hexdigest()


def _add(state: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        state.update(f"{value.dtype}{list(value.shape)}".encode())
        state.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, np.ndarray):
        state.update(f"{value.dtype}{list(value.shape)}".encode())
        state.update(np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value):
        _add(state, {field.name: getattr(value, field.name) for field in fields(value)})
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            state.update(f"{key!r}:".encode("utf-8", "surrogatepass"))
            _add(state, value[key])
    elif isinstance(value, list | tuple):
        state.update(f"[{len(value)}".encode())
        for item in value:
            _add(state, item)
    else:
        state.update(repr(value).encode("utf-8", "surrogatepass"))


def make_data(count: int = 40) -> Dataset:
    """Make random grey images of 8x8 in three classes."""
    rng = np.random.default_rng(0)

    def split(size: int) -> Split:
        return Split(rng.integers(0, 256, (size, 8, 8, 1)).astype(np.uint8), (np.arange(size) % 3).astype(np.int64))

    return Dataset("made-up", split(count), split(count // 2), ("one", "two", "three"))


DATA = make_data()


RNG = np.random.default_rng


def floats(*shape: int) -> Any:
    return RNG(1).normal(size=shape).astype(np.float32)


def inspect(folder: Path, name: str) -> str:
    """Return the output of `dprune inspect`; an exit code other than 0 and 2, or more than one line, is a crash.

    Raises:
        InvalidFile: it ended with exit code 2 and one line.
    """
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run(["inspect", str(folder / name)])
    line = err.getvalue()
    out.getvalue().encode()
    if code == 2 and line.startswith("dprune: ") and line.count("\n") == 1 and not out.getvalue() and line.encode():
        raise InvalidFile(line.strip())
    if code != 0 or line:
        raise AssertionError(f"exit code {code}, {len(line.splitlines())} lines: {line[:200]!r}")
    return out.getvalue()


def inspects(name: str) -> Callable[[Path], Any]:
    return lambda folder: inspect(folder, name)
