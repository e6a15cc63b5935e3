"""`.npz` files: named arrays with metadata and checksums. No pickle anywhere."""

import hashlib
import json
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datapruning.errors import InvalidFile, first_line
from datapruning.io.atomic import atomic_write
from datapruning.io.json import parse_json
from datapruning.io.npy import READ_ERRORS, Array, read_npz_arrays
from datapruning.io.text import CHECKSUM, check_recorded
from datapruning.utils.hashing import config_hash
from datapruning.utils.processes import main_only


@main_only
def write_npz(path: Path, arrays: Mapping[str, Array], meta: Mapping[str, Any], *, compress: bool = False) -> None:
    """Write arrays and a JSON `meta` text, with checksums of each, as one `.npz` that numpy alone can open."""
    there = json.loads(json.dumps(meta, allow_nan=False))
    text = np.array(json.dumps({**there, CHECKSUM: _checksums(arrays, there)}, sort_keys=True))
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", method, compresslevel=9) as archive:
        for name, array in {**arrays, "meta": text}.items():  # np.savez, which before numpy 2.1 cannot be kept from pickling
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def _checksums(arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> dict[str, str]:
    checksums = {name: _checksum(array) for name, array in sorted(arrays.items())}
    return {**checksums, "meta": config_hash({"meta": meta, "arrays": checksums}, 32)}


def _checksum(array: Array) -> str:
    state = hashlib.sha256(f"{array.dtype.str} {list(array.shape)}".encode())
    state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b"")
    return state.hexdigest()[:32]


def _matches_checksums(
    arrays: Mapping[str, Array], meta: Mapping[str, Any], names: Collection[str] | None, recorded: Any
) -> bool:
    """Whether arrays (those that were read) and meta are those that the checksums were made of."""
    if not isinstance(recorded, dict):
        return False
    checksums = {name: value for name, value in recorded.items() if name != "meta"}
    if recorded.get("meta") != config_hash({"meta": meta, "arrays": checksums}, 32):
        return False
    wanted = [name for name in checksums if names is None or name in names]
    return set(wanted) == set(arrays) and all(_checksum(arrays[name]) == checksums[name] for name in wanted)


def read_npz(path: Path, what: str, names: Collection[str] | None = None) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read (arrays, meta) of a file that `write_npz` wrote; `what` names its kind in messages.

    `names` are all the arrays that such a file may have; others are left unread (None: whatever there is).

    Raises:
        InvalidFile: missing, truncated, no `.npz`, a bomb, needing pickle, without `meta` or checksums, or changed since.
    """
    arrays, meta = _read_arrays(path, what, names and {*names, "meta"})
    recorded = meta.pop(CHECKSUM, None)
    check_recorded(path, recorded, recorded if _matches_checksums(arrays, meta, names, recorded) else "another")
    return arrays, meta


def read_meta(path: Path, what: str) -> dict[str, Any]:
    """The `meta` alone of a file that `write_npz` wrote, to see of which kind it is; nothing else is checked.

    Raises:
        InvalidFile: as `read_npz`.
    """
    meta = _read_arrays(path, what, {"meta"})[1]
    meta.pop(CHECKSUM, None)
    return meta


def _read_arrays(path: Path, what: str, names: Collection[str] | None) -> tuple[dict[str, Array], dict[str, Any]]:
    if path.is_dir():
        raise InvalidFile(f"{path} is a folder; {what} file (.npz) is needed here")
    try:
        arrays = read_npz_arrays(path, names)
    except FileNotFoundError:
        raise InvalidFile(f"{path} is not there; {what} file is needed here") from None
    except READ_ERRORS as error:
        raise InvalidFile(f"{path} is not {what} file, or it is truncated: {first_line(error)}") from None
    text = arrays.pop("meta", None)
    try:
        meta = parse_json(str(text[()])) if text is not None and text.shape == () and text.dtype.kind == "U" else None
    except ValueError:
        meta = None
    if not isinstance(meta, dict):
        raise InvalidFile(f"{path} is not {what} file: it has no readable 'meta' text")
    return arrays, meta
