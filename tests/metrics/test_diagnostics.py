from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_cli.metrics.diagnostics import diagnose, repetition_rate, swap_speakers, totals
from dialsum_cli.metrics.morphemes import tokenizer

DIALOGUE = (
    "#Person1#: 수잔, 토요일 3시에 1,200원짜리 커피 마실래? Jimmy도 와.\n"
    "#Person2#: 좋아. 중국에서 온 찻잎도 있어. #여행"
)
REFERENCE = "#Person1#은 #Person2#에게 토요일 3시에 커피를 마시자고 합니다."


def found(summary, **options):
    return diagnose(summary, [REFERENCE], DIALOGUE, names=tokenizer().names, **options)


@pytest.mark.parametrize(
    ("name", "summary", "expected"),
    [
        ("unknown_tags", "#Person3#은 #Person1#과 만납니다.", ("#Person3#",)),
        ("unknown_tags", "#Person1#과 #Person2#가 만납니다.", ()),
        ("lost_tags", "#Person1#은 만납니다.", ("#Person2#",)),
        ("lost_tags", "", ("#Person1#", "#Person2#")),
        ("broken_tags", "#Person1은 만납니다.", ("#Person1",)),
        ("broken_tags", "Person2#는 #person1#과 # Person1 #을 만납니다.", ("Person2#", "#person1#", "# Person1 #")),
        ("broken_tags", "#사람1#은 Person 1을 만납니다.", ("#사람1#", "Person 1")),
        ("broken_tags", "#Person1#은 Email로 #여행 사진을 보냅니다.", ()),
        ("broken_characters", "#Person1#은 커\ufffd\ufffd를 마십\ufffd", 3),
        ("broken_characters", "커피\ufffc?", 0),
        ("cut_off", "#Person1#은 커피를", True),
        ("cut_off", '"커피를 마십니다."', False),
        ("cut_off", "", False),
        ("cut_off", " . ..", False),
        ("cut_off", "\t\u3000.\u00a0", False),
        ("unsupported_numbers", "3시에 1200원을 냅니다.", ()),
        ("unsupported_numbers", "4시에 1,200원을 #Person7#에게 냅니다.", ("4",)),
        ("unsupported_names", "#Person1# 에게 수잔이 중국 이야기를 합니다.", ()),
        ("unsupported_names", "#Person1#은 뉴욕에서 스티브를 만납니다.", ("뉴욕", "스티브")),
        ("foreign_scripts", "Jimmy는 coffee를 마시며 漢字를 봅니다.", Counter(Latin=6, Han=2)),
        ("korean_ratio", "Jimmy는 #Person1#을 만납니다.", 1.0),
        ("korean_ratio", "가나 ab", 0.5),
        ("tag_fidelity", "#Person1#이 #Person9#를 만납니다.", 0.5),
        ("tag_fidelity", "만납니다.", None),
        ("repetition_rate", "가 나 다 가 나 다", 0.25),
        ("length_ratio", REFERENCE * 2, 2.0),
        ("length_ratio", "", 0.0),
    ],
)
def test_findings(name, summary, expected):
    assert getattr(found(summary), name) == expected


def test_without_a_dialogue_what_only_it_can_tell_is_unknown():
    alone = diagnose("#Person3#은 Jimmy를 4시에 만납니다.", [REFERENCE, "Jimmy가 옵니다."], names=tokenizer().names)
    assert (alone.tag_fidelity, alone.unsupported_names, alone.unsupported_numbers) == (None, None, None)
    assert (alone.unknown_tags, alone.korean_ratio, alone.foreign_scripts) == (None, None, None)
    assert (alone.lost_tags, alone.broken_tags, alone.cut_off) == ((), (), False)
    assert diagnose("x", [REFERENCE], DIALOGUE).unsupported_names is None
    total = totals([alone], empty=0, speaker_swaps=0).model_dump()
    unknown = {"tag_fidelity", "unknown_tags", "korean_ratio", "foreign_scripts", "unsupported_names",
               "unsupported_numbers"}  # fmt: skip
    assert {name for name, value in total.items() if value is None} == unknown
    both = totals([alone, found("#Person3#은 漢字를")], empty=0, speaker_swaps=0)
    assert (both.unknown_tags, both.korean_ratio, both.foreign_scripts) == (1, 0.5, {"Han": 2})


def test_totals_are_rows_and_means():
    total = totals(map(found, ["#Person3#은 뉴욕", REFERENCE, ""]), empty=1, speaker_swaps=2)
    assert total.model_dump() == {
        "empty": 1,
        "length_ratio": pytest.approx((len("#Person3#은뉴욕") / len("".join(REFERENCE.split())) + 1) / 3),
        "repetition_rate": 0.0,
        "tag_fidelity": 0.5,
        "unknown_tags": 1,
        "lost_tags": 2,
        "broken_tags": 0,
        "broken_characters": 0,
        "korean_ratio": 1.0,
        "foreign_scripts": {},
        "cut_off": 1,
        "speaker_swaps": 2,
        "unsupported_names": 1,
        "unsupported_numbers": 0,
    }


@given(st.text("#Person123 은"))
def test_swapping_twice_is_nothing(text):
    assert swap_speakers(swap_speakers(text)) == text


@given(st.text("가나 \n", max_size=40))
def test_repetition_is_a_share_and_grows_by_repeating(text):
    rate = repetition_rate(text)
    assert 0 <= rate < 1
    assert repetition_rate(f"{text} {text}") >= rate


def test_real_references_have_next_to_no_findings(shared_data):
    from dialsum_cli.data.dialogues import read_gold_dialogues

    rows = read_gold_dialogues(shared_data / "korean-dialogsum" / "dev.csv")
    texts = [row.references[0] for row in rows]

    def total(summaries):
        items = (
            diagnose(text, row.references, row.text, names=tokenizer().names)
            for text, row in zip(summaries, rows, strict=True)
        )
        return totals(items, empty=0, speaker_swaps=0)

    own, others = total(texts), total(texts[7:] + texts[:7])
    assert (own.unknown_tags, own.lost_tags, own.cut_off, own.tag_fidelity) == (0, 0, 0, 1.0)
    assert own.broken_tags == 1  # `Person1은 ... Person2는`, as its author wrote it
    assert (own.unsupported_names, own.unsupported_numbers) == (1, 2)
    assert others.unsupported_names > 100
    assert others.unsupported_numbers > 50
