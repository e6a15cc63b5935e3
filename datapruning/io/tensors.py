"""Tensors in safetensors files, with a checksum in the metadata.

The metadata has a single key, whose value is JSON: safetensors writes several keys in any order, and equal content shall
have equal bytes.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from datapruning.errors import InvalidFile, first_line
from datapruning.io.atomic import atomic_write
from datapruning.io.foreign_files import foreign_kind_of
from datapruning.io.regular_file import open_regular_file
from datapruning.io.text import CHECKSUM, check_recorded
from datapruning.utils.processes import main_only

KEY = "datapruning"
TEXTS = TypeAdapter(dict[str, str])
MAX_READS = 5
"""Attempts to read a file that another process replaces meanwhile, as a training does its checkpoint: safetensors opens it
once for its header and once for its tensors, which may then be of two files."""


@main_only
def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, with a checksum in its metadata, whole or not at all."""
    ready = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    texts = dict(metadata or {})
    with atomic_write(path) as temporary:
        save_file(ready, temporary, {KEY: json.dumps({**texts, CHECKSUM: _checksum(ready, texts)}, sort_keys=True)})


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    state = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        state.update(f"\0{name} {tensor.dtype} {list(tensor.shape)}".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()[:32]


def load_tensors(path: Path, *, external: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read (tensors, metadata) of a safetensors file: what `save_tensors` was given.

    An `external` file may have been written by another program, and then has no checksum.

    Raises:
        InvalidFile: missing, broken, changed since `save_tensors` wrote it, or without a checksum.
    """
    for _ in range(MAX_READS):
        failure = None
        try:
            before = _file_version(path)
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                metadata = TEXTS.validate_json((file.metadata() or {}).get(KEY, "{}"))
            if _file_version(path) == before:
                break
        except FileNotFoundError:
            raise InvalidFile(f"{path} is not there") from None
        except (SafetensorError, OSError, ValueError, LookupError, RuntimeError, MemoryError) as error:
            kind = foreign_kind_of(path)
            reason = f"it is {kind}" if kind else first_line(error)
            failure = InvalidFile(f"{path} is no whole safetensors file: {reason}")  # or two files, half each
    if failure is not None:
        raise failure
    recorded = metadata.pop(CHECKSUM, None)
    if recorded is not None or not external:
        check_recorded(path, recorded, _checksum(tensors, metadata))
    return tensors, metadata


def _file_version(path: Path) -> tuple[int, int, int]:
    """What differs between a file and the one that replaces it.

    Raises:
        FileNotFoundError, ValueError: it is not there, or no regular file.
    """
    with open_regular_file(path) as (opened, _):
        about = os.fstat(opened.fileno())
    return about.st_dev, about.st_ino, about.st_mtime_ns
