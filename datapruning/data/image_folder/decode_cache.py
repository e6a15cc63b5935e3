"""The cache of decoded images: every image of a split is decoded once, into one file in the workspace (see `ImageFormat`).

Beside it lie a manifest, `ROLE.json`, and a list of the paths. The manifest is written last: a split without one is decoded
again, as after a process was killed. One process decodes, others wait.
"""

import hashlib
import shutil
import warnings
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from datapruning.data.image_folder.decode import RULE, decode
from datapruning.data.image_folder.image_files import ImageFiles
from datapruning.data.image_folder.pixel_modes import GIVE_RANGE, CorruptImage
from datapruning.data.image_folder.stored_images import ImageFormat
from datapruning.data.loaders.prefetch import read_ahead
from datapruning.errors import DiskFull, InvalidFile, first_line
from datapruning.io.atomic import atomic_write, write_text
from datapruning.io.checksums import verify_checksum, write_checksummed
from datapruning.io.disk_space import check_free_space, format_bytes, remove_partial_files, report_write_errors
from datapruning.io.json import read_json, write_json
from datapruning.io.locks import exclusive_lock
from datapruning.utils.console import ProgressBar, info
from datapruning.utils.hashing import config_hash
from datapruning.utils.plural import plural
from datapruning.utils.processes import agree, main_only
from datapruning.utils.records import Record, parse_record
from datapruning.utils.system import available_cpus

PLACEHOLDER_VALUE = 128
PREFETCHED_IMAGES = 8
MAX_SHOWN_NAMES = 10
NUM_SAMPLED_IMAGES = 32
"""Images that are encoded to estimate the size of JPEG files before decoding."""

Count = Annotated[int, Field(ge=0)]
ChannelSums = tuple[Count, Count, Count]


class CorruptFile(Record):
    """A file that could not be decoded: its position, its name, and the reason."""

    id: Count
    name: str
    reason: str


class SplitManifest(Record):
    """The manifest `ROLE.json` of a decoded split: `count` images of `image_size` pixels each way, decoded by `rule`.

    `content_hash` is the SHA-256 (hex) of the files' names and bytes; `corrupt` are the files that are no images;
    `pixel_sums` (see `Dataset`) are of readable images before they were encoded as JPEG of quality `jpg_quality` (None: they
    are stored raw).
    """

    count: Count
    image_size: Count
    rule: str
    content_hash: str
    corrupt: tuple[CorruptFile, ...]
    pixel_sums: tuple[ChannelSums, ChannelSums]
    jpg_quality: Count | None = None

    @property
    def corrupt_ids(self) -> tuple[int, ...]:
        """The positions of the files that are no images; they are grey in the decoded split."""
        return tuple(file.id for file in self.corrupt)


@dataclass(frozen=True)
class DecodedSplit:
    """A decoded split: `images`, uint8 [n, size, size, 3], memory-mapped or a `JpegArchive`, and its manifest."""

    images: Any
    manifest: SplitManifest


class DecodedImage(NamedTuple):
    """A decoded file: the SHA-256 of its bytes (empty if they cannot be read), and the bytes to store.

    `pixel_sums`, uint64 [2, 3], are sums and sums of squares by channel; `problem` says why the file is no image, if it is
    none.
    """

    digest: bytes
    content: bytes | memoryview
    pixel_sums: NDArray[np.uint64]
    problem: str


def decoded_folder(name: str, form: ImageFormat, splits: dict[str, ImageFiles], cache: Path) -> Path:
    """Return the folder of the decoded splits, named by a hash of all files, so that changed images are decoded again."""
    identity: dict[str, Any] = {"rule": RULE, "size": form.size, **{role: files.key() for role, files in splits.items()}}
    identity |= {"format": form.suffix} if form.suffix else {}
    return cache / "-".join(["images", name, str(form.size), *form.suffix, config_hash(identity)])


def find_decoded(folders: Sequence[Path], splits: Collection[str]) -> Path:
    """The first folder that has all splits decoded; the first of all where none has."""
    is_complete = [all(_manifest_path(folder, role).exists() for role in splits) for folder in folders]
    return folders[agree(is_complete.index(True) if any(is_complete) else 0)]


def decode_splits(
    where: str, splits: dict[str, ImageFiles], form: ImageFormat, folder: Path, *, skip_unreadable: bool
) -> dict[str, DecodedSplit]:
    """Decode every split ("train", "test") that is not in `folder` (see `decoded_folder`) yet, and open all of them.

    `where` names the dataset in messages. With `skip_unreadable` an image that cannot be decoded becomes grey.

    Raises:
        InvalidFile: an image that cannot be decoded (nothing is left behind), or a broken file in `folder`.
        DiskFull: the disk is full.
    """
    missing = {role: files for role, files in splits.items() if not agree(_manifest_path(folder, role).exists())}
    with _remove_on_failure(folder) if missing else nullcontext():
        sizes = _check_space(where, missing, form, folder) if missing else {}
        for role, files in missing.items():
            with exclusive_lock(_manifest_path(folder, role), f"another process is decoding {where}, {role}"):
                if not _manifest_path(folder, role).exists():
                    _decode_split(f"{where}, {role}", files, form, form.path(folder, role), sizes[role], skip_unreadable)
        decoded = {role: _open_decoded(folder, role, files, form) for role, files in splits.items()}
        corrupt = [file for split in decoded.values() for file in split.manifest.corrupt]
        if corrupt and not skip_unreadable:
            raise InvalidFile(
                f"{where}: {corrupt[0].name} cannot be read as an image ({corrupt[0].reason}; {len(corrupt):,} such); "
                "repair or remove it, or skip such files",
                parameter="skip_unreadable",
            )
    if corrupt:
        more = ", ..." if len(corrupt) > MAX_SHOWN_NAMES else ""
        names = ", ".join(file.name for file in corrupt[1:MAX_SHOWN_NAMES])
        first = f"{corrupt[0].name} ({corrupt[0].reason})" + (f", {names}" if names else "")
        info(f"{where}: {plural(len(corrupt), 'image')} that cannot be read, never selected: {first}{more}")
    return decoded


def _manifest_path(folder: Path, role: str) -> Path:
    return folder / f"{role}.json"


def _check_space(where: str, missing: dict[str, ImageFiles], form: ImageFormat, folder: Path) -> dict[str, int]:
    """The bytes that each split will take; the sum is printed.

    Raises:
        DiskFull: the disk has less. InvalidFile: `folder` cannot be made.
    """
    with report_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    sizes = {role: _bytes_needed(files, form) for role, files in missing.items()}
    check_free_space(folder, sum(sizes.values()))
    total = format_bytes(sum(sizes.values()))
    info(f"{where}: {form.size_note}{total} in all, memory-mapped (the loader ffcv makes a raw copy)")
    return sizes


def _bytes_needed(files: ImageFiles, form: ImageFormat) -> int:
    """Exact for raw images; for JPEG estimated from a few."""
    count = len(files.names)
    if form.quality is None:
        return count * form.image_bytes
    sample = np.unique(np.linspace(0, count - 1, min(count, NUM_SAMPLED_IMAGES)).astype(np.int64))
    return round(count * (8 + sum(len(_decode_one(files, form, i).content) for i in sample.tolist()) / len(sample)))


@main_only
def _decode_split(where: str, files: ImageFiles, form: ImageFormat, path: Path, size: int, skip_unreadable: bool) -> None:
    """Write the images, the list of names and, last, the manifest of one split."""
    count = len(files.names)
    remove_partial_files(path)
    info(f"decoding {where}: {count:,} images to {form.size}x{form.size}, {form.size_note}{format_bytes(size)}, into {path}")
    content_hash, corrupt, sums = hashlib.sha256(), list[CorruptFile](), np.zeros((2, 3), np.uint64)
    with (
        write_checksummed(path),
        atomic_write(path, size) as temporary,
        temporary.open("wb") as file,
        ProgressBar.open("decoding", count) as bar,
        closing(_decode_all(files, form)) as images,
    ):
        form.write_header(file, count)
        ends = []
        for position, (name, image) in enumerate(zip(files.names, images, strict=True)):
            content_hash.update(name.encode() + b"\0" + image.digest)
            if image.problem:
                if not skip_unreadable:
                    needs_range = GIVE_RANGE in image.problem
                    remedy = "" if needs_range else "; repair or remove it, or skip such files"
                    raise InvalidFile(
                        f"{where}: {name} cannot be read as an image ({image.problem}){remedy}",
                        parameter="pixel_range" if needs_range else "skip_unreadable",
                    )
                corrupt.append(CorruptFile(id=position, name=name, reason=image.problem))
            else:
                sums += image.pixel_sums
            file.write(image.content)
            ends.append(file.tell())
            bar.advance()
        form.write_ends(path, ends)
    if files.are_paths:
        write_text(path.with_suffix(".txt"), "".join(f"{name}\n" for name in files.names))
    manifest = SplitManifest(
        count=count, image_size=form.size, rule=RULE, content_hash=content_hash.hexdigest(), corrupt=tuple(corrupt),
        pixel_sums=(tuple(sums[0].tolist()), tuple(sums[1].tolist())), jpg_quality=form.quality,
    )  # fmt: skip
    write_json(path.with_suffix(".json"), manifest.to_json())


def _decode_one(files: ImageFiles, form: ImageFormat, position: int) -> DecodedImage:
    """Read, decode and encode one image; grey where it cannot be decoded."""
    digest, problem, image = b"", "", np.full((form.size, form.size, 3), PLACEHOLDER_VALUE, np.uint8)
    try:
        content = files.read(position)
        digest = hashlib.sha256(content).digest()
        image = decode(content, form.size, form.pixel_bounds)
    except OSError as error:
        problem = error.strerror or first_line(error)
    except (CorruptImage, ValueError) as error:
        problem = first_line(error)
    rows = image.reshape(form.size, -1)
    columns = np.stack([rows.sum(0, dtype=np.uint32), np.square(rows, dtype=np.uint16).sum(0, dtype=np.uint32)])
    return DecodedImage(digest, form.encode(image), columns.reshape(2, -1, 3).sum(1, dtype=np.uint64), problem)


def _decode_all(files: ImageFiles, form: ImageFormat) -> Generator[DecodedImage]:
    """All images in order, decoded by one thread per CPU."""
    threads, positions = available_cpus(), range(len(files.names))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata, once an image
        decode_one = partial(_decode_one, files, form)
        yield from read_ahead(decode_one, positions, threads=threads, ahead=PREFETCHED_IMAGES * threads)


def _open_decoded(folder: Path, role: str, files: ImageFiles, form: ImageFormat) -> DecodedSplit:
    path, manifest_path = form.path(folder, role), _manifest_path(folder, role)
    hint = f"delete {folder} to have it made again"
    try:
        manifest = parse_record(SplitManifest, read_json(manifest_path), str(manifest_path))
        verify_checksum(path, hint)
        images = form.open(path)
    except (OSError, ValueError, EOFError) as error:
        raise InvalidFile(f"{path} cannot be opened ({first_line(error)}); {hint}") from None
    except InvalidFile as error:
        raise InvalidFile(str(error) if hint in str(error) else f"{path} cannot be opened ({error}); {hint}") from None
    if max(manifest.corrupt_ids, default=0) >= len(files.names):
        raise InvalidFile(f"{manifest_path} names images that do not exist; {hint}")
    if images.dtype != np.uint8 or images.shape != (len(files.names), form.size, form.size, 3):
        raise InvalidFile(f"{path} holds other images than its manifest says; {hint}")
    return DecodedSplit(images, manifest)


@contextmanager
def _remove_on_failure(folder: Path) -> Iterator[None]:
    """If the block fails on a user's mistake or a full disk, remove `folder`, if it is new, and new folders above it."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except (InvalidFile, DiskFull) as error:
        has_splits = isinstance(error, DiskFull) and any(folder.glob("[!.]*.json"))  # which need not be decoded again
        if folder in new and not has_splits:
            shutil.rmtree(folder, ignore_errors=True)
            for path in new[1:]:
                try:
                    path.rmdir()
                except OSError:  # another process uses it
                    break
        raise
