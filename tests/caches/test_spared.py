"""What stays whatever was asked for: bases of adapters, downloads that are under way, what is not a tool's making."""

import fcntl
import json
import os
import shutil
import time

import pytest
from huggingface_hub import constants

from dialsum_cli.caches.scan import HOUR
from dialsum_cli.errors import RequestError
from dialsum_cli.settings import CACHES
from tests.caches.homes import ENDPOINT, KERNEL, on_disk, weights, write
from tests.caches.test_plan import DAY, age, names, plan, process, reasons


def adapter(*bases):
    """An adapter's revisions."""
    return [{"adapter_config.json": json.dumps({"base_model_name_or_path": base}).encode()} | weights(100)
            for base in bases]  # fmt: skip


def test_every_base_of_an_adapter_that_stays_stays(siblings):
    siblings.add("my/adapter", *adapter("a/model", "b/model"))
    siblings.add("my/other", *adapter("a/model"))
    made = plan(caches=("hub",), keep=["my/adapter"])
    assert {"a/model", "b/model"} <= set(names(made.kept))
    assert "my/other" in names(made.deleted)


@pytest.mark.parametrize("why", ["age", "size", "open"])
def test_the_base_of_an_adapter_stays_why_ever_the_adapter_does(home, why):
    age(home.add("a/model", weights(40_000)), 50)
    home.add("my/adapter", *adapter("a/model"))
    age(home.add("b/model", weights(9_000)), 40)
    if why == "age":
        made = plan(caches=("hub",), unused_for=30 * DAY)
    elif why == "size":
        made = plan(caches=("hub",), max_size=on_disk(home.hub) - 10)
    else:
        with process("open", home.snapshot("my/adapter") / "model.safetensors"):
            made = plan(caches=("hub",))
        assert reasons(made)["a/model"] == "base of 'my/adapter', which stays"
    assert names(made.deleted) == ["b/model"]


def test_whatever_the_size_no_adapter_stays_without_its_base(home):
    age(home.add("a/model", weights(40_000)), 50)
    home.add("my/adapter", *adapter("a/model"))
    for size in range(0, on_disk(home.hub) + 4096, 4096):
        left = names(plan(caches=("hub",), max_size=size).kept)
        assert left in ([], ["a/model"], ["a/model", "my/adapter"])


def test_a_damaged_adapter_that_stays_names_the_folder_to_delete(siblings):
    folder = siblings.add("my/adapter", {"adapter_config.json": b"{"})
    with pytest.raises(RequestError, match="can't tell which model") as raised:
        plan(keep=["my/adapter"])
    assert f"delete the folder '{folder}'" in raised.value.remedy
    shutil.rmtree(folder)
    assert plan(keep=["my/adapter"]).absent == ("my/adapter",)


def test_folders_in_which_a_run_is_still_being_written_are_not_read(siblings):
    staging = siblings.runs / "finetune" / "x" / "1" / "checkpoints" / ".unfinished"
    staging.mkdir(parents=True)
    (staging / "adapter_config.json").write_text("{")
    (staging.parent / "adapter_config.json").symlink_to("gone")
    assert "a/model" in names(plan(runs=[siblings.runs]).deleted)


def test_a_download_of_the_last_hour_stays_with_its_repository(home):
    """It may be that of another container on the same disk, whose open files and locks can't be seen."""
    part = write(home.add("a/model", weights(100)) / "blobs" / "abc.incomplete", 5_000)
    made = plan()
    assert set(reasons(made).items()) == {
        ("a/model", "perhaps still being downloaded"),
        ("a/model: abc.incomplete", "perhaps still being downloaded"),
    }
    when = time.time() - 2 * HOUR
    os.utime(part, (when, when))
    assert names(plan().deleted) == ["a/model"]


def test_a_repository_whose_lock_is_held_stays(home):
    home.add("a/model", weights(100))
    lock = write(home.hub / ".locks" / "models--a--model" / "abc.lock", 0)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        made = plan()
    assert reasons(made)["a/model"] == "a download is under way"
    assert not made.deleted
    assert "a/model" in names(plan().deleted)


def test_what_wandb_has_staged_goes_only_if_asked_for_and_if_it_is_uploaded(home, monkeypatch):
    staged = write(home.user / ".local" / "share" / "wandb" / "artifacts" / "staging" / "tmp1", 100)
    write(home.cache / "wandb" / "artifacts" / "obj" / "x", 100)
    offline = write(home.runs / "screen" / "1" / "wandb" / "offline-run-1-abc" / "run-abc.wandb", 10)
    assert names(plan(runs=[home.runs]).deleted) == ["obj"]
    asked = (*CACHES, "wandb-staging")
    assert "`wandb sync`" in reasons(plan(caches=asked, runs=[home.runs]))["tmp1"]
    offline.with_name("run-abc.wandb.synced").touch()
    assert names(plan(runs=[home.runs]).deleted) == ["obj"]
    assert names(plan(caches=asked, runs=[home.runs]).deleted) == ["obj", staged.name]
    monkeypatch.setenv("WANDB_CACHE_DIR", os.environ["WANDB_DATA_DIR"])  # then the cache holds what is staged
    assert reasons(plan())["staging"].startswith("holds another cache")


@pytest.mark.parametrize(
    ("cache", "made", "not_made"),
    [
        (
            "datasets",
            ["downloads/abc", "x.lock", "csv/default/0.0.0/abc/dataset_info.json", "old/one/1.0/dataset_info.json"],
            ["my_corpus/train.json", "notes.txt", "info/dataset_info.json"],
        ),
        ("wandb", ["obj/md5/aa/x", "tmp/x"], ["mythesis:v0/data.csv", "model.bin"]),
        ("xet", [f"{ENDPOINT}/chunk-cache/aa", "http___localhost-abcdefghijklmnop/x", "logs/x"], ["thesis/x", "x.py"]),
        ("triton", [f"{KERNEL}/x.cubin", f"{'0a' * 32}/x", f"{'0b' * 16}/x"], ["src/main.py", "HASH/x"]),
        ("inductor", ["aa/x.py", "fxgraph/aa/x", "triton/0/x", "tmp1234abcd.py", "locks/x"], ["src/x", "a1/x", "y.py"]),
    ],
)  # fmt: skip
def test_what_a_tool_has_not_made_stays_in_its_folder(home, monkeypatch, cache, made, not_made):
    """As with HF_DATASETS_CACHE=/data, where the user's own corpora are as well."""
    folder = home.root / "data"
    variable = {"datasets": "HF_DATASETS_CACHE", "triton": "TRITON_CACHE_DIR", "inductor": "TORCHINDUCTOR_CACHE_DIR"}
    if cache == "wandb":
        monkeypatch.setenv("WANDB_CACHE_DIR", str(folder))
        folder /= "artifacts"  # as wandb has it, and where its users download to
    elif cache == "xet":
        monkeypatch.setattr(constants, "HF_XET_CACHE", str(folder))
    else:
        monkeypatch.setenv(variable[cache], str(folder))
    for path in (*made, *not_made):
        write(folder / path, 100)
    (folder / "link").symlink_to(home.user)
    planned = plan(caches=(cache,))
    assert names(planned.deleted) == sorted(path.partition("/")[0] for path in made)
    stays = {"link", *(path.partition("/")[0] for path in not_made)}
    assert reasons(planned) == dict.fromkeys(stays, f"not of {cache}'s making")


def test_a_data_set_that_the_user_has_saved_is_no_cache(home, monkeypatch):
    """As `DatasetDict.save_to_disk` lays it out."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(home.root / "data"))
    for file in ("dataset_info.json", "state.json", "data-00000-of-00001.arrow"):
        write(home.root / "data" / "mine" / "corpus" / "train" / file, 10)
    assert not plan(caches=("datasets",)).deleted
