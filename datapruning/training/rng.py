"""torch's global random stream in a training: what dropout and stochastic depth draw from.

The stream of an update is a pure function of (seed, epoch, update), as views and orders are. So nothing of it has to be
saved, a resumed training draws what it would have drawn, and whoever else draws in between changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from datapruning.utils.hashing import hash_ids

STREAM_KEY = 0x57EA3


class Streams:
    """The streams of one epoch's updates.

    Args:
        device: of the network; on a GPU its own generator is set, too.
        seed: of the run.
        epoch: counted from 0.
        updates: how many there are.
    """

    def __init__(self, device: torch.device, seed: int, epoch: int, updates: int) -> None:
        self._seeds: list[int] = hash_ids(np.arange(updates), STREAM_KEY, seed, epoch).tolist()
        self._generators = [torch.default_generator]
        if device.type == "cuda":
            number = torch.cuda.current_device() if device.index is None else device.index
            self._generators.append(torch.cuda.default_generators[number])

    def begin(self, update: int) -> None:
        """What is drawn from here on belongs to this update, counted from 0."""
        for generator in self._generators:
            generator.manual_seed(self._seeds[update])


@contextmanager
def own_streams(device: torch.device) -> Iterator[None]:
    """While open, torch's global streams are a training's; afterwards they are where they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
