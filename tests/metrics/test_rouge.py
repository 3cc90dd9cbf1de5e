import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialsum_cli.metrics.morphemes import TOKENIZERS, tokenizer
from dialsum_cli.metrics.rouge import PreparedText, Rouge, pairwise, referee, rouge
from dialsum_cli.text import without_word

ROOT = Path(__file__).resolve().parents[2]
ZERO = Rouge(0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def package():
    return referee()


def ours(hypothesis, reference):
    return rouge(PreparedText(hypothesis), PreparedText(reference))


def texts_like(rng, shape):
    """Two texts over few words, so that many subsequences are equally long and the backtrace's choice shows."""
    match shape:
        case "noise":
            pieces = ["가", "나", "다", "라", ".", "..", " . ", "", "\u00a0", "\t", "3.5", " "]
            return ["".join(rng.choice(pieces) + rng.choice(["", " "]) for _ in range(rng.randrange(14))) for _ in "ab"]
        case "repeated":
            return [" ".join(rng.choices("가나.", [5, 4, 1], k=rng.randrange(1, 25))) for _ in "ab"]
        case "near-duplicate":
            words = rng.choices(["가", "나", "다", "라", "마", "바", "."], k=rng.randrange(5, 30))
            other = [word for word in words if rng.random() > 0.15]
            for _ in range(3):
                other.insert(rng.randrange(len(other) + 1), rng.choice(words))
            return [" ".join(words), " ".join(other)]
        case "shuffled":
            words = [f"단어{i % 17}" for i in range(rng.randrange(1, 40))] + ["."] * rng.randrange(4)
            return [" ".join(rng.sample(words, len(words))) for _ in "ab"]


@pytest.mark.parametrize("shape", ["noise", "repeated", "near-duplicate", "shuffled"])
def test_equals_the_package_on_5000_pairs(package, shape):
    rng = random.Random(shape)
    nonzero = 0
    for _ in range(5000):
        hypothesis, reference = texts_like(rng, shape)
        got = ours(hypothesis, reference)
        assert got == (package(hypothesis, reference) or ZERO), (hypothesis, reference)
        nonzero += got.rougeL > 0
    assert nonzero > 2000


@settings(max_examples=300)
@given(st.lists(st.text(alphabet="가나다 .\u00a0\u3000\n", max_size=30), max_size=5))
def test_pairwise_equals_the_package_whichever_texts(package, texts):
    matrix = pairwise([PreparedText(text) for text in texts])
    assert matrix == [[package(hypothesis, reference) or ZERO for reference in texts] for hypothesis in texts]


@settings(max_examples=100)
@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_gives_scores_within_bounds(hypothesis, reference):
    scores = ours(hypothesis, reference)
    assert all(0 <= value < 1 for value in scores)
    assert scores.rougeL <= scores.rouge1
    assert scores.mean == sum(scores) / 3


@pytest.mark.parametrize(
    ("hypothesis", "reference", "expected"),
    [
        ("가 나 다", "가 나 다", (0.999999995, 0.999999995, 0.999999995)),
        ("가 나 다 가 나 다", "가 나 다", (0.999999995, 0.8, 0.999999995)),  # repetition is free under sets
        ("3.5", "3 5", (0.999999995, 0.999999995, 0.999999995)),  # a period is never a word
        ("가. 나", "나. 가", (0.999999995, 0.0, 0.999999995)),  # subsequences of sentences, united
        ("가 나", "나 가", (0.999999995, 0.0, 0.5)),
        (". ..", "네. ..", (2 / 3, 0.0, 2 / 3)),  # the phantom word
        ("라 마", "가 나", (0.0, 0.0, 0.0)),
        ("가", "가", (0.999999995, 0.0, 0.999999995)),  # too short for a bigram
    ],
)
def test_known_answers(package, hypothesis, reference, expected):
    assert ours(hypothesis, reference) == package(hypothesis, reference)
    assert ours(hypothesis, reference) == pytest.approx(expected, abs=1e-8)


def test_rouge_l_is_not_symmetric(package):
    one, other = "가 나 다 나", "나 가 다"
    [[_, forward], [backward, _]] = pairwise([PreparedText(one), PreparedText(other)])
    assert forward == package(one, other)
    assert backward == package(other, one)
    swapped = sum(
        pairwise([PreparedText(a), PreparedText(b)])[0][1].rougeL != ours(b, a).rougeL
        for a, b in (texts_like(random.Random(seed), "near-duplicate") for seed in range(500))
    )
    assert swapped > 10


@pytest.mark.parametrize("text", ["", ".", "...", "....."])
def test_what_the_package_refuses_scores_zero_and_is_marked(package, text):
    assert package(text, "가 나") is None
    assert package("가 나", text) is None
    assert PreparedText(text).empty
    assert ours(text, "가 나") == ours("가 나", text) == ours(text, text) == ZERO


@pytest.mark.parametrize(("text", "empty"), [(" ", True), (". ..", True), (" . \n", True), ("가", False), ("…", False)])
def test_empty_means_without_a_word(text, empty):
    assert PreparedText(text).empty is empty


def by_the_formula(hypothesis, reference):
    """ROUGE-L of two texts without a period as the package defines it, in loops instead of its recursion."""
    x, y = reference.split(), hypothesis.split()
    table = [[0] * (len(y) + 1)]
    for word in x:
        above, row = table[-1], [0]
        for j, other in enumerate(y):
            row.append(above[j] + 1 if word == other else max(above[j + 1], row[j]))
        table.append(row)
    words, i, j = set(), len(x), len(y)
    while i and j:
        if x[i - 1] == y[j - 1]:
            words.add(x[i - 1])
            i, j = i - 1, j - 1
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    precision, recall = len(words) / len(set(y)), len(words) / len(set(x))
    return 2.0 * ((precision * recall) / (precision + recall + 1e-8))


def test_texts_too_long_for_the_packages_recursion(package):
    rng = random.Random(42)
    hypothesis, reference = (" ".join(str(rng.randrange(400)) for _ in range(800)) for _ in "ab")
    assert package(hypothesis, reference) is None
    assert ours(hypothesis, reference).rougeL == by_the_formula(hypothesis, reference)


def test_long_sentences_within_its_recursion(package):
    rng = random.Random(42)
    hypothesis, reference = (" ".join(str(rng.randrange(60)) for _ in range(200)) for _ in "ab")
    assert ours(hypothesis, reference) == package(hypothesis, reference)
    assert ours(hypothesis, reference).rougeL == by_the_formula(hypothesis, reference)


def test_thousands_of_words_without_a_period():
    text = " ".join(f"단어{i}" for i in range(5000))
    assert ours(text, text) == pytest.approx((1, 1, 1), abs=1e-8)


@given(st.text(alphabet=st.sampled_from(". \t\n\r\x1f\u00a0\u3000\u2028\u200b가,"), max_size=8))
def test_no_tokenizer_makes_a_word_of_a_text_without_one(text):
    for name in TOKENIZERS:
        assert PreparedText(tokenizer(name).join(text)).empty is without_word(text), name


def test_pairwise_of_nothing_and_of_empty_texts():
    assert pairwise([]) == []
    assert pairwise([PreparedText(""), PreparedText("가 나")])[1][0] == ZERO


@pytest.mark.parametrize("foreign", ["rouge/__init__.py", "rouge.py"])
def test_a_foreign_module_is_no_referee(tmp_path, foreign):
    (tmp_path / foreign).parent.mkdir(exist_ok=True)
    (tmp_path / foreign).write_text("class Rouge: ...\n")
    code = """
from dialsum_cli.errors import MissingPartError
from dialsum_cli.metrics.rouge import referee
try:
    referee()
except MissingPartError as error:
    print(error, "|", error.remedy)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "isn't the module of rouge 1.0.1" in done.stdout
    assert "pip install --force-reinstall --no-deps rouge==1.0.1" in done.stdout
