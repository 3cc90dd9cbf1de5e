import csv
import subprocess
import sys
import unicodedata
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from dialsum_cli import __version__
from dialsum_cli.errors import DataError, RequestError
from dialsum_cli.metrics.morphemes import tokenizer
from dialsum_cli.metrics.rouge import referee
from dialsum_cli.metrics.scoring import CONSTANT_SENTENCE, Scorer, agreement, other_items, score, score_all

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
DEV = DATA / "korean-dialogsum" / "dev.csv"

needs_data = pytest.mark.skipif(not DEV.exists(), reason=f"the licensed data isn't here: {DEV}")

GOLD = [
    ["#Person1#은 #Person2#에게 도서관 자리를 예약해 달라고 부탁한다."],
    ["#Person2#는 감기에 걸려 병원에 간다. #Person1#은 약을 권한다."],
    ["#Person1#과 #Person2#는 주말 여행 계획을 세운다."],
]
SYSTEM = ["#Person1#은 도서관 자리를 예약하려 한다.", "#Person2#는 병원에 간다.", "두 사람은 여행 계획을 세운다."]


def column(path, name):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return {row["fname"]: row[name] for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def gold():
    return column(DEV, "summary")


@pytest.fixture(scope="module")
def scorer(gold):
    return Scorer([text] for text in gold.values())


@needs_data
@pytest.mark.parametrize(
    ("file", "rouge1", "rouge2", "rouge_l", "final_score", "rouge_sum"),
    [
        ("dev_kobart_a.csv", 49.532320, 30.622726, 42.497544, 40.884197, 122.652591),
        ("dev_kobart_b.csv", 44.636210, 24.061814, 39.296095, 35.998040, 107.994119),
    ],
)
def test_real_predictions(gold, scorer, file, rouge1, rouge2, rouge_l, final_score, rouge_sum):
    predictions = column(DATA / "predictions" / file, "summary")
    hypotheses = [predictions[fname] for fname in gold]
    got = scorer.score(hypotheses)
    assert (got.rouge1, got.rouge2, got.rougeL) == pytest.approx((rouge1, rouge2, rouge_l), abs=1e-6)
    assert (got.final_score, got.rouge_sum) == pytest.approx((final_score, rouge_sum), abs=1e-6)
    assert (got.n, got.empty) == (499, 0)
    assert 1.5 < got.ci95[1] - got.ci95[0] < 3.2

    join, package = tokenizer().join, referee()
    for index, (hypothesis, reference) in enumerate(zip(hypotheses, gold.values(), strict=True)):
        rouge1, rouge2, rouge_l = package(join(hypothesis), join(reference))
        assert got.items.rouge1[index] == 100 * rouge1
        assert got.items.rouge2[index] == 100 * rouge2
        assert got.items.rougeL[index] == 100 * rouge_l


@needs_data
def test_the_gold_itself(gold, scorer):
    got = scorer.score(gold.values())
    assert (got.rouge1, got.rouge2, got.rougeL) == pytest.approx((99.999999,) * 3, abs=1e-6)
    assert got.rouge1 < 100


@needs_data
@pytest.mark.parametrize(("lines", "final_score"), [(1, 21.22), (2, 24.29), (3, 24.29)])
def test_level_of_the_dialogues_first_lines(scorer, lines, final_score):
    dialogues = column(DEV, "dialogue").values()
    got = scorer.score(" ".join(dialogue.split("\n")[:lines]) for dialogue in dialogues)
    assert got.final_score == pytest.approx(final_score, abs=0.01)


@needs_data
def test_level_of_the_constant_sentence(scorer):
    got = scorer.score([CONSTANT_SENTENCE] * 499)
    assert (got.rouge1, got.rouge2, got.rougeL) == pytest.approx((30.26, 25.37, 27.78), abs=0.01)
    assert got.final_score == pytest.approx(27.80, abs=0.01)


@needs_data
@pytest.mark.parametrize(("name", "final_score"), [("char", 52.5), ("eojeol", 12.5)])
def test_other_tokenizers_are_other_rulers(gold, name, final_score):
    predictions = column(DATA / "predictions" / "dev_kobart_a.csv", "summary")
    got = score([predictions[fname] for fname in gold], ([text] for text in gold.values()), tokenizer=name)
    assert got.final_score == pytest.approx(final_score, abs=0.05)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("mecab", "tok:mecab-ko-1.3.7|dic:2.1.1.post2/816283"),
        ("char", "tok:char|dic:none"),
        ("eojeol", "tok:eojeol|dic:none"),
    ],
)
@pytest.mark.parametrize(("references", "refs"), [(1, "mean"), (3, "mean"), (3, "best")])
def test_signature(name, part, references, refs):
    got = score(SYSTEM, [texts * references for texts in GOLD], tokenizer=name, refs=refs)
    assert got.signature == (
        f"ROUGE-ko|impl:rouge-1.0.1|ngram:set|rl:union-lcs|{part}|norm:nfc|refs:{refs}{references}|empty:0|n:3|v:{__version__}"
    )


def test_scoring_once_and_scoring_many_systems_agree():
    scorer = Scorer(iter(GOLD))
    assert scorer.score(iter(SYSTEM)) == scorer.score(SYSTEM) == score(iter(SYSTEM), iter(GOLD))
    assert scorer.score(SYSTEM[::-1]) == score(SYSTEM[::-1], GOLD) != score(SYSTEM, GOLD)


def test_seed_decides_the_interval_alone():
    one, other = score(SYSTEM * 20, GOLD * 20), score(SYSTEM * 20, GOLD * 20, seed=7)
    assert one.ci95 != other.ci95
    assert one.items == other.items


def test_means_are_those_of_the_items():
    got = score(SYSTEM, GOLD)
    for name in ("rouge1", "rouge2", "rougeL", "final_score"):
        items = getattr(got.items, name)
        assert items.itemsize * len(items) == 24
        assert getattr(got, name) == pytest.approx(sum(items) / 3)
    assert got.final_score == pytest.approx(got.rouge_sum / 3)
    with pytest.raises(FrozenInstanceError):
        got.n = 4


def test_several_references():
    one, other = [[text] for [text] in GOLD], [[text] for text in reversed(SYSTEM)]
    both = [[*a, *b] for a, b in zip(one, other, strict=True)]
    alone = [score(SYSTEM, references).items for references in (one, other)]
    mean, best = score(SYSTEM, both), score(SYSTEM, both, refs="best")
    for name in ("rouge1", "rouge2", "rougeL"):
        pairs = list(zip(*(getattr(items, name) for items in alone), strict=True))
        assert list(getattr(mean.items, name)) == pytest.approx([sum(pair) / 2 for pair in pairs])
        assert list(getattr(best.items, name)) == pytest.approx([max(pair) for pair in pairs])
    assert best.final_score > mean.final_score
    assert mean.by_refs == {"mean": mean.final_score, "best": pytest.approx(best.final_score)}
    assert best.by_refs == {"best": best.final_score, "mean": pytest.approx(mean.final_score)}
    assert score(SYSTEM, GOLD).by_refs == {"mean": score(SYSTEM, GOLD).final_score}


def test_several_systems_in_one_pass_score_as_each_alone():
    systems = [SYSTEM, SYSTEM[::-1], ["", *SYSTEM[1:]]]
    assert score_all([iter(each) for each in systems], iter(GOLD), tokenizer=tokenizer()) == [
        score(each, GOLD) for each in systems
    ]
    with pytest.raises(DataError, match="there are only 2 hypotheses, but more references"):
        score_all([SYSTEM, SYSTEM[:2]], GOLD, tokenizer=tokenizer())


def test_agreement_scores_each_reference_against_the_others():
    references = [[*texts, other, "두 사람."] for texts, other in zip(GOLD, SYSTEM, strict=True)]
    first, second, third = agreement(references, refs="best", tokenizer=tokenizer())
    expected = score(SYSTEM, [[one, three] for one, _, three in references], refs="best")
    assert second == expected.final_score
    assert first > third
    with pytest.raises(ValueError, match="two or more"):
        agreement(GOLD, tokenizer=tokenizer())


@pytest.mark.parametrize("n", [2, 3, 50])
def test_other_items_are_others_and_seeded(n):
    others = other_items(n, 42)
    assert all(other != index and 0 <= other < n for index, other in enumerate(others))
    assert others == other_items(n, 42)
    assert n == 2 or others != other_items(n, 7)


def test_empty_hypotheses_count_with_zero():
    got = score(["", SYSTEM[1], " ... "], GOLD)
    whole = score([SYSTEM[1]], [GOLD[1]])
    assert (got.n, got.empty, got.empty_items) == (3, 2, (0, 2))
    assert list(got.items.final_score) == [0.0, whole.final_score, 0.0]
    assert got.final_score == pytest.approx(whole.final_score / 3)


def test_periods_alone_score_0_even_against_a_reference_with_a_phantom_word():
    reference = "그는 기다렸다... 그리고 갔다."
    join = tokenizer().join
    assert referee()(join(". .."), join(reference)).mean > 0.1  # what the package gives to three periods
    got = score(["...", ". .."], [[reference]] * 2)
    assert (got.final_score, got.empty_items) == (0.0, (0, 1))


def test_decomposed_hangul_scores_the_same():
    decomposed = [unicodedata.normalize("NFD", text) for text in SYSTEM]
    assert decomposed != SYSTEM
    assert score(decomposed, GOLD) == score(SYSTEM, GOLD)


@pytest.mark.parametrize(
    ("hypotheses", "references", "message"),
    [
        (SYSTEM[:2], GOLD, "there are only 2 hypotheses, but more references"),
        (SYSTEM, GOLD[:2], "there are only 2 references, but more hypotheses"),
        ([], [], "there is nothing to score"),
        (SYSTEM, [*GOLD[:2], []], r"item 2 \(from 0\) has 0 references, not 1"),
        (SYSTEM, [[], *GOLD[:2]], r"item 0 \(from 0\) has 0 references, not one or more"),
        (SYSTEM, [*GOLD[:2], GOLD[2] * 2], r"item 2 \(from 0\) has 2 references, not 1"),
        (SYSTEM, [GOLD[0], [" . "], GOLD[2]], r"reference 0 of item 1 \(from 0\) has no word"),
        (["\ud800", *SYSTEM[1:]], GOLD, "not Unicode text"),
    ],
)
def test_data_errors_say_where(hypotheses, references, message):
    with pytest.raises(DataError, match=message):
        score(hypotheses, references)


def test_references_that_are_not_lists_of_texts():
    with pytest.raises(TypeError, match="a sequence of texts"):
        score(SYSTEM, [text for [text] in GOLD])


@pytest.mark.parametrize("option", [{"refs": "worst"}, {"tokenizer": "okt"}])
def test_unknown_choices(option):
    with pytest.raises(RequestError, match=r"no (way|tokenizer)"):
        score(SYSTEM, GOLD, **option)


def test_importing_is_light():
    heavy = ["torch", "transformers", "pandas", "numpy", "mecab", "rouge"]
    code = f"import sys, dialsum_cli.metrics.scoring; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
