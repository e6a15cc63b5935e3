"""Which files below a class folder are images, in which order, and what is left out."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datapruning.errors import InvalidFile
from datapruning.utils.console import info

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",  # ImageFolder's
    ".avif", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".pbm", ".pcx", ".pnm", ".tga",
)  # fmt: skip
OTHER_SUFFIXES = (
    ".csv", ".db", ".html", ".ini", ".json", ".log", ".md", ".mat", ".mov", ".mp4", ".npy", ".npz", ".pdf", ".pt", ".pth",
    ".py", ".tar", ".txt", ".xml", ".yaml", ".yml", ".zip",
)  # fmt: skip
"""Endings of files that are no images, which are not opened to find out."""
SYSTEM_FOLDERS = ("@eadir", "__macosx", "#recycle", "$recycle.bin", "lost+found", "system volume information")
"""Folders that systems make, in lower case; those of thumbnails hold images."""
SIGNATURES = (
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  \r\n\x87\n",
)  # fmt: skip
BOX_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1")
SIGNATURE_BYTES = 16
MAX_PATHS_TO_FOLDER = 8
MAX_SHOWN_ENDINGS = 6


@dataclass
class FolderNotes:
    """What to say of a folder of images: files left out by their ending, hidden ones, and images without their ending.

    `system` are folders that a system made, `loose` the images that lie beside the class folders.
    """

    by_ending: Counter[str] = field(default_factory=Counter)
    unusual_endings: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    system: Counter[str] = field(default_factory=Counter)
    loose: int = 0

    def announce(self, folder: Path) -> None:
        """Print a line for each of them."""
        if self.by_ending:
            info(f"{folder}: {_count(self.by_ending)} left out: no images by their ending and content")
        if self.system:
            info(f"{folder}: folders of the system left out: {', '.join(sorted(self.system))}")
        if self.unusual_endings:
            why = "torchvision's ImageFolder leaves them out, so its ids differ"
            info(f"{folder}: {_count(self.unusual_endings)} read as images, by their content: {why}")
        if self.loose:
            images = "1 image lies" if self.loose == 1 else f"{self.loose:,} images lie"
            info(f"{folder}: {images} beside the class folders, in none of them, and so left out")
        if self.hidden:
            images = "image is" if self.hidden == 1 else "images are"
            why = "torchvision's ImageFolder counts them, so its ids differ"
            info(f"{folder}: {self.hidden:,} hidden {images} left out: {why}")


def _count(endings: Counter[str]) -> str:
    shown = [f"{count:,} {ending or 'without an ending'}" for ending, count in endings.most_common(MAX_SHOWN_ENDINGS)]
    others = endings.total() - sum(count for _, count in endings.most_common(MAX_SHOWN_ENDINGS))
    return f"{endings.total():,} {'file' if endings.total() == 1 else 'files'} ({', '.join(shown)}" + (
        f" and {others:,} others)" if others else ")"
    )


def has_folders(folder: Path) -> bool:
    """Whether there are folders in one, but for hidden ones and those of the system."""
    with os.scandir(folder) as entries:
        return any(entry.is_dir() and not is_left_out(entry.name) for entry in entries)


def count_loose(folder: Path) -> int:
    """The number of images in a folder itself, by their endings."""
    names = [entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")]
    return sum(os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES for name in names)


def is_left_out(name: str) -> bool:
    """Whether a folder of this name is hidden or made by a system."""
    return name.startswith(".") or name.lower() in SYSTEM_FOLDERS


def list_classes(folder: Path, excluded: Path | None, notes: FolderNotes) -> list[str]:
    """The names of the class folders in `folder`, sorted; hidden folders, those of the system and `excluded` are none."""
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
    notes.loose = count_loose(folder)
    notes.system.update(name for name in names if name.lower() in SYSTEM_FOLDERS)
    return sorted(name for name in names if name.lower() not in SYSTEM_FOLDERS and (folder / name).resolve() != excluded)


def walk_images(top: Path, notes: FolderNotes) -> Iterator[str]:
    """The paths of the images in `top` and below; hidden files and folders are left out (macOS leaves "._x.jpg").

    Files with an unknown ending are images if they begin like one. Links are followed, but not in circles.

    Raises:
        InvalidFile: symbolic links lead to one folder in more ways than `MAX_PATHS_TO_FOLDER`, or a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InvalidFile(f"class folder {top}: folder {error.filename} cannot be read: {error.strerror}")

    folders: list[tuple[str, list[str]]] = []
    visits: Counter[tuple[int, int]] = Counter()
    for folder, subfolders, files in os.walk(top, onerror=refuse, followlinks=True):
        status = os.stat(folder)
        visits[status.st_dev, status.st_ino] += 1
        if visits[status.st_dev, status.st_ino] > MAX_PATHS_TO_FOLDER:
            raise InvalidFile(f"class folder {top} leads to {os.path.realpath(folder)} in many ways; remove links from it")
        notes.system.update(name for name in subfolders if name.lower() in SYSTEM_FOLDERS)
        subfolders[:] = [
            name for name in subfolders if not is_left_out(name) and not _is_symlink_loop(os.path.join(folder, name))
        ]
        folders.append((folder, files))
    for folder, files in sorted(folders):
        for name in sorted(files):
            if _is_image(os.path.join(folder, name), name, notes):
                yield os.path.join(folder, name)


def _is_image(path: str, name: str, notes: FolderNotes) -> bool:
    """Whether a file counts as an image; what does not is noted."""
    ending = os.path.splitext(name)[1].lower()
    if name.startswith("."):
        notes.hidden += ending in IMAGE_SUFFIXES and not name.startswith("._")
        return False
    if ending in IMAGE_SUFFIXES:
        return True
    is_image = ending not in OTHER_SUFFIXES and _begins_like_an_image(path)
    (notes.unusual_endings if is_image else notes.by_ending)[ending] += 1
    return is_image


def _begins_like_an_image(path: str) -> bool:
    try:
        if not os.path.isfile(path):  # a pipe would wait
            return False
        with open(path, "rb") as file:
            head = file.read(SIGNATURE_BYTES)
    except OSError:
        return False
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    is_bmp = head[:2] == b"BM" and head[6:10] == bytes(4)
    is_box = head[4:8] == b"ftyp" and head[8:12] in BOX_BRANDS
    return head.startswith(SIGNATURES) or is_webp or is_bmp or is_box


def _is_symlink_loop(folder: str) -> bool:
    if not os.path.islink(folder):
        return False
    real = os.path.realpath(folder)
    return os.path.commonpath([real, os.path.realpath(os.path.dirname(folder))]) == real
