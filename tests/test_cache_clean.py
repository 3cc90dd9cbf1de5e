import hashlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest
from frail import frail

KEPT = "Bllossom/llama-3.2-Korean-Bllossom-3B"
SIBLINGS = [f"{KEPT}-large", "Bllossom/llama-3.2-Korean-Bllossom-AICA-5B", "Bllossom/llama-3.2-Korean-Bllossom"]
OTHER = "digit82/kobart-summarization"


def add(hub, kind, name, files, revisions=("main",)):
    """A repository as huggingface_hub lays it out: blobs once, a snapshot of links for each revision."""
    folder = hub / f"{kind}s--{name.replace('/', '--')}"
    (folder / "blobs").mkdir(parents=True)
    (folder / "refs").mkdir()
    for revision in revisions:
        commit = hashlib.sha1(f"{name}@{revision}".encode()).hexdigest()
        snapshot = folder / "snapshots" / commit
        snapshot.mkdir(parents=True)
        (folder / "refs" / revision).write_text(commit)
        for file, content in files.items():
            (folder / "blobs" / f"blob-{file}").write_bytes(content)
            (snapshot / file).symlink_to(f"../../blobs/blob-{file}")
    return folder


@pytest.fixture
def hub(tmp_path):
    hub = tmp_path / "빈 칸" / "hub"
    for place, name in enumerate([KEPT, *SIBLINGS, OTHER], 1):
        add(hub, "model", name, {"config.json": b"{}", "model.safetensors": b"x" * 1000 * place}, ("main", "v2"))
    add(hub, "dataset", "owner/data", {"train.csv": b"x" * 10})
    add(hub, "space", "owner/space", {"app.py": b"x" * 10})
    return hub


def env(hub):
    """This test's caches, all of them: `--yes` would delete those of whoever runs the tests."""
    others = ("XDG_CACHE_HOME", "XDG_DATA_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "WANDB_CACHE_DIR",
              "WANDB_DATA_DIR", "HF_XET_CACHE", "HF_DATASETS_CACHE")  # fmt: skip
    own = {name: str(hub.parent / "others" / name) for name in others}
    return {"HF_HOME": str(hub.parent), "HF_HUB_CACHE": str(hub), **own}


def there(hub):
    return sorted(path.name.partition("--")[2].replace("--", "/") for path in hub.glob("*s--*"))


STAYS = sorted([KEPT, "owner/data", "owner/space"])
ALL = sorted([KEPT, *SIBLINGS, OTHER, "owner/data", "owner/space"])


def test_what_is_kept_stays_whole_and_no_sibling_is_spared(dialsum, hub):
    before = {
        path: path.read_bytes() for path in (hub / f"models--{KEPT.replace('/', '--')}").rglob("*") if path.is_file()
    }
    sizes = {path: path.lstat().st_blocks * 512 for path in hub.rglob("*") if path.is_symlink() or path.is_file()}
    done = json.loads(dialsum("cache-clean", "--keep", "llama3b", "--yes", "--json", env=env(hub)).stdout)
    assert there(hub) == STAYS
    assert {path: path.read_bytes() for path in before} == before
    assert {item["name"]: item["bytes"] for item in done["deleted"]} == {
        name: sum(size for path, size in sizes.items() if f"models--{name.replace('/', '--')}" in path.parts)
        for name in [*SIBLINGS, OTHER]
    }
    assert done["freed_bytes"] == sum(item["bytes"] for item in done["deleted"])
    assert sorted(item["name"] for item in done["kept"]) == STAYS
    assert all(item["reason"] for item in done["deleted"] + done["kept"])
    assert done["dry_run"] is False


def test_a_dry_run_deletes_nothing_and_tells_the_same(dialsum, hub):
    done = dialsum("cache-clean", "--keep", f"llama3b,{OTHER}", "--dry-run", env=env(hub) | {"COLUMNS": "120"})
    assert there(hub) == ALL
    freed = sum(path.lstat().st_blocks * 512 for name in SIBLINGS
                for path in (hub / f"models--{name.replace('/', '--')}").rglob("*") if not path.is_dir())  # fmt: skip
    assert f"would free {freed / 1000:.1f} kB" in done.stdout
    assert f"{SIBLINGS[0]} " in done.stdout
    assert "Nothing was deleted" in done.stderr


def test_what_is_older_than_was_asked_goes_and_what_was_used_since_stays(dialsum, hub):
    for path in (hub / f"models--{OTHER.replace('/', '--')}").rglob("*"):
        if not path.is_dir() and not path.is_symlink():
            os.utime(path, (time.time() - 31 * 86_400,) * 2)
    done = json.loads(dialsum("cache-clean", "--older-than", "30d", "--yes", "--json", env=env(hub)).stdout)
    assert [item["name"] for item in done["deleted"]] == [OTHER]
    assert there(hub) == sorted({*ALL} - {OTHER})


def test_without_terminal_it_asks_for_yes(dialsum, hub):
    done = dialsum("cache-clean", "--keep", "llama3b", env=env(hub), check=2, stdin=subprocess.DEVNULL)
    assert there(hub) == ALL
    assert "add --yes" in done.stderr
    assert done.stdout == ""


def test_a_mistyped_name_deletes_nothing(dialsum, hub):
    done = dialsum("cache-clean", "--keep", "lama3b", "--yes", env=env(hub), check=2)
    assert there(hub) == ALL
    assert "did you mean 'llama3b'?" in done.stderr


def test_an_empty_cache(dialsum, tmp_path):
    done = json.loads(dialsum("cache-clean", "--yes", "--json", env=env(tmp_path / "none" / "hub")).stdout)
    assert done == {"freed_bytes": 0, "deleted": [], "kept": [], "dry_run": False}


def test_an_empty_cache_is_one_sentence_and_no_table(dialsum, tmp_path):
    done = dialsum("cache-clean", "--dry-run", env=env(tmp_path / "none" / "hub"))
    assert done.stdout == "Nothing is cached.\n"


def on_a_terminal(hub, answer):
    """Run `dialsum cache-clean --keep llama3b` on a pseudo-terminal; type the answer, or interrupt the question."""
    ours, theirs = pty.openpty()
    program = [sys.executable, "-m", "dialsum_cli"] if answer else frail("input", 0, signal.SIGINT)
    command = [*program, "cache-clean", "--keep", "llama3b"]
    environment = {**os.environ, **env(hub), "COLUMNS": "100", "TERM": "xterm"}
    seen, answered, deadline = b"", False, time.monotonic() + 60
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(command, cwd=hub.parents[1], env=environment, **streams) as child:
        os.close(theirs)
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 0.2)[0]:
                continue
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed: the program is done
                break
            if not part:
                break
            seen += part
            if b"?" in seen and answer and not answered:
                os.write(ours, answer.encode())
                answered = True
        else:
            child.kill()
        code = child.wait(30)
    os.close(ours)
    return code, seen.decode()


@pytest.mark.parametrize(("answer", "left"), [("y\n", STAYS), ("n\n", ALL), ("\n", ALL), (None, ALL)])
def test_the_answer_on_a_terminal_decides(hub, answer, left):
    code, seen = on_a_terminal(hub, answer)
    assert there(hub) == left
    assert "Delete 4 models?" in seen
    assert seen.index("would free") < seen.index("Delete 4 models?")
    assert code == (130 if answer is None else 0)


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_mirror_with_the_same_commit_does_not_take_the_kept_model_along(dialsum, hub, seed):
    commit = (hub / f"models--{KEPT.replace('/', '--')}" / "refs" / "main").read_text()
    mirror = add(hub, "model", "mirror/model", {"config.json": b"{}"})
    snapshot = mirror / "snapshots" / (mirror / "refs" / "main").read_text()
    snapshot.rename(snapshot.with_name(commit))
    (mirror / "refs" / "main").write_text(commit)
    dialsum("cache-clean", "--keep", "llama3b", "--yes", env=env(hub) | {"PYTHONHASHSEED": seed})
    assert there(hub) == STAYS
    assert (hub / f"models--{KEPT.replace('/', '--')}" / "snapshots" / commit / "config.json").exists()
