"""Hashes are pure functions of (key, id), look random, and do not change between versions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.utils.hashing import U64, bounded_ints, config_hash, hash_ids, hash_permutation

IDS = np.array([0, 1, 2, 49_999, 2**40])
GOLDEN = {
    (0,): [0xD49FFE2F0EF90131, 0x67BBC0BC280AA6F5, 0xA0D979B092A1AFD2, 0x62D2DDDC71EAED53, 0x12F2CB73A8E39B5F],
    (0x71E35, 7, 3): [0x8EFE88CEF4891916, 0xA1BC9E93A9A4465F, 0x8C1B19EA631D8BBA, 0xE8522454D0968F0F, 0x62F50DB781E42BCD],
}
keys = st.lists(st.integers(-(2**63), 2**63), min_size=1, max_size=3)
id_lists = st.lists(st.integers(0, 2**62), min_size=1, max_size=50, unique=True)


@pytest.mark.parametrize("key", GOLDEN)
def test_values_are_pinned(key: tuple[int, ...]) -> None:
    """Changing these numbers would change views and sample orders and invalidate soft-label caches."""
    assert hash_ids(IDS, *key).tolist() == GOLDEN[key]


def test_order_and_digest_are_pinned() -> None:
    assert hash_permutation(np.arange(10), 5, 1).tolist() == [2, 4, 7, 6, 1, 3, 8, 5, 0, 9]
    assert config_hash({"b": 1, "a": [1.5, None]}) == "cf0c4895ed"


@given(id_lists, keys, st.randoms())
@settings(max_examples=50)
def test_the_hash_of_an_id_does_not_depend_on_other_ids(ids: list[int], key: list[int], random: object) -> None:
    everyone = np.array(ids)
    some = np.array(random.sample(ids, max(1, len(ids) // 2)))  # type: ignore[attr-defined]
    table = dict(zip(ids, hash_ids(everyone, *key).tolist(), strict=True))
    assert hash_ids(some, *key).tolist() == [table[i] for i in some.tolist()]


def test_every_part_of_the_key_and_their_order_matter() -> None:
    hashes = [hash_ids(IDS, *key).tolist() for key in [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (-1,)]]
    assert len({tuple(h) for h in hashes}) == len(hashes)


def test_hashes_do_not_collide_and_every_bit_is_fair() -> None:
    bits = hash_ids(np.arange(100_000), 3)
    assert len(np.unique(bits)) == len(bits)
    ones = (bits[:, None] >> np.arange(64, dtype=U64)) & U64(1)
    assert np.abs(ones.mean(0) - 0.5).max() < 0.01


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1), st.integers(1, 2**31))
@settings(max_examples=50)
def test_below_is_the_exact_multiply_and_shift(values: list[int], limit: int) -> None:
    numbers = bounded_ints(np.array(values, U64), limit)
    assert numbers.tolist() == [((v >> 32) * limit) >> 32 for v in values]
    assert 0 <= numbers.min() <= numbers.max() < limit


@pytest.mark.parametrize("limit", [2, 9, 1000])
def test_below_is_uniform(limit: int) -> None:
    counts = np.bincount(bounded_ints(hash_ids(np.arange(200_000), 1), limit), minlength=limit)
    expected = 200_000 / limit
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi_square - (limit - 1)) < 6 * (2 * limit) ** 0.5


@given(id_lists, st.integers(0, 100), st.randoms())
@settings(max_examples=50)
def test_shuffled_is_a_permutation_whatever_order_it_was_given(ids: list[int], key: int, random: object) -> None:
    other = list(ids)
    random.shuffle(other)  # type: ignore[attr-defined]
    order = hash_permutation(np.array(ids), key)
    assert sorted(order.tolist()) == sorted(ids)
    assert order.tolist() == hash_permutation(np.array(other), key).tolist()


def test_shuffled_differs_by_key_and_is_not_sorted() -> None:
    orders = [hash_permutation(np.arange(1000), key).tolist() for key in range(5)]
    assert len({tuple(o) for o in orders}) == 5
    assert abs(np.corrcoef(orders[0], np.arange(1000))[0, 1]) < 0.1


def test_a_subset_is_shuffled_as_in_the_full_order() -> None:
    """Therefore random subsets of one seed are nested."""
    full = hash_permutation(np.arange(1000), 8)
    some = np.arange(0, 1000, 3)
    assert hash_permutation(some, 8).tolist() == [i for i in full.tolist() if i % 3 == 0]


def test_config_hash_depends_on_every_value_but_not_on_key_order() -> None:
    assert config_hash({"a": 1, "b": {"c": 2, "d": 3}}) == config_hash({"b": {"d": 3, "c": 2}, "a": 1})
    texts = {config_hash(v) for v in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, {"a": [1]}, {})}
    assert len(texts) == 6
    assert len(config_hash({}, length=20)) == 20


def test_config_hash_refuses_values_outside_json() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        config_hash({"a": float("nan")})
