import itertools
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialsum_cli.metrics.statistics import bootstrap_interval, compare, holm

SCORES = st.lists(st.floats(0, 100), min_size=1, max_size=60)
P_VALUES = st.lists(st.floats(0, 1), max_size=12)


@given(SCORES)
def test_interval_lies_within_the_items(items):
    low, high = bootstrap_interval(items)
    assert min(items) - 1e-9 <= low <= high <= max(items) + 1e-9


def test_interval_is_that_of_the_normal_distribution_for_many_items():
    items = [i % 2 * 100.0 for i in range(400)]  # standard error of the mean: 100 * sqrt(0.25 / 400) = 2.5
    low, high = bootstrap_interval(items)
    assert low == pytest.approx(50 - 1.96 * 2.5, abs=0.6)
    assert high == pytest.approx(50 + 1.96 * 2.5, abs=0.6)
    narrow_low, narrow_high = bootstrap_interval(items, confidence=0.5)
    assert low < narrow_low < narrow_high < high


def test_seeds_decide():
    items = [float(i * i % 97) for i in range(200)]
    assert bootstrap_interval(items) == bootstrap_interval(items, seed=42) == bootstrap_interval(array("d", items))
    assert bootstrap_interval(items) != bootstrap_interval(items, seed=1)
    shifted = [item + i % 7 - 3.1 for i, item in enumerate(items)]
    assert compare(items, shifted) == compare(items, shifted, seed=42)


def test_more_items_than_a_block():
    low, high = bootstrap_interval(array("d", range(1_100_000)), resamples=3)
    assert 540_000 < low <= high < 560_000
    result = compare(array("d", [1.0]) * 1_100_000, array("d", [0.0]) * 1_100_000, trials=3)
    assert result == (1.0, 0.25, 1_100_000, 0, 0)


@settings(max_examples=50)
@given(SCORES)
def test_identical_systems(items):
    assert compare(items, list(items)) == (0, 1, 0, len(items), 0)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=40))
def test_swapping_the_systems_mirrors_the_comparison(pairs):
    system, baseline = zip(*pairs, strict=True)
    there, back = compare(system, baseline, trials=500), compare(baseline, system, trials=500)
    assert (there.wins, there.ties, there.losses) == (back.losses, back.ties, back.wins)
    assert there.wins + there.ties + there.losses == len(pairs)
    assert there.difference == -back.difference
    assert there.p_value == back.p_value
    assert 0 < there.p_value <= 1


@pytest.mark.parametrize(
    "differences",
    [[1.0], [1.0, 1.0, 1.0], [5.0, 4.0, 3.0, 2.0, 1.0], [5.0, -4.0, 3.0, -2.0, 1.0, 0.0], [0.3] * 9 + [-0.1]],
)
def test_p_value_is_the_share_of_all_sign_patterns(differences):
    observed = abs(sum(differences))
    patterns = list(itertools.product([1, -1], repeat=len(differences)))
    reached = sum(
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True))) >= observed - 1e-12
        for signs in patterns
    )
    assert compare(differences, [0.0] * len(differences)).p_value == pytest.approx(reached / len(patterns), abs=0.015)


def test_a_clear_difference():
    result = compare([30.0 + i % 5 for i in range(100)], [29.0] * 100)
    assert result == (3.0, 1 / 10_001, 100, 0, 0)


@pytest.mark.parametrize(("system", "baseline"), [([], []), ([1.0], [1.0, 2.0])])
def test_what_cannot_be_compared(system, baseline):
    with pytest.raises(ValueError, match="can't be compared"):
        compare(system, baseline)


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([], []),
        ([0.2], [0.2]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.6, 0.7], [1.0, 1.0]),
    ],
)
def test_holm(p_values, adjusted):
    assert holm(p_values) == pytest.approx(adjusted)


@given(P_VALUES)
def test_holm_keeps_the_order_and_never_lowers(p_values):
    adjusted = holm(p_values)
    assert all(before <= after <= 1 for before, after in zip(p_values, adjusted, strict=True))
    pairs = sorted(zip(p_values, adjusted, strict=True))
    assert [after for _, after in pairs] == sorted(adjusted)
