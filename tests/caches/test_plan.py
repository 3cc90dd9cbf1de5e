"""What goes and what stays, wish by wish."""

import json
import mmap
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialsum_cli.caches.census import Ledger, take, total
from dialsum_cli.caches.execute import execute
from dialsum_cli.caches.plan import Wishes, make_plan
from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import CACHES, CacheCleanSettings, parse_bytes, parse_seconds
from dialsum_cli.workflows.cache_clean import cache_clean
from tests.caches.homes import ENDPOINT, KEPT, on_disk, weights, write

DAY = 86_400


def plan(**options):
    return make_plan(Wishes(**{"caches": CACHES} | options))


class Collected(Reporter):
    """Notes in a list."""

    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


def names(decisions):
    return sorted(decision.item.name for decision in decisions)


def reasons(made):
    return {decision.item.name: decision.reason for decision in made.kept}


def age(folder, days):
    """Let all files of a folder be that old; last of all the folder's, that nothing makes young again."""
    when = time.time() - days * DAY
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (when, when))


@pytest.mark.parametrize(
    ("keep", "stays"),
    [
        (["a/model"], ["a/model"]),
        (["a/mod*"], ["a/mod", "a/model", "a/model-large"]),
        (["a/mod?l"], ["a/model"]),
        (["*/model"], ["a/model", "b/model"]),
        (["llama3b"], [KEPT]),
        ([KEPT, "gpt2"], [KEPT, "gpt2"]),
        (["a/model", "qwen7b", "nobody/has-this"], ["a/model"]),
    ],
)
def test_keep_takes_names_ids_and_globs_and_no_sibling_by_its_prefix(siblings, keep, stays):
    made = plan(caches=("hub",), keep=keep)
    assert [name for name in names(made.kept) if name != "a/data"] == sorted(stays)
    assert len(made.deleted) == 7 - len(stays)
    assert sorted(made.absent) == (["Qwen/Qwen2.5-7B-Instruct", "nobody/has-this"] if "qwen7b" in keep else [])


@pytest.mark.parametrize(
    ("name", "message", "remedy"),
    [
        ("lama3b", "no model 'lama3b'", "did you mean 'llama3b'?"),
        ("c/*", "'c/*' matches nothing in the caches", "--dry-run"),
        ("a/modell", "'a/modell' is not in the cache", "did you mean 'a/model'?"),
        ("A/model", "'A/model' is not in the cache", "did you mean 'a/model'?"),
        ("gpt-2", "'gpt-2' is not in the cache", "did you mean 'gpt2'?"),
        ("tiny-bart", "ships with dialsum", "leave it out"),
        ("lead3", "ships with dialsum", "leave it out"),
    ],
)
def test_a_name_that_can_not_be_meant_stops_everything(siblings, name, message, remedy):
    with pytest.raises(RequestError, match=r"keep|no model") as raised:
        plan(keep=[name])
    assert message in str(raised.value)
    assert remedy in raised.value.remedy


def test_a_folder_of_the_same_name_does_not_take_a_models_place(siblings):
    (siblings.root / "work" / "a" / "model").mkdir(parents=True)
    assert "a/model" in names(plan(keep=["a/model"]).kept)


@pytest.mark.parametrize(
    ("options", "goes"),
    [
        ({"unused_for": 30 * DAY}, ["old/model", "older/model"]),
        ({"unused_for": 50 * DAY}, ["older/model"]),
        ({"unused_for": 300 * DAY}, []),
        ({"max_size": 0}, ["new/model", "old/model", "older/model"]),
        ({"max_size": 10**9}, []),
        ({"unused_for": 30 * DAY, "keep": ["older/model"]}, ["old/model"]),
    ],
)
def test_age_and_size_decide(home, options, goes):
    for name, days in (("new/model", 1), ("old/model", 40), ("older/model", 100)):
        age(home.add(name, weights(30_000)), days)
    for _ in range(2):  # looking is not using
        assert names(plan(caches=("hub",), **options).deleted) == goes


def test_least_recently_used_goes_first_until_the_rest_fits(home):
    sizes = {}
    for days, name in enumerate(("e/model", "d/model", "c/model", "b/model", "a/model")):
        folder = home.add(name, weights(30_000))
        age(folder, days)
        sizes[name] = on_disk(folder)
    everything = on_disk(home.hub)
    for count in range(6):
        goes = sorted(sizes)[:count]
        room = everything - sum(sizes[name] for name in goes)
        made = plan(caches=("hub",), max_size=room)
        assert names(made.deleted) == goes
        assert made.excess == 0
    made = plan(caches=("hub",), max_size=10, keep=["a/model"])
    assert made.excess == sizes["a/model"] - 10
    assert not execute(plan(caches=("hub",), max_size=everything - 1), print).failed
    assert home.models() == ["b/model", "c/model", "d/model", "e/model"]


def test_shared_files_count_for_the_size_only_with_their_last_name(home):
    """Two old models share their weights by a hard link: deleting one frees next to nothing."""
    first = home.add("a/model", weights(100_000))
    second = home.add("b/model", weights(100))
    age(second, 20)
    blob = max((first / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    os.link(blob, second / "blobs" / "same")
    age(first, 10)
    home.add("c/model", weights(4_000))
    size = on_disk(home.hub)
    assert names(plan(caches=("hub",), max_size=size - 50_000).deleted) == ["a/model", "b/model"]


@pytest.mark.parametrize(
    ("caches", "goes"),
    [
        (("datasets",), ["owner___data"]),
        (("hub-data",), ["a/data"]),
        (
            ("hub", "hub-data"),
            ["a/data", "a/mod", "a/model", "a/model-large", "b/model", KEPT, f"{KEPT}-large", "gpt2"],
        ),
        (("xet",), []),
    ],
)
def test_only_what_was_asked_for_is_looked_at(siblings, caches, goes):
    assert names(plan(caches=caches).deleted) == sorted(goes)


def test_the_base_of_a_run_stays_by_its_id_and_by_its_path(siblings):
    by_id = siblings.runs / "finetune" / "one" / "1"
    by_path = siblings.runs / "elsewhere"
    started = siblings.runs / "finetune" / "two" / "1"
    for folder in (by_id / "model", by_path, started):
        folder.mkdir(parents=True)
    (by_id / "model" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "a/model"}))
    (by_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(siblings.snapshot("b/model"))})
    )
    (started / "configuration.json").write_text(json.dumps({"model": KEPT}))
    made = plan(caches=("hub",), runs=[siblings.runs])
    assert [name for name in names(made.kept) if name != "a/data"] == sorted([KEPT, "a/model", "b/model"])
    assert reasons(made)["a/model"] == f"base of the run '{by_id / 'model'}'"


def test_the_bases_of_a_run_stay_wherever_it_and_its_adapter_are(siblings):
    """On a larger disk, by a link; among models whose logits are averaged; under an adapter that is no run's."""
    elsewhere = siblings.root / "big disk" / "finetune" / "1"
    elsewhere.mkdir(parents=True)
    (elsewhere / "configuration.json").write_text(json.dumps({"model": KEPT}))
    (siblings.runs / "finetune").symlink_to(elsewhere.parent)
    (elsewhere / "loop").symlink_to(elsewhere.parent)
    averaged = siblings.runs / "predict" / "1"
    averaged.mkdir(parents=True)
    adapter = siblings.root / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "b/model"}))
    (averaged / "provenance.json").write_text(json.dumps({"average_logits": ["a/model", str(adapter)]}))
    made = plan(caches=("hub",), runs=[siblings.runs])
    assert [name for name in names(made.kept) if name != "a/data"] == sorted([KEPT, "a/model", "b/model"])


def test_a_run_that_can_not_be_read_stops_everything(siblings):
    (siblings.runs / "x").mkdir()
    (siblings.runs / "x" / "adapter_config.json").write_text("{")
    with pytest.raises(RequestError, match="can't tell which model"):
        plan(runs=[siblings.runs])


def test_the_base_of_an_adapter_that_stays_stays(siblings):
    adapter = {"adapter_config.json": json.dumps({"base_model_name_or_path": "a/model"}).encode()}
    siblings.add("my/adapter", adapter | weights(100))
    made = plan(caches=("hub",), keep=["my/adapter"])
    assert reasons(made)["a/model"] == "base of 'my/adapter', which stays"
    assert "a/model" in names(plan(caches=("hub",)).deleted)


HOLD = """
import mmap, os, sys
file = open(sys.argv[2], "rb")
if sys.argv[1] == "map":
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    file.close()
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def process(*arguments):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"ready\n"
        yield child
        child.stdin.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="which files are open is told by /proc alone")
@pytest.mark.parametrize("how", ["open", "map"])
def test_what_another_process_has_open_stays(home, how):
    home.add("a/model", {"model\nsafetensors": os.urandom(mmap.PAGESIZE)})
    home.add("b/model", weights(3_000))
    chunk = write(home.hugging_face / "xet" / ENDPOINT / "in\nuse", 3_000)
    early = plan()
    with process(how, home.snapshot("a/model") / "model\nsafetensors") as one, process(how, chunk):
        made = plan()
        assert reasons(made)["a/model"] == f"open in process {one.pid}"
        assert names(made.kept) == ["a/model", ENDPOINT]
        assert names(execute(early, print).failed) == ["a/model", ENDPOINT]  # opened after the plan was made
        assert home.models() == ["a/model"]
    assert names(plan().deleted) == ["a/model", ENDPOINT]


def test_checkpoints_of_finished_runs_go_if_asked_for(home):
    done, unfinished = home.runs / "finetune" / "m" / "1", home.runs / "finetune" / "m" / "2"
    for run in (done, unfinished):
        write(run / "checkpoints" / "checkpoint-5" / "model.safetensors", 5_000)
        write(run / "model" / "model.safetensors", 5_000)
        (run / "settings.yaml").touch()
    (done / "result.json").touch()
    write(home.runs / "checkpoints" / "not of a run", 10)
    assert not plan(runs=[home.runs]).deleted
    made = plan(caches=("checkpoints",), runs=[home.runs])
    assert [each.item.path for each in made.deleted] == [(done / "checkpoints" / "checkpoint-5").resolve()]
    assert list(reasons(made).values()) == ["its run is unfinished, and goes on from it"]
    before = on_disk(home.runs)
    assert before - on_disk(home.runs) + execute(made, print).freed_bytes == made.freed_bytes
    assert before - on_disk(home.runs) == made.freed_bytes
    assert (done / "model" / "model.safetensors").exists()


def test_shared_blobs_go_with_the_last_repository_that_links_to_them(home):
    """The store that huggingface_hub 2 keeps beside the repositories."""
    store, digest, orphan = home.hub / "blobs", "ab" * 32, "cd" * 32
    shared = write(store / "ab" / digest, 500_000)
    write(store / "cd" / orphan, 100)
    (store / ".huggingface-shared-blobs").write_text("1\n")
    lines = []
    for name in ("a/model", "b/model"):
        folder = home.add(name, weights(1_000))
        (folder / "blobs" / "etag").symlink_to(f"../../blobs/ab/{digest}")
        (home.snapshot(name) / "big.safetensors").symlink_to("../../blobs/etag")
        lines.append(f"models--{name.replace('/', '--')}/blobs/etag\n")
    (shared.parent / f"{digest}.refs").write_text("".join(lines))
    early = plan(caches=("hub",))
    with process("open", shared) as reader:
        both = plan(caches=("hub",))
        assert reasons(both) == dict.fromkeys(("a/model", "b/model"), f"open in process {reader.pid}")
        assert names(execute(early, print).failed) == ["a/model", "b/model"]  # opened after the plan was made
    one = plan(caches=("hub", "leftovers"), keep=["a/model"])
    assert one.freed_bytes < 100_000
    assert "hf cache prune" in reasons(one)[f"shared blob {orphan[:12]}"]
    both = plan(caches=("hub", "leftovers"))
    assert both.freed_bytes > 500_000
    for made in (one, plan(caches=("hub",))):
        before = on_disk(home.hub)
        done = execute(made, print)
        assert before - on_disk(home.hub) == done.freed_bytes
        assert shared.exists() == (made is one)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9_000), st.lists(st.integers(0, 4), max_size=4)), max_size=8)
)
def test_the_ledger_agrees_with_the_file_system_whatever_is_linked_to_what(tmp_path, files):
    """Files in folders 0-3 with further names in folders 0-3 and, as 4, outside."""
    shutil.rmtree(tmp_path / "x", ignore_errors=True)
    folders = [tmp_path / "x" / str(number) for number in range(5)]
    for folder in folders:
        folder.mkdir(parents=True)
    for number, (place, size, others) in enumerate(files):
        path = write(folders[place] / f"file-{number}", size)
        for count, other in enumerate(others):
            os.link(path, folders[other] / f"link-{number}-{count}")
    ledger, censuses = Ledger(), [take(folder) for folder in folders[:4]]
    assert total(censuses) == on_disk(*folders[:4])
    for folder, census in zip(folders, censuses, strict=False):
        before = on_disk(tmp_path / "x")
        assert census.bytes == on_disk(folder)
        expected = ledger.delete(census)
        assert take(folder).freed == expected
        shutil.rmtree(folder)
        assert before - on_disk(tmp_path / "x") == expected


@pytest.mark.parametrize(
    ("text", "value"), [("60GB", 60 * 10**9), ("1.5 TiB", 1.5 * 2**40), ("100", 100), ("7b", 7), ("2kB", 2000)]
)
def test_sizes(text, value):
    assert parse_bytes(text) == value


@pytest.mark.parametrize(("text", "value"), [("30d", 30 * DAY), ("12h", DAY / 2), ("8w", 56 * DAY), ("0d", 0)])
def test_ages(text, value):
    assert parse_seconds(text) == value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_size": "60 elephants"}, "is no size; write it as 60GB"),
        ({"max_size": "-1GB"}, "is no size"),
        ({"older_than": "30"}, "is no age; write it as 30d, 12h or 8w"),
        ({"only": "hubb"}, "'hubb' is no cache; choose from hub, leftovers"),
        ({"keep": " "}, "it is empty"),
        ({"only": ""}, "it is empty"),
        ({"max_size": "9" * 400}, "is no size"),
        ({"only": "uv"}, "--only uv: it is cleaned only where --include uv is given as well"),
    ],
)
def test_what_can_not_be_meant_is_refused(options, message):
    with pytest.raises(ValueError, match="error") as raised:
        CacheCleanSettings(**options)
    assert message in str(raised.value)


def test_a_folder_of_runs_that_is_not_there_protects_nothing_and_is_refused(home):
    with pytest.raises(RequestError, match="there is no folder 'ruins'"):
        cache_clean(CacheCleanSettings(runs=["ruins"], dry_run=True))


def test_without_variables_of_their_own_xet_and_data_sets_are_below_hf_home(siblings, monkeypatch):
    write(siblings.hugging_face / "xet" / ENDPOINT / "chunk", 100)
    for name in ("HF_XET_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name)
    assert names(plan(caches=("xet", "datasets")).deleted) == [ENDPOINT, "owner___data"]


def test_where_there_are_no_runs_it_says_that_it_protects_none(home):
    reporter = Collected()
    cache_clean(CacheCleanSettings(dry_run=True), reporter)
    assert not reporter.notes
    home.runs.rmdir()
    cache_clean(CacheCleanSettings(dry_run=True), reporter)
    assert reporter.notes == ["there is no folder 'runs' here: no model stays as the base of a run; give --runs"]
    with pytest.raises(RequestError, match="there is no folder 'runs'"):
        cache_clean(CacheCleanSettings(runs=["runs"], dry_run=True))


def test_pip_is_cleaned_by_its_own_command_and_only_if_asked_for(home, monkeypatch):
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("this Python has no pip")
    cached = home.cache / "pip"
    monkeypatch.setenv("PIP_CACHE_DIR", str(cached))
    for number in range(3):
        write(cached / "http" / "a" / f"{number}", 5_000)
        write(cached / "http-v2" / "a" / f"{number}", 5_000)  # from pip 23.3 on
    assert not plan().deleted
    made = plan(caches=("pip",))
    before = on_disk(cached)
    done = execute(made, print)
    assert not done.failed
    assert before - on_disk(cached) == done.freed_bytes > 15_000


@pytest.mark.skipif(not shutil.which("uv"), reason="needs the program `uv`")
def test_uv_is_cleaned_by_its_own_command(home, monkeypatch):
    monkeypatch.setenv("UV_CACHE_DIR", str(home.cache / "uv"))
    write(home.cache / "uv" / "wheels-v5" / "x", 5_000)
    before = on_disk(home.cache / "uv")
    done = execute(plan(caches=("uv",)), print)
    assert before - on_disk(home.cache / "uv") == done.freed_bytes == 8192
    assert not done.failed


def test_a_program_that_is_not_there_is_named(home, monkeypatch):
    monkeypatch.setenv("PATH", str(home.root))
    with pytest.raises(DialsumError, match="there is no program `uv` here") as raised:
        plan(caches=("uv",))
    assert raised.value.remedy == "leave uv out"
