"""Picture files to arrays: every picture of a split is decoded once, into one memory-mapped `.npy` in the workspace.

Beside it lie the hash of the files' bytes, which the dataset's fingerprint is made of, and a list of the paths. A split is
there whole or not at all: `ROLE.json` is written last. One process decodes, others wait; a process that was killed
leaves nothing that is taken for whole, and splits that were whole are used again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datapruning.data.decode import RULE, Unreadable, decode
from datapruning.errors import BadFile, reason
from datapruning.files import read_json, size_text, write_json, write_text, written_whole
from datapruning.hashing import digest
from datapruning.locks import held
from datapruning.progress import Bar, say

GREY = 128
AHEAD = 8
SHOWN = 10


@dataclass(frozen=True)
class Pictures:
    """The picture files of one split.

    Attributes:
        names: of each, for people and for `stored`: paths relative to the dataset's folder, or "row 7".
        labels: int64 [n].
        read: the bytes of the file at a position.
        key: what changes whenever a file does, cheap to make.
        are_paths: whether `names` are paths.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    read: Callable[[int], bytes]
    key: str
    are_paths: bool = True


@dataclass(frozen=True)
class Decoded:
    """`images` uint8 [n, size, size, 3], memory-mapped; `stored`: SHA-256 (hex) of the files' names and bytes;
    `unreadable`: positions of those that are no pictures, grey in `images`.
    """

    images: NDArray[np.uint8]
    stored: str
    unreadable: tuple[int, ...]


def pictures_folder(name: str, size: int, splits: dict[str, Pictures], cache: Path) -> Path:
    """Where the decoded splits lie. Named by all the files, so that changed pictures are decoded anew."""
    keys = {role: pictures.key for role, pictures in splits.items()}
    return cache / f"pictures-{name}-{size}-{digest({'rule': RULE, 'size': size, **keys})}"


def decode_splits(
    where: str, splits: dict[str, Pictures], size: int, folder: Path, *, skip_unreadable: bool
) -> dict[str, Decoded]:
    """Every split decoded; those that are in `folder` already are only opened.

    Args:
        where: the dataset, for messages.
        splits: "train" and "test".
        size: side of the decoded pictures.
        folder: see `pictures_folder`.
        skip_unreadable: go on where a picture cannot be read; it becomes grey.

    Raises:
        BadFile: a picture that cannot be read (nothing is left behind), a full disk, or a broken file in `folder`.
    """
    missing = {role: pictures for role, pictures in splits.items() if not _story(folder, role).exists()}
    with _nothing_left(folder) if missing else _as_it_is():
        for role, pictures in missing.items():
            with held(_story(folder, role), f"another process is decoding {where}"):
                if not _story(folder, role).exists():
                    _decode(f"{where}, {role}", pictures, size, folder / f"{role}.npy", skip_unreadable)
        opened = {role: _opened(folder, role, pictures, size) for role, pictures in splits.items()}
        lost = [splits[role].names[i] for role, found in opened.items() for i in found.unreadable]
        if lost and not skip_unreadable:
            raise BadFile(f"{where}: {lost[0]} cannot be read ({len(lost):,} such); remove it or add --skip-unreadable")
    if lost:
        more = ", ..." if len(lost) > SHOWN else ""
        say(f"{where}: {len(lost):,} unreadable pictures, never selected: {', '.join(lost[:SHOWN])}{more}")
    return opened


def _story(folder: Path, role: str) -> Path:
    return folder / f"{role}.json"


def _decode(where: str, pictures: Pictures, size: int, path: Path, skip_unreadable: bool) -> None:
    """Write the `.npy`, the list of names and, last, the story of one split."""
    count = len(pictures.names)
    need = count * size * size * 3
    for stale in path.parent.glob(f".{path.name}.*.part"):  # of a process that was killed: the lock is ours
        stale.unlink(missing_ok=True)
    free = shutil.disk_usage(path.parent).free
    if need > free:
        raise BadFile(f"{path}: {size_text(need)} are needed, {size_text(free)} are free; name another --workspace")
    say(f"decoding {where}: {count:,} pictures to {size}x{size}, {size_text(need)}, into {path}")
    state, unreadable = hashlib.sha256(), dict[int, str]()
    try:
        with (
            written_whole(path) as temporary,
            temporary.open("wb") as file,
            Bar.shown("decoding", count) as bar,
            closing(_each(pictures, size)) as each,
        ):
            header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, 3)}
            np.lib.format.write_array_header_1_0(file, header)
            for position, (hashed, image) in enumerate(each):
                state.update(pictures.names[position].encode() + b"\0" + hashed)
                if isinstance(image, str):
                    if not skip_unreadable:
                        raise BadFile(
                            f"{where}: {pictures.names[position]} cannot be read as a picture ({image}); mend or remove it, "
                            "or go on without it by --skip-unreadable"
                        )
                    unreadable[position] = image
                    image = np.full((size, size, 3), GREY, np.uint8)
                file.write(image.data)
                bar.advance()
        if pictures.are_paths:
            write_text(path.with_suffix(".txt"), "".join(f"{name}\n" for name in pictures.names))
        listed = [{"id": i, "name": pictures.names[i], "why": why} for i, why in unreadable.items()]
        story = {"count": count, "image_size": size, "rule": RULE, "stored": state.hexdigest(), "unreadable": listed}
        write_json(path.with_suffix(".json"), story)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BadFile(f"{path}: the disk is full; {size_text(need)} are needed, name another --workspace") from None


def _each(pictures: Pictures, size: int) -> Generator[tuple[bytes, NDArray[np.uint8] | str]]:
    """(hash of the file, its picture or why there is none) in order, worked out by as many threads as there are cores."""

    def work(position: int) -> tuple[bytes, NDArray[np.uint8] | str]:
        try:
            content = pictures.read(position)
        except OSError as error:
            return b"", error.strerror or reason(error)
        hashed = hashlib.sha256(content).digest()
        try:
            return hashed, decode(content, size)
        except Unreadable as error:
            return hashed, str(error)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with warnings.catch_warnings(), ThreadPoolExecutor(cores) as pool:
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata, once a picture
        ahead: deque[Future[tuple[bytes, NDArray[np.uint8] | str]]] = deque()
        for position in range(len(pictures.names)):
            ahead.append(pool.submit(work, position))
            if len(ahead) > AHEAD * cores:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _opened(folder: Path, role: str, pictures: Pictures, size: int) -> Decoded:
    path = folder / f"{role}.npy"
    story: dict[str, Any] = read_json(_story(folder, role))
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        unreadable = tuple(int(each["id"]) for each in story["unreadable"])
        stored = str(story["stored"])
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise BadFile(f"{path} cannot be opened ({reason(error)}); delete {folder} to have it made again") from None
    if images.dtype != np.uint8 or images.shape != (len(pictures.names), size, size, 3):
        raise BadFile(f"{path} holds other pictures than it says; delete {folder} to have it made again")
    return Decoded(np.asarray(images), stored, unreadable)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


@contextmanager
def _nothing_left(folder: Path) -> Iterator[None]:
    """Where the block fails on a user's mistake, remove `folder`, if it is new, and the folders made to hold it."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except BadFile:
        if folder in new:
            shutil.rmtree(folder, ignore_errors=True)
            for place in new[1:]:
                try:
                    place.rmdir()
                except OSError:  # somebody else works here
                    break
        raise
