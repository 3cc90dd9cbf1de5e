from dataclasses import replace

import pytest

from dialsum_cli.errors import DialsumError
from dialsum_cli.metrics.morphemes import tokenizer
from dialsum_cli.metrics.scoring import ItemScores, score
from dialsum_cli.metrics.verification import verify

GOLD = [["#Person1#은 커피를... 마신다.", "커피를 마신다."], ["#Person2#는 집에 간다.", "간다."]]
SYSTEM = ["#Person1#은 차를... 마신다.", "#Person2#는 학교에 간다."]


@pytest.mark.parametrize("refs", ["mean", "best"])
@pytest.mark.parametrize("name", ["mecab", "char", "eojeol"])
def test_the_package_agrees(refs, name):
    result = score(SYSTEM, GOLD, refs=refs, tokenizer=name)
    assert verify(result, SYSTEM, GOLD, refs=refs, tokenizer=tokenizer(name)).model_dump() == {"pairs": 4, "raised": 0}


def test_pairs_on_which_the_package_raises_are_counted_and_empty_ones_left_out():
    endless = "가 나 다 라 마 바 사 " * 400
    hypotheses = [endless, ". .."]
    result = score(hypotheses, GOLD)
    assert verify(result, hypotheses, GOLD, tokenizer=tokenizer()).model_dump() == {"pairs": 2, "raised": 2}


def test_a_score_that_differs_is_an_error():
    result = score(SYSTEM, GOLD)
    wrong = ItemScores(result.items.rouge1, result.items.rouge2[::-1], result.items.rougeL, result.items.final_score)
    with pytest.raises(DialsumError, match=r"item 0 \(from 0\): rouge 1.0.1 gives"):
        verify(replace(result, items=wrong), SYSTEM, GOLD, tokenizer=tokenizer())
