"""What `dprune diff` compares: two files or folders of one kind, made from one dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datapruning.artifacts.metadata import FORMATS
from datapruning.artifacts.scores import KIND as SCORES
from datapruning.artifacts.subset import KIND as SUBSET
from datapruning.errors import IncompatibleInputs, InvalidFile
from datapruning.io.npz import read_meta

RUN = "a run"
KINDS = {SCORES: "a scores file", SUBSET: "a subset file"}


def kind_of(path: Path) -> str:
    """What lies there, in words: "a scores file", "a subset file" or "a run".

    Raises:
        InvalidFile: none of these, or nothing.
    """
    if not path.exists():
        raise InvalidFile(f"{path} is not there; diff takes two scores files, two subset files or two run folders")
    if path.is_dir():
        if not (path / "config.toml").is_file():
            raise InvalidFile(f"{path} is no run folder: it has no config.toml")
        return RUN
    meta = read_meta(path, "a scores or subset")
    kind = str(meta.get("format"))
    if kind not in KINDS:
        what = FORMATS.get(kind, repr(kind))
        raise InvalidFile(f"{path} is {what} file; diff takes scores files, subset files and run folders")
    return KINDS[kind]


def check_same_kind(a: Path, b: Path) -> str:
    """The kind of both.

    Raises:
        InvalidFile: they are of two kinds, or one of them of none.
    """
    kinds = kind_of(a), kind_of(b)
    if kinds[0] != kinds[1]:
        raise InvalidFile(f"{a} is {kinds[0]}, {b} is {kinds[1]}: diff compares like with like")
    return kinds[0]


def check_same_dataset(a: Path, story: Mapping[str, Any], b: Path | str, other: Mapping[str, Any]) -> None:
    """Refuse two that were made from different datasets.

    Args:
        a: what the first is called in the message.
        story: its `dataset`, `fingerprint` and, where it is known, `total`.
        b: what the second is called.
        other: the same of the second.

    Raises:
        IncompatibleInputs: with the names and fingerprints of both.
    """
    if story.get("fingerprint") != other.get("fingerprint"):
        raise IncompatibleInputs(f"{a} was made from {_named(story)}, {b} from another dataset, {_named(other)}")


def _named(story: Mapping[str, Any]) -> str:
    count = f"{story['total']:,} samples, " if isinstance(story.get("total"), int) else ""
    return f"{story.get('dataset')} ({count}fingerprint {str(story.get('fingerprint'))[:12]})"
