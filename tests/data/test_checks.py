from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_cli.data.checks import NEAR, PIECE, _nearest, _pieces, check_data, normalised
from dialsum_cli.data.dialogues import Dialogue, read_dialogues
from dialsum_cli.results import TokenLengths
from dialsum_cli.views import as_table

TALK = "#Person1#: 안녕하세요, 방을 예약하고 싶습니다.\n#Person2#: 어떤 방을 원하시나요?\n#Person1#: 싱글룸이요."
RETOLD = "#Person1#: 안녕하십니까? 방을 예약하고 싶은데요.\n#Person2#: 어떤 방을 원하세요?\n#Person1#: 싱글룸이요."
OTHER = "#Person1#: 시험 잘 봤어?\n#Person2#: 아니, 잠을 못 자서 다 망쳤어.\n#Person1#: 저런, 힘내."
FINE = "#Person1#은 방을 예약하고 싶어 한다."


def dialogue(fname: str, text: str = OTHER, *references: str) -> Dialogue:
    return Dialogue(fname, text, references or ("#Person1#은 친구를 위로한다.",))


def found(train, dev) -> dict[str, tuple[int, list[str]]]:
    return {each.check: (each.rows, each.examples) for each in check_data(train, dev).findings}


@pytest.mark.parametrize(
    ("train", "dev", "expected"),
    [
        ([dialogue("a", TALK)], [dialogue("b", OTHER)], {}),
        ([], [], {}),
        ([dialogue("a", TALK), dialogue("b", TALK.replace(",", "").replace(" ", "  ")), dialogue("c", TALK)], [],
         {"duplicate": (2, ["b = a", "c = a"])}),
        ([dialogue("a", TALK)], [dialogue("b", TALK.replace("\n", " \n ").replace("?", "？"))],
         {"leak": (1, ["b = a"])}),
        ([dialogue("x", OTHER), dialogue("a", TALK)], [dialogue("b", RETOLD)], {"near_leak": (1, ["b ~ a (37%)"])}),
        ([dialogue("a", TALK, "...")], [], {"empty_summary": (1, ["a"])}),
        ([dialogue("a", TALK, FINE, "예약한다.")], [], {"short_summary": (1, ["a (예약한다.)"])}),
        ([dialogue("a", FINE, TALK)], [], {"long_summary": (1, ["a"]), "unknown_tag": (1, ["a (#Person2#)"])}),
        ([dialogue("a", TALK, "#Person3#과 #Person3#, #Email#, #Person1#이 만난다.")], [],
         {"unknown_tag": (1, ["a (#Person3#, #Email#)"])}),
        ([], [dialogue(name, TALK, "#Person7#이 방을 예약한다.") for name in "abcd"],
         {"unknown_tag": (4, [f"{name} (#Person7#)" for name in "abc"])}),
    ],
    ids=["nothing", "no data", "copies", "leak", "near leak", "empty", "short", "long", "tags", "three examples"],
)  # fmt: skip
def test_what_is_found(train, dev, expected):
    assert found(train, dev) == expected


def test_a_row_without_a_summary_is_empty_in_the_split_that_it_is_in():
    findings = check_data([dialogue("a", TALK, "...")], [Dialogue("b", OTHER)]).findings
    assert [(each.what, each.examples) for each in findings] == [
        ("train summaries without a word", ["a"]), ("dev summaries without a word", ["b"])]  # fmt: skip


def test_an_exact_leak_is_no_near_leak_and_the_nearest_is_named_first():
    train = [dialogue("a", TALK), dialogue("b", TALK + "\n#Person2#: 네."), dialogue("c", OTHER)]
    dev = [dialogue("exact", TALK), dialogue("far", RETOLD), dialogue("near", TALK + "\n#Person2#: 네네.")]
    result = found(train, dev)
    assert result["leak"] == (1, ["exact = a"])
    count, examples = result["near_leak"]
    assert count == 2
    assert [example.partition(" (")[0] for example in examples] == ["near ~ b", "far ~ a"]


@given(st.text("abcd12 .,!?\n가나다"))
def test_spacing_punctuation_and_case_make_no_other_text(text):
    plain = normalised(text)
    assert normalised(text.upper().replace("\n", "  ")) == plain == normalised(plain)
    assert not set(plain) & set(" .,!?\n")


@given(
    st.lists(st.text("가나", min_size=1, max_size=30), max_size=6),
    st.lists(st.text("가나", min_size=1, max_size=30), max_size=6),
)
def test_the_index_finds_what_comparing_all_pairs_finds(train, dev):
    def jaccard(one: str, other: str) -> float:
        return len(_pieces(one) & _pieces(other)) / len(_pieces(one) | _pieces(other))

    expected = {
        index: best
        for index, text in enumerate(dev)
        if (best := max((jaccard(text, other) for other in train), default=0.0)) >= NEAR
    }
    nearest = _nearest(train, dev)
    assert {index: share for share, index, _ in nearest} == expected
    assert all(jaccard(dev[index], train[other]) == share for share, index, other in nearest)
    assert all(one >= other for (one, *_), (other, *_) in pairwise(nearest))


@pytest.mark.parametrize("text", ["", "가", "가나다라", "가나다라마"])
def test_a_short_text_is_one_piece(text):
    assert _pieces(text) == {text}
    assert len(_pieces("가" * PIECE + "나")) == 2


def test_lengths_are_percentiles_of_real_texts_and_limits_count_what_is_over_them():
    lengths = TokenLengths.of("prompts", range(100, 0, -1), 95)
    assert (lengths.p50, lengths.p90, lengths.p99, lengths.max) == (50, 90, 99, 100)
    assert (lengths.texts, lengths.limit, lengths.over) == (100, 95, 5)
    assert TokenLengths.of("prompts", [7], None).model_dump(exclude={"what"}) == {
        "texts": 1, "p50": 7, "p90": 7, "p99": 7, "max": 7, "limit": None, "over": 0,
    }  # fmt: skip


def test_the_lines_say_what_was_found_how_often_and_what_to_do():
    train = [dialogue(name, TALK, "#Person7#이 방을 예약한다.") for name in "abcde"]
    lines = [text for text, _ in as_table(check_data(train, train[:1])).notes]
    assert any("that repeat an earlier one: 4 (b = a, c = a, d = a, ...). " in line for line in lines)
    assert any("in train as well: 1 (a = e). Scores on dev will be too high" in line for line in lines)
    assert as_table(check_data([dialogue("a")], [])).notes == []


@pytest.mark.slow
def test_the_real_corpus_has_retold_dialogues_in_train_and_dev_(shared_data):
    folder = shared_data / "korean-dialogsum"
    train, dev = (read_dialogues(folder / name, references=True) for name in ("train.csv", "dev.csv"))
    as_many = [  # as many rows as the whole corpus has, of the same lengths, and no copies
        Dialogue(f"{each.fname}_{turn}", each.text if not turn else f"{each.text[::-1]}{turn}", each.references)
        for turn in range(5)
        for each in train
    ][:12_457]
    result = check_data(as_many, dev)
    (near,) = [each for each in result.findings if each.check == "near_leak"]
    assert near.rows == 8
    assert near.examples[0] == "dev_397 ~ train_4816_0 (46%)"
    assert not [each for each in result.findings if each.check in ("duplicate", "leak")]


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_the_bundled_corpus_has_no_broken_summaries(split):
    from dialsum_cli.settings import BUNDLED

    rows = read_dialogues(BUNDLED / f"{split}.csv")
    kinds = set(found(rows, [])) - ({"empty_summary"} if split == "test" else set())
    assert not kinds
