"""Batches of similar length under a token budget, with back-off when memory runs out."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from dialsum_cli.errors import DialsumError

T = TypeVar("T")


def run_batches(
    lengths: Sequence[int], budget: int, run: Callable[[list[int]], Sequence[T]], warn: Callable[[str], None]
) -> Iterator[T]:
    """Run all rows in batches, longest rows first so that padding stays small, and yield what `run` returns.

    A batch holds as many rows as fit: rows x longest row <= budget, and one row at least. `lengths` are in tokens,
    `run` takes the rows' indices. Out of memory halves the budget for all that is left and tries the same rows again.

    Raises:
        DialsumError: a single row does not fit into memory.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, lengths[order[start]]))
        batch = order[start : start + size]
        try:
            results = run(batch)
        except torch.OutOfMemoryError:
            results = None  # leave the handler first: the exception keeps the batch's tensors alive
        if results is None:
            torch.cuda.empty_cache()
            if len(batch) == 1:
                raise DialsumError(
                    f"out of memory on a single dialogue of {lengths[batch[0]]} tokens", "use --precision nf4"
                )
            budget = len(batch) * lengths[batch[0]] // 2
            warn(f"out of memory: batches of {budget} tokens from here on")
            continue
        start += len(batch)
        yield from results
