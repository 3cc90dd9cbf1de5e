"""`--delete-cache` and `--disk-limit`, on a hub of this machine."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HFCacheInfo, scan_cache_dir
from loopback_hub import loopback_hub
from tiny_models import make_model

from dialsum_cli.caches.downloads import Before, check_disk_limit, delete_downloads
from dialsum_cli.errors import DialsumError
from tests.caches.homes import contents, on_disk, weights, write
from tests.caches.test_plan import process

QUICK = ("--limit", "2", "--max-new-tokens", "4", "--no-baselines", "--json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"), "llama")


@pytest.fixture
def hub(folder):
    with loopback_hub() as hub:
        hub.add("new/model").push_folder(folder)
        hub.add("old/model").push_folder(folder)
        yield hub


def dialsum(home, hub, *arguments, check=0):
    environment = {**os.environ, **hub.environment(home.hugging_face), **home.environment}
    command = [sys.executable, "-m", "dialsum_cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=home.root / "work", env=environment, capture_output=True, text=True)
    assert done.returncode == check, done.stdout + done.stderr
    return done


def rows(done):
    return {row["model"]: row for row in json.loads(done.stdout)["leaderboard"]}


@pytest.mark.slow
def test_delete_cache_takes_only_what_the_run_downloaded(home, hub, folder):
    """A new model goes; one that was there stays to the byte, also where its branch has moved on meanwhile."""
    home.add("somebody/else", weights(1_000))
    dialsum(home, hub, "screen", "--models", "old/model", *QUICK)
    hub.repositories["old/model"].push_folder(folder, config=(folder / "config.json").read_bytes() + b"\n")
    before = contents(home.hub)
    done = dialsum(home, hub, "screen", "--models", "new/model,old/model", "--delete-cache", *QUICK)
    assert {row["status"] for row in rows(done).values()} == {"ok"}
    assert len({row["revision"] for row in rows(done).values()}) == 2
    after = contents(home.hub)
    assert {path: content for path, content in after.items() if "/.locks" not in path} == {
        path: content for path, content in before.items() if "/.locks" not in path
    }
    assert not scan_cache_dir(home.hub).warnings
    assert "Warning" not in done.stderr
    dialsum(home, hub, "screen", "--models", "old/model", *QUICK)  # still loads


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's own affair
def test_delete_cache_takes_the_base_of_an_adapter_along_and_a_failed_models_download(home, hub, folder, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    adapter = tmp_path / "adapter"
    get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text()) | {"base_model_name_or_path": "new/model"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    for path in folder.glob("*token*"):
        (adapter / path.name).write_bytes(path.read_bytes())
    hub.add("my/adapter").push_folder(adapter)
    data = (folder / "model.safetensors").read_bytes()
    hub.add("cut/model").push_folder(folder, model=data[: len(data) // 2])
    done = dialsum(home, hub, "screen", "--models", "my/adapter,cut/model", "--delete-cache", *QUICK)
    assert {name: row["status"] for name, row in rows(done).items()} == {"my/adapter": "ok", "cut/model": "failed"}
    assert home.models() == []


def test_delete_cache_leaves_what_another_process_reads(home, hub, monkeypatch):
    before = Before.take()
    home.add("new/model", weights(1_000))
    with process("open", home.snapshot("new/model") / "model.safetensors"):
        done = delete_downloads("new/model", before, print)
        assert ["open in process" in each.reason for each in done.failed] == [True]
    assert delete_downloads("/a/folder", before, print).freed_bytes == 0
    assert home.models() == ["new/model"]
    size = on_disk(home.hub)
    assert delete_downloads("new/model", before, print).freed_bytes == size


@pytest.mark.parametrize("inner", ["", "model"])
def test_delete_cache_takes_the_base_of_a_local_adapter_or_run(home, inner):
    folder = home.runs / "finetune" / "one" / "1"
    (folder / inner).mkdir(parents=True)
    (folder / inner / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "new/model"}))
    home.add("old/model", weights(1_000))
    before = Before.take()
    home.add("new/model", weights(1_000))
    home.add("somebody/else", weights(1_000))  # meanwhile
    assert not delete_downloads(str(folder), before, print).failed
    assert home.models() == ["old/model", "somebody/else"]


@pytest.mark.skipif(not hasattr(HFCacheInfo, "delete_files"), reason="needs the shared store of huggingface_hub 2.4")
@pytest.mark.parametrize("shared_with_another", [False, True])
def test_delete_cache_takes_new_shared_blobs_along_unless_another_model_links_to_them(home, shared_with_another):
    folder, store, digest = home.add("a/model", weights(1_000)), home.hub / "blobs", "ab" * 32
    other = home.add("b/model", weights(1_000))
    store.mkdir()
    (store / ".huggingface-shared-blobs").write_text("1\n")
    was = contents(folder)
    before = Before.take()
    commit = folder / "snapshots" / ("1" * 40)
    commit.mkdir()
    (folder / "refs" / "main").write_text(commit.name)
    links = [(folder, commit)] + [(other, home.snapshot("b/model"))] * shared_with_another
    shared = write(store / "ab" / digest, 500_000)
    for repository, snapshot in links:
        (repository / "blobs" / "etag").symlink_to(f"../../blobs/ab/{digest}")
        (snapshot / "model-2.safetensors").symlink_to("../../blobs/etag")
    lines = [f"{repository.name}/blobs/etag\n" for repository, _ in links]
    (shared.parent / f"{digest}.refs").write_text("".join(lines))
    size = on_disk(home.hub)
    done = delete_downloads("a/model", before, print)
    assert not done.failed
    assert shared.exists() is shared_with_another
    assert contents(folder) == was
    assert size - on_disk(home.hub) == done.freed_bytes
    assert not scan_cache_dir(home.hub).warnings


def test_the_disk_limit_looks_at_no_cache_where_nothing_is_missing(home, monkeypatch):
    monkeypatch.setenv("WANDB_CACHE_DIR", "")  # of which looking would complain
    check_disk_limit(1, 0, "a/model", home.runs)


@pytest.mark.parametrize(
    ("place", "given"),
    [("runs/screen", "--runs runs"), ("../my runs", "--runs runs --runs '../my runs'"), ("not/yet", "--runs runs")],
)
def test_the_line_that_makes_room_spares_the_bases_of_the_runs(home, place, given):
    runs = Path(place)
    if place != "not/yet":
        runs.mkdir(parents=True)
    home.add("a/model", weights(90_000))
    with pytest.raises(DialsumError) as raised:
        check_disk_limit(50_000, 10_000, "new/model", runs)
    assert raised.value.remedy == f"`dialsum cache-clean --keep new/model --max-size 40000B {given}`"


@pytest.mark.slow
def test_the_disk_limit_refuses_a_download_with_the_line_that_makes_room(home, hub, folder):
    """The remedy, typed as it stands, makes the same command work."""
    home.add("large/model", weights(3_000_000))
    write(home.runs / "screen" / "old" / "predictions.csv", 200_000)
    limit = "3.3MB"
    screening = ("screen", "--models", "new/model", "--disk-limit", limit, *QUICK)
    refused = rows(dialsum(home, hub, *screening, check=1))["new/model"]
    assert refused["status"] == "failed"
    assert re.search(r"[\d.]+ MB of new/model to download, and caches \([\d.]+ MB\) and runs \([\d.]+ MB\) may take "
                     r"3.3 MB", refused["error"])  # fmt: skip
    assert "safetensors" not in " ".join(path for path in hub.asked if path.startswith("GET"))
    (line,) = re.findall(r"`dialsum (cache-clean [^`]+)`", refused["error"])
    assert shlex.split(line)[:4] == ["cache-clean", "--keep", "new/model", "--max-size"]
    assert shlex.split(line)[5:] == ["--runs", "runs"]
    dialsum(home, hub, *shlex.split(line), "--yes")
    assert home.models() == ["new/model"]  # its configuration alone
    assert rows(dialsum(home, hub, *screening))["new/model"]["status"] == "ok"


@pytest.mark.slow
def test_a_disk_limit_that_runs_alone_exceed_says_so(home, hub):
    write(home.runs / "screen" / "old" / "predictions.csv", 200_000)
    done = dialsum(home, hub, "screen", "--models", "new/model", "--disk-limit", "100kB", *QUICK, check=1)
    assert "raise --disk-limit, or delete runs in 'runs/screen'" in rows(done)["new/model"]["error"]
    dialsum(home, hub, "screen", "--disk-limit", "100kB", *QUICK)  # nothing to download, nothing to refuse
