"""Sample orders: every id once per epoch, and the shapes of batches."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruning.data.batching import batch_sizes, evaluation_batches, training_batches

id_lists = st.lists(st.integers(0, 10_000), min_size=1, max_size=120, unique=True)
laws = settings(max_examples=60)


@given(id_lists, st.integers(1, 50), st.integers(0, 5), st.integers(0, 5))
@laws
def test_every_id_occurs_once_per_epoch(ids: list[int], size: int, seed: int, epoch: int) -> None:
    batches = training_batches(np.array(ids), size, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == sorted(ids)


@given(st.integers(1, 500), st.integers(2, 60))
@laws
def test_batches_are_full_and_no_last_batch_is_tiny(count: int, size: int) -> None:
    sizes = batch_sizes(count, size)
    assert sum(sizes) == count
    assert [len(b) for b in training_batches(np.arange(count), size, 0, 0)] == sizes
    assert sizes[:-2] == [size] * (len(sizes) - 2)
    if count > size:
        assert min(sizes) >= min(8, size // 2), "batch norm's running statistics"
        assert max(sizes) <= max(size, 3), "memory"
        assert sizes[-2] == size or sizes[-2] - sizes[-1] in (0, 1)
    assert count == 1 or min(sizes) > 1


def test_the_last_two_batches_share_their_samples_where_the_last_would_be_tiny() -> None:
    assert batch_sizes(136, 32) == [32, 32, 32, 32, 8]
    assert batch_sizes(135, 32) == [32, 32, 32, 20, 19]
    assert batch_sizes(129, 32) == [32, 32, 32, 17, 16]
    assert batch_sizes(11, 8) == [6, 5]
    assert batch_sizes(5, 2) == [2, 3]


def test_batches_of_one_sample_and_of_none() -> None:
    assert sum(batch_sizes(5, 1)) == 5
    assert batch_sizes(1, 512) == [1]
    assert batch_sizes(0, 8) == []


def test_orders_differ_between_epochs_and_seeds_and_repeat_for_the_same() -> None:
    ids = np.arange(200)
    orders = {
        (seed, epoch): tuple(np.concatenate(training_batches(ids, 32, seed, epoch)).tolist())
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(set(orders.values())) == 9
    assert orders[1, 2] == tuple(np.concatenate(training_batches(ids[::-1], 32, 1, 2)).tolist())


def test_the_order_does_not_depend_on_the_batch_size() -> None:
    ids = np.arange(100)
    orders = [np.concatenate(training_batches(ids, size, 0, 0)).tolist() for size in (7, 32, 100)]
    assert orders[0] == orders[1] == orders[2]


@given(id_lists, st.integers(1, 60))
@laws
def test_evaluation_batches_have_one_shape_and_keep_the_order(ids: list[int], rows: int) -> None:
    batches = evaluation_batches(np.array(ids), rows)
    assert {b.shape for b in batches} == {(rows,)}
    everything = np.concatenate(batches)
    assert everything[: len(ids)].tolist() == ids
    assert len(everything) - len(ids) < rows
    assert set(everything.tolist()) == set(ids)
    last_first = ids[(len(ids) - 1) // rows * rows]
    assert set(everything[len(ids) :].tolist()) <= {last_first}


def test_no_ids_no_evaluation_batches() -> None:
    assert evaluation_batches(np.array([], np.int64), 8) == []
