"""Hashes: random numbers that are a pure function of (key, sample id), and digests that name configurations.

Views, orders and random subsets are drawn from these instead of from a generator's state: the draw for a sample does
not depend on which other samples are drawn, in what order, or by which library version.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

U64 = np.uint64
_GOLDEN = U64(0x9E3779B97F4A7C15)
_STEPS = ((U64(30), U64(0xBF58476D1CE4E5B9)), (U64(27), U64(0x94D049BB133111EB)))


def splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele et al. 2014): a bijection of 64-bit integers that scatters every bit."""
    for shift, factor in _STEPS:
        values = (values ^ (values >> shift)) * factor
    return values ^ (values >> U64(31))


def hash_ids(ids: NDArray[np.int64], *key: int) -> NDArray[np.uint64]:
    """64 scattered bits for each id under `key` (any integers: a purpose, a seed, an epoch). Shape as `ids`."""
    state = np.zeros(1, U64)
    for part in key:
        state = splitmix64(state + np.array([part % 2**64], U64) * _GOLDEN + _GOLDEN)
    return splitmix64(splitmix64(ids.astype(U64) + _GOLDEN) + state)


def bounded_ints(bits: NDArray[np.uint64], limit: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Map the upper 32 bits to whole numbers 0..limit-1 (bias below limit / 2**32); one limit, or one for each."""
    return (((bits >> U64(32)) * np.asarray(limit, U64)) >> U64(32)).astype(np.int64)


def hash_permutation(ids: NDArray[np.int64], *key: int) -> NDArray[np.int64]:
    """`ids` in a random order that depends on nothing but their values and `key`."""
    by_id = np.sort(ids)
    return by_id[np.argsort(hash_ids(by_id, *key), kind="stable")]


def row_checksums(rows: NDArray[np.float16]) -> NDArray[np.uint32]:
    """A checksum of each row, uint32 [n], never 0, of float16 [n, width]: the bits of its numbers times odd weights, summed.

    The change of any one number changes it; of several, all but one time in 2**32. As cheap as reading the rows.
    """
    weights = (splitmix64(np.arange(1, rows.shape[1] + 1, dtype=U64)) >> U64(32)).astype(np.uint32) | np.uint32(1)
    bits = np.ascontiguousarray(rows).view(np.uint16).astype(np.uint32)
    sums: NDArray[np.uint32] = np.maximum((bits * weights).sum(1, dtype=np.uint32), np.uint32(1))
    return sums


def config_hash(value: Mapping[str, Any], length: int = 10) -> str:
    """A short name for a configuration: hex of the SHA-256 of its canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
