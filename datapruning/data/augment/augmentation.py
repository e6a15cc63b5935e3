"""Views: augmented images, each a pure function of (view seed, view number, sample id).

Nothing else matters: not the batch, the loader, the number of workers, the device or the run's seed. So a view can be
replayed anywhere, and soft labels computed for it once are valid for every student. Mixed views (`mixing.py`) depend on the
set of kept ids too, and their soft labels are valid for every student of that subset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import NamedTuple

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
from datapruning.utils.upload import upload

VIEW_KEY, FLIP_KEY = 0x71E35, 0xF11B
NO_MIXUP = MixupPolicy()
PARAM_ROWS = 2**16
"""Samples whose parameters are drawn and uploaded at once: about 5 MB."""
MAX_BATCH_SIZES = 8
"""Sizes of batches whose line numbers are kept."""
MAX_TORCH_PIXELS = 2**15
"""Of batches up to so many numbers, torch's operations make views in 0.2 ms more than the compiled kernel, and numba, which
takes a second to load, is not needed."""


class ViewParams(NamedTuple):
    """The random parameters of n views, on the images' device.

    Attributes:
        params: int64 [n, 5], see `Augmentation.sample_params`.
        boxes: int64 [n, 4], see `random_resized_boxes`; None: images are not resized.
    """

    params: Tensor
    boxes: Tensor | None

    def rows(self, begin: int, end: int) -> ViewParams:
        """The parameters of views begin..end-1."""
        return ViewParams(self.params[begin:end], None if self.boxes is None else self.boxes[begin:end])


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
        view = self.view_index(epoch)
        if self.mixing is None:
            yield from self._views(loader, batches, view)
            return
        ends = np.cumsum([len(ids) for ids in batches]).tolist()
        mixing = self.mixing.sample_params(np.concatenate([np.empty(0, np.int64), *batches]), view)
        batch_mixing = [mixing.slice(end - len(ids), end) for ids, end in zip(batches, ends, strict=True)]
        with_partners = [np.concatenate([ids, m.partners]) for ids, m in zip(batches, batch_mixing, strict=True)]
        read = self._views(loader, with_partners, view)
        for ids, mix, (both, views) in zip(batches, batch_mixing, read, strict=True):
            n, size, device = len(ids), views.shape[2:], views.device
            rows = np.flatnonzero(mix.mixed)
            index = upload(rows, device)
            paste(views[:n], views[n:], rows, index, mix.boxes(*size))
            blend(views[:n], views[n:], rows, mix.weight)
            targets_b = both.labels[:n].index_copy(0, index, both.labels[n:])
            mixed = MixedLabels(targets_b, upload(mixing_lambda(mix, *size), device))
            yield Batch(both.images[:n], both.labels[:n], ids, mixed), views[:n]

    def _views(self, loader: Loader, batches: Sequence[NDArray[np.int64]], view: int) -> Iterator[tuple[Batch, Tensor]]:
        """Each batch of ids with its views, not mixed; several batches are made at once where the loader says so."""
        groups = list(_groups(batches, loader.samples_at_once))
        together = [group[0] if len(group) == 1 else np.concatenate(group) for group in groups]
        for group, (batch, params) in zip(groups, self._with_params(loader, together, view), strict=True):
            images = self._augment(batch.images, params)
            if len(group) == 1:
                yield batch, images
                continue
            ends = np.cumsum([len(ids) for ids in group]).tolist()
            for ids, end in zip(group, ends, strict=True):
                yield batch.rows(end - len(ids), end), images[end - len(ids) : end]

    def _with_params(
        self, loader: Loader, batches: Sequence[NDArray[np.int64]], view: int
    ) -> Iterator[tuple[Batch, ViewParams]]:
        """Each batch of ids with the parameters of its views; they are drawn and uploaded for many batches at once."""
        sizes = np.cumsum([0, *(len(ids) for ids in batches)])
        params, begin, end = None, 0, 0
        for number, batch in enumerate(loader.read(batches)):
            if sizes[number] >= end or params is None:
                last = int(np.searchsorted(sizes, sizes[number] + PARAM_ROWS, side="right")) - 1
                begin, end = sizes[number], sizes[max(last, number + 1)]
                ids = np.concatenate(batches[number : max(last, number + 1)])
                params = self._draw(ids, view, batch.images)
            yield batch, params.rows(sizes[number] - begin, sizes[number + 1] - begin)

    def _draw(self, ids: NDArray[np.int64], view: int, images: Tensor) -> ViewParams:
        """The parameters of the views of samples `ids`, int64 [n], on the device of images of their shape."""
        _, height, width, _ = images.shape
        size, boxes = self.policy.output_shape((height, width, 0))[:2], None
        if self.policy.scale:
            boxes = upload(random_resized_boxes(ids, self.policy, view, height, width), images.device)
        return ViewParams(upload(self.sample_params(ids, view, *size), images.device), boxes)

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
        return self._augment(images, self._draw(ids, self.view_index(epoch), images))

    def _augment(self, images: Tensor, params: ViewParams) -> Tensor:
        """The views of images uint8 [n, height, width, channels] with these parameters; see `apply`."""
        policy, reflect = self.policy, self.policy.padding == "reflect"
        images = self._crop(images, params.boxes)
        _, height, width, _ = images.shape
        run = compiled(augment) if images.device.type == "cpu" and images.numel() > MAX_TORCH_PIXELS else None
        if run is not None:
            crop, offsets = policy.crop, params.params.numpy()
            if crop and reflect:
                images, crop, offsets = _pad_and_crop(images, crop, params.params[:, :2], reflect=True), 0, offsets.copy()
                offsets[:, :2] = 0
            return augment_cpu(
                run, images, offsets, crop, policy.cutout, *_row_stats(self.mean, self.std, width, images.device)
            )
        if policy.crop:
            images = _pad_and_crop(images, policy.crop, params.params[:, :2], reflect=reflect)
        if policy.flip:
            images = torch.where(params.params[:, 2].bool()[:, None, None, None], images.flip(2), images)
        pixels = self.normalise(images)
        if policy.cutout:
            hole_down, hole_right = _cutout_masks(params.params[:, 3:], max(height, width), policy.cutout).unbind(1)
            pixels.masked_fill_((hole_down[:, :height, None] & hole_right[:, None, :width])[:, None], 0.0)
        return pixels

    def normalise(self, images: Tensor) -> Tensor:
        """(pixel - mean) / std of the centre crop, not augmented, for evaluation. Shapes and errors as in `apply`."""
        images = self._center_crop(images)
        count, height, width, channels = images.shape
        mean, std = _row_stats(self.mean, self.std, width, images.device)
        rows = images.reshape(count * height, width * channels)  # long rows: the subtraction runs at memory speed
        pixels = rows.to(torch.float32).sub_(mean).div_(std)
        return pixels.view(count, height, width, channels).permute(0, 3, 1, 2)

    def _crop(self, images: Tensor, boxes: Tensor | None) -> Tensor:
        """The part of each image that its view shows, in the view's size: uint8 as the images are."""
        if boxes is None:
            return self._center_crop(images)
        _, height, width, _ = images.shape
        return resample(images, boxes, *self.policy.output_shape((height, width, 0))[:2])

    def _center_crop(self, images: Tensor) -> Tensor:
        _, height, width, _ = images.shape
        crop_height, crop_width, _ = self.policy.output_shape((height, width, 0))
        down, right = (height - crop_height) // 2, (width - crop_width) // 2
        return images[:, down : down + crop_height, right : right + crop_width]


def _groups(batches: Sequence[NDArray[np.int64]], max_samples: int) -> Iterator[list[NDArray[np.int64]]]:
    """Runs of batches that have at most `max_samples` together, or of a single one."""
    group: list[NDArray[np.int64]] = []
    for ids in batches:
        if group and sum(map(len, group)) + len(ids) > max_samples:
            yield group
            group = []
        group.append(ids)
    if group:
        yield group


@cache
def _row_stats(mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a row of pixels, float32 [width * channels]. Nothing may write into them."""
    row_mean, row_std = (torch.tensor(values, dtype=torch.float32).repeat(width) for values in (mean, std))
    return row_mean.to(device), row_std.to(device)


def _pad_and_crop(images: Tensor, padding: int, offsets: Tensor, *, reflect: bool) -> Tensor:
    """Pad the images, with zeros or mirrored, and crop them to their former size at `offsets` from the corner, int64 [n, 2].

    Every row of every window is one contiguous run of bytes in the padded batch, so one gather over a view in which
    runs may start at any pixel copies them all.
    """
    (count, height, width, channels), device = images.shape, images.device
    padded_height, padded_width = height + 2 * padding, width + 2 * padding
    if reflect:
        rows, columns = (_reflected(size, padding, device) for size in (height, width))
        padded = images.index_select(1, rows).index_select(2, columns)
    else:
        padded = images.new_zeros(count, padded_height, padded_width, channels)
        padded[:, padding : padding + height, padding : padding + width] = images
    runs = padded.as_strided((count * padded_height * padded_width - width + 1, width * channels), (channels, 1))
    starts = (_line_numbers(count, height, padded_height, device) + offsets[:, :1]).mul_(padded_width).add_(offsets[:, 1:])
    return runs.index_select(0, starts.view(-1)).view(count, height, width, channels)


@lru_cache(MAX_BATCH_SIZES)
def _line_numbers(count: int, height: int, padded_height: int, device: torch.device) -> Tensor:
    """Int64 [count, height]: the number of each line of images in a padded batch. Nothing may write into it."""
    return torch.arange(count, device=device)[:, None] * padded_height + torch.arange(height, device=device)


@cache
def _reflected(size: int, padding: int, device: torch.device) -> Tensor:
    """Int64 [size + 2 * padding], the pixels of a reflected border: 2 1 0 1 2 ..., each end once. Not to be written to."""
    positions = torch.arange(-padding, size + padding)
    period = max(1, 2 * (size - 1))
    offset = positions.remainder(period)
    return (torch.minimum(offset, period - offset) if size > 1 else torch.zeros_like(positions)).to(device)


def _cutout_masks(centres: Tensor, length: int, side: int) -> Tensor:
    """Bool [n, 2, length]: inside the run of `side` pixels around each centre, [n, 2]."""
    offset = torch.arange(length, device=centres.device) - (centres[:, :, None] - side // 2)
    return (offset >= 0) & (offset < side)
