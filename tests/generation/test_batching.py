import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dialsum_cli.errors import DialsumError
from dialsum_cli.generation.batching import run_batches

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


def quiet(message: str) -> None:
    pass


@given(LENGTHS, st.integers(1, 200))
def test_every_row_runs_once_within_the_budget_longest_first(lengths, budget):
    memory = Memory(lengths, limit=10**9)
    assert sorted(run_batches(lengths, budget, memory.run, quiet)) == list(range(len(lengths)))
    for batch in memory.batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    order = [lengths[i] for batch in memory.batches for i in batch]
    assert order == sorted(lengths, reverse=True)


@given(LENGTHS, st.integers(50, 200))
def test_out_of_memory_loses_no_row_and_repeats_none(lengths, limit):
    memory = Memory(lengths, limit)
    warnings: list[str] = []
    assert sorted(run_batches(lengths, 10**6, memory.run, warnings.append)) == list(range(len(lengths)))
    assert len(warnings) == memory.failures
    assert sorted(i for batch in memory.batches for i in batch) == list(range(len(lengths)))


def test_a_row_that_does_not_fit_is_an_error_that_names_its_length():
    memory = Memory([7, 90, 3], limit=50)
    with pytest.raises(DialsumError, match="90 tokens"):
        list(run_batches(memory.lengths, 1000, memory.run, quiet))


def test_results_come_as_soon_as_their_batch_is_done():
    memory = Memory([10] * 6, limit=10**9)
    results = run_batches(memory.lengths, 20, memory.run, quiet)
    next(results)
    assert memory.batches == [[0, 1]]
