"""The recipe tables [views], [cutmix] and [mixup]: what may happen to an image before a network sees it."""

from typing import Annotated, Literal

from pydantic import ValidationInfo, field_validator

from datapruning.config.table import Floats, Share, Table, between, satisfies
from datapruning.errors import InvalidValue

MIN_CROP_PIXELS = 4
"""Pixels of the smallest random resized crop."""
Pixels = Annotated[int, between(0, 1_000_000)]
Ratio = Annotated[
    Floats,
    satisfies(
        lambda ratio: len(ratio) == 2 and 0.01 <= ratio[0] <= ratio[1] <= 100,
        " is the smallest and the largest width over height of a resized crop, in 0.01..100 ([0.75, 1.333])",
    ),
]


class AugmentPolicy(Table):
    """What may happen to an image: a horizontal `flip`, a `crop` after zero-padding by so many pixels, a `cutout` square.

    Attributes:
        flip: mirror half of the images.
        alternate_flips: mirror a sample in every other view, half of the samples in the odd views, instead of by chance in
            each (Jordan 2024, section 3.6): two views in a row then show both sides.
        crop: pixels of padding on each side before a crop of the image's size; 0: none.
        padding: what the border is padded with: "black", or "reflect" for the image mirrored at it.
        cutout: side in pixels of a square set to the mean colour, its centre uniform over the image and cut off at the
            border (DeVries and Taylor 2017); 0: none.
        num_views: V, the number of views: epoch e sees view e mod V.
        seed: view seed, shared by runs of different seeds.
        size: side in pixels of what a network sees; 0: that of the image. Without `scale` it is the middle of the image,
            cut out before anything else happens to it, which is also what evaluation sees.
        ratio: range of the width over the height of a resized crop; without `scale` it has no effect.
        scale: (a, b) makes a random resized crop: a box of a fraction a..b of the image's area, resampled to `size`
            (Szegedy et al. 2015; see `datapruning.data.augment.crops`). It replaces `crop`; empty: none.
    """

    flip: bool = True
    alternate_flips: bool = False
    crop: Pixels = 4
    padding: Literal["black", "reflect"] = "black"
    cutout: Pixels = 0
    num_views: Annotated[int, between(1, 1_000_000)] = 16
    seed: int = 0
    size: Pixels = 0
    ratio: Ratio = (3 / 4, 4 / 3)
    scale: Floats = ()

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, scale: tuple[float, ...], others: ValidationInfo) -> tuple[float, ...]:
        if scale and not (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
            raise ValueError(
                " is the smallest and the largest fraction of the image's area, in 0..1 ([0.08, 1.0]), or [] for no "
                f"resized crops; got {list(scale)}"
            )
        if scale and others.data.get("crop"):
            raise ValueError(
                f" and crop do not go together (a resized crop is shifted already): set crop = 0, not {others.data['crop']}"
            )
        return scale

    def unused_keys(self) -> set[str]:
        """`ratio` where there are no resized crops, and those of flips and padding where they change nothing."""
        unused = set() if self.scale else {"ratio"}
        unused |= set() if self.flip and self.alternate_flips else {"alternate_flips"}
        return unused | (set() if self.crop and self.padding != "black" else {"padding"})

    def check_images(self, shape: tuple[int, int, int]) -> None:
        """Refuse images of this `shape` (height, width, channels) where they are too small for the augmentation.

        Raises:
            InvalidValue: `crop` or `cutout` can leave nothing of an image, or `scale` begins below `MIN_CROP_PIXELS`.
        """
        height, width, _ = self.output_shape(shape)
        for key, pixels in (("crop", self.crop), ("cutout", self.cutout)):
            if pixels >= min(height, width):
                raise InvalidValue(
                    f"views.{key} is {pixels}, but the network sees {height}x{width} pixels, of which nothing might be "
                    "left: set it lower"
                )
        if self.scale and self.scale[0] * shape[0] * shape[1] < MIN_CROP_PIXELS:
            raise InvalidValue(
                f"views.scale begins at {self.scale[0]:g}, which is less than {MIN_CROP_PIXELS} pixels of images of "
                f"{shape[0]}x{shape[1]}: set it higher"
            )

    def output_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(height, width, channels) of a view of images of this `shape`.

        Raises:
            InvalidValue: a `size` that the images do not have.
        """
        height, width, channels = shape
        if self.size > min(height, width):
            raise InvalidValue(
                f"views.size is {self.size}, but the images are {height}x{width}: set it lower, or have image files decoded "
                "larger (image_size)"
            )
        return (self.size, self.size, channels) if self.size else (height, width, channels)


class CutMixPolicy(Table):
    """CutMix for students: see `datapruning.data.augment.mixing`.

    Attributes:
        prob: fraction of a student's images in which a box, of uniform area and position, is covered by another kept
            sample's image; 0: none.
    """

    prob: Share = 0.0

    @property
    def enabled(self) -> bool:
        """Whether any image is mixed."""
        return self.prob > 0


class MixupPolicy(Table):
    """mixup for students: see `datapruning.data.augment.mixing`.

    Attributes:
        prob: fraction of a student's images that are averaged with another kept sample's image; 0: none. An image is mixed
            by CutMix or by mixup, never by both.
        alpha: the image's own weight is drawn from Beta(alpha, alpha): 1 is uniform, less is nearer to 0 and 1.
    """

    prob: Share = 0.0
    alpha: Annotated[float, between(0.01, 100)] = 1.0

    @property
    def enabled(self) -> bool:
        """Whether any image is mixed."""
        return self.prob > 0
