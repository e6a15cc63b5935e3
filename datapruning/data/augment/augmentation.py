"""Views: augmented images, each a pure function of (view seed, view number, sample id).

Nothing else matters: not the batch, the loader, the number of workers, the device or the run's seed. So a view can be
replayed anywhere, and soft labels computed for it once are valid for every student. Mixed views (`mixing.py`) depend on the
set of kept ids too, and their soft labels are valid for every student of that subset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datapruning.config.augmentation import AugmentPolicy, CutMixPolicy, MixupPolicy
from datapruning.data.augment.crops import random_resized_boxes, resample
from datapruning.data.augment.mixing import Mixing, blend, mixing_lambda, paste
from datapruning.data.augment.numba_kernels import augment, augment_cpu, compiled
from datapruning.data.loaders.loader import Batch, Loader, MixedLabels
from datapruning.utils.hashing import U64, bounded_ints, hash_ids

VIEW_KEY, FLIP_KEY = 0x71E35, 0xF11B
NO_MIXUP = MixupPolicy()


@dataclass(frozen=True)
class Augmentation:
    """A policy bound to a dataset's channel statistics: uint8 NHWC batches in, normalised float32 NCHW batches out.

    Attributes:
        policy: what may happen to an image.
        mean: mean of each channel, 0..255.
        std: standard deviation of each channel.
        mixing: how a student's images are mixed; None: they are not.
    """

    policy: AugmentPolicy
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mixing: Mixing | None = None

    def for_subset(self, subset_ids: NDArray[np.int64], cutmix: CutMixPolicy, mixup: MixupPolicy = NO_MIXUP) -> Augmentation:
        """The views of a student that is trained on `subset_ids` (int64, sorted)."""
        mixed = cutmix.enabled or mixup.enabled
        return replace(self, mixing=Mixing(cutmix, mixup, self.policy.seed, subset_ids) if mixed else None)

    def view_index(self, epoch: int) -> int:
        """The view that epoch `epoch` sees."""
        return epoch % self.policy.num_views

    def sample_params(self, ids: NDArray[np.int64], view: int, height: int, width: int) -> NDArray[np.int64]:
        """Draw the parameters of views of `height` x `width`.

        Returns:
            int64 [n, 5]: crop offset down, crop offset right, flip (0 or 1), centre of the cutout down, right; the centre
            is 0 where nothing is cut out.
        """
        policy = self.policy
        bits = hash_ids(ids, VIEW_KEY, policy.seed, view)
        offsets = 2 * policy.crop + 1
        params = np.zeros((len(ids), 5), np.int64)
        params[:, 0] = bounded_ints(bits, offsets)
        params[:, 1] = bounded_ints(bits << U64(32), offsets)
        if policy.flip and policy.alternate_flips:
            params[:, 2] = (hash_ids(ids, VIEW_KEY, policy.seed, FLIP_KEY) & U64(1)) ^ U64(view & 1)
        elif policy.flip:
            params[:, 2] = bits & U64(1)
        if policy.cutout:
            cutout_bits = hash_ids(ids, VIEW_KEY, policy.seed, view, 1)
            params[:, 3] = bounded_ints(cutout_bits, height)
            params[:, 4] = bounded_ints(cutout_bits << U64(32), width)
        return params

    def read(self, loader: Loader, batches: Sequence[NDArray[np.int64]], epoch: int) -> Iterator[tuple[Batch, Tensor]]:
        """Each batch of ids with its views of epoch `epoch`, mixed if `mixing` is set; shapes as in `apply`."""
        if self.mixing is None:
            for batch in loader.read(batches):
                yield batch, self.apply(batch.images, batch.ids, epoch)
            return
        ends = np.cumsum([len(ids) for ids in batches]).tolist()
        params = self.mixing.sample_params(np.concatenate([np.empty(0, np.int64), *batches]), self.view_index(epoch))
        batch_params = [params.slice(end - len(ids), end) for ids, end in zip(batches, ends, strict=True)]
        with_partners = [np.concatenate([ids, p.partners]) for ids, p in zip(batches, batch_params, strict=True)]
        for ids, params, both in zip(batches, batch_params, loader.read(with_partners), strict=True):
            views = self.apply(both.images, both.ids, epoch)
            n, size = len(ids), views.shape[2:]
            rows = np.flatnonzero(params.mixed)
            paste(views[:n], views[n:], rows, params.boxes(*size))
            blend(views[:n], views[n:], rows, params.weight)
            targets_b = both.labels[:n].index_copy(0, _to_device(rows, both.images), both.labels[n:])
            mixed = MixedLabels(targets_b, _to_device(mixing_lambda(params, *size), both.images))
            yield Batch(both.images[:n], both.labels[:n], ids, mixed), views[:n]

    def apply(self, images: Tensor, ids: NDArray[np.int64] | Tensor, epoch: int) -> Tensor:
        """The view of epoch `epoch` of each image, not mixed.

        Args:
            images: uint8 [n, height, width, channels], on any device.
            ids: their sample ids, int64 [n].
            epoch: the epoch, counted from 0.

        Returns:
            float32 [n, channels, height, width], channels last in memory, on the images' device; height and width are
            `policy.size` if it is not 0.

        Raises:
            InvalidValue: images smaller than `policy.size`.
        """
        ids = ids.cpu().numpy() if isinstance(ids, Tensor) else ids
        images = self._crop(images, ids, self.view_index(epoch))
        _, height, width, _ = images.shape
        params = self.sample_params(ids, self.view_index(epoch), height, width)
        run = compiled(augment) if images.device.type == "cpu" else None
        reflect, crop = self.policy.padding == "reflect", self.policy.crop
        down, right, _, centre_down, centre_right = _to_device(params, images).unbind(1)
        if crop and (reflect or run is None):
            images, crop = _pad_and_crop(images, crop, down, right, reflect=reflect), 0
            params[:, :2] = 0
        if run is not None:
            stats = _row_stats(self.mean, self.std, width, images.device)
            return augment_cpu(run, images, params, crop, self.policy.cutout, *stats)
        if self.policy.flip:
            images = _hflip(images, params[:, 2])
        pixels = self.normalise(images)
        if self.policy.cutout:
            hole_down = _cutout_mask(centre_down, height, self.policy.cutout)
            hole_right = _cutout_mask(centre_right, width, self.policy.cutout)
            pixels.masked_fill_((hole_down[:, :, None] & hole_right[:, None, :])[:, None], 0.0)
        return pixels

    def normalise(self, images: Tensor) -> Tensor:
        """(pixel - mean) / std of the centre crop, not augmented, for evaluation. Shapes and errors as in `apply`."""
        images = self._center_crop(images)
        count, height, width, channels = images.shape
        mean, std = _row_stats(self.mean, self.std, width, images.device)
        rows = images.reshape(count * height, width * channels)  # long rows: the subtraction runs at memory speed
        pixels = rows.to(torch.float32).sub_(mean).div_(std)
        return pixels.view(count, height, width, channels).permute(0, 3, 1, 2)

    def _crop(self, images: Tensor, ids: NDArray[np.int64], view: int) -> Tensor:
        """The part of each image that its view shows, in the view's size: uint8 as the images are."""
        if not self.policy.scale:
            return self._center_crop(images)
        _, height, width, _ = images.shape
        size = self.policy.output_shape((height, width, 0))[:2]
        return resample(images, random_resized_boxes(ids, self.policy, view, height, width), *size)

    def _center_crop(self, images: Tensor) -> Tensor:
        _, height, width, _ = images.shape
        crop_height, crop_width, _ = self.policy.output_shape((height, width, 0))
        down, right = (height - crop_height) // 2, (width - crop_width) // 2
        return images[:, down : down + crop_height, right : right + crop_width]


@cache
def _row_stats(mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a row of pixels, float32 [width * channels]. Nothing may write into them."""
    row_mean, row_std = (torch.tensor(values, dtype=torch.float32).repeat(width) for values in (mean, std))
    return row_mean.to(device), row_std.to(device)


def _pad_and_crop(images: Tensor, padding: int, down: Tensor, right: Tensor, *, reflect: bool) -> Tensor:
    """Pad the images, with zeros or mirrored, and crop them to their former size at (down, right) from the corner.

    Every row of every window is one contiguous run of bytes in the padded batch, so one gather over a view in which
    runs may start at any pixel copies them all.
    """
    count, height, width, channels = images.shape
    padded_height, padded_width = height + 2 * padding, width + 2 * padding
    if reflect:
        rows, columns = (_reflected(size, padding, images.device) for size in (height, width))
        padded = images.index_select(1, rows).index_select(2, columns)
    else:
        padded = images.new_zeros(count, padded_height, padded_width, channels)
        padded[:, padding : padding + height, padding : padding + width] = images
    runs = padded.as_strided((count * padded_height * padded_width - width + 1, width * channels), (channels, 1))
    first = torch.arange(count, device=images.device) * padded_height + down
    starts = (first[:, None] + torch.arange(height, device=images.device)) * padded_width + right[:, None]
    return runs.index_select(0, starts.view(-1)).view(count, height, width, channels)


@cache
def _reflected(size: int, padding: int, device: torch.device) -> Tensor:
    """Int64 [size + 2 * padding], the pixels of a reflected border: 2 1 0 1 2 ..., each end once. Not to be written to."""
    positions = torch.arange(-padding, size + padding)
    period = max(1, 2 * (size - 1))
    offset = positions.remainder(period)
    return (torch.minimum(offset, period - offset) if size > 1 else torch.zeros_like(positions)).to(device)


def _hflip(images: Tensor, flip: NDArray[np.int64]) -> Tensor:
    """Mirror the images with a 1 in `flip` left to right. The order is computed on the host: a GPU never waits for it."""
    flipped, rows = np.flatnonzero(flip), np.arange(len(flip))
    rows[flipped] = len(flip) + np.arange(len(flipped))
    mirrored = images.index_select(0, _to_device(flipped, images)).flip(2)
    return torch.cat([images, mirrored]).index_select(0, _to_device(rows, images))


def _to_device(numbers: NDArray[Any], images: Tensor) -> Tensor:
    """`numbers` on the device of `images`."""
    return torch.from_numpy(numbers).to(images.device, non_blocking=True)


def _cutout_mask(centre: Tensor, length: int, side: int) -> Tensor:
    """Bool [n, length]: inside the run of `side` pixels around each centre."""
    offset = torch.arange(length, device=centre.device) - (centre[:, None] - side // 2)
    return (offset >= 0) & (offset < side)
