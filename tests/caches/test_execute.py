"""Deleting that is disturbed: killed, interrupted, done twice at once, refused by the file system."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from frail import frail
from huggingface_hub import scan_cache_dir

from dialsum_cli.caches.execute import SECOND, execute
from dialsum_cli.caches.plan import Wishes, make_plan
from dialsum_cli.caches.scan import trash
from tests.caches.homes import ENDPOINT, on_disk, weights, write
from tests.caches.test_everything import clean
from tests.caches.test_plan import process

MANY = 150


def start(home, *arguments, program=(sys.executable, "-m", "dialsum_cli")):
    command = [*program, "cache-clean", "--yes", "--json", *arguments]
    environment = {**os.environ, **home.environment}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=home.root / "work", env=environment, text=True, **streams)


@pytest.fixture
def full(home):
    """Repositories of many files each, so that deleting can be disturbed in the middle of one."""
    for number in range(12):
        home.add(f"a/model-{number}", {f"{part}.bin": os.urandom(8) for part in range(MANY)}, weights(10))
    home.add("kept/model", weights(1_000))
    return home


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("left", [11, 6, 1])
def test_a_clean_up_that_is_killed_leaves_a_whole_cache_and_the_next_one_finishes_it(full, how, left):
    before = on_disk(full.root)
    files = sum(path.is_file() for path in (full.hub / "models--a--model-0").rglob("*"))
    child = start(full, "--keep", "kept/model", program=frail("remove", int(files * (11.5 - left)), how))
    child.communicate(timeout=120)
    assert child.returncode == (-how if how == signal.SIGKILL else 130)
    assert len(full.models()) - 1 == left
    cache = scan_cache_dir(full.hub)
    assert not cache.warnings
    between = on_disk(full.root)
    done = json.loads(clean(full, "--keep", "kept/model", "--yes").stdout)
    assert full.models() == ["kept/model"]
    assert between - on_disk(full.root) == done["freed_bytes"]
    assert between < before
    assert not (full.hub / ".locks" / "dialsum-trash").exists()
    assert not scan_cache_dir(full.hub).warnings


def test_what_a_killed_clean_up_had_moved_is_named_and_goes(home):
    """As SIGKILL leaves it between the move and the deletion."""
    home.add("a/model", weights(9_000))
    home.add("kept/model", weights(100))
    write(home.hugging_face / "xet" / ENDPOINT / "chunk", 3_000)
    slots = [home.hub / ".locks" / "dialsum-trash" / "abcd", home.hugging_face / "xet" / ".dialsum-trash" / "ef01"]
    for slot, path in zip(slots, (home.hub / "models--a--model", home.hugging_face / "xet" / ENDPOINT), strict=True):
        slot.mkdir(parents=True)
        path.rename(slot / path.name)
    assert not scan_cache_dir(home.hub).warnings
    before = on_disk(home.root)
    done = json.loads(clean(home, "--keep", "kept/model", "--yes").stdout)
    assert {row["name"]: row["reason"] for row in done["deleted"]} == dict.fromkeys(
        ["models--a--model", ENDPOINT], "left by a clean-up that was interrupted"
    )
    assert before - on_disk(home.root) == done["freed_bytes"] > 12_000
    assert not any(slot.parent.exists() for slot in slots)


def test_two_at_once_free_each_byte_once_and_both_succeed(full):
    before = on_disk(full.root)
    children = [start(full, "--keep", "kept/model") for _ in range(2)]
    outputs = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] in ([0, 0], [0, 1], [1, 0])
    results = [json.loads(output) for output, _ in outputs]
    assert sum(result["freed_bytes"] for result in results) == before - on_disk(full.root)
    assert full.models() == ["kept/model"]
    for result in results:
        reasons = {row["reason"] for row in result["kept"] if row["undeletable"]}
        assert reasons <= {"not deleted: it has changed since the plan was made"}


def test_the_second_waits_for_the_first(home):
    import fcntl

    home.add("a/model", weights(100))
    (root,) = {each.item.root for each in make_plan(Wishes(caches=("hub",))).deleted}
    trash(root).mkdir(parents=True)
    held = os.open(trash(root), os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    child = start(home)
    try:
        line = child.stderr.readline()
        assert line == f"another clean-up is at work in '{root.path}': waiting for it\n"
        assert home.models() == ["a/model"]
        trash(root).rmdir()  # as the first one does when it is done
    finally:
        os.close(held)
    output, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert len(json.loads(output)["deleted"]) == 1
    assert home.models() == []


def test_one_that_can_not_be_deleted_does_not_stop_the_others(home):
    for name in ("a/model", "b/model", "c/model"):
        home.add(name, weights(9_000))
    plan = make_plan(Wishes(caches=("hub",)))
    write(home.hub / "models--b--model" / "blobs" / "late", 100)
    before = on_disk(home.hub)
    done = execute(plan, print)
    assert [(each.item.name, each.reason) for each in done.failed] == [
        ("b/model", "not deleted: it has changed since the plan was made")
    ]
    assert before - on_disk(home.hub) == done.freed_bytes == sum(each.bytes for each in done.deleted)


def test_what_somebody_else_has_deleted_meanwhile_is_deleted_and_freed_nothing(home):
    for name in ("a/model", "b/model"):
        home.add(name, weights(9_000))
    plan = make_plan(Wishes(caches=("hub",)))
    (home.hub / "models--b--model").rename(home.root / "gone")
    done = execute(plan, print)
    assert not done.failed
    assert [each.item.name for each in done.deleted if not each.bytes] == ["b/model"]


@pytest.fixture
def on_deleting():
    """What is put into this list is called before the next thing is deleted, by the interpreter's own event."""
    callbacks: list = []

    def hook(event, _):
        if event == "shutil.rmtree" and callbacks:
            callbacks.pop()()

    sys.addaudithook(hook)
    yield callbacks
    callbacks.clear()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="which files are open is told by /proc alone")
def test_a_file_that_is_opened_while_others_are_deleted_stays(home, on_deleting):
    for name in ("a/model", "b/model"):
        home.add(name, weights(9_000))
    plan = make_plan(Wishes(caches=("hub",)))
    first, second = (decision.item.name for decision in plan.deleted)
    with ExitStack() as stack:

        def start_reading():
            stack.enter_context(process("open", home.snapshot(second) / "model.safetensors"))
            time.sleep(SECOND)

        on_deleting.append(start_reading)
        done = execute(plan, print)
        assert [each.item.name for each in done.deleted] == [first]
        assert "open in process" in done.failed[0].reason
    assert home.models() == [second]


def test_nothing_deleted_is_a_failure_and_says_why(home):
    """A folder that is mounted can't be moved; an immutable one neither: here, one that is no longer there."""
    home.add("a/model", weights(100))
    held = write(home.hub / ".locks" / "dialsum-trash", 0)  # a file where the trash has to be
    done = clean(home, "--yes", check=1)
    (row,) = json.loads(done.stdout)["kept"]
    assert row["undeletable"]
    assert "Not a directory" in row["reason"]
    assert "Warning: a/model: not deleted: Not a directory" in done.stderr
    assert held.exists()
    assert home.models() == ["a/model"]


def test_the_plan_is_a_value(home):
    home.add("a/model", weights(100))
    plan = make_plan(Wishes(caches=("hub",)))
    with pytest.raises(AttributeError):
        plan.deleted = ()
    with pytest.raises(AttributeError):
        plan.deleted[0].item.path = home.root
