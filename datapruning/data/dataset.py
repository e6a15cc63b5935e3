"""A dataset: two splits of uint8 images with labels, class names, and the fingerprint of every file made from it."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from datapruning.errors import InvalidFile, InvalidValue
from datapruning.utils.plural import plural

MAX_SUMMED_BYTES = 2**24
"""Bytes of images whose pixels are summed at once."""


@dataclass(frozen=True)
class Split:
    """`images` uint8 [n, height, width, channels] and `labels` int64 [n]; position is the sample id, never renumbered.

    Images in a file may be `datapruning.data.image_folder.stored_images.LazyImages`, which are used like an array.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels


@dataclass(frozen=True)
class Dataset:
    """A training split, a test split and the names of the classes. `total` is N, the size of the training split.

    Attributes:
        name: name for messages and files.
        train: the samples that are pruned.
        test: the samples that networks are evaluated on.
        class_names: names of the classes, by label.
        source: the path of a dataset that is opened by path (see `datapruning.data.dataset_spec`), else empty. Neither it
            nor the paths are part of the fingerprint.
        content_hash: SHA-256 (hex) of the files that the images were decoded from; empty: they were not.
        train_paths: paths of the image files, relative to the dataset's folder, by sample id; None: there are no files.
        test_paths: likewise of the test split.
        corrupt_ids: sample ids of files that are no images; they are grey in `train`, and nothing is trained on them.
        pixel_sums: (sums, sums of squares) by channel of the pixels of readable training images, if known already.
    """

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]
    source: str = ""
    content_hash: str = ""
    train_paths: tuple[str, ...] | None = None
    test_paths: tuple[str, ...] | None = None
    corrupt_ids: tuple[int, ...] = ()
    pixel_sums: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def __post_init__(self) -> None:
        for role, split in (("train", self.train), ("test", self.test)):
            _check_split(f"{self.name}, {role} split", split, len(self.class_names))
        if self.train.shape != self.test.shape:
            raise InvalidFile(f"{self.name}: train images are {self.train.shape}, test images {self.test.shape}")
        for split, paths in ((self.train, self.train_paths), (self.test, self.test_paths)):
            if paths is not None and len(paths) != len(split):
                raise InvalidFile(f"{self.name}: {len(paths):,} paths for {len(split):,} images")
        doubled = next((name for name, count in Counter(self.class_names).items() if count > 1), None)
        if doubled is not None:
            raise InvalidFile(f"{self.name}: two classes are called '{doubled}'; give each a name of its own")

    @property
    def total(self) -> int:
        """N, the number of training samples."""
        return len(self.train)

    @property
    def spec(self) -> str:
        """What opens it again: the source, else the name."""
        return self.source or self.name

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @cached_property
    def valid_ids(self) -> NDArray[np.int64]:
        """Sample ids, int64, of all training samples but the corrupt ones."""
        return np.delete(np.arange(self.total), self.corrupt_ids)

    def split(self, role: str) -> Split:
        """The split named "train" or "test"."""
        return {"train": self.train, "test": self.test}[role]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of class names, sizes, shapes, labels and stored bytes of both splits.

        For images decoded from files the bytes of the files are hashed, because decoders differ. It does not depend on
        where the arrays came from: CIFAR-100 through torchvision and the same arrays from an `.npz` have one
        fingerprint, so their subsets are interchangeable.
        """
        state = hashlib.sha256(b"datapruning fingerprint 1")
        state.update("\0".join(self.class_names).encode())
        for split in (self.train, self.test):
            state.update(repr(split.images.shape).encode())
            state.update(np.ascontiguousarray(split.labels, "<i8").data)
            if not self.content_hash:
                state.update(np.ascontiguousarray(split.images).data)
        state.update(self.content_hash.encode())
        return state.hexdigest()

    @cached_property
    def image_hashes(self) -> NDArray[np.uint64]:
        """A hash of the pixels of each training image, uint64 [N]: it recognises a sample in a dataset that was changed."""
        hashes = np.empty(self.total, np.uint64)
        step = max(1, MAX_SUMMED_BYTES // self.train.images[:1].nbytes)
        for start in range(0, self.total, step):
            for number, image in enumerate(np.ascontiguousarray(self.train.images[start : start + step]), start):
                hashes[number] = int.from_bytes(hashlib.blake2b(image.data, digest_size=8).digest(), "little")
        return hashes

    @cached_property
    def channel_stats(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, standard deviation) per channel of the readable training pixels, in 0..255, from exact integer sums."""
        height, width, _ = self.train.shape
        count = len(self.valid_ids) * height * width
        sums, squares = self.pixel_sums or self._compute_pixel_sums()
        means, second = [s / count for s in sums], [s / count for s in squares]
        return tuple(means), tuple(max(s - m * m, 1.0) ** 0.5 for s, m in zip(second, means, strict=True))

    def _compute_pixel_sums(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        height, width, channels = self.train.shape
        sums, squares = np.zeros((2, height * width * channels), np.uint64)
        step = max(1, MAX_SUMMED_BYTES // len(sums))
        for start in range(0, len(self.valid_ids), step):
            pixels = self.train.images[self.valid_ids[start : start + step]].reshape(-1, len(sums))
            sums += pixels.sum(0, dtype=np.uint64)
            squares += np.square(pixels, dtype=np.uint16).sum(0, dtype=np.uint64)  # 255**2 fits in 16 bits
        sums, squares = (pixel_sums.reshape(-1, channels).sum(0) for pixel_sums in (sums, squares))
        return tuple(sums.tolist()), tuple(squares.tolist())


def _check_split(where: str, split: Split, classes: int) -> None:
    images, labels = split.images, split.labels
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise InvalidFile(
            f"{where}: images are {images.dtype} {list(images.shape)}; uint8 [n, height, width, channels] is needed"
        )
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise InvalidFile(f"{where}: labels are {labels.dtype} {list(labels.shape)} for {len(images):,} images")
    if labels.min() < 0 or labels.max() >= classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise InvalidFile(f"{where}: label {wrong} is outside the {classes} classes")


def check_readable(ids: NDArray[np.int64], data: Dataset, where: str) -> None:
    """Refuse ids of corrupt images.

    Raises:
        InvalidValue: naming the first.
    """
    corrupt = ids[np.isin(ids, data.corrupt_ids)]
    if corrupt.size:
        raise InvalidValue(f"{where}: id {corrupt[0]} is an image that cannot be read ({plural(corrupt.size, 'such id')})")
