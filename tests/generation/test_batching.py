from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dialsum_cli.errors import DialsumError
from dialsum_cli.generation.batching import cut, run_batches

LENGTHS = st.lists(st.integers(1, 50), max_size=60)


class Memory:
    """A machine on which a batch of more than `limit` tokens, padding included, runs out of memory."""

    def __init__(self, lengths: list[int], limit: int) -> None:
        self.lengths, self.limit, self.batches, self.failures = lengths, limit, [], 0

    def run(self, batch: list[int]) -> list[int]:
        if len(batch) * max(self.lengths[i] for i in batch) > self.limit:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.batches.append(batch)
        return batch


def run(memory: Memory, budget: int, shrunk=lambda budget: None) -> list[int]:
    """The rows in the order in which they were done."""
    return [row for batch, _ in run_batches(memory.lengths, budget, memory.run, shrunk) for row in batch]


@given(LENGTHS, st.integers(1, 200))
def test_every_row_runs_once_within_the_budget_longest_first(lengths, budget):
    memory = Memory(lengths, limit=10**9)
    assert sorted(run(memory, budget)) == list(range(len(lengths)))
    for batch in memory.batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    order = [lengths[i] for batch in memory.batches for i in batch]
    assert order == sorted(lengths, reverse=True)


@given(LENGTHS, st.integers(1, 200))
def test_the_work_left_is_that_of_the_batches_to_come(lengths, budget):
    memory = Memory(lengths, limit=10**9)
    left = [work_left for _, work_left in run_batches(lengths, budget, memory.run, lambda budget: None)]
    costs = [len(batch) * max(lengths[i] for i in batch) for batch in memory.batches]
    assert left == pytest.approx([sum(costs[i + 1 :]) / cost for i, cost in enumerate(costs)])


@given(LENGTHS, st.integers(1, 400))
def test_a_batch_without_padding_holds_what_its_rows_have(lengths, budget):
    batches = [
        batch for batch, _ in run_batches(lengths, budget, lambda batch: batch, lambda budget: None, padded=False)
    ]
    assert [lengths[i] for batch in batches for i in batch] == sorted(lengths, reverse=True)
    for batch, following in pairwise([*batches, []]):
        tokens = sum(lengths[i] for i in batch)
        assert len(batch) == 1 or tokens <= budget
        assert not following or tokens + lengths[following[0]] > budget


@given(LENGTHS, st.integers(1, 100))
def test_rows_are_cut_into_parts_in_their_order(lengths, budget):
    parts = cut(lengths, budget)
    assert [length for part in parts for length in lengths[part]] == lengths
    assert all(len(lengths[part]) == 1 or len(lengths[part]) * max(lengths[part]) <= budget for part in parts)


@given(LENGTHS, st.integers(50, 200))
def test_out_of_memory_loses_no_row_and_repeats_none(lengths, limit):
    memory = Memory(lengths, limit)
    budgets: list[int] = []
    assert sorted(run(memory, 10**6, budgets.append)) == list(range(len(lengths)))
    assert len(budgets) == memory.failures
    assert budgets == sorted(budgets, reverse=True)
    assert sorted(i for batch in memory.batches for i in batch) == list(range(len(lengths)))


def test_a_row_that_does_not_fit_is_an_error_that_names_its_length():
    with pytest.raises(DialsumError, match="90 tokens") as raised:
        run(Memory([7, 90, 3], limit=50), 1000)
    assert "--precision nf4" in raised.value.remedy


def test_what_is_no_lack_of_memory_is_not_tried_again():
    def fail(batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        next(run_batches([1, 2], 10, fail, lambda budget: None))


def test_memory_that_ran_out_in_a_capture_counts_although_its_end_fails_otherwise():
    def run(batch):
        if len(batch) == 1:
            return batch
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    assert [rows for rows, _ in run_batches([9, 8], 100, run, lambda budget: None)] == [[0], [1]]


def test_results_come_as_soon_as_their_batch_is_done():
    memory = Memory([10] * 6, limit=10**9)
    results = run_batches(memory.lengths, 20, memory.run, lambda budget: None)
    next(results)
    assert memory.batches == [[0, 1]]
