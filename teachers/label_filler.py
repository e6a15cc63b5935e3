"""Fills a store of soft labels from any network and any dataset; our own training fills it through loaders."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from datapruning.data.augment.replay import ViewDataset, stack_images
from datapruning.errors import IncompatibleInputs, first_line
from datapruning.teachers.soft_label_store import Batches, row_batches
from datapruning.utils.device_errors import as_device_error


class Images(Dataset[Tensor]):
    """The images of a dataset by (id, view)."""

    def __init__(self, views: ViewDataset) -> None:
        self._views = views

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[Tensor]:
        """The images of a batch, which a DataLoader asks for at once."""
        return [
            self._views.image(item)
            for view, of_view in groupby(keys, key=itemgetter(1))
            for item in self._views.items([sample_id for sample_id, _ in of_view], view)
        ]


class LabelFiller:
    """Computes the logits of a teacher for views of a dataset, in batches of `rows`."""

    def __init__(self, teacher: nn.Module, views: ViewDataset, rows: int, num_workers: int) -> None:
        self._teacher, self._images, self._rows, self._num_workers = teacher, Images(views), rows, num_workers
        parameter = next(teacher.parameters(), None)
        self.device = torch.device("cpu") if parameter is None else parameter.device

    def compute(self, ids: NDArray[np.int64], view: int) -> Batches:
        """Ids and logits of batches as `row_batches` arranges them; rows without an id are black."""
        batches = row_batches(ids, self._rows)
        in_place = [batch % self._rows == np.arange(self._rows) for batch in batches]
        keys = [[(int(i), view) for i in batch[rows]] for batch, rows in zip(batches, in_place, strict=True)]
        for batch, rows, images in zip(batches, in_place, self._read(keys, self._num_workers), strict=True):
            padded = images.new_zeros(self._rows, *images.shape[1:])
            padded[torch.from_numpy(rows)] = images
            yield batch, self._forward(padded)

    def compute_logits(self, images: Sequence[Tensor]) -> Tensor:
        """Logits of a few images, in one batch of the usual size.

        Raises:
            IncompatibleInputs: the teacher does not take them, or returns no logits. OutOfMemory, DeviceError: see
            `as_device_error`.
        """
        batch = stack_images(images)
        padded = batch.new_zeros(max(self._rows, len(batch)), *batch.shape[1:])
        padded[: len(batch)] = batch
        return self._forward(padded)[: len(batch)]

    def read_images(self, keys: Sequence[tuple[int, int]], num_workers: int = 0) -> list[Tensor]:
        """The images of (id, view), read in this process or in a worker of a DataLoader."""
        (images,) = self._read([list(keys)], num_workers)
        return list(images)

    def _read(self, batches: list[list[tuple[int, int]]], num_workers: int) -> Iterator[Tensor]:
        generator = torch.Generator()  # without one, the DataLoader draws from the global generator
        loader: DataLoader[Any] = DataLoader(
            self._images, batch_sampler=cast(Any, batches), num_workers=num_workers, collate_fn=_collate, generator=generator
        )
        return (batch if isinstance(batch, Tensor) else stack_images(batch) for batch in loader)

    @torch.inference_mode()
    def _forward(self, images: Tensor) -> Tensor:
        modes = {module: module.training for module in self._teacher.modules()}
        self._teacher.eval()
        try:
            output = self._teacher(images.to(self.device, non_blocking=True))
        except (RuntimeError, TypeError, ValueError) as error:
            device_error = as_device_error(error, f"soft labels, batch_size={self._rows}")
            if device_error is not None:
                raise device_error from error
            shape = f"{images.dtype} {list(images.shape)}".removeprefix("torch.")
            raise IncompatibleInputs(f"the teacher does not take images {shape}: {first_line(error)}") from error
        finally:
            for module, mode in modes.items():
                module.training = mode
        logits = getattr(output, "logits", output)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(images):
            given = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise IncompatibleInputs(f"the teacher returns {given} for {len(images)} images; logits [n, classes] are needed")
        return logits.float()


def _collate(images: list[Tensor]) -> Tensor | list[Tensor]:
    """One tensor where the shapes allow it: a worker sends each tensor through a file of its own."""
    return torch.stack(images) if len({image.shape for image in images}) == 1 else images
