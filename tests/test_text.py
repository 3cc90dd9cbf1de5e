"""What the text rules say, by example."""

import pytest

from dialsum_cli.text import (
    SPEAKER_TAG,
    TAG,
    ends_sentence,
    foreign_scripts,
    korean_ratio,
    tag_fidelity,
    without_half,
)

DIALOGUE = "#Person1#: 야 Jimmy, UFO 믿어?\n#Person2#: 李 선생님께 #Email#로 물어봐."


@pytest.mark.parametrize(
    ("text", "tags", "speakers"),
    [
        ("#Person1#는 #Person12#에게", ["#Person1#", "#Person12#"], ["#Person1#", "#Person12#"]),
        ("#PhoneNumber#, #SSN#", ["#PhoneNumber#", "#SSN#"], []),
        ("#Person#, #Person1, Person1#, # Person1 #, #person1#", [], []),
        ("##Email##", ["#Email#"], []),
    ],
)
def test_tags(text, tags, speakers):
    assert TAG.findall(text) == tags
    assert SPEAKER_TAG.findall(text) == speakers


@pytest.mark.parametrize(
    ("summary", "ratio"),
    [
        ("#Person1#은 Jimmy에게 묻습니다.", 1.0),  # a tag and a name of the dialogue
        ("李 선생님은 UFO를 믿는다.", 1.0),
        ("Jim은", 1 / 4),  # a part of a name is not that name
        ("Person은", 1 / 7),  # nor is a tag's word outside a tag
        ("그는 yes 라고 말한다", 7 / 10),
        ("他们", 0.0),
        ("привет 안녕", 2 / 8),
        ("ㅋㅋ ok", 2 / 4),
        ("123, #Person2#!", 1.0),
        ("", 1.0),
    ],
)
def test_korean_ratio_leaves_out_tags_and_copied_words(summary, ratio):
    assert korean_ratio(summary, DIALOGUE) == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("summary", "fidelity"),
    [
        ("#Person1#은 #Person2#에게", 1.0),
        ("#Person1#은 #Person3#에게, #Person1#은", 2 / 3),
        ("#Person9#", 0.0),
        ("#PhoneNumber#로 전화한다", None),
        ("지미는 잔다", None),
    ],
)
def test_tag_fidelity_counts_speaker_tags_that_the_dialogue_has(summary, fidelity):
    assert tag_fidelity(summary, DIALOGUE) == (None if fidelity is None else pytest.approx(fidelity))


def test_foreign_scripts_are_counted_outside_tags():
    text = "#Person1# 안녕 hello 漢字 ひら カタ да γ سلام שלום ไทย नमते አማ é 1!"
    assert foreign_scripts(text) == {
        "Latin": 6, "Han": 2, "Hiragana": 2, "Katakana": 2, "Cyrillic": 2, "Greek": 1, "Arabic": 4, "Hebrew": 4,
        "Thai": 3, "Devanagari": 3, "other": 2,
    }  # fmt: skip
    assert foreign_scripts("#Person1#은 잔다. ㅋㅋ 10%") == {}


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("그는 잔다.", True),
        ('"정말요?" ', True),
        ("(끝났다.)\n", True),
        ("그는 “간다.”", True),
        ("#Person1#은 즉시 메시", False),
        ("그는 3.5", False),
        ("", False),
    ],
)
def test_ends_sentence(text, ends):
    assert ends_sentence(text) is ends


def test_real_summaries_end_as_sentences_do(shared_data):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(shared_data / "korean-dialogsum" / "dev.csv")
    for dialogue, summary in zip(frame.dialogue, frame.summary, strict=True):
        assert ends_sentence(summary)
        assert 0 <= korean_ratio(summary, dialogue) <= 1


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("점심을 먹\ufffd\ufffd", "점심을 먹"),
        ("점심을 먹습니다. #Pers", "점심을 먹습니다. "),
        ("#Person1#은 #Person2", "#Person1#은 "),
        ("#Person1#은 #", "#Person1#은 "),
        ("#Person1#은 ##Em\ufffd", "#Person1#은 #"),
        ("#Person1#은 #Person2#", "#Person1#은 #Person2#"),
        ("#Person1#", "#Person1#"),
        ("#1 #고객", "#1 #고객"),
        ("C#을 배운\ufffd다", "C#을 배운\ufffd다"),
        ("", ""),
    ],
)
def test_what_was_cut_off_ends_with_something_whole(text, kept):
    assert without_half(text) == kept
