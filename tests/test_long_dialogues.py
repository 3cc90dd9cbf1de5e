from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.long_dialogues import Chunked, split
from dialsum_cli.summarizer import Batch, Summary, collect


def shorter_than(most):
    return lambda text: len(text) <= most


@given(
    st.lists(st.text("가나 ", min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=30), st.integers(1, 60)
)
def test_parts_are_whole_turns_that_fit_as_many_as_can(turns, most):
    text = "\n".join(turns)
    parts = split(text, shorter_than(most))
    assert "\n".join(parts) == text
    assert all(len(part) <= most or "\n" not in part for part in parts)  # a turn that is too long stands alone
    for part, following in pairwise(parts):
        assert len(part) + 1 + len(following.partition("\n")[0]) > most


class Ends:
    """Summarises a text by the first word of each line; long ones are cut, as an engine does."""

    def __init__(self, most, size=3, words=1):
        self.most, self.size, self.words, self.asked = most, size, words, []

    def summarize(self, dialogues):
        assert len({each.fname for each in dialogues}) == len(dialogues)
        self.asked.append([each.text for each in dialogues])
        for start in range(0, len(dialogues), self.size):
            batch = dialogues[start : start + self.size][::-1]
            texts = [
                " ".join(word for line in each.text.splitlines() for word in line.split()[: self.words])
                for each in batch
            ]
            yield Batch([Summary(each.fname, text[: self.most], False, len(each.text) > self.most)
                         for each, text in zip(batch, texts, strict=True)], seconds=1.0)  # fmt: skip


def test_parts_are_summarised_and_then_their_summaries():
    long = Dialogue("long", "\n".join(f"{number} 말합니다" for number in range(8)))
    short = Dialogue("short", "가 말합니다")
    ends, batches = Ends(20), []
    chunked = Chunked(ends, shorter_than(20))
    summaries = collect(chunked, [long, short], batches.append)
    assert [each.fname for each in summaries] == ["long", "short"]
    assert summaries[1].text == "가"
    assert summaries[0].text == "0 3 6"
    assert [len(asked) for asked in ends.asked] == [4, 1]  # three parts and the short one, then the three summaries
    assert ends.asked[1] == ["0 1 2\n3 4 5\n6 7"]
    assert chunked.chunked == 1
    assert sum(batch.seconds for batch in batches) == 3.0
    assert not any(each.prompt_truncated for each in summaries)


def test_summaries_that_are_as_long_as_their_parts_come_to_an_end():
    long = Dialogue("long", "\n".join("가나다라마바사" for _ in range(9)))
    ends = Ends(20, words=9)
    (summary,) = collect(Chunked(ends, shorter_than(20)), [long], lambda batch: None)
    assert summary.prompt_truncated  # the model's own shortening had to help
    assert len(ends.asked) == 2


def test_a_single_turn_that_does_not_fit_is_left_to_the_engine():
    chunked = Chunked(Ends(5), shorter_than(5))
    (summary,) = collect(chunked, [Dialogue("a", "가나다라마바사")], lambda batch: None)
    assert (summary.text, summary.prompt_truncated, chunked.chunked) == ("가나다라마", True, 0)


@pytest.mark.parametrize("count", [0, 1, 50])
def test_each_dialogue_is_answered_once(count):
    dialogues = [
        Dialogue(f"d{n}", "\n".join(f"{n} {line} 말합니다" for line in range(n % 7 + 1))) for n in range(count)
    ]
    summaries = collect(Chunked(Ends(25), shorter_than(25)), dialogues, lambda batch: None)
    assert [each.fname for each in summaries] == [each.fname for each in dialogues]
