"""One clean-up of a home with everything in it: to the byte, and nothing else touched."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from huggingface_hub import scan_cache_dir

from dialsum_cli.caches.scan import HOUR
from dialsum_cli.registry import BUNDLED
from tests.caches.homes import ENDPOINT, KEPT, KERNEL, Home, age, contents, on_disk, weights, write

NEWLINE = "odd/name\nwith newline"


def furnish(home: Home) -> None:
    """Thousands of files: every cache, every kind of damage."""
    tiny = {path.name: path.read_bytes() for path in (BUNDLED / "tiny-bart").iterdir()}
    home.add(KEPT, tiny, tiny | {"README.md": b"second revision"})
    large = weights(50_000)
    home.add(f"{KEPT}-large", large, large | weights(7_000), large)
    home.add("a/model", weights(30_000))
    home.add("a/model-large", weights(40_000))
    home.add(NEWLINE, {"file\nwith newline.json": b"{}" * 3000})
    home.add("many/files", {f"part-{number}/{number}.bin": os.urandom(10) for number in range(1500)})
    linked = home.add("hard/links", weights(20_000))
    blob = next((linked / "blobs").iterdir())
    os.link(blob, linked / "blobs" / "again")
    shared = home.add("hard/shared", weights(20_000))
    os.link(next((linked / "blobs").iterdir()), shared / "blobs" / "theirs")
    os.link(max((shared / "blobs").iterdir(), key=lambda path: path.stat().st_size), home.root / "somebody's own link")
    home.add("owner/data", {"train.csv": b"x" * 10}, kind="dataset")

    broken = home.add("broken/blob", weights(9_000))
    next((broken / "blobs").iterdir()).unlink()
    shutil.rmtree(home.add("broken/snapshots", weights(100)) / "snapshots")
    (home.add("broken/ref", weights(100)) / "refs" / "main").write_text("0" * 40)
    (home.add("broken/bytes", weights(100)) / "refs" / "main").write_bytes(b"\xff\xfe\xff")

    outside = write(home.root / "outside" / "precious.bin", 5_000)
    links = home.add("with/links", weights(3_000))
    snapshot = home.snapshot("with/links")
    (snapshot / "away.bin").symlink_to(outside)
    (snapshot / "folder").symlink_to(outside.parent)
    (snapshot / "loop").symlink_to("loop2")
    (links / "loop2").symlink_to("loop")
    (home.hub / "models--linked--away").symlink_to(outside.parent)
    home.add("linked/model", weights(1_000)).rename(home.root / "outside" / "repository")
    (home.hub / "models--linked--model").symlink_to(home.root / "outside" / "repository")

    age(write(home.hub / f"models--{KEPT.replace('/', '--')}" / "blobs" / "abc.incomplete", 12_345), 2 * HOUR)
    age(write(home.hub / "models--a--model" / "blobs" / "def.incomplete", 6_789), 2 * HOUR)
    write(home.hub / ".locks" / "models--a--model" / "abc.lock", 0)
    write(home.hugging_face / "token", 37)
    write(home.hugging_face / "stored_tokens", 37)
    for number in range(700):
        write(home.hugging_face / "xet" / ENDPOINT / "chunk-cache" / f"{number % 50}" / f"chunk-{number}", 5_000)
    built = home.hugging_face / "datasets" / "csv" / "default-1" / "0.0.0"
    write(built / "abc" / "data.arrow", 33_333)
    write(built / "abc" / "dataset_info.json", 300)
    write(built / "abc_builder.lock", 0)
    for number in range(300):
        write(home.cache / "wandb" / "artifacts" / "obj" / "md5" / f"{number % 20}" / f"{number}", 100)
    write(home.user / ".local" / "share" / "wandb" / "artifacts" / "staging" / "tmp123", 4_444)
    write(home.temporary / "torchinductor" / "fxgraph" / "aa" / "graph", 2_000)
    write(home.user / ".triton" / "cache" / KERNEL / "kernel.cubin", 2_000)
    run = home.runs / "finetune" / "x" / "1"
    write(run / "checkpoints" / "checkpoint-10" / "model.safetensors", 8_000)
    (run / "provenance.json").write_text(json.dumps({"model": "a/model-large"}))


def clean(home: Home, *arguments: str, before: tuple[str, ...] = (), check: int = 0):
    command = [*before, sys.executable, "-m", "dialsum_cli", "cache-clean", *arguments, "--json"]
    environment = {**os.environ, **home.environment}
    done = subprocess.run(command, cwd=home.root / "work", env=environment, capture_output=True, text=True)
    assert done.returncode == check, done.stdout + done.stderr
    return done


def test_what_is_freed_is_what_the_file_system_says_and_what_is_kept_still_loads(tmp_path):
    home = Home(tmp_path / "집 (home)")
    furnish(home)
    everything, outside = home.root, contents(home.root / "outside")
    kept = contents(home.hub / f"models--{KEPT.replace('/', '--')}")
    planned = json.loads(clean(home, "--keep", "llama3b", "--dry-run").stdout)
    before = on_disk(everything)
    done = json.loads(clean(home, "--keep", "llama3b", "--yes").stdout)
    assert before - on_disk(everything) == done["freed_bytes"] == planned["freed_bytes"] > 5_000_000
    assert done["freed_bytes"] == sum(row["bytes"] for row in done["deleted"])
    assert {row["name"]: row["bytes"] for row in done["deleted"]} == {
        row["name"]: row["bytes"] for row in planned["deleted"]
    }
    assert home.models() == [KEPT, "a/model-large", "linked/model"]
    assert contents(home.root / "outside") == outside
    gone = [path for path in kept if not os.path.lexists(path)]
    assert [Path(path).name for path in gone] == ["abc.incomplete"]
    assert {path: content for path, content in kept.items() if path not in gone} == contents(
        home.hub / f"models--{KEPT.replace('/', '--')}"
    )
    cache = scan_cache_dir(home.hub)
    assert not cache.warnings
    assert {repo.repo_id for repo in cache.repos} == {KEPT, "a/model-large", "linked/model", "owner/data"}
    reasons = {row["name"]: row["reason"] for row in done["kept"]}
    assert reasons["a/model-large"].startswith("base of the run '")
    assert reasons[KEPT] == "named by --keep"
    assert reasons["owner/data"] == "a dataset, not a model: --include hub-data"
    assert (home.hugging_face / "token").stat().st_size == 37 == (home.hugging_face / "stored_tokens").stat().st_size
    for folder in (home.hugging_face / "xet", home.hugging_face / "datasets", home.cache / "wandb" / "artifacts",
                   home.temporary / "torchinductor", home.user / ".triton" / "cache"):  # fmt: skip
        assert list(folder.iterdir()) == [], folder
    assert (home.user / ".local" / "share" / "wandb" / "artifacts" / "staging" / "tmp123").exists()
    again = json.loads(clean(home, "--keep", "llama3b", "--yes").stdout)
    assert (again["freed_bytes"], again["deleted"]) == (0, [])

    from transformers import AutoModelForSeq2SeqLM

    AutoModelForSeq2SeqLM.from_pretrained(KEPT, cache_dir=home.hub, local_files_only=True)


def test_damage_is_named_and_a_table_shows_it_in_one_line_each(tmp_path):
    home = Home(tmp_path / "home")
    furnish(home)
    rows = json.loads(clean(home, "--dry-run").stdout)
    reasons = {row["name"]: row["reason"] for row in rows["deleted"] + rows["kept"]}
    assert reasons["broken/blob"].startswith("broken: Blob missing (broken symlink): models--broken--blob")
    assert reasons["broken/snapshots"].startswith("broken: Snapshots dir doesn't exist")
    assert reasons["broken/ref"].startswith("broken: Reference(s) refer to missing commit hashes")
    assert reasons["broken/bytes"].startswith("broken: 'utf-8' codec can't decode")
    assert reasons["linked/away"].startswith("broken: Snapshots dir doesn't exist")
    assert reasons["linked/model"] == "a link: what it leads to is not the cache's"
    assert reasons["models--a--model: locks"] == "locks that nobody holds"
    assert reasons[NEWLINE.replace("\n", "\\n")] == "nothing asks for it to stay"
    environment = {**os.environ, **home.environment, "COLUMNS": "140"}
    command = [sys.executable, "-m", "dialsum_cli", "cache-clean", "--dry-run", "--keep", KEPT]
    shown = subprocess.run(command, cwd=home.root / "work", env=environment, capture_output=True, text=True).stdout
    assert "odd/name\\nwith newline" in shown
    assert "a download that broke off" in shown


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="root may read everything: needs setpriv")
def test_folders_that_may_not_be_read_stay_and_the_rest_goes():
    as_user = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups") if os.getuid() == 0 else ()
    with TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        home = Home(Path(folder) / "home")
        for name in ("not/readable", "not/writable", "not/inside", "good/model", "other/model"):
            home.add(name, weights(10_000))
        write(home.hugging_face / "xet" / ENDPOINT / "inner" / "chunk", 5_000)
        if as_user:
            subprocess.run(["chown", "-R", "65534:65534", folder], check=True)
            probe = [*as_user, sys.executable, "-c", "import dialsum_cli.cli"]
            if subprocess.run(probe, capture_output=True).returncode:
                pytest.skip("an ordinary user can't read this Python or this checkout")
        forbidden = {home.hub / "models--not--readable": 0o000, home.hub / "models--not--writable" / "blobs": 0o500,
                     home.hub / "models--not--inside" / "snapshots": 0o000,
                     home.hugging_face / "xet" / ENDPOINT / "inner": 0o500}  # fmt: skip
        for path, mode in forbidden.items():
            path.chmod(mode)
        try:
            before = on_disk(home.hub, home.hugging_face / "xet") if os.getuid() == 0 else None
            done = json.loads(clean(home, "--keep", "good/model", "--yes", before=as_user).stdout)
            reasons = {row["name"]: row["reason"] for row in done["kept"]}
            assert [row["name"] for row in done["deleted"]] == ["other/model"]
            if before is not None:
                assert before - on_disk(home.hub, home.hugging_face / "xet") == done["freed_bytes"] > 10_000
            for name in ("not/readable", "not/inside"):
                assert "can't be read: Permission denied" in reasons[name]
            for name in ("not/writable", ENDPOINT):
                assert "you may not delete from" in reasons[name]
            assert home.models() == ["good/model", "not/inside", "not/readable", "not/writable"]
        finally:
            for path in forbidden:
                path.chmod(0o700)
