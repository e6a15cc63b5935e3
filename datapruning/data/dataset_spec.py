"""A dataset and the options it is read with in one string, `NAME?image-size=96&holdout=0.1`, as runs record it."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

from datapruning.data.pixel_range import format_range, parse_range
from datapruning.errors import InvalidValue, UnknownName

DEFAULT_SIZE = 64
SIZE_RANGE = (8, 1024)
RAW, JPG = "raw", "jpg"
DEFAULT_QUALITY = 90
QUALITY_RANGE = (30, 100)
NHWC, NCHW = "nhwc", "nchw"
IMAGE_FILES, NPZ, ARRAYS = "datasets of image files", ".npz files", "arrays"
"""Kinds of datasets: image files in folders, of torchvision or of Hugging Face; an `.npz`; a built-in set of arrays."""


@dataclass(frozen=True)
class DatasetSpec:
    """Which dataset, and how its images and labels are read.

    Attributes:
        name: name or path of the dataset; "hf:" and the path of a Hugging Face dataset.
        image_size: side of the decoded images in pixels; None: the default.
        holdout: fraction of each class that becomes the test set; None: the folder has a test set.
        skip_unreadable: leave out images that cannot be decoded.
        image_format: how decoded images are stored, "raw" or "jpg:QUALITY"; None: raw.
        layout: order of the axes of an array of images, "nhwc" or "nchw"; None: channels last, unless it looks otherwise.
        labels_from: the smallest label in the file, which becomes 0; None: 0.
        pixel_range: "LOW..HIGH", the values of black and white in pixels that are not 8-bit numbers; None: not known.
        allow_empty_classes: take classes without a training sample.
        corrected_labels: path of a CSV with other labels of some training samples, see `correct_labels`; None: no other.
    """

    name: str
    image_size: int | None = None
    holdout: float | None = None
    skip_unreadable: bool = False
    image_format: str | None = None
    layout: str | None = None
    labels_from: int | None = None
    pixel_range: str | None = None
    allow_empty_classes: bool = False
    corrected_labels: str | None = None

    def __post_init__(self) -> None:
        for field, option in OPTIONS.items():
            value = getattr(self, field)
            if value is not None and not _is_valid(option, value):
                got = value if isinstance(value, str) else repr(value)
                raise InvalidValue(f"{option.meaning}; got {got}", parameter=field)
        if self.image_format == JPG:  # one text for one format
            object.__setattr__(self, "image_format", f"{JPG}:{DEFAULT_QUALITY}")
        if self.pixel_range is not None:
            object.__setattr__(self, "pixel_range", format_range(parse_range(self.pixel_range)))

    def __str__(self) -> str:
        options = [f"{option_name(field)}={str(value).lower()}" for field, value in self.options.items()]
        return self.name + ("?" + "&".join(options) if options else "")

    @property
    def options(self) -> dict[str, Any]:
        """The values of the options that are given, by field."""
        values = {field: getattr(self, field) for field in OPTIONS}
        return {field: value for field, value in values.items() if value is not None and value is not False}

    @property
    def quality(self) -> int | None:
        """JPEG quality that decoded images are stored with; None: they are stored raw."""
        return None if self.image_format is None else _quality(self.image_format)

    @property
    def pixel_bounds(self) -> tuple[float, float] | None:
        """The pixel values of black and white; None: not given."""
        return None if self.pixel_range is None else parse_range(self.pixel_range)

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """The same dataset with these options, by field, in place of its own; None or False: its own.

        Raises:
            InvalidValue: a value out of its range.
        """
        return replace(
            self, **{field: value for field, value in options.items() if value is not None and value is not False}
        )

    def check_kind(self, kind: str) -> None:
        """Refuse options that a dataset of this kind does not take.

        Raises:
            InvalidValue: naming the first.
        """
        for field in self.options:
            if kind not in OPTIONS[field].kinds:
                takers = " and ".join(OPTIONS[field].kinds)
                raise InvalidValue(f"{self.name} takes no {option_name(field)}, which is for {takers}", parameter=field)


class DatasetOption(NamedTuple):
    """An option: how its text is read, which values are valid, what they are in words, and the kinds of data that take it.

    `default` is the value that means the same as leaving it out.
    """

    parse: Callable[[str], Any]
    is_valid: Callable[[Any], object]
    meaning: str
    kinds: tuple[str, ...]
    default: Any = None


def option_name(field: str) -> str:
    """The name of an option in the text of a dataset."""
    return field.replace("_", "-")


def _is_valid(option: DatasetOption, value: Any) -> bool:
    try:
        return bool(option.is_valid(value))
    except (TypeError, ValueError, AttributeError):  # of another type than the option's
        return False


def _quality(image_format: str) -> int | None:
    """The JPEG quality of "jpg" or "jpg:QUALITY"; None for "raw", 0 for what is neither."""
    if image_format == RAW:
        return None
    kind, colon, number = image_format.partition(":")
    if kind != JPG:
        return 0
    return DEFAULT_QUALITY if not colon else int(number) if number.isascii() and number.isdigit() else 0


def _is_image_format(image_format: str) -> bool:
    quality = _quality(image_format)
    return quality is None or QUALITY_RANGE[0] <= quality <= QUALITY_RANGE[1]


def parse_dataset_spec(text: str) -> DatasetSpec:
    """Parse what `str(DatasetSpec)` wrote; a name is one too, and so is an existing path with "?" in it.

    Raises:
        UnknownName: an unknown option. InvalidValue: a wrong value.
    """
    if "\0" in text:
        raise InvalidValue(f"the name of the dataset, {text!a}, holds a null character")
    name, question, options = text.rpartition("?")
    if not question or os.path.exists(text.removeprefix("hf:")):
        return DatasetSpec(text)
    values: dict[str, Any] = {}
    for option in options.split("&"):
        key, _, value = option.partition("=")
        field = key.replace("-", "_")
        if key not in OPTION_NAMES:
            raise UnknownName("option of a dataset", key, OPTION_NAMES)
        try:
            values[field] = OPTIONS[field].parse(value)
        except (ValueError, KeyError):
            raise InvalidValue(f"{text}: '{value}' is not a value of {key}") from None
    return DatasetSpec(name, **values)


def differing_options(recorded: str, current: str) -> list[str]:
    """How the options of two datasets differ, as in "holdout 0.1, here 0.2"; both are in the form of `DatasetSpec`."""
    there, here = parse_dataset_spec(recorded), parse_dataset_spec(current)
    values = {field: [_in_words(field, getattr(spec, field)) for spec in (there, here)] for field in OPTIONS}
    return [f"{option_name(field)} {a}, here {b}" for field, (a, b) in values.items() if a != b]


def _in_words(field: str, value: object) -> str:
    value = OPTIONS[field].default if value is None else value
    return "not given" if value is None else str(value).lower()


_FLAG: tuple[Callable[[str], bool], Callable[[Any], bool]] = (
    {"true": True, "false": False}.__getitem__, lambda value: isinstance(value, bool),
)  # fmt: skip
OPTIONS: dict[str, DatasetOption] = {
    "image_size": DatasetOption(
        int, lambda size: SIZE_RANGE[0] <= size <= SIZE_RANGE[1],
        f"the image size, in pixels, lies in {SIZE_RANGE[0]}..{SIZE_RANGE[1]}", (IMAGE_FILES,),
    ),
    "holdout": DatasetOption(
        float, lambda share: 0 < share < 1,
        "the holdout is the fraction that becomes the test set, between 0 and 1", (IMAGE_FILES,),
    ),
    "skip_unreadable": DatasetOption(*_FLAG, "skip_unreadable is True or False", (IMAGE_FILES,)),
    "image_format": DatasetOption(
        str, _is_image_format,
        f"the image format is raw, jpg or jpg:QUALITY, the quality in {QUALITY_RANGE[0]}..{QUALITY_RANGE[1]}",
        (IMAGE_FILES,), RAW,
    ),
    "layout": DatasetOption(
        str, lambda layout: layout in (NHWC, NCHW),
        f"the layout is {NHWC} (channels last) or {NCHW} (channels first)", (NPZ,), NHWC,
    ),
    "labels_from": DatasetOption(
        int, lambda first: isinstance(first, int) and abs(first) < 2**31,
        "the number that labels start from is a whole number", (NPZ,), 0,
    ),
    "pixel_range": DatasetOption(
        str, parse_range, "the pixel range is LOW..HIGH, the values of black and white, such as 0..1", (IMAGE_FILES, NPZ)
    ),
    "allow_empty_classes": DatasetOption(*_FLAG, "allow_empty_classes is True or False", (IMAGE_FILES, NPZ)),
    "corrected_labels": DatasetOption(
        str, lambda path: isinstance(path, str) and path and not {"&", "?", "\0"} & set(path),
        "corrected labels are in a CSV whose path has neither & nor ?", (IMAGE_FILES, NPZ, ARRAYS),
    ),
}  # fmt: skip
"""Every option of a dataset, by the field of `DatasetSpec`, which is the parameter of `open_dataset` too."""
OPTION_NAMES = tuple(map(option_name, OPTIONS))
assert tuple(OPTIONS) == tuple(field.name for field in fields(DatasetSpec)[1:])
