"""Whether views of a dataset can be replayed: a sample of them is read twice, and what differs is explained."""

import functools
import hashlib
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datapruning.data.augment.replay import ViewDataset
from datapruning.errors import InvalidValue

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
MAX_OBJECTS = 10_000
"""Objects of a dataset that are searched for generators."""

ReadImages = Callable[[Sequence[tuple[int, int]]], list[Tensor]]
"""Reads the images of (id, view) in this order."""


def check_replay(
    views: ViewDataset, dataset: object, sample: Sequence[tuple[int, int]], read_by_worker: ReadImages | None
) -> list[Tensor]:
    """Refuse a dataset that gives another image for the same seed. Returns the images of the sample.

    Args:
        views: of the dataset.
        dataset: is searched for the cause.
        sample: (id, view) of the images that are compared.
        read_by_worker: reads them in a worker of a DataLoader; None: there are no workers.

    Raises:
        InvalidValue: an image is another one the second time, or in a worker; the message says why, as far as it is known.
    """

    def read(order: Sequence[tuple[int, int]]) -> list[Tensor]:
        return [views.image(item) for sample_id, view in order for item in views.items([sample_id], view)]

    images = read(sample)
    _compare(sample, images, read(sample[::-1])[::-1], lambda: _explain(dataset))
    if read_by_worker is not None:
        _compare(sample, images, read_by_worker(sample), lambda: f"in a worker of a DataLoader {_explain(dataset)}")
    return images


def hash_images(images: Sequence[Tensor]) -> str:
    """SHA-256 (hex) of types, shapes and bytes."""
    state = hashlib.sha256()
    for image in images:
        state.update(f"{image.dtype} {list(image.shape)}".encode())
        state.update(image.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _compare(
    sample: Sequence[tuple[int, int]], images: Sequence[Tensor], others: Sequence[Tensor], explain: Callable[[], str]
) -> None:
    for (sample_id, view), image, other in zip(sample, images, others, strict=True):
        if not torch.equal(image, other):
            raise InvalidValue(
                f"the augmentation cannot be replayed: sample id {sample_id} in view {view} is another image the second "
                f"time, with the same random seed; {explain()}"
            )


def _explain(dataset: object) -> str:
    named_generator = find_generator(dataset)
    if named_generator is not None:
        name, generator = named_generator
        kind = f"{type(generator).__module__.partition('.')[0]}'s {type(generator).__name__}"
        return f"it draws from a random generator of its own, {name} ({kind}): have it draw from the global one"
    return (
        "it depends on more than the sample and the global random generators of torch, NumPy and Python: the clock, a "
        "counter, the process or a GPU"
    )


def find_generator(dataset: object) -> tuple[str, object] | None:
    """The first random generator that a dataset holds, itself or in its transforms: how to reach it, and the generator."""
    queue: deque[tuple[str, object]] = deque([("dataset", dataset)])
    seen: set[int] = set()
    while queue and len(seen) < MAX_OBJECTS:
        name, value = queue.popleft()
        if isinstance(value, GENERATORS):
            return name, value
        if id(value) in seen:
            continue
        seen.add(id(value))
        queue.extend(_members(name, value))
    return None


def _members(name: str, value: object) -> Iterator[tuple[str, Any]]:
    """What an object holds, with names; nothing of arrays, classes and modules."""
    if isinstance(value, dict):
        yield from ((f"{name}[{key!r}]", member) for key, member in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"{name}[{number}]", member) for number, member in enumerate(value[:MAX_OBJECTS]))
    elif isinstance(value, functools.partial):
        yield from ((f"{name}.{part}", getattr(value, part)) for part in ("func", "args", "keywords"))
    elif isinstance(value, FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        yield from ((f"{name}.{variable}", cell.cell_contents) for variable, cell in cells)
    elif not isinstance(value, type | Tensor | np.ndarray) and hasattr(value, "__dict__"):
        yield from ((f"{name}.{key}", member) for key, member in vars(value).items())
