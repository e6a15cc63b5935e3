"""Picture files to arrays: every picture of a split is decoded once, into one file in the workspace (see `ImageFormat`).

Beside it lie the hash of the files' bytes, which the dataset's fingerprint is made of, and a list of the paths. A split is
there whole or not at all: `ROLE.json` is written last. One process decodes, others wait; a process that was killed
leaves nothing that is taken for whole, and splits that were whole are used again.
"""

from __future__ import annotations

import hashlib
import shutil
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from datapruning.data.image_folder.decode import RULE, CorruptImage, decode
from datapruning.data.image_folder.image_format import ImageFormat
from datapruning.errors import DiskFull, InvalidFile, first_line
from datapruning.io.atomic import atomic_write, write_text
from datapruning.io.checksums import verify_checksum, write_checksummed
from datapruning.io.disk_space import check_free_space, format_bytes, remove_partial_files, report_write_errors
from datapruning.io.json import read_json, write_json
from datapruning.io.locks import exclusive_lock
from datapruning.io.regular_file import open_regular_file
from datapruning.utils.console import ProgressBar, info
from datapruning.utils.hashing import config_hash
from datapruning.utils.records import Record, parse_record
from datapruning.utils.system import available_cpus

PLACEHOLDER_VALUE = 128
PREFETCHED_IMAGES = 8
MAX_IMAGE_BYTES = 512 * 2**20
MAX_SHOWN_NAMES = 10
NUM_SAMPLED_IMAGES = 32
"""Pictures that are encoded to say beforehand how large JPEG files will be."""

Count = Annotated[int, Field(ge=0)]
ChannelSums = tuple[Count, Count, Count]


@dataclass(frozen=True)
class ImageFiles:
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


class CorruptFile(Record):
    """A file that could not be decoded: its position, its name, and the reason."""

    id: Count
    name: str
    reason: str


class SplitManifest(Record):
    """The manifest `ROLE.json` of a decoded split.

    Attributes:
        count: number of images.
        image_size: side in pixels.
        rule: how the images were decoded (see `RULE`).
        content_hash: SHA-256 (hex) of the files' names and bytes.
        corrupt: the files that are no images.
        pixel_sums: see `Dataset.pixel_sums`.
        jpg_quality: quality of the JPEG that the images are stored as; None: they are stored raw.
    """

    count: Count
    image_size: Count
    rule: str
    content_hash: str
    corrupt: tuple[CorruptFile, ...]
    pixel_sums: tuple[ChannelSums, ChannelSums]
    jpg_quality: Count | None = None


@dataclass(frozen=True)
class DecodedSplit:
    """The decoded images of a split.

    Attributes:
        images: uint8 [n, size, size, 3], memory-mapped, or a `JpegArchive`.
        content_hash: SHA-256 (hex) of the files' names and bytes.
        corrupt_ids: positions of the files that are no images; they are gray in `images`.
        pixel_sums: see `Dataset.pixel_sums`, of the images before they were encoded again.
    """

    images: Any
    content_hash: str
    corrupt_ids: tuple[int, ...]
    pixel_sums: tuple[ChannelSums, ChannelSums]


def read_image_bytes(path: Path) -> bytes:
    """The content of a picture file.

    Raises:
        OSError: it cannot be read. ValueError: no ordinary file (a pipe, a device), or one larger than pictures are.
    """
    with open_regular_file(path) as (file, size):
        if size > MAX_IMAGE_BYTES:
            raise ValueError(f"it has {format_bytes(size)}, {format_bytes(MAX_IMAGE_BYTES)} at most are read")
        return file.read(size)


class DecodedImage(NamedTuple):
    """Of one file: the hash of its bytes, what is kept, the sums of its pixels (uint64 [2, 3]), and why it is unreadable."""

    hashed: bytes
    content: bytes | memoryview
    pixel_sums: NDArray[np.uint64]
    problem: str


def decoded_folder(name: str, form: ImageFormat, splits: dict[str, ImageFiles], cache: Path) -> Path:
    """Where the decoded splits lie. Named by all the files, so that changed pictures are decoded anew."""
    identity: dict[str, Any] = {"rule": RULE, "size": form.size, **{role: pictures.key for role, pictures in splits.items()}}
    identity |= {"format": form.suffix} if form.suffix else {}
    return cache / "-".join(["pictures", name, str(form.size), *form.suffix, config_hash(identity)])


def decode_splits(
    where: str, splits: dict[str, ImageFiles], form: ImageFormat, folder: Path, *, skip_unreadable: bool
) -> dict[str, DecodedSplit]:
    """Every split decoded; those that are in `folder` already are only opened.

    Args:
        where: the dataset, for messages.
        splits: "train" and "test".
        form: how the decoded pictures are kept.
        folder: see `decoded_folder`.
        skip_unreadable: go on where a picture cannot be read; it becomes grey.

    Raises:
        InvalidFile: a picture that cannot be read (nothing is left behind), or a broken file in `folder`.
        DiskFull: a full disk.
    """
    missing = {role: pictures for role, pictures in splits.items() if not _manifest_path(folder, role).exists()}
    with _remove_on_failure(folder) if missing else nullcontext():
        needs = _check_space(where, missing, form, folder) if missing else {}
        for role, pictures in missing.items():
            with exclusive_lock(_manifest_path(folder, role), f"another process is decoding {where}, {role}"):
                if not _manifest_path(folder, role).exists():
                    _decode_split(f"{where}, {role}", pictures, form, form.path(folder, role), needs[role], skip_unreadable)
        opened = {role: _open_decoded(folder, role, pictures, form) for role, pictures in splits.items()}
        lost = [splits[role].names[i] for role, found in opened.items() for i in found.corrupt_ids]
        if lost and not skip_unreadable:
            raise InvalidFile(f"{where}: {lost[0]} cannot be read ({len(lost):,} such); remove it or add --skip-unreadable")
    if lost:
        more = ", ..." if len(lost) > MAX_SHOWN_NAMES else ""
        info(f"{where}: {len(lost):,} unreadable pictures, never selected: {', '.join(lost[:MAX_SHOWN_NAMES])}{more}")
    return opened


def _manifest_path(folder: Path, role: str) -> Path:
    return folder / f"{role}.json"


def _check_space(where: str, missing: dict[str, ImageFiles], form: ImageFormat, folder: Path) -> dict[str, int]:
    """How many bytes each split will take; the whole is said.

    Raises:
        DiskFull: the disk has less. InvalidFile: `folder` cannot be made.
    """
    with report_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    needs = {role: _bytes_needed(pictures, form) for role, pictures in missing.items()}
    check_free_space(folder, sum(needs.values()))
    total = format_bytes(sum(needs.values()))
    info(f"{where}: {form.size_note}{total} in all, read where they lie (--loader ffcv copies them, raw)")
    return needs


def _bytes_needed(pictures: ImageFiles, form: ImageFormat) -> int:
    """Exact where pictures are raw; else from the size of a few."""
    count = len(pictures.names)
    if form.quality is None:
        return count * form.image_bytes
    some = np.unique(np.linspace(0, count - 1, min(count, NUM_SAMPLED_IMAGES)).astype(np.int64))
    return round(count * (8 + sum(len(_decode_one(pictures, form, i).content) for i in some.tolist()) / len(some)))


def _decode_split(where: str, pictures: ImageFiles, form: ImageFormat, path: Path, need: int, skip_unreadable: bool) -> None:
    """Write the pictures, the list of names and, last, the story of one split."""
    count = len(pictures.names)
    remove_partial_files(path)
    info(
        f"decoding {where}: {count:,} pictures to {form.size}x{form.size}, {form.size_note}{format_bytes(need)}, into {path}"
    )
    state, unreadable, sums = hashlib.sha256(), dict[int, str](), np.zeros((2, 3), np.uint64)
    with (
        write_checksummed(path),
        atomic_write(path, need) as temporary,
        temporary.open("wb") as file,
        ProgressBar.open("decoding", count) as bar,
        closing(_decode_all(pictures, form)) as each,
        form.open_writer(file, path, count) as writer,
    ):
        for position, piece in enumerate(each):
            state.update(pictures.names[position].encode() + b"\0" + piece.hashed)
            if piece.problem:
                if not skip_unreadable:
                    raise InvalidFile(
                        f"{where}: {pictures.names[position]} cannot be read as a picture ({piece.problem}); "
                        "mend or remove it, or go on without it by --skip-unreadable"
                    )
                unreadable[position] = piece.problem
            sums += piece.pixel_sums
            writer.add(piece.content)
            bar.advance()
    if pictures.are_paths:
        write_text(path.with_suffix(".txt"), "".join(f"{name}\n" for name in pictures.names))
    manifest = SplitManifest(
        count=count, image_size=form.size, rule=RULE, content_hash=state.hexdigest(),
        corrupt=tuple(CorruptFile(id=i, name=pictures.names[i], reason=reason) for i, reason in unreadable.items()),
        pixel_sums=(tuple(sums[0].tolist()), tuple(sums[1].tolist())), jpg_quality=form.quality,
    )  # fmt: skip
    write_json(path.with_suffix(".json"), manifest.to_json())


def _decode_one(pictures: ImageFiles, form: ImageFormat, position: int) -> DecodedImage:
    """One picture, read, decoded and made what is kept; grey where it cannot be read."""
    hashed, why, image = b"", "", np.full((form.size, form.size, 3), PLACEHOLDER_VALUE, np.uint8)
    try:
        content = pictures.read(position)
        hashed = hashlib.sha256(content).digest()
        image = decode(content, form.size)
    except OSError as error:
        why = error.strerror or first_line(error)
    except (CorruptImage, ValueError) as error:
        why = first_line(error)
    rows = image.reshape(form.size, -1)
    columns = np.stack([rows.sum(0, dtype=np.uint32), np.square(rows, dtype=np.uint16).sum(0, dtype=np.uint32)])
    return DecodedImage(hashed, form.encode(image), columns.reshape(2, -1, 3).sum(1, dtype=np.uint64), why)


def _decode_all(pictures: ImageFiles, form: ImageFormat) -> Generator[DecodedImage]:
    """In order, worked out by as many threads as there are cores."""
    with warnings.catch_warnings(), ThreadPoolExecutor(available_cpus()) as pool:
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata, once a picture
        ahead: deque[Future[DecodedImage]] = deque()
        for position in range(len(pictures.names)):
            ahead.append(pool.submit(_decode_one, pictures, form, position))
            if len(ahead) > PREFETCHED_IMAGES * available_cpus():
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _open_decoded(folder: Path, role: str, files: ImageFiles, form: ImageFormat) -> DecodedSplit:
    path, hint = form.path(folder, role), f"delete {folder} to have it made again"
    manifest_path = _manifest_path(folder, role)
    try:
        manifest = parse_record(SplitManifest, read_json(manifest_path), str(manifest_path))
        verify_checksum(path, hint)
        images = form.open(path)
    except (OSError, ValueError, EOFError) as error:
        raise InvalidFile(f"{path} cannot be opened ({first_line(error)}); {hint}") from None
    except InvalidFile as error:
        raise InvalidFile(str(error) if hint in str(error) else f"{path} cannot be opened ({error}); {hint}") from None
    corrupt_ids = tuple(file.id for file in manifest.corrupt)
    if max(corrupt_ids, default=0) >= len(files.names):
        raise InvalidFile(f"{manifest_path} names images that do not exist; {hint}")
    if images.dtype != np.uint8 or images.shape != (len(files.names), form.size, form.size, 3):
        raise InvalidFile(f"{path} holds other images than its manifest says; {hint}")
    return DecodedSplit(images, manifest.content_hash, corrupt_ids, manifest.pixel_sums)


@contextmanager
def _remove_on_failure(folder: Path) -> Iterator[None]:
    """Where the block fails on a user's mistake or a full disk, remove `folder`, if it is new, and the folders above it."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        yield
    except (InvalidFile, DiskFull) as error:
        whole = isinstance(error, DiskFull) and any(folder.glob("[!.]*.json"))  # splits that need not be decoded again
        if folder in new and not whole:
            shutil.rmtree(folder, ignore_errors=True)
            for place in new[1:]:
                try:
                    place.rmdir()
                except OSError:  # somebody else works here
                    break
        raise
