"""`meta`: the story that every scores and subset file carries, and the checks before one is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from datapruning.data.dataset import Dataset
from datapruning.errors import IncompatibleInputs, InvalidFile
from datapruning.version import __version__

VERSION = 1
FORMATS = {
    "datapruning.scores": "a scores", "datapruning.subset": "a subset", "datapruning.label_issues": "a label issues",
    "datapruning.influence": "an influence", "datapruning.probs": "a probabilities",
}  # fmt: skip


class DatasetIdentity(Protocol):
    """What names a dataset: enough to say whether a file was made from it."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def total(self) -> int: ...


def make_metadata(kind: str, data: DatasetIdentity, **story: Any) -> dict[str, Any]:
    """Meta of a file made now from `data`; `story` says how (scorer, fraction, seed, configuration, ...)."""
    return {
        "format": kind,
        "version": VERSION,
        "dataset": data.name,
        "fingerprint": data.fingerprint,
        "total": data.total,
        "package_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **story,
    }


def check_format(path: Path, meta: Mapping[str, Any], kind: str) -> None:
    """Refuse a file of another kind or format version, or one that does not say how many samples its dataset has.

    Raises:
        InvalidFile: with what the file is instead.
    """
    found = meta.get("format")
    if found != kind:
        is_instead = f"it is {FORMATS[found]} file" if found in FORMATS else f"its format is {found!r}"
        raise InvalidFile(f"{path} is not {FORMATS[kind]} file: {is_instead}")
    if meta.get("version") != VERSION:
        raise InvalidFile(
            f"{path} has format version {meta.get('version')!r}; this datapruning ({__version__}) reads version {VERSION}"
        )
    total = meta.get("total")
    if not isinstance(total, int) or isinstance(total, bool) or total < 1:
        raise InvalidFile(f"{path}: 'total' in its meta is {total!r}, not a number of samples")
    for key in ("dataset", "fingerprint"):
        if not isinstance(meta.get(key), str):
            raise InvalidFile(f"{path}: its meta names no {key}")


def check_same_dataset(what: str, meta: Mapping[str, Any], data: DatasetIdentity) -> None:
    """Refuse a file that was made from another dataset.

    Raises:
        IncompatibleInputs: with both names and sizes; of one folder of pictures, with what to say alike.
    """
    if meta["fingerprint"] != data.fingerprint:
        raise IncompatibleInputs(
            f"{what} was made from another dataset: {meta['dataset']} ({meta['total']:,} samples, fingerprint "
            f"{meta['fingerprint'][:12]}), not from {data.name} ({data.total:,} samples, {data.fingerprint[:12]})"
            f"{dataset_mismatch_hint(meta['dataset'], data)}"
        )


def dataset_mismatch_hint(name: Any, data: DatasetIdentity) -> str:
    """Why a dataset of this name may differ from `data`: the end of a message. Empty where nothing can be said.

    The same picture files make several datasets: the options of `--data` say how they are read.
    """
    if name == data.name and isinstance(data, Dataset) and data.content_hash:
        return "; say the same --holdout and --image-size with every command, unless the pictures themselves have changed"
    return ""
