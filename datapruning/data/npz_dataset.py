"""Datasets in an `.npz` as people write them: what is sure is read, what is not is refused with the option that says it."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datapruning.data.dataset import Dataset, Split
from datapruning.data.dataset_spec import NCHW, DatasetSpec
from datapruning.data.pixel_range import MAX_DARK, scale_to_8_bits
from datapruning.errors import InvalidFile, first_line
from datapruning.io.npy import READ_ERRORS, Array, list_npz_arrays, read_npz_arrays
from datapruning.utils.console import info
from datapruning.utils.names import check_utf8

MAX_CLASSES = 2**20
MAX_SHOWN_NAMES = 8
NPZ_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
CHANNELS_FIRST, CHANNELS_LAST = (1, 3, 4), (1, 3)
"""Numbers of channels by which the order of the axes is recognised."""
USUAL_RANGES = ((0, 1), (-1, 1), (0, 255), (0, 1023), (0, 4095), (0, 65535))
CONVERTED_VALUES = 2**22
"""Pixels that are converted at once."""


def open_npz(spec: DatasetSpec) -> Dataset:
    """Open an `.npz` dataset; grey images may lack the channel axis; classes are named by number unless it names them.

    Raises:
        InvalidFile: missing, truncated, needing pickle, or with arrays of the wrong type or shape, or that can be read in
            several ways.
    """
    path = Path(spec.name)
    try:
        arrays = read_npz_arrays(path, (*NPZ_ARRAYS, "class_names"))
        missing = [name for name in NPZ_ARRAYS if name not in arrays]
        names_there = list_npz_arrays(path) if missing else []
    except FileNotFoundError:
        raise InvalidFile(f"dataset {path} is not there") from None
    except READ_ERRORS as error:
        folder = f"; name the folder {path}/" if path.is_dir() else ""
        raise InvalidFile(f"dataset {path} cannot be read: {first_line(error)}{folder}") from None
    if missing:
        shown = ", ".join(names_there[:MAX_SHOWN_NAMES]) + (", ..." if len(names_there) > MAX_SHOWN_NAMES else "")
        raise InvalidFile(f"dataset {path} lacks {', '.join(missing)}; it has {shown or 'no arrays'}")
    splits = []
    for role in ("train", "test"):
        images = _to_uint8(arrays[f"{role}_images"], f"dataset {path}: {role}_images", spec, role == "train")
        labels = _labels(arrays[f"{role}_labels"], f"dataset {path}: {role}_labels", spec)
        if len(images) != len(labels) == arrays[f"{role}_images"].shape[-1]:
            raise InvalidFile(
                f"dataset {path}: {role}_images {list(arrays[f'{role}_images'].shape)} look as if the samples came last, "
                f"because there are {len(labels):,} labels; np.moveaxis(images, -1, 0) puts them first"
            )
        splits.append(Split(_channels_last(images, f"dataset {path}: {role}_images", spec), labels))
    _announce_range(path, splits[0].images, splits[1].images)
    names = _class_names(arrays.get("class_names"), splits, path, spec)
    return Dataset(
        path.stem, splits[0], splits[1], names, source=str(DatasetSpec(str(path.resolve())).with_options(spec.options))
    )


def _announce_range(path: Path, train: NDArray[np.uint8], test: NDArray[np.uint8]) -> None:
    """Print that test images are nearly black and training images are not, or that no training image has anything on it."""
    largest, test_largest = int(train.max()), int(test.max())
    if largest == train.min():
        info(f"dataset {path}: every pixel of train_images is {largest}")
    elif 0 < test_largest <= MAX_DARK < largest:
        info(f"dataset {path}: test_images reach {test_largest} of 255, nearly black, and train_images {largest}")


def _channels_last(images: NDArray[np.uint8], where: str, spec: DatasetSpec) -> NDArray[np.uint8]:
    """Images [n, height, width, channels] of what has no channels, or has them first.

    Raises:
        InvalidFile: they look as if the channels came first, and nothing says so.
    """
    if images.ndim != 4:
        return images[..., None]
    if spec.layout == NCHW:
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    if spec.layout is None and images.shape[1] in CHANNELS_FIRST and images.shape[3] not in CHANNELS_LAST:
        raise InvalidFile(
            f"{where} {list(images.shape)} look as if the channels came first; say that the layout is {NCHW}, or, if they "
            "do come last, nhwc",
            parameter="layout",
        )
    return images


def _to_uint8(images: Array, where: str, spec: DatasetSpec, is_train: bool) -> NDArray[np.uint8]:
    """Pixels as uint8: the range that is given becomes 0..255. Only of training images it is asked whether they are dark.

    Raises:
        InvalidFile: pixels of another type without a range, or outside it.
    """
    if images.dtype.kind not in "biuf" or images.ndim not in (3, 4) or images.size == 0:
        raise InvalidFile(f"{where} are {images.dtype} {list(images.shape)}; uint8 [n, height, width, channels] is needed")
    if images.dtype == np.uint8 and spec.pixel_range in (None, "0..255"):
        largest = int(images.max())
        if spec.pixel_range is None and is_train and 0 < largest <= MAX_DARK:
            raise InvalidFile(
                f"{where} reach {largest} of 255: nearly black; give the values of black and white, probably 0..{largest}, "
                "or 0..255 if they are so dark",
                parameter="pixel_range",
            )
        return images
    low, high = float(images.min()), float(images.max())
    if not np.isfinite([low, high]).all():
        raise InvalidFile(f"{where} have pixels that are NaN or infinite")
    bounds = spec.pixel_bounds
    if bounds is None:
        likely = next((pair for pair in USUAL_RANGES if pair[0] <= low and high <= pair[1]), None)
        hint = f", probably {likely[0]}..{likely[1]}" if likely else ""
        raise InvalidFile(
            f"{where} are {images.dtype} from {low:g} to {high:g}, not uint8: give the values of black and white{hint}",
            parameter="pixel_range",
        )
    converted = np.empty(images.shape, np.uint8)
    source, target = images.ravel(), converted.reshape(-1)
    try:
        for start in range(0, len(source), CONVERTED_VALUES):
            target[start : start + CONVERTED_VALUES] = scale_to_8_bits(source[start : start + CONVERTED_VALUES], bounds)
    except ValueError as error:
        raise InvalidFile(f"{where}: {error}", parameter="pixel_range") from None
    return converted


def _labels(labels: Array, where: str, spec: DatasetSpec) -> NDArray[np.int64]:
    """int64 [n], from 0; a column [n, 1] is read as a list.

    Raises:
        InvalidFile: no whole numbers.
    """
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise InvalidFile(f"{where} are {list(labels.shape)}, one number a class; save their argmax, one number a sample")
    if labels.dtype.kind not in "iu":
        raise InvalidFile(f"{where} are {labels.dtype}; whole numbers are needed")
    count = len(labels) if labels.ndim else 1
    if labels.size != count:
        raise InvalidFile(f"{where} are {list(labels.shape)}; one number a sample is needed")
    if labels.dtype.kind == "u" and labels.size and int(labels.max()) >= MAX_CLASSES:  # -1 may have been stored so
        raise InvalidFile(f"{where}: a label is {int(labels.max())}; labels are numbers of classes, from 0")
    return labels.reshape(count).astype(np.int64) - (spec.labels_from or 0)


def _are_consecutive(labels: NDArray[np.int64]) -> bool:
    return len(np.unique(labels)) == int(labels.max()) - int(labels.min()) + 1


def _class_names(names: Array | None, splits: list[Split], path: Path, spec: DatasetSpec) -> tuple[str, ...]:
    """The names of the classes, which may be bytes; without them the numbers of the classes.

    Raises:
        InvalidFile: no list of names, or labels that do not fit.
    """
    labels = np.concatenate([split.labels for split in splits]) if any(map(len, splits)) else np.zeros(1, np.int64)
    lowest, largest = int(labels.min()), int(labels.max())
    if names is not None and names.ndim != 1:
        raise InvalidFile(f"dataset {path}: class_names is not a list of names")
    if largest >= MAX_CLASSES:
        raise InvalidFile(f"dataset {path}: a label is {largest}; labels are numbers of classes, from 0")
    if (
        lowest > 0
        and spec.labels_from is None
        and not spec.allow_empty_classes
        and (largest - lowest + 1 == len(names) if names is not None else lowest == 1 or _are_consecutive(labels))
    ):
        raise InvalidFile(
            f"dataset {path}: the labels are {lowest}..{largest}, so there is no class 0; say that they start from "
            f"{lowest}, or allow classes without a sample",
            parameter="labels_from",
        )
    if names is not None and names.dtype.kind == "U":  # of a damaged file, Python makes strings that crash it
        number = np.dtype(np.uint32).newbyteorder(names.dtype.byteorder)
        if (np.frombuffer(np.ascontiguousarray(names).tobytes(), number) > sys.maxunicode).any():
            raise InvalidFile(f"dataset {path}: class_names are no text; the file is damaged")
    if names is None:
        first = spec.labels_from or 0
        return tuple(str(first + n) for n in range(1 + largest))
    try:
        texts = tuple(str(name.decode() if isinstance(name, bytes) else name) for name in names.tolist())
    except UnicodeDecodeError:
        raise InvalidFile(f"dataset {path}: class_names are bytes that are not UTF-8; save them as text") from None
    for name in texts:  # names are written to text files
        check_utf8(name, f"dataset {path}: the class name")
        if len(name.splitlines()) != 1 or not name.strip():
            raise InvalidFile(f"dataset {path}: the class name {name!a} is empty or has a line break")
    return texts
