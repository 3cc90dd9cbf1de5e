import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_cli.metrics.differences import differences
from dialsum_cli.metrics.morphemes import tokenizer


def marked(pieces):
    return [(text, mark) for text, mark in pieces]


def test_what_is_common_missing_and_extra():
    reference, summary = differences("철수는 커피를.", "영희는 커피를 마셨다.", tokenizer("eojeol"))
    assert marked(reference) == [("영희는", "missing"), (" 커피를", "common"), (" 마셨다.", "missing")]
    assert marked(summary) == [("철수는", "extra"), (" 커피를.", "common")]
    reference, summary = differences("값은 3.5원", "값이 3원. ", tokenizer())
    assert marked(reference) == [
        ("값", "common"), ("이", "missing"), (" 3", "common"), ("원", "common"), (".", ""), (" ", ""),
    ]  # fmt: skip
    assert [piece.mark for piece in summary if piece.text in (".", "5")] == ["", "extra"]


@pytest.mark.parametrize("name", ["mecab", "char"])
def test_a_tag_is_one_piece_and_in_common_as_a_whole(name):
    reference, summary = differences("#Person1#은 #Person2#, #Email#", "#Person2#는 #Person3#", tokenizer(name))
    tags = [(text.strip(" ,"), mark) for text, mark in reference + summary if "#" in text]
    assert tags == [
        ("#Person2#", "common"), ("#Person3#", "missing"), ("#Person1#", "extra"), ("#Person2#", "common"),
        ("#Email#", "extra"),
    ]  # fmt: skip


def test_an_empty_summary_has_no_pieces():
    reference, summary = differences("", "네.", tokenizer())
    assert summary == []
    assert marked(reference) == [("네", "missing"), (".", "")]


@pytest.mark.parametrize("name", ["mecab", "char", "eojeol"])
@given(
    text=st.lists(st.sampled_from(["#Person1#", "#Person12#", "#Email#", "#", "은", " ", "Person"])).map("".join)
    | st.text("가각ㅋ#.,\"' \t\nPa1é\0\u3000漢😀\u1112\u1161\u11ab", max_size=30)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
)
def test_joined_the_pieces_are_the_text(name, text):
    reference, summary = differences(text, text, tokenizer(name))
    assert "".join(piece.text for piece in summary) == unicodedata.normalize("NFC", text)
    assert reference == summary
    assert {piece.mark for piece in summary} <= {"common", ""}
