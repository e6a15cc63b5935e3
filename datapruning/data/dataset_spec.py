"""A dataset's place in one string, `NAME?image-size=96&holdout=0.1`: `--data` and its options, as runs record them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from datapruning.errors import InvalidValue, UnknownName

DEFAULT_SIZE = 64
SIZE_RANGE = (8, 1024)
RAW, JPG = "raw", "jpg"
DEFAULT_QUALITY = 90
QUALITY_RANGE = (30, 100)
OPTIONS = "--image-size, --holdout, --skip-unreadable and --image-format"


@dataclass(frozen=True)
class DatasetSpec:
    """Where a dataset lies, and how its pictures are read.

    Attributes:
        name: a dataset's name, or a path; with "hf:" before it, of a Hugging Face dataset.
        size: side of the decoded pictures in pixels; None: not said.
        holdout: share of each class that becomes the test set; None: the folder has one.
        skip_unreadable: go on without pictures that cannot be read.
        quality: of the JPEG that decoded pictures are kept as; None: they are kept raw.
    """

    name: str
    size: int | None = None
    holdout: float | None = None
    skip_unreadable: bool = False
    quality: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None and not SIZE_RANGE[0] <= self.size <= SIZE_RANGE[1]:
            raise InvalidValue(f"--image-size, in pixels, lies in {SIZE_RANGE[0]}..{SIZE_RANGE[1]}; got {self.size}")
        if self.holdout is not None and not 0 < self.holdout < 1:
            raise InvalidValue(f"--holdout is the share that becomes the test set, between 0 and 1; got {self.holdout}")

    def __str__(self) -> str:
        said = [] if self.size is None else [f"image-size={self.size}"]
        said += [] if self.holdout is None else [f"holdout={self.holdout!r}"]
        said += ["skip-unreadable=true"] if self.skip_unreadable else []
        said += [] if self.quality is None else [f"image-format={JPG}:{self.quality}"]
        return self.name + ("?" + "&".join(said) if said else "")

    @property
    def is_plain(self) -> bool:
        """Whether nothing is said but the name."""
        return str(self) == self.name

    def with_options(
        self, size: int | None, holdout: float | None, skip_unreadable: bool, image_format: str | None = None
    ) -> DatasetSpec:
        """The same with what is given here instead.

        Raises:
            InvalidValue: something outside what is allowed.
        """
        return replace(
            self,
            size=self.size if size is None else size,
            holdout=self.holdout if holdout is None else holdout,
            skip_unreadable=self.skip_unreadable or skip_unreadable,
            quality=self.quality if image_format is None else parse_image_format(image_format),
        )


def parse_image_format(image_format: str) -> int | None:
    """The JPEG quality that "jpg" or "jpg:QUALITY" says; None for "raw".

    Raises:
        InvalidValue: neither.
    """
    kind, colon, said = image_format.partition(":")
    if image_format == RAW:
        return None
    quality = DEFAULT_QUALITY if not colon else int(said) if said.isascii() and said.isdigit() else 0
    if kind != JPG or not QUALITY_RANGE[0] <= quality <= QUALITY_RANGE[1]:
        raise InvalidValue(
            f"--image-format is raw, jpg or jpg:QUALITY, the quality in {QUALITY_RANGE[0]}..{QUALITY_RANGE[1]}; "
            f"got {image_format}"
        )
    return quality


def parse_dataset_spec(text: str) -> DatasetSpec:
    """Read what `str(Place)` wrote; a plain name or path is one too, and so is a path with "?" in it that is there.

    Raises:
        InvalidValue, UnknownName: an option that is none, or a wrong value.
    """
    name, question, rest = text.rpartition("?")
    if not question or Path(text.removeprefix("hf:")).exists():
        return DatasetSpec(text)
    place = DatasetSpec(name)
    for option in rest.split("&"):
        key, _, value = option.partition("=")
        try:
            match key:
                case "image-size":
                    place = replace(place, size=int(value))
                case "holdout":
                    place = replace(place, holdout=float(value))
                case "skip-unreadable":
                    place = replace(place, skip_unreadable={"true": True, "false": False}[value])
                case "image-format":
                    place = replace(place, quality=parse_image_format(value))
                case _:
                    known = ("image-size", "holdout", "skip-unreadable", "image-format")
                    raise UnknownName("option of a dataset", key, known)
        except (ValueError, KeyError):
            raise InvalidValue(f"{text}: '{value}' is no value of {key}") from None
    return place
