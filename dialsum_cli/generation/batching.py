"""Batches of similar length under a token budget, with back-off when memory runs out."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from dialsum_cli.errors import DialsumError
from dialsum_cli.models.loading import out_of_memory

T = TypeVar("T")


def run_batches(
    lengths: Sequence[int], budget: int, run: Callable[[list[int]], T], shrunk: Callable[[int], None]
) -> Iterator[tuple[T, float]]:
    """Run all rows in batches, longest rows first so that padding stays small.

    A batch holds as many rows as fit: rows x longest row <= budget, and one row at least. `lengths` are in tokens,
    `run` takes the rows' indices. Out of memory halves the budget for all that is left, tells `shrunk` the new one and
    tries the same rows again.

    Yields:
        What `run` returns, and the work that is left after it: tokens, padding included, over those of this batch.

    Raises:
        DialsumError: a single row does not fit into memory.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        batch = order[start : start + max(1, budget // longest)]
        results: list[T] = []
        try:
            results.append(run(batch))
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
        if not results:  # out of the handler: the exception keeps the batch's tensors alive
            torch.cuda.empty_cache()
            if len(batch) == 1:
                raise DialsumError(
                    f"out of memory on a single dialogue of {longest} tokens",
                    "use --precision nf4, a smaller --max-new-tokens or fewer --num-beams",
                )
            budget = len(batch) * longest // 2
            shrunk(budget)
            continue
        start += len(batch)
        yield results[0], _padded_tokens(lengths, order[start:], budget) / (len(batch) * longest)


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, then or before: a capture in which it does so fails to end because of that."""
    return error is not None and (out_of_memory(error) or _out_of_memory(error.__context__))


def _padded_tokens(lengths: Sequence[int], order: Sequence[int], budget: int) -> int:
    """Tokens of the batches into which these rows will be cut."""
    tokens = start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        rows = min(max(1, budget // longest), len(order) - start)
        tokens += rows * longest
        start += rows
    return tokens
