import hashlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from frail import wait_for
from hypothesis import given
from hypothesis import strategies as st

from dialsum_cli import __version__
from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.registry import CATALOGUE
from dialsum_cli.runs import data_facts, file_name, new_folder, provenance, start_run, write_atomically
from dialsum_cli.settings import PredictSettings

NAMES = ["제출 [1].csv", "가" * 80, "-.csv", ".hidden"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "content", ["", "한글\n", b"\x00\xff", "x" * 3_000_000], ids=["empty", "text", "bytes", "large"]
)
def test_a_file_is_written_whole_and_alone(tmp_path, name, content):
    path = tmp_path / "새 폴더" / name
    data = content.encode() if isinstance(content, str) else content
    assert write_atomically(path, content, overwrite=False) == hashlib.sha256(data).hexdigest()
    assert path.read_bytes() == data
    assert os.listdir(path.parent) == [name]
    (tmp_path / "beside").touch()  # as the user's umask has it
    assert path.stat().st_mode == (tmp_path / "beside").stat().st_mode


def test_nothing_is_overwritten_without_overwrite(tmp_path):
    path = tmp_path / "a.csv"
    write_atomically(path, "old", overwrite=True)
    with pytest.raises(RequestError, match="exists already") as raised:
        write_atomically(path, "new", overwrite=False)
    assert raised.value.exit_code == 2
    assert "--overwrite" in raised.value.remedy
    assert path.read_text() == "old"
    write_atomically(path, "new", overwrite=True)
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.csv"]


def test_a_failed_write_leaves_the_folder_as_it_was(tmp_path):
    (tmp_path / "folder" / "full").mkdir(parents=True)
    (tmp_path / "file").touch()
    places = [tmp_path / "folder", tmp_path / "file" / "a.csv", tmp_path / ("x" * 300), tmp_path / "folder" / "full"]
    for path in places:
        with pytest.raises(DialsumError, match="can't write") as raised:
            write_atomically(path, "x", overwrite=True)
        assert raised.value.exit_code == 1
        assert raised.value.remedy
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert os.listdir(tmp_path / "folder") == ["full"]


def test_text_that_is_no_utf8_leaves_nothing_behind(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "a.csv", "\ud800", overwrite=False)
    assert os.listdir(tmp_path) == []


def test_ctrl_c_in_the_middle_leaves_nothing_behind(tmp_path):
    """A child process is interrupted while it writes the same file over and over."""
    script = (
        "import signal, sys; from pathlib import Path; from dialsum_cli.runs import write_atomically\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background is started without
        "print('ready', flush=True)\n"
        "try:\n"
        "    while True: write_atomically(Path(sys.argv[1]), b'x' * 4_000_000, overwrite=True)\n"
        "except KeyboardInterrupt: pass\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.csv")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"ready\n"
        try:
            wait_for(lambda: [*tmp_path.iterdir()], child)
            child.send_signal(2)
            assert child.wait(30) == 0
        finally:
            child.kill()
    assert set(os.listdir(tmp_path)) <= {"a.csv"}


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    folder = tmp_path / "작은 디스크"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no small file system can be mounted here: {mount.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk(small_disk):
    path = small_disk / "제출.csv"
    write_atomically(path, "old", overwrite=False)
    with pytest.raises(DialsumError, match="No space left on device") as raised:
        write_atomically(path, "x" * 200_000, overwrite=True)
    assert str(path) in str(raised.value)
    assert "free some disk" in raised.value.remedy
    assert path.read_text() == "old"
    assert os.listdir(small_disk) == ["제출.csv"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_behind_the_output_is_told_in_one_line_with_its_remedy():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dialsum_cli", "models", "--json"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    error, remedy = done.stderr.splitlines()
    assert "No space left on device" in error
    assert remedy.startswith("  Try: ")


def settings(**values):
    return PredictSettings(model="lead1", output=Path("빈 칸/[x].csv"), columns={"fname": "번호"}, **values)


def test_a_run_folder_holds_settings_that_parse_back_equal(tmp_path):
    for before in (settings(limit=3, seed=7), settings(config=None)):
        with start_run(new_folder(tmp_path / "빈 칸"), before) as run:
            pass
        after = PredictSettings(config=run.folder / "settings.yaml")
        assert after.model_dump() == before.model_dump()


def test_the_log_holds_what_was_said_and_is_closed(tmp_path):
    logger = logging.getLogger("dialsum")
    handlers = {name: list(logging.getLogger(name).handlers) for name in ("dialsum", "transformers", "py.warnings")}
    with start_run(tmp_path / "run", settings()) as run, warnings.catch_warnings():
        warnings.simplefilter("always")
        logger.info("한글 %d", 1)
        logging.getLogger("dialsum.inner").warning("inner")
        logging.getLogger("transformers").warning("theirs")
        warnings.warn("odd", stacklevel=1)
        path = run.folder / "log.txt"
        opened = [link for link in Path("/proc/self/fd").glob("*") if link.exists() and link.samefile(path)]
        assert opened
    log = path.read_text(encoding="utf-8")
    for text in ("INFO dialsum: 한글 1", "inner", "WARNING transformers: theirs", "odd"):
        assert text in log
    logger.info("afterwards")
    assert path.read_text(encoding="utf-8") == log
    assert not [link for link in Path("/proc/self/fd").glob("*") if link.exists() and link.samefile(path)]
    assert handlers == {name: logging.getLogger(name).handlers for name in handlers}


@pytest.mark.parametrize("error", [ValueError("odd\nthing"), KeyboardInterrupt(), RequestError("bad", "do it")])
def test_a_run_that_ends_badly_says_so_in_its_log(tmp_path, error):
    before = list(logging.getLogger("dialsum").handlers)
    with pytest.raises(type(error)), start_run(tmp_path / "run", settings()):
        raise error
    assert f"ended by {type(error).__name__}" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert logging.getLogger("dialsum").handlers == before


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").touch()
    with pytest.raises(RequestError, match="is in use"), start_run(tmp_path / "run", settings()):
        pass
    assert os.listdir(tmp_path / "run") == ["mine.txt"]


def test_json_is_readable_korean(tmp_path):
    with start_run(tmp_path / "run", settings()) as run:
        run.write_json("a.json", {"path": Path("가"), "n": 1})
        run.write_json("a.json", {"path": Path("나"), "n": None})
    assert (tmp_path / "run" / "a.json").read_text(encoding="utf-8") == '{\n  "path": "나",\n  "n": null\n}\n'


def test_new_folders_are_different_also_for_runs_that_start_together(tmp_path):
    folders = []
    threads = [threading.Thread(target=lambda: folders.append(new_folder(tmp_path / "a" / "b"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(folders)) == 20
    assert all(folder.is_dir() and folder.parent == tmp_path / "a" / "b" for folder in folders)


def test_a_place_for_runs_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(DialsumError, match="can't write") as raised:
            new_folder(place)
        assert "--output-dir" in raised.value.remedy


def test_provenance_has_versions_machine_and_what_is_added():
    facts = provenance(data={"rows": 3}, revision=None)
    assert facts["versions"]["dialsum"] == __version__
    assert {"python", "torch", "transformers", "rouge"} <= set(facts["versions"])
    assert facts["machine"]["cores"] == os.cpu_count()
    assert facts["data"] == {"rows": 3}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", facts["created"])
    assert json.loads(json.dumps(facts)) == facts


def test_provenance_keeps_no_secret(monkeypatch):
    for name in ("HF_TOKEN", "WANDB_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, f"secret-{name}")
    assert "secret-" not in json.dumps(provenance())


def test_data_facts(tmp_path):
    path = tmp_path / "대화 1.csv"
    path.write_bytes(b"fname\n")
    facts = data_facts(path, 0)
    assert (facts.path, facts.rows) == (str(path), 0)
    assert facts.sha256 == hashlib.sha256(b"fname\n").hexdigest()


names = st.text() | st.from_regex(r"[a-z가-힣./ -]{0,100}", fullmatch=True) | st.sampled_from(sorted(CATALOGUE))


@given(names)
def test_a_file_name_is_one_plain_path_component(name):
    result = file_name(name)
    assert Path(result).name == result
    assert result not in ("", ".", "..")
    assert not set(result) & set('/\\:*?"<>|\0\n ')
    assert len(f"{result}.csv".encode()) <= 255
    assert result[0] not in ".-"
    assert file_name(name) == result


@given(st.lists(names, unique=True, min_size=2, max_size=10))
def test_file_names_of_different_models_differ(several):
    results = list(map(file_name, several))
    assert len(set(results)) == len(results)


def test_no_name_can_be_made_to_look_like_another_ones_file_name():
    hashed = file_name("owner/model")
    assert hashed.startswith("owner-model-")
    assert file_name(hashed) != hashed


@pytest.mark.parametrize("name", ["llama3b", "tiny-bart", "모델_1.5"])
def test_plain_names_stay(name):
    assert file_name(name) == name


def test_a_name_of_bytes_that_are_no_utf8():
    assert file_name(os.fsdecode(b"models/\xff\xfe"))
