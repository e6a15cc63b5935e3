"""Tensors in files that another process replaces while they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from datapruning.errors import InvalidFile
from datapruning.io import tensors as module
from datapruning.io.tensors import MAX_READS, load_tensors, save_tensors


def save(path: Path, value: int) -> None:
    save_tensors(path, {"weight": torch.full((3,), value)}, {"epoch": str(value)})


class ReplacedWhileRead:
    """`safe_open` of a file that is replaced `times` times between the reading of its header and of its tensors."""

    def __init__(self, times: int) -> None:
        self.opened, self.times, self.safe_open = 0, times, module.safe_open

    def __call__(self, path: Path, framework: str) -> Any:
        self.opened += 1
        header = self.safe_open(path, framework=framework)
        if self.opened > self.times:
            return header
        with header as file:
            metadata = file.metadata()
        save(path, self.opened)
        return Replaced(self.safe_open(path, framework=framework), metadata)


class Replaced:
    """The tensors of one file with the metadata of another."""

    def __init__(self, file: Any, metadata: dict[str, str]) -> None:
        self.file, self.old_metadata = file, metadata

    def __enter__(self) -> Replaced:
        self.opened = self.file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.file.__exit__(*error)

    def keys(self) -> list[str]:
        return list(self.opened.keys())

    def get_tensor(self, name: str) -> torch.Tensor:
        return self.opened.get_tensor(name)

    def metadata(self) -> dict[str, str]:
        return self.old_metadata


def test_a_file_that_is_replaced_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    save(path, 0)
    monkeypatch.setattr(module, "safe_open", ReplacedWhileRead(2))
    tensors, metadata = load_tensors(path)
    assert (tensors["weight"].tolist(), metadata) == ([2, 2, 2], {"epoch": "2"})


def test_reading_ends_where_a_file_is_replaced_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.safetensors"
    save(path, 0)
    opened = ReplacedWhileRead(10**9)
    monkeypatch.setattr(module, "safe_open", opened)
    with pytest.raises(InvalidFile, match="another checksum"):
        load_tensors(path)
    assert opened.opened == MAX_READS


def test_a_file_whose_replacement_makes_the_reader_fail_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    save(path, 7)
    original, attempts = module.safe_open, list[int]()

    def fail_once(path: Path, framework: str) -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            raise module.SafetensorError("the file is smaller than the required mapping size")
        return original(path, framework=framework)

    monkeypatch.setattr(module, "safe_open", fail_once)
    assert load_tensors(path)[1] == {"epoch": "7"}
    monkeypatch.setattr(module, "safe_open", lambda path, framework: fail(path))
    with pytest.raises(InvalidFile, match="no whole safetensors file: broken"):
        load_tensors(path)


def fail(path: Path) -> Any:
    raise module.SafetensorError("broken")
