"""How sure a mean score is, and a difference between two systems that answered the same items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dialsum_cli.results import LEVEL

_BLOCK = 1 << 14
"""Random numbers drawn at once, or one per item if that is more: enough to be fast, little beside the items."""


class Comparison(NamedTuple):
    """A system against a baseline, item by item."""

    difference: float
    """Mean of system minus baseline, in the unit of the items."""
    p_value: float
    """Two-sided: how often systems that don't differ would differ by this much or more; 0 < p <= 1."""
    wins: int
    """Items on which the system scores higher."""
    ties: int
    losses: int


def bootstrap_interval(
    items: Sequence[float], *, seed: int = 42, resamples: int = 1000, confidence: float = 0.95
) -> tuple[float, float]:
    """The percentile interval of the mean over items drawn with replacement, in the unit of the items.

    Efron & Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.

    Args:
        items: the items' scores, shape (n,), n >= 1; an `array('d')` isn't copied.
        seed: equal seeds give equal intervals.
        resamples: how many times the n items are drawn.
        confidence: the share of the resampled means that the interval holds.
    """
    import numpy as np

    values = np.asarray(items, dtype=np.float64)
    random = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _BLOCK // len(values))
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = random.integers(len(values), size=(rows, len(values)), dtype=np.int32)
        means[start : start + rows] = values[drawn].mean(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def compare(system: Sequence[float], baseline: Sequence[float], *, seed: int = 42, trials: int = 10_000) -> Comparison:
    """The paired randomisation test: which means appear if each item's two scores are swapped by a coin?

    p = (1 + trials that differ at least as much) / (1 + trials), so it is never 0 and identical systems have 1:
    Phipson & Smyth, "Permutation P-values should never be zero" (2010). The test: Noreen (1989).

    Args:
        system: the items' scores, shape (n,).
        baseline: the other system's scores of the same items in the same order, shape (n,).
        seed: equal seeds give equal p-values.
        trials: how many times all coins are tossed.

    Raises:
        ValueError: the two have different lengths, or are empty.
    """
    import numpy as np

    if len(system) != len(baseline) or not len(system):
        raise ValueError(f"{len(system)} items can't be compared with {len(baseline)}")
    differences = np.asarray(system, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    moving = differences[differences != 0]  # a tie stays a tie however its coin falls
    random = np.random.default_rng(seed)
    observed = abs(moving.sum())
    at_least = observed - 1e-12 * np.abs(moving).sum()  # sums in another order differ in their last bits
    reached = 0
    step = max(1, _BLOCK // max(1, len(moving)))
    for start in range(0, trials, step):
        rows = min(step, trials - start)
        coins = np.unpackbits(
            np.frombuffer(random.bytes(rows * (len(moving) + 7) // 8), np.uint8), count=rows * len(moving)
        )
        swapped = coins.reshape(rows, len(moving)).astype(np.float64) @ moving
        reached += int(np.count_nonzero(np.abs(moving.sum() - 2 * swapped) >= at_least))
    wins = int(np.count_nonzero(moving > 0))
    return Comparison(
        difference=float(differences.mean()),
        p_value=(1 + reached) / (1 + trials),
        wins=wins,
        ties=len(differences) - len(moving),
        losses=len(moving) - wins,
    )


def difference_interval(system: Sequence[float], baseline: Sequence[float], *, seed: int = 42) -> tuple[float, float]:
    """`bootstrap_interval` of what `compare` calls the difference."""
    import numpy as np

    return bootstrap_interval(np.subtract(system, baseline), seed=seed)  # type: ignore[arg-type]


def gain(system: Sequence[float], baseline: Sequence[float], *, seed: int = 42) -> dict[str, Any]:
    """What a result tells of a system that wants to take a baseline's place, by the names of its fields."""
    found = compare(system, baseline, seed=seed)
    return {
        "gain": found.difference, "gain_ci95": difference_interval(system, baseline, seed=seed),
        "p_value": found.p_value, "wins": found.wins, "ties": found.ties, "losses": found.losses,
    }  # fmt: skip


def against(baseline: Sequence[float], systems: Sequence[Sequence[float]], *, seed: int = 42) -> list[dict[str, Any]]:
    """What results tell of systems beside one baseline, p adjusted by Holm's method, by the names of their fields."""
    found = [compare(each, baseline, seed=seed) for each in systems]
    return [
        {
            **comparison._asdict(), "difference_ci95": difference_interval(each, baseline, seed=seed),
            "p_value": adjusted, "p_value_unadjusted": comparison.p_value, "tied": adjusted >= LEVEL,
        }
        for each, comparison, adjusted in zip(systems, found, holm([one.p_value for one in found]), strict=True)
    ]  # fmt: skip


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of a family of tests, adjusted so that the chance of any false discovery stays below the level.

    Holm, "A simple sequentially rejective multiple test procedure" (1979): the k-th smallest of m is multiplied by
    m - k + 1, and none becomes smaller than the one before it. Same order as given; none exceeds 1.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
