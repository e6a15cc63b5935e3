"""Hashes: random numbers that are a pure function of (key, sample id), and digests that name configurations.

Views, orders and random subsets are drawn from these instead of from a generator's state: the draw for a sample does
not depend on which other samples are drawn, in what order, or by which library version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

U64 = np.uint64
_GOLDEN = U64(0x9E3779B97F4A7C15)
_STEPS = ((U64(30), U64(0xBF58476D1CE4E5B9)), (U64(27), U64(0x94D049BB133111EB)))


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele et al. 2014): a bijection of 64-bit integers that scatters every bit."""
    for shift, factor in _STEPS:
        values = (values ^ (values >> shift)) * factor
    return values ^ (values >> U64(31))


def hash_ids(ids: NDArray[np.int64], *key: int) -> NDArray[np.uint64]:
    """64 scattered bits for each id under `key` (any integers: a purpose, a seed, an epoch). Shape as `ids`."""
    state = np.zeros(1, U64)
    for part in key:
        state = mix(state + np.array([part % 2**64], U64) * _GOLDEN + _GOLDEN)
    return mix(mix(ids.astype(U64) + _GOLDEN) + state)


def below(bits: NDArray[np.uint64], limit: int) -> NDArray[np.int64]:
    """Map the upper 32 bits to whole numbers 0..limit-1 (bias below limit / 2**32)."""
    return (((bits >> U64(32)) * U64(limit)) >> U64(32)).astype(np.int64)


def shuffled(ids: NDArray[np.int64], *key: int) -> NDArray[np.int64]:
    """`ids` in a random order that depends on nothing but their values and `key`."""
    by_id = np.sort(ids)
    return by_id[np.argsort(hash_ids(by_id, *key), kind="stable")]


def digest(value: Mapping[str, Any], length: int = 10) -> str:
    """A short name for a configuration: hex of the SHA-256 of its canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
