"""What views do, as plain numbers: cheap to import, part of every manifest."""

from __future__ import annotations

from dataclasses import dataclass

from datapruning.errors import BadValue


@dataclass(frozen=True)
class ViewPolicy:
    """What may happen to an image: horizontal `flip`, a `crop` after zero-padding by so many pixels, a `cutout` square.

    `cutout` is the side in pixels of a square set to the mean colour, its centre uniform over the image and cut off
    at the border (DeVries and Taylor 2017). 0 switches `crop` and `cutout` off. `count` is V, the number of views:
    epoch e sees view e mod V. `seed` is the view seed, shared by runs of different seeds.
    """

    flip: bool = True
    crop: int = 4
    cutout: int = 0
    count: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.crop < 0 or self.cutout < 0:
            raise BadValue(f"views.crop and views.cutout are pixels, 0 or more; got {self.crop} and {self.cutout}")
        if self.count < 1:
            raise BadValue(f"views.count, the number of views, is at least 1; got {self.count}")


@dataclass(frozen=True)
class MixPolicy:
    """Mixed pictures for students: see `datapruning.data.mixing`.

    `cutmix` is the share of a student's pictures in which a box, of uniform area and place, is covered by another kept
    sample's picture. 0: none.
    """

    cutmix: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.cutmix <= 1:
            raise BadValue(f"mix.cutmix, the share of a student's pictures that are mixed, lies in 0..1; got {self.cutmix}")
