"""Batches of similar length under a token budget, with back-off when memory runs out."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from dialsum_cli.errors import MemoryShortError
from dialsum_cli.models.loading import out_of_memory

T = TypeVar("T")


def cut(lengths: Sequence[int], budget: int, *, padded: bool = True) -> list[slice]:
    """Rows in their order as parts of at most `budget` tokens, padding included, and one row at least."""
    parts, start, tokens, longest = [], 0, 0, 0
    for row, length in enumerate(lengths):
        longest, tokens = max(longest, length), tokens + length
        if row > start and (longest * (row + 1 - start) if padded else tokens) > budget:
            parts.append(slice(start, row))
            start, tokens, longest = row, length, length
    return [*parts, slice(start, len(lengths))] if lengths else []


def run_batches(
    lengths: Sequence[int],
    budget: int,
    run: Callable[[list[int]], T],
    shrunk: Callable[[int], None],
    *,
    padded: bool = True,
) -> Iterator[tuple[T, float]]:
    """Run all rows in batches, longest rows first so that padding stays small.

    A batch holds as many rows as fit: its tokens, padding included, <= budget, and one row at least. `lengths` are in
    tokens, `run` takes the rows' indices. Out of memory halves the budget for all that is left, tells `shrunk` the new
    one and tries the same rows again.

    Args:
        padded: whether `run` pads the rows of a batch to the longest of them.

    Yields:
        What `run` returns, and the work that is left after it: tokens, padding included, over those of this batch.

    Raises:
        MemoryShortError: a single row does not fit into memory.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    widths = [max(1, lengths[i]) for i in order]
    start = 0
    while start < len(order):
        part = cut(widths[start:], budget, padded=padded)[0]
        batch, tokens = order[start:][part], _tokens(widths[start:][part], padded)
        results: list[T] = []
        try:
            results.append(run(batch))
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
        if not results:  # out of the handler: the exception keeps the batch's tensors alive
            torch.cuda.empty_cache()
            if len(batch) == 1:
                raise MemoryShortError(
                    f"out of memory on a single dialogue of {tokens} tokens",
                    "use --precision nf4, a smaller --max-new-tokens or fewer --num-beams",
                )
            budget = tokens // 2
            shrunk(budget)
            continue
        start += len(batch)
        left = widths[start:]
        yield results[0], sum(_tokens(left[part], padded) for part in cut(left, budget, padded=padded)) / tokens


def _tokens(lengths: Sequence[int], padded: bool) -> int:
    return len(lengths) * max(lengths) if padded else sum(lengths)


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, then or before: a capture in which it does so fails to end because of that."""
    return error is not None and (out_of_memory(error) or _out_of_memory(error.__context__))
