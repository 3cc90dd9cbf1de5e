import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialsum_cli.metrics.mbr import FINAL_SCORE, TIE, Weights, choose
from dialsum_cli.metrics.rouge import PreparedText, referee

WORDS = st.text(alphabet="가나다 .", max_size=14)
CANDIDATES = st.lists(WORDS, min_size=1, max_size=6)
NUMBERS = st.floats(0, 5, allow_subnormal=False)


@pytest.fixture(scope="module")
def package():
    return referee()


def chosen(texts, **options):
    return choose([PreparedText(text) for text in texts], **options)


def naive(package, texts, weights=FINAL_SCORE, shares=None, preference=None):
    """Each candidate as the hypothesis for each other one, by the package; the first in the order of preference."""
    shares = shares or [1.0] * len(texts)

    def utility(hypothesis, reference):
        worded = all(any(piece.split() for piece in text.split(".")) for text in (hypothesis, reference))
        scores = worded and package(hypothesis, reference)
        return sum(w * each for w, each in zip(weights, scores, strict=True)) / sum(weights) if scores else 0.0

    def expected(i):
        own = shares[i] * (0.999999995 if any(piece.split() for piece in texts[i].split(".")) else 0.0)
        return own + sum(shares[j] * utility(texts[i], texts[j]) for j in range(len(texts)) if j != i)

    values = [expected(i) / (sum(shares) or 1) for i in range(len(texts))]
    order = range(len(texts)) if preference is None else preference
    # Values as close as this may fall on either side of a tie, which rounding decides and no test.
    near = [value for value in values if TIE / 10 < max(values) - value < 10 * TIE]
    return None if near else next(i for i in order if values[i] >= max(values) - TIE)


@settings(max_examples=400)
@given(CANDIDATES, st.tuples(NUMBERS, NUMBERS, NUMBERS).filter(lambda each: sum(each) > 0.1), st.randoms(), st.data())
def test_the_choice_is_the_naive_one_by_the_package(package, texts, weights, random, data):
    shares = data.draw(st.none() | st.lists(NUMBERS, min_size=len(texts), max_size=len(texts)))
    preference = random.sample(range(len(texts)), len(texts))
    options = {"weights": Weights(*weights), "shares": shares, "preference": preference}
    expected = naive(package, texts, **options)
    assert expected is None or chosen(texts, **options).index == expected


@settings(max_examples=150)
@given(CANDIDATES, st.randoms())
def test_the_order_of_the_candidates_decides_nothing_but_ties(texts, random):
    order = random.sample(range(len(texts)), len(texts))
    one, other = chosen(texts), chosen([texts[i] for i in order])
    assert [one.utilities[i] for i in order] == other.utilities
    assert one.tied == other.tied
    if not one.tied:
        assert PreparedText(texts[one.index]).sentences == PreparedText(texts[order[other.index]]).sentences


def test_the_candidate_is_the_hypothesis_and_not_the_reference():
    texts = ["라 나 나 다 라 라", "라 가 가 가 다 가", "다 가 라 라 다 가"]
    choice = chosen(texts, weights=Weights(0, 0, 1))
    forwards = [sum(choice.scores[i][j].rougeL for j in range(3) if j != i) for i in range(3)]
    backwards = [sum(choice.scores[j][i].rougeL for j in range(3) if j != i) for i in range(3)]
    assert choice.index == forwards.index(max(forwards)) == 1
    assert backwards.index(max(backwards)) == 2


TWO_AND_ONE = ["가 나 다 라", "마 바 사 아", "가 나 다 자"]


@pytest.mark.parametrize(
    ("texts", "options", "index", "tied"),
    [
        (TWO_AND_ONE, {}, 0, True),  # two that agree; which of them, the order says
        (TWO_AND_ONE, {"preference": [2, 1, 0]}, 2, True),
        (TWO_AND_ONE, {"preference": [1, 2, 0]}, 2, True),  # the best system alone is no majority
        (TWO_AND_ONE, {"shares": [1, 5, 1]}, 1, False),  # trusted more than both together
        (TWO_AND_ONE, {"shares": [0, 0, 0]}, 0, True),
        (["가 나", "가 나", "가 나"], {"preference": [2, 0, 1]}, 2, False),  # the same text thrice is no tie
        (["가", "가", "나 다"], {"shares": [1, 1, 1.5]}, 0, False),
        (["가", "나 다"], {}, 0, True),  # one morpheme has no bigrams, but agrees with itself as fully
        (["", "..", "가 나", "다 라"], {"preference": [0, 1, 3, 2]}, 3, True),  # no word: never chosen
        ([". ..", ". ..", "가 나"], {}, 2, False),  # nor do phantom words agree with each other
        (["", "."], {"preference": [1, 0]}, 1, False),  # but where nobody has a word
        (["가 나 다"], {}, 0, False),
    ],
)
def test_choices(texts, options, index, tied):
    choice = chosen(texts, **options)
    assert (choice.index, choice.tied) == (index, tied)


@pytest.mark.parametrize(
    ("weights", "index"),
    [(Weights(1, 0, 0), 0), (Weights(0, 1, 0), 1), (Weights(0, 0, 1), 1), (Weights(1, 1, 1), 1)],
)
def test_weights_say_what_agreement_is(weights, index):
    # The first has all words of the others, in another order.
    texts = ["바 라 나 가 다 마", "가 나 다 라", "가 나 마 바"]
    assert chosen(texts, weights=weights).index == index


@pytest.mark.parametrize(
    ("words", "ratio", "left_out"),
    [
        ([4, 4, 4, 40], 3, {3}),
        ([4, 4, 4, 40], 10, set()),  # ten times is not more than ten times
        ([10, 10, 2], 4, {2}),
        ([1, 9], 1.5, {1}),  # the low median is one of the lengths: somebody always stays
        ([0, 0, 5], 2, {0, 1}),  # those without a word are no length to go by
        ([0, 0], 2, set()),
        ([4, 40], None, set()),
    ],
)
def test_length_outliers_are_neither_chosen_nor_asked(words, ratio, left_out):
    texts = [" ".join(f"말{i}" for i in range(count)) for count in words]
    choice = chosen(texts, max_length_ratio=ratio)
    assert choice.left_out == left_out
    assert choice.index not in left_out
    rest = [text for i, text in enumerate(texts) if i not in left_out]
    kept = [value for i, value in enumerate(choice.utilities) if i not in left_out]
    assert kept == pytest.approx(chosen(rest).utilities)
