"""Folders that are no cache, and paths that change under a clean-up: nothing outside the roots is ever touched."""

import json
import os
from pathlib import Path

import pytest

from dialsum_cli.caches.execute import execute
from dialsum_cli.caches.plan import Wishes, make_plan
from dialsum_cli.caches.scan import HOUR
from tests.caches.homes import ENDPOINT, Home, age, contents, weights, write
from tests.caches.test_everything import clean


def linked(home: Home) -> str:
    (home.root / "link").symlink_to(home.hugging_face)
    return str(home.root / "link")


# Environment, what the refusal says, and what it tells to do.
REFUSED = [
    ({"HF_HOME": "/", "HF_HUB_CACHE": None}, "can't be in '/' itself, the root of the file system", "set HF_HOME"),
    ({"HF_HOME": ""}, "HF_HOME is set but empty", "unset HF_HOME"),
    ({"HF_HUB_CACHE": ""}, "HF_HUB_CACHE is set but empty", "unset HF_HUB_CACHE"),
    ({"HF_HOME": None, "HF_HUB_CACHE": None, "XDG_CACHE_HOME": ""}, "XDG_CACHE_HOME is set but empty", "unset"),
    ({"HF_HUB_CACHE": lambda home: str(home.user)}, "itself, your home", "set HF_HUB_CACHE to a folder of its own"),
    ({"HF_HOME": lambda home: str(home.user), "HF_HUB_CACHE": None}, "itself, your home", "set HF_HOME"),
    ({"HF_HUB_CACHE": lambda home: str(home.root)}, "it holds your home", "set HF_HUB_CACHE to a folder of its own"),
    ({"HF_HOME": linked, "HF_HUB_CACHE": None}, "is a link", "export HF_HOME=/"),
    ({"HF_HUB_CACHE": linked}, "is a link", "export HF_HUB_CACHE=/"),
    ({"HF_DATASETS_CACHE": linked}, "is a link", "export HF_DATASETS_CACHE=/"),
    ({"TORCHINDUCTOR_CACHE_DIR": "/usr"}, "'/usr' is no cache: it holds", "set TORCHINDUCTOR_CACHE_DIR"),
    ({"TORCHINDUCTOR_CACHE_DIR": "/var"}, "it holds folders of the system", "set TORCHINDUCTOR_CACHE_DIR"),
    ({"TRITON_CACHE_DIR": "."}, "it holds the working folder", "cd to another folder"),
    ({"TRITON_CACHE_DIR": "runs"}, "it holds your runs", "set TRITON_CACHE_DIR"),
    (
        {"TRITON_CACHE_DIR": lambda home: str(home.temporary)},
        "holds the folder for temporary files",
        "set TRITON_CACHE",
    ),
    ({"WANDB_CACHE_DIR": ""}, "WANDB_CACHE_DIR is set but empty", "unset WANDB_CACHE_DIR"),
    ({"WANDB_DATA_DIR": "/"}, "can't be in '/' itself", "set WANDB_DATA_DIR"),
    ({"HF_DATASETS_CACHE": lambda home: str(home.hub)}, "are one folder", "change HF_DATASETS_CACHE"),
    ({"HF_XET_CACHE": lambda home: str(home.hugging_face / "token")}, "is no folder", "set HF_XET_CACHE to a folder"),
]


def named(value: object) -> str:
    """A test's name without addresses: each process that runs tests has to find the same ones."""
    return ",".join(value) if isinstance(value, dict) else str(value)[:60]


@pytest.mark.parametrize(("variables", "message", "remedy"), REFUSED, ids=named)
def test_what_is_no_cache_is_refused_and_nothing_is_touched(home, monkeypatch, variables, message, remedy):
    home.add("a/model", weights(3_000))
    write(home.hugging_face / "token", 10)
    write(home.user / "thesis.txt", 10)
    write(home.runs / "precious" / "file", 10)
    chosen = {name: value(home) if callable(value) else value for name, value in variables.items()}
    environment = {name: value for name, value in (home.environment | chosen).items() if value is not None}
    for name in (*home.environment, *chosen):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Home, "environment", environment)
    everything = contents(home.root)
    done = clean(home, "--include", "wandb-staging", "--dry-run", check=2)
    error, remedy_line = done.stderr.strip().splitlines()
    assert message in error
    assert remedy in remedy_line
    assert done.stdout == ""
    assert contents(home.root) == everything


def swap_for_a_link(path: Path, home: Home) -> None:
    path.rename(home.root / "moved away")
    path.symlink_to(home.root / "outside")


def swap_for_another(path: Path, home: Home) -> None:
    path.rename(home.root / "moved away")
    write(path / "snapshots" / "file", 100)


@pytest.mark.parametrize("swap", [swap_for_a_link, swap_for_another])
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("hub/models--a--model", "it is another file than when the plan was made"),
        (f"xet/{ENDPOINT}", "it is another file than when the plan was made"),
        ("xet", "another|Not a directory|symbolic links|levels"),
        ("hub", "another|Not a directory|symbolic links|levels"),
    ],
)
def test_a_path_that_was_swapped_since_the_plan_is_left(home, swap, place, reason):
    home.add("a/model", weights(3_000))
    write(home.hugging_face / "xet" / ENDPOINT / "chunk", 5_000)
    outside = write(home.root / "outside" / "snapshots" / "precious", 50).parents[1]
    write(outside / ENDPOINT / "chunk", 50)
    plan = make_plan(Wishes(caches=("hub", "xet")))
    assert len(plan.deleted) == 2
    swap(home.hugging_face / place, home)
    before = contents(home.root / "outside"), contents(home.root / "moved away")
    swapped = contents(home.hugging_face / place)
    done = execute(plan, print)
    (failed,) = done.failed
    assert any(part in failed.reason for part in reason.split("|")), failed.reason
    assert (contents(home.root / "outside"), contents(home.root / "moved away")) == before
    assert contents(home.hugging_face / place) == swapped
    assert len(done.deleted) == 1  # the other one


def test_a_folder_on_the_way_that_became_a_link_is_not_followed(home):
    folder = home.add("a/model", weights(3_000))
    home.add("b/model", weights(3_000))
    age(write(folder / "blobs" / "x.incomplete", 700), 2 * HOUR)
    plan = make_plan(Wishes(caches=("hub", "leftovers"), keep=("a/model", "b/model")))
    (decision,) = (each for each in plan.deleted if each.item.path.suffix == ".incomplete")
    (folder / "blobs").rename(home.root / "outside")
    (folder / "blobs").symlink_to(home.root / "outside")
    outside = contents(home.root / "outside")
    done = execute(plan, print)
    assert decision.item.path in {each.item.path for each in done.failed}
    assert contents(home.root / "outside") == outside


def test_what_has_changed_since_the_plan_is_left(home):
    folder = home.add("a/model", weights(3_000))
    plan = make_plan(Wishes(caches=("hub",)))
    write(folder / "blobs" / "of a new revision", 100)
    done = execute(plan, print)
    assert [each.reason for each in done.failed] == ["not deleted: it has changed since the plan was made"]
    assert home.models() == ["a/model"]


def test_a_trash_folder_that_is_a_link_is_not_followed(home):
    home.add("a/model", weights(3_000))
    outside = write(home.root / "outside" / "abcd" / "precious", 100).parents[1]
    (home.hub / ".locks").mkdir()
    (home.hub / ".locks" / "dialsum-trash").symlink_to(outside)
    before = contents(outside)
    done = execute(make_plan(Wishes(caches=("hub", "leftovers"))), print)
    assert [each.item.name for each in done.failed] == ["a/model"]
    assert contents(outside) == before
    assert home.models() == ["a/model"]


def test_a_token_and_another_cache_inside_a_cache_stay(home, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(home.hugging_face))
    monkeypatch.setattr("dialsum_cli.caches.guards.TOKENS", (home.hugging_face / "token",))
    home.add("a/model", weights(3_000))
    write(home.hugging_face / "token", 10)
    write(home.hugging_face / "xet" / ENDPOINT / "chunk", 10)
    write(home.hugging_face / "csv" / "default" / "0.0.0" / "dataset_info.json", 10)
    plan = make_plan(Wishes(caches=("datasets",)))
    assert [each.item.name for each in plan.deleted] == ["csv"]
    reasons = {each.item.name: each.reason for each in plan.kept}
    assert reasons["token"] == "a token"
    assert reasons["hub"].startswith("holds another cache")
    assert reasons["xet"].startswith("holds another cache")


def test_a_link_in_a_snapshot_never_leads_the_hubs_strategy_outside(home):
    """Of a repository with shared files, the strategy would delete what its links lead to."""
    precious = write(home.root / "precious", 100)
    folder = home.add("a/model", weights(3_000))
    (home.snapshot("a/model") / "away").symlink_to(precious)
    store = home.hub / "blobs"
    digest = "ab" * 32
    shared = write(store / "ab" / digest, 9_000)
    (store / ".huggingface-shared-blobs").write_text("1\n")
    (folder / "blobs" / "shared").symlink_to(f"../../blobs/ab/{digest}")
    (shared.parent / f"{digest}.refs").write_text("models--a--model/blobs/shared\n")
    (home.snapshot("a/model") / "shared.bin").symlink_to("../../blobs/shared")
    planned = make_plan(Wishes(caches=("hub",)))
    done = execute(planned, print)
    assert not done.failed
    assert done.freed_bytes == planned.freed_bytes
    assert precious.exists()
    assert not shared.exists()


def test_json_survives_names_that_are_no_text(home):
    os.makedirs(os.fsencode(home.cache / "wandb" / "artifacts") + b"/\xff\xfe\x1b[2J")
    rows = json.loads(clean(home, "--dry-run").stdout)["kept"]
    assert [row["name"] for row in rows] == ["\\udcff\\udcfe\\x1b[2J"]
