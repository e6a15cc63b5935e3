"""A dataset and the options it is read with in one string, `NAME?image-size=96&holdout=0.1`, as runs record it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from datapruning.errors import InvalidValue, UnknownName

DEFAULT_SIZE = 64
SIZE_RANGE = (8, 1024)
RAW, JPG = "raw", "jpg"
DEFAULT_QUALITY = 90
QUALITY_RANGE = (30, 100)


@dataclass(frozen=True)
class DatasetSpec:
    """Which dataset, and how its images are read.

    Attributes:
        name: name or path of the dataset; "hf:" and the path of a Hugging Face dataset.
        size: side of the decoded images in pixels; None: the default.
        holdout: fraction of each class that becomes the test set; None: the folder has a test set.
        skip_unreadable: leave out images that cannot be decoded.
        quality: JPEG quality that decoded images are stored with; None: they are stored raw.
    """

    name: str
    size: int | None = None
    holdout: float | None = None
    skip_unreadable: bool = False
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not SIZE_RANGE[0] <= self.size <= SIZE_RANGE[1]:
            raise InvalidValue(
                f"the image size, in pixels, lies in {SIZE_RANGE[0]}..{SIZE_RANGE[1]}; got {self.size}",
                parameter="image_size",
            )
        if self.holdout is not None and not 0 < self.holdout < 1:
            raise InvalidValue(
                f"the holdout is the fraction that becomes the test set, between 0 and 1; got {self.holdout}",
                parameter="holdout",
            )

    def __str__(self) -> str:
        options = [] if self.size is None else [f"image-size={self.size}"]
        options += [] if self.holdout is None else [f"holdout={self.holdout!r}"]
        options += ["skip-unreadable=true"] if self.skip_unreadable else []
        options += [] if self.quality is None else [f"image-format={JPG}:{self.quality}"]
        return self.name + ("?" + "&".join(options) if options else "")

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing but the name."""
        return str(self) == self.name

    def with_options(
        self, size: int | None, holdout: float | None, skip_unreadable: bool, image_format: str | None = None
    ) -> Self:
        """The same dataset with these options in place of its own; None: its own.

        Raises:
            InvalidValue: a value out of its range.
        """
        return replace(
            self,
            size=self.size if size is None else size,
            holdout=self.holdout if holdout is None else holdout,
            skip_unreadable=self.skip_unreadable or skip_unreadable,
            quality=self.quality if image_format is None else parse_image_format(image_format),
        )


def parse_image_format(image_format: str) -> int | None:
    """The JPEG quality of "jpg" or "jpg:QUALITY"; None for "raw".

    Raises:
        InvalidValue: neither.
    """
    kind, colon, number = image_format.partition(":")
    if image_format == RAW:
        return None
    quality = DEFAULT_QUALITY if not colon else int(number) if number.isascii() and number.isdigit() else 0
    if kind != JPG or not QUALITY_RANGE[0] <= quality <= QUALITY_RANGE[1]:
        raise InvalidValue(
            f"the image format is raw, jpg or jpg:QUALITY, the quality in {QUALITY_RANGE[0]}..{QUALITY_RANGE[1]}; "
            f"got {image_format}",
            parameter="image_format",
        )
    return quality


def parse_dataset_spec(text: str) -> DatasetSpec:
    """Parse what `str(DatasetSpec)` wrote; a name is one too, and so is an existing path with "?" in it.

    Raises:
        UnknownName: an unknown option. InvalidValue: a wrong value.
    """
    name, question, options = text.rpartition("?")
    if not question or Path(text.removeprefix("hf:")).exists():
        return DatasetSpec(text)
    values: dict[str, Any] = {}
    for option in options.split("&"):
        key, _, value = option.partition("=")
        if key not in PARSERS:
            raise UnknownName("option of a dataset", key, PARSERS)
        field, parse = PARSERS[key]
        try:
            values[field] = parse(value)
        except (ValueError, KeyError):
            raise InvalidValue(f"{text}: '{value}' is not a value of {key}") from None
    return DatasetSpec(name, **values)


PARSERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "image-size": ("size", int), "holdout": ("holdout", float),
    "skip-unreadable": ("skip_unreadable", {"true": True, "false": False}.__getitem__),
    "image-format": ("quality", parse_image_format),
}  # fmt: skip
"""Each option: the field that it sets, and how its text is read."""
OPTIONS = tuple(PARSERS)
