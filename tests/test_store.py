import copy
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import make_model

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.engines.huggingface import open_summarizer
from dialsum_cli.errors import DialsumError
from dialsum_cli.registry import resolve
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import PredictSettings
from dialsum_cli.store import Resumed, SummaryStore
from dialsum_cli.summarizer import Batch, Summary, collect

DIALOGUES = [Dialogue(f"d{number}", f"#Person1#: {number}번입니다.\n#Person2#: 네.") for number in range(7)]


class Numbering:
    """Summarises in batches of two, each summary telling how many were made before it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def summarize(self, dialogues):
        for start in range(0, len(dialogues), 2):
            batch = dialogues[start : start + 2]
            self.asked += [dialogue.fname for dialogue in batch]
            summaries = [Summary(each.fname, f"{each.text} {len(self.asked)}", each.fname == "d1") for each in batch]
            yield Batch(summaries, seconds=2.0, peak_memory_gib=len(self.asked), batch_tokens=90 - len(self.asked))


def run(store, dialogues, batches=None):
    """What comes out, which dialogues had to be summarised, and the batches."""
    summarizer, seen = Numbering(), []
    summaries = collect(Resumed(summarizer, store), dialogues, seen.append if batches is None else batches.append)
    return summaries, summarizer.asked, seen


def test_what_is_there_is_not_made_again(tmp_path):
    store = SummaryStore(tmp_path / "새 폴더", {"weights": "a"})
    first, asked, _ = run(store, DIALOGUES)
    assert asked == [each.fname for each in DIALOGUES]
    again, asked, (batch,) = run(SummaryStore(tmp_path / "새 폴더", {"weights": "a"}), DIALOGUES)
    assert again == first
    assert asked == []
    assert (batch.reused, batch.seconds, batch.peak_memory_gib, batch.batch_tokens) == (True, 8.0, 7, 83)


def test_the_same_text_under_another_id_and_a_part_of_the_rows(tmp_path):
    store = SummaryStore(tmp_path, {})
    first, _, _ = run(store, DIALOGUES)
    other = [Dialogue("x", DIALOGUES[3].text), Dialogue("y", "#Person1#: 새 대화."), Dialogue("z", DIALOGUES[3].text)]
    summaries, asked, (kept, _) = run(store, other)
    assert asked == ["y"]
    assert [each.fname for each in summaries] == ["x", "y", "z"]
    assert summaries[0].text == summaries[2].text == first[3].text
    assert kept.seconds == 1.0  # one of the two that were made together


def test_dialogues_of_the_same_text_are_asked_about_once(tmp_path):
    store = SummaryStore(tmp_path, {})
    twice = [*DIALOGUES[:3], *(Dialogue(f"again {each.fname}", each.text) for each in DIALOGUES[:3])]
    summaries, asked, batches = run(store, twice)
    assert asked == ["d0", "d1", "d2"]
    assert [each.fname for each in summaries] == [each.fname for each in twice]
    assert [(each.text, each.truncated) for each in summaries[:3]] == [
        (each.text, each.truncated) for each in summaries[3:]
    ]
    assert [len(batch.summaries) for batch in batches] == [4, 2]
    assert [len(kept["summaries"]) for kept in store.batches()] == [2, 1]
    again, asked, _ = run(store, twice)
    assert (again, asked) == (summaries, [])


@pytest.mark.parametrize("text", ["#Person1#: 0번입니다.\n#Person2#: 네!", "#Person1#: 0번입니다.\n#Person2#: 네. "])
def test_another_text_under_the_same_id_is_another_dialogue(tmp_path, text):
    store = SummaryStore(tmp_path, {})
    run(store, DIALOGUES)
    (summary,), asked, _ = run(store, [Dialogue("d0", text)])
    assert asked == ["d0"]
    assert summary.text.startswith(text)


def leaves(value, path=()):
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "llama", "llama")


def ingredients(folder, **options):
    with open_summarizer(resolve(str(folder)), PredictSettings(**options), Reporter()) as (summarizer, _):
        return summarizer.ingredients()


def edited(folder, tmp_path, name, old, new):
    """A copy of a model with a change in one of its files."""
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    content = (changed / name).read_text("utf-8")
    assert old in content
    (changed / name).write_text(content.replace(old, new), "utf-8")
    return changed


def test_each_ingredient_counts(folder, tmp_path):
    """Whatever is changed of what an engine names, no matter how deep, the store is another one."""
    base = ingredients(folder)
    wanted = {"engine", "weights", "precision", "prompt", "template", "options", "block_foreign", "device", "versions"}
    assert wanted <= set(base)
    assert {"torch", "transformers", "tokenizers", "bitsandbytes", "peft", "dialsum"} == set(base["versions"])
    paths = {SummaryStore(tmp_path, base).path}
    changes = list(leaves(base))
    for *parents, last in changes:
        changed = copy.deepcopy(base)
        inner = changed
        for parent in parents:
            inner = inner[parent]
        inner[last] = [inner[last], "changed"]
        paths.add(SummaryStore(tmp_path, changed).path)
    assert len(changes) > 15
    assert len(paths) == 1 + len(changes)


PROMPT = "system: 요약하세요.\nuser: '{dialogue} 요약하세요.'\n"


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "bf16"},
        {"precision": "nf4"},
        {"prompt": "short"},
        {"max_new_tokens": 159},
        {"num_beams": 2},
        {"block_foreign": False},
    ],
    ids=str,
)
def test_an_option_that_changes_text_is_an_ingredient(folder, options):
    assert ingredients(folder, **options) != ingredients(folder)


def test_n_grams_are_an_ingredient(tmp_path):
    folder = make_model(tmp_path / "bart", "bart")
    assert ingredients(folder) != ingredients(folder, no_repeat_ngram_size=3)


def test_a_prompt_counts_by_its_text_and_not_by_its_name(folder, tmp_path):
    path = tmp_path / "prompt.yaml"
    path.write_text(PROMPT, "utf-8")
    first = ingredients(folder, prompt=str(path))
    path.write_text(PROMPT.replace("요약하세요", "줄이세요"), "utf-8")
    assert ingredients(folder, prompt=str(path)) != first
    other = tmp_path / "other.yaml"
    other.write_text(PROMPT, "utf-8")
    assert ingredients(folder, prompt=str(other)) == first


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("chat_template.jinja", "<|start_header_id|>assistant", "<|start_header_id|>system"),
        ("generation_config.json", '"eos_token_id": 7', '"eos_token_id": [7, 1]'),
        ("tokenizer.json", '"version"', ' "version"'),
    ],
)
def test_a_file_of_the_model_is_an_ingredient(folder, tmp_path, file, old, new):
    assert ingredients(edited(folder, tmp_path, file, old, new)) != ingredients(folder)


@pytest.mark.slow
def test_two_models_never_share_a_store_and_copies_of_one_do(folder, tmp_path):
    names = ("llama", "qwen", "gpt2", "bart", "t5")
    several = [make_model(tmp_path / name, name) for name in names] + [make_model(tmp_path / "x", "llama", seed=1)]
    paths = [SummaryStore(tmp_path, ingredients(each)).path for each in several]
    assert len(set(paths)) == len(several)
    shutil.copytree(folder, tmp_path / "copy")
    assert ingredients(tmp_path / "copy", batch_tokens=99) == ingredients(folder)


@given(st.integers(0, 1500))
def test_a_torn_line_loses_its_batch_alone(tmp_path_factory, cut):
    store = SummaryStore(tmp_path_factory.mktemp("store"), {"weights": "a"})
    first, _, _ = run(store, DIALOGUES)
    content = store.path.read_bytes()
    left = content[: max(len(content) - cut, 0)]
    store.path.write_bytes(left)
    lines = [line for line in content.split(b"\n") if b"summaries" in line]
    whole = sum(content.index(line) + len(line) <= len(left) for line in lines)
    summaries, asked, _ = run(store, DIALOGUES)
    assert asked == [each.fname for each in DIALOGUES[2 * whole :]]
    assert summaries[: 2 * whole] == first[: 2 * whole]
    assert run(store, DIALOGUES)[:2] == (summaries, [])


WRITER = """
import sys
from pathlib import Path
from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.store import SummaryStore
from dialsum_cli.summarizer import Batch, Summary
store, name = SummaryStore(Path(sys.argv[1]), {}), sys.argv[2]
number = 0
while number < int(sys.argv[3]):
    dialogue = Dialogue(f"{name}{number}", f"{name} {number}" + "가" * 5000)
    store.keep(Batch([Summary(dialogue.fname, dialogue.text)]), {dialogue.fname: dialogue})
    number += 1
    print(number, flush=True)
"""


def test_two_processes_share_a_store_and_a_killed_one_loses_a_line_at_most(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    steady = subprocess.Popen([*command, "a", "20"], stdout=subprocess.PIPE)
    killed = subprocess.Popen([*command, "b", "100000"], stdout=subprocess.PIPE, text=True)
    while (line := killed.stdout.readline()) != "20\n":
        assert line
    killed.send_signal(signal.SIGKILL)
    told = 20 + len(killed.stdout.read().splitlines())
    killed.wait()
    killed.stdout.close()
    assert len(steady.communicate()[0].splitlines()) == 20
    texts = [text for batch in SummaryStore(tmp_path, {}).batches() for text, *_ in batch["summaries"].values()]
    assert [text for text in texts if text[0] == "a"] == [f"a {number}" + "가" * 5000 for number in range(20)]
    kept = [text for text in texts if text[0] == "b"]
    assert kept == [f"b {number}" + "가" * 5000 for number in range(len(kept))]
    assert told <= len(kept) <= told + 1


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no small file system can be mounted here: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_keeps_what_was_written(small_disk):
    store = SummaryStore(small_disk, {"weights": "a"})
    run(store, DIALOGUES)
    large = Dialogue("large", "가" * 60_000)
    with pytest.raises(DialsumError, match="No space left on device") as raised:
        run(store, [*DIALOGUES, large])
    assert str(store.path) in str(raised.value)
    assert "free some disk" in raised.value.remedy
    assert run(store, DIALOGUES)[1] == []


def test_a_store_that_cannot_be_read_or_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DialsumError, match="can't write"):
        run(SummaryStore(tmp_path / "file" / "x", {}), DIALOGUES)
    store = SummaryStore(tmp_path, {})
    store.path.mkdir()
    with pytest.raises(DialsumError, match="can't read"):
        run(store, DIALOGUES)


def test_people_can_read_what_a_store_is_about(tmp_path):
    store = SummaryStore(tmp_path, {"prompt": "요약하세요"})
    run(store, DIALOGUES)
    first, *_ = Path(store.path).read_text("utf-8").splitlines()
    assert json.loads(first) == {"ingredients": {"prompt": "요약하세요"}}
    assert "요약하세요" in first
