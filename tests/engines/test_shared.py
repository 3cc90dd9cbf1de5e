"""How dialogues are shared out, what is seen of the others' summaries, and what a launch refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_cli import PredictSettings, RequestError, ScreenSettings
from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.engines.choice import check_engine
from dialsum_cli.engines.shared import _check_alike, _News, deal, led, resumed
from dialsum_cli.errors import DialsumError
from dialsum_cli.store import Resumed, SummaryStore
from dialsum_cli.summarizer import Batch, Summary

DIALOGUES = [Dialogue(f"d{number}", f"#Person1#: {number}번입니다.") for number in range(6)]


@given(st.lists(st.text("가나", max_size=9), max_size=40), st.integers(1, 9))
def test_each_text_is_dealt_once_and_every_hand_gets_as_much(texts, hands):
    dialogues = [Dialogue(f"d{number}", text) for number, text in enumerate(texts)]
    shares = deal(dialogues, hands)
    assert len(shares) == hands
    dealt = [each.text for share in shares for each in share]
    assert sorted(dealt) == sorted(set(texts))
    counts = [len(share) for share in shares]
    assert max(counts) - min(counts) <= 1
    letters = [sum(len(each.text) for each in share) for share in shares]
    longest = max(map(len, texts), default=0)
    assert max(letters) - min(letters) <= longest  # dealt by length: no hand is ahead by more than one dialogue
    assert deal(dialogues, hands) == shares


def made(dialogues, memory=None, tokens=None):
    return Batch([Summary(each.fname, f"요약 {each.fname}") for each in dialogues], 0.0, 2.0, memory, tokens)


def by_name(dialogues):
    return {each.fname: each for each in dialogues}


def test_what_every_process_keeps_is_seen_once_and_by_all(tmp_path):
    store = SummaryStore(tmp_path, {"weights": "a"})
    twin = Dialogue("twin", DIALOGUES[0].text)
    news = _News(store, [*DIALOGUES, twin])
    assert news.batch().summaries == []
    store.written_by(0).keep(made(DIALOGUES[:1], memory=1.0, tokens=50), by_name(DIALOGUES))
    store.written_by(3).keep(made(DIALOGUES[1:3], memory=3.0, tokens=40), by_name(DIALOGUES))
    first = news.batch(work_left=1.5)
    assert sorted(each.fname for each in first.summaries) == ["d0", "d1", "d2", "twin"]
    assert (first.work_left, first.peak_memory_gib, first.batch_tokens) == (1.5, 3.0, 40)
    store.written_by(3).keep(made(DIALOGUES[3:5], memory=2.0, tokens=60), by_name(DIALOGUES))
    second = news.batch()
    assert [each.fname for each in second.summaries] == ["d3", "d4"]
    assert (second.peak_memory_gib, second.batch_tokens) == (3.0, 40)  # the most and the fewest of all processes
    assert [each.fname for same in news.left.values() for each in same] == ["d5"]
    assert len([*tmp_path.glob("*.jsonl")]) == 2


@pytest.mark.parametrize("cut", range(1, 40, 6))
def test_a_line_that_is_being_written_is_left_for_the_next_look(tmp_path, caplog, cut):
    store = SummaryStore(tmp_path, {})
    other = store.written_by(1)
    other.keep(made(DIALOGUES[:1]), by_name(DIALOGUES))
    news = _News(store, DIALOGUES)
    assert len(news.batch().summaries) == 1
    other.keep(made(DIALOGUES[1:2]), by_name(DIALOGUES))
    whole = other.path.read_bytes()
    other.path.write_bytes(whole[:-cut])
    assert news.batch().summaries == []
    other.path.write_bytes(whole)
    assert [each.fname for each in news.batch().summaries] == ["d1"]
    assert caplog.text == ""


def test_one_process_finds_what_several_have_kept(tmp_path):
    store = SummaryStore(tmp_path, {"weights": "a"})
    SummaryStore(tmp_path, {"weights": "b"}).written_by(1).keep(made(DIALOGUES), by_name(DIALOGUES))
    for number, dialogue in enumerate(DIALOGUES):
        store.written_by(number).keep(made([dialogue]), by_name(DIALOGUES))

    class Nothing:
        def summarize(self, dialogues):
            raise AssertionError("all is there")

    engine = Nothing()
    summarizer = resumed(engine, store)
    assert isinstance(summarizer, Resumed)  # without a launch
    (batch,) = summarizer.summarize(DIALOGUES)
    assert {each.fname for each in batch.summaries} == {each.fname for each in DIALOGUES}


def test_without_a_launch_a_workflow_is_left_as_it_is():
    assert led(lambda number: number + 1)(41) == 42


def test_a_process_that_would_write_something_else_is_refused():
    alike = {"device": "H200", "version of torch": "2.13"}
    _check_alike([alike, dict(alike)])
    with pytest.raises(DialsumError, match=r"process 2 .* its device is L4, not H200"):
        _check_alike([alike, alike, alike | {"device": "L4"}])


@pytest.mark.parametrize(
    ("settings", "here", "message"),
    [
        (PredictSettings(engine="vllm"), "4", "--engine vllm spreads"),
        (ScreenSettings(base_url="http://host:8000/v1", api_model="m"), "4", "--engine openai spreads"),
        (ScreenSettings(delete_cache=True), "2", "--delete-cache knows the disk of one host"),
        (ScreenSettings(disk_limit="80GB"), "2", "--disk-limit knows the disk of one host"),
        (ScreenSettings(delete_cache=True, disk_limit="80GB"), "4", ""),
        (PredictSettings(), "2", ""),
    ],
)
def test_what_several_processes_cannot_do_is_refused(monkeypatch, settings, here, message):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
    if not message:
        check_engine(settings)
        return
    with pytest.raises(RequestError, match=message):
        check_engine(settings)
    monkeypatch.setenv("WORLD_SIZE", "1")
    check_engine(settings)
