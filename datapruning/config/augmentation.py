"""What views do, as plain numbers: cheap to import, part of every manifest."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from datapruning.errors import InvalidValue

ADDED = ("size", "scale", "ratio")
"""Keys that name a run only where they say something: runs made before there were such keys keep their names."""


@dataclass(frozen=True)
class AugmentPolicy:
    """What may happen to an image: horizontal `flip`, a `crop` after zero-padding by so many pixels, a `cutout` square.

    `cutout` is the side in pixels of a square set to the mean colour, its centre uniform over the image and cut off
    at the border (DeVries and Taylor 2017). 0 switches `crop` and `cutout` off. `num_views` is V, the number of views:
    epoch e sees view e mod V. `seed` is the view seed, shared by runs of different seeds.

    `size` is the side of what a network sees; 0: the picture's own. Without `scale` that is the middle of the picture,
    cut out before anything else happens to it; so evaluation sees it always. `scale` = (a, b) makes it a random resized
    crop: a box of a share a..b of the picture's area, its width over its height in the range `ratio`, resampled to `size`
    (Szegedy et al. 2015; see `datapruning.data.augment.crops`). It takes the place of `crop`.
    """

    flip: bool = True
    crop: int = 4
    cutout: int = 0
    num_views: int = 16
    seed: int = 0
    size: int = 0
    scale: tuple[float, ...] = ()
    ratio: tuple[float, ...] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        if self.crop < 0 or self.cutout < 0:
            raise InvalidValue(f"views.crop and views.cutout are pixels, 0 or more; got {self.crop} and {self.cutout}")
        if self.num_views < 1:
            raise InvalidValue(f"views.num_views, the number of views, is at least 1; got {self.num_views}")
        if self.size < 0:
            raise InvalidValue(f"views.size, in pixels, is 0 (the picture's own side) or more; got {self.size}")
        if self.scale and not (len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] <= 1):
            raise InvalidValue(
                f"views.scale is the smallest and the largest share of the picture's area, in 0..1 ([0.08, 1.0]), or [] for "
                f"no resized crops; got {list(self.scale)}"
            )
        if not (len(self.ratio) == 2 and 0.01 <= self.ratio[0] <= self.ratio[1] <= 100):
            raise InvalidValue(
                "views.ratio is the smallest and the largest width over height of a resized crop, in 0.01..100 "
                f"([0.75, 1.333]); got {list(self.ratio)}"
            )
        if self.scale and self.crop:
            raise InvalidValue(
                "views.scale and views.crop do not go together (a resized crop is shifted already): set crop = 0, "
                f"not {self.crop}"
            )

    @property
    def used(self) -> dict[str, Any]:
        """What names a run and is written down: keys and values, lists for tuples, without keys that say nothing here."""
        unused = {f.name for f in fields(self) if f.name in ADDED and getattr(self, f.name) == f.default}
        unused |= set() if self.scale else {"ratio"}
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in unused}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    def __repr__(self) -> str:
        return f"AugmentPolicy({', '.join(f'{key}={value!r}' for key, value in self.used.items())})"  # names teachers

    def seen(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(height, width, channels) of a view of pictures of this `shape`.

        Raises:
            InvalidValue: a `size` that the pictures do not have.
        """
        height, width, channels = shape
        if self.size > min(height, width):
            raise InvalidValue(
                f"views.size is {self.size}, but the pictures are {height}x{width}: set it lower, or have pictures in "
                "files decoded larger with --image-size"
            )
        return (self.size, self.size, channels) if self.size else (height, width, channels)


@dataclass(frozen=True)
class CutMixPolicy:
    """Mixed pictures for students: see `datapruning.data.augment.cutmix`.

    `prob` is the share of a student's pictures in which a box, of uniform area and place, is covered by another kept
    sample's picture. 0: none.
    """

    prob: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.prob <= 1:
            raise InvalidValue(
                f"cutmix.prob, the share of a student's pictures that are mixed, lies in 0..1; got {self.prob}"
            )
