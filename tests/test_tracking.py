"""Real offline runs, read back from their files; the file format is that of LevelDB's log."""

import json
import os
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from time import sleep

import pytest
from heard import Heard
from hypothesis import given
from hypothesis import strategies as st

from dialsum_cli.registry import CATALOGUE, ModelSpec
from dialsum_cli.settings import PredictSettings, TrackingSettings
from dialsum_cli.tracking import Label, Tracking, Training, command_label, run_config, short_rate, training_label
from tests.workflows.test_finetune import write_data

STARTED = datetime(2025, 1, 3, 14, 30, 25)
QLORA = Training("qlora", "bf16", 3.0, 16, 2e-4, STARTED)
FULL = Training("full", "fp32", 20, 50, 1e-5, STARTED)
LABEL = command_label("predict", STARTED)
KEY = "5ec7e7" * 8


@pytest.fixture(autouse=True)
def keys_and_a_home(monkeypatch, tmp_path):
    """Keys that must not be written anywhere, a home in which the runs are, and nothing of the tester's own wandb."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name, value in {"WANDB_API_KEY": KEY, "HF_TOKEN": f"hf_{KEY}", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)


def settings(mode: str, **more) -> TrackingSettings:
    return TrackingSettings(wandb=mode, **more)


def records(folder: Path) -> list:
    """The records of the one run in a folder; its last bytes may reach the disk just after `finish` has returned."""
    for _ in range(600):
        found = parsed(folder)
        if any(record.HasField("exit") for record in found):
            return found
        sleep(0.1)
    raise AssertionError(f"the run in {folder} was never finished")


def parsed(folder: Path) -> list:
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/*/*.wandb")
    data, found, parts = path.read_bytes(), [], b""
    position = 7  # after the file's own header
    while position + 7 <= len(data):
        if (left := 32_768 - position % 32_768) < 7:  # no header is split between blocks
            position += left
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        if position + 7 + length > len(data):
            break  # the rest is on its way to the disk
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last of its parts
            found.append(Record.FromString(parts))
            parts = b""
    return found


def values(items) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read(folder: Path) -> dict:
    found = {"history": [], "summary": {}}
    for record in records(folder):
        match record.WhichOneof("record_type"):
            case "run":
                run = record.run
                found |= {"name": run.display_name, "tags": [*run.tags], "group": run.run_group, "job": run.job_type,
                          "project": run.project, "host": run.host, "config": values(run.config.update)}  # fmt: skip
            case "history":
                found["history"].append({k: v for k, v in values(record.history.item).items() if k[0] != "_"})
                found["steps"] = [*found.get("steps", []), record.history.step.num]
            case "summary":
                found["summary"] |= values(record.summary.update)
            case "exit":
                found["exit"] = record.exit.exit_code
    return found


def everything_in(folder: Path) -> bytes:
    """Names and contents of all files below a folder."""
    paths = [*folder.rglob("*")]
    assert not any(path.is_symlink() for path in paths)
    names = "\n".join(str(path.relative_to(folder)) for path in paths).encode()
    return b"\n".join([names, *(path.read_bytes() for path in paths if path.is_file())])


@pytest.mark.parametrize(
    ("rate", "text"),
    [(2e-4, "2e-4"), (1e-5, "1e-5"), (1.5e-5, "1.5e-5"), (3e-05, "3e-5"), (1e-3, "1e-3"),
     (0.1, "1e-1"), (1.0, "1e0"), (5e-324, "5e-324"), (12.0, "1.2e1")],
)  # fmt: skip
def test_a_rate_as_people_write_it(rate, text):
    assert short_rate(rate) == text


@given(st.floats(min_value=1e-12, max_value=1e3))
def test_a_rate_keeps_its_value(rate):
    text = short_rate(rate)
    assert float(text) == rate
    assert "e-0" not in text
    assert "+" not in text


@pytest.mark.parametrize(
    ("name", "training", "run_name", "group", "tags"),
    [
        ("llama3b", QLORA, "Llama-3.2-Korean-3B_ep3_bs16_lr2e-4_20250103-143025", "decoder-only-qlora",
         {"model-type:causal_lm", "training:qlora-4bit", "size:3B", "arch:llama", "float:bf16"}),
        ("kobart", replace(FULL, precision="bf16"), "KoBART-Summarization_ep20_bs50_lr1e-5_20250103-143025",
         "encoder-decoder-baseline",
         {"model-type:encoder_decoder", "training:full-finetune", "size:base", "arch:bart", "float:bf16"}),
        ("qwen7b", replace(QLORA, method="lora", precision="fp16", learning_rate=1e-4, num_epochs=2.5),
         "Qwen2.5-7B-Instruct_ep2.5_bs16_lr1e-4_20250103-143025", "decoder-only-lora",
         {"model-type:causal_lm", "training:lora", "size:7B", "arch:qwen", "float:fp16"}),
        ("kogpt2", FULL, "KoGPT2-Base-v2_ep20_bs50_lr1e-5_20250103-143025", "decoder-only-full",
         {"model-type:causal_lm", "training:full-finetune", "size:base", "arch:gpt2", "float:fp32"}),
        ("kot5", replace(FULL, method="lora"), None, "encoder-decoder-lora",
         {"model-type:encoder_decoder", "training:lora", "size:base", "arch:t5", "float:fp32"}),
    ],
)  # fmt: skip
def test_labels_of_fine_tunings(name, training, run_name, group, tags):
    label = training_label(CATALOGUE[name], training)
    assert (label.group, set(label.tags), label.job) == (group, tags, "finetune")
    assert run_name in (label.name, None)


def test_labels_of_other_commands_leave_out_what_is_not_known():
    unknown = ModelSpec("me/model", "me/model", nickname="model")
    assert command_label("predict", STARTED, unknown) == Label("model_predict_20250103-143025", "predict", "predict")
    assert command_label("screen", STARTED).name == "screen_20250103-143025"
    assert command_label("predict", STARTED, CATALOGUE["tiny-llama"]).tags == (
        "model-type:causal_lm", "size:tiny", "arch:llama")  # fmt: skip


def test_an_offline_run_is_in_its_folder_with_name_tags_group_config_steps_and_summary(tmp_path):
    spec, reporter = CATALOGUE["llama3b"], Heard()
    label = training_label(spec, QLORA)
    config = run_config(PredictSettings(seed=7), spec, QLORA, lora={"r": 16, "alpha": 32})
    with Tracking(settings("offline", wandb_project="mine"), reporter).run(tmp_path / "run", label, config) as tracker:
        tracker.log({"loss": 2.5, "learning_rate": 2e-4}, step=10)
        tracker.log({"loss": 1.5}, step=20)
        tracker.summarise({"final_score": 48.5, "error": "철수는 영희를 만났다", "nothing": None})
    found = read(tmp_path / "run")
    assert (found["name"], found["group"], found["job"]) == (label.name, "decoder-only-qlora", "finetune")
    assert (set(found["tags"]), found["project"], found["host"]) == (set(label.tags), "mine", "")
    assert found["config"]["training"] == {
        "method": "qlora", "precision": "bf16", "num_epochs": 3.0, "batch_size": 16, "learning_rate": 2e-4,
        "lr": "2e-4", "started": "2025-01-03 14:30:25"}  # fmt: skip
    assert found["config"]["lora"] == {"r": 16, "alpha": 32}
    assert found["config"]["settings"]["seed"] == 7
    assert found["config"]["model"]["source"] == spec.source
    assert found["history"] == [{"loss": 2.5, "learning_rate": 2e-4}, {"loss": 1.5}]
    assert found["steps"] == [10, 20]
    assert found["summary"]["final_score"] == 48.5
    assert not {"error", "nothing"} & set(found["summary"])
    assert found["exit"] == 0
    assert not reporter.warnings
    (note,) = reporter.notes
    assert "wandb sync" in note


@pytest.mark.parametrize("error", [ValueError("철수는 영희를 만났다"), KeyboardInterrupt()])
def test_a_run_that_an_exception_leaves_is_finished_as_failed(tmp_path, error):
    def fail(tracker):
        tracker.log({"loss": 1.0}, step=1)
        raise error

    with pytest.raises(type(error)), Tracking(settings("offline"), Heard()).run(tmp_path, LABEL, {}) as tracker:
        fail(tracker)
    assert read(tmp_path)["exit"] == 1
    assert "철수".encode() not in everything_in(tmp_path)


def test_no_key_no_home_no_host_is_in_any_file(tmp_path):
    """Though the run is in the home directory, and paths in it are in config, summary and metrics."""
    home, spec = str(tmp_path), ModelSpec("~/m", str(tmp_path / "m"), "causal", "m")
    config = run_config(
        PredictSettings(output=tmp_path / "a" / "s.csv"),
        spec,
        list=[tmp_path],
        text=f"in {home}.",
        url=f"http://me:{KEY}@h:1/v1",
    )
    folder = tmp_path / "run"
    with Tracking(settings("offline", wandb_log_text=True), Heard()).run(folder, LABEL, config) as tracker:
        tracker.log({f"{home}/m": 1.0}, step=1)
        tracker.summarise({f"{home}/m/score": 1.0})
        tracker.log_texts("summaries", ("fname", "summary"), [("a", "철수는 영희를 만났다")])
    found, content = read(folder), everything_in(folder)
    assert found["config"]["settings"]["output"] == "~/a/s.csv"
    assert (found["config"]["list"], found["config"]["text"]) == (["~"], "in ~.")
    assert found["config"]["url"] == "http://h:1/v1"
    assert found["summary"]["~/m/score"] == 1.0
    for private in (home, KEY, f'"{socket.gethostname()}"', str(Path(sys.executable).parent)):
        assert private.encode() not in content, private


@pytest.mark.parametrize(("allowed", "expected"), [(False, 0), (True, 1)])
def test_texts_are_logged_only_where_they_may_be(tmp_path, allowed, expected):
    with Tracking(settings("offline", wandb_log_text=allowed), Heard()).run(tmp_path, LABEL, {}) as tracker:
        tracker.log_texts("summaries", ("fname", "summary"), [("a", "철수는 영희를 만났다")])
    assert [path.read_text("utf-8") for path in tmp_path.rglob("*.jsonl")] == [
        '{"fname": "a", "summary": "철수는 영희를 만났다"}\n'
    ] * expected
    assert ("철수".encode() in everything_in(tmp_path)) is allowed
    saved = [item.path for record in records(tmp_path) if record.HasField("files") for item in record.files.files]
    assert saved == ["summaries.jsonl"] * expected


@pytest.mark.parametrize("name", ["~", "~/x", "/roots", "/mnt{home}", "{home}2/x", "{home}-x"])
def test_what_only_looks_like_the_home_stays(name, tmp_path):
    text = name.format(home=tmp_path)
    with Tracking(settings("offline"), Heard()).run(tmp_path / "r", LABEL, {"text": text}):
        pass
    assert read(tmp_path / "r")["config"]["text"] == text


def test_off_imports_nothing_and_writes_nothing(tmp_path):
    code = """
import sys
from pathlib import Path
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import PredictSettings
from dialsum_cli.tracking import tracked

with tracked("predict", Path("run"), PredictSettings(), Reporter()) as tracker:
    tracker.log({"loss": 1.0}, step=1)
    tracker.summarise({"loss": 1.0})
    tracker.log_texts("texts", ("a",), [("b",)])
sys.exit("wandb" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False).returncode == 0
    assert not [*tmp_path.iterdir()]


@contextmanager
def a_server_that(answers: bool):
    """An address at which nothing listens, or something that takes a request and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if not answers:
            listener.listen(99)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


ONLINE = """
import sys
from pathlib import Path
from time import perf_counter
from dialsum_cli.errors import RequestError
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import TrackingSettings
from dialsum_cli.tracking import Tracking, command_label
from datetime import datetime

class Reporter(Reporter):
    def note(self, message): print("NOTE", message)
    def warn(self, message): print("WARN", message)

tracking = Tracking(TrackingSettings(wandb="online"), Reporter())
try:
    for name in ("one", "two"):
        start = perf_counter()
        with tracking.run(Path(name), command_label(name, datetime.now()), {}) as tracker:
            print("SECONDS", perf_counter() - start)
            tracker.summarise({"score": 1.0})
except RequestError as error:
    print("ERROR", error, "|", error.remedy)
"""


def online(folder: Path, **environment: str) -> list[str]:
    """What two online runs in a process of their own say; wandb remembers servers and keys for a whole process."""
    done = subprocess.run(
        [sys.executable, "-c", ONLINE], cwd=folder, env=os.environ | environment, capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=180, check=True,
    )  # fmt: skip
    return [line for line in done.stdout.splitlines() if line.split(" ")[0] in ("NOTE", "WARN", "SECONDS", "ERROR")]


@pytest.mark.slow
@pytest.mark.parametrize("answers", [True, False], ids=["refuses", "never answers"])
def test_an_unreachable_server_costs_one_warning_and_little_time(tmp_path, answers):
    with a_server_that(answers) as address:
        lines = online(tmp_path, WANDB_BASE_URL=address)
    first, second = (float(line.split()[1]) for line in lines if line.startswith("SECONDS"))
    assert second < first  # which loaded wandb, and waited ten seconds; the second asks no more
    (warning,) = [line for line in lines if line.startswith("WARN")]
    assert "kept offline" in warning
    assert read(tmp_path / "one")["summary"]["score"] == read(tmp_path / "two")["summary"]["score"] == 1.0
    assert len([*(tmp_path / "one" / "wandb").iterdir()]) == 1  # nothing is left of the attempt


@pytest.mark.parametrize("key", ["", "short"])
def test_online_without_a_key_is_refused_with_what_to_type(tmp_path, key):
    (line,) = online(tmp_path, WANDB_API_KEY=key)
    assert line.startswith("ERROR W&B: ")
    assert line.endswith("| `wandb login`, or give --wandb offline")


def test_the_program_tracks_predict_and_score(dialsum, tmp_path):
    """The bundled data, the whole way: numbers and settings, and no text."""
    options = ["--wandb", "offline"]
    dialsum("predict", "--model", "lead1", "--limit", 5, "--output", "s.csv", *options)
    gold = tmp_path / "gold.csv"
    rows = Path(PredictSettings().data).with_name("test_references.csv").read_text("utf-8").splitlines()
    gold.write_text("\n".join(rows[:6]) + "\n", "utf-8")
    score = json.loads(dialsum("score", "s.csv", gold, "--json", *options).stdout)
    (folder,) = (tmp_path / "runs" / "predict").iterdir()
    found = read(folder)
    assert (found["name"][:15], found["job"], found["exit"]) == ("Lead-1_predict_", "predict", 0)
    assert (found["summary"]["rows"], found["config"]["settings"]["limit"]) == (5, 5)
    scored = read(tmp_path / "runs" / "score")
    assert scored["summary"]["s.csv/final_score"] == score["systems"][0]["final_score"]
    for each in (folder / "wandb", tmp_path / "runs" / "score" / "wandb"):
        assert b"#Person1#" not in everything_in(each)


def test_the_program_tracks_screen_with_texts_where_allowed(dialsum, tmp_path):
    options = ["--models", "lead1", "--limit", 3, "--wandb", "offline", "--json"]
    result = json.loads(dialsum("screen", *options, "--wandb-log-text").stdout)
    folder = tmp_path / result["run_dir"]
    summary = read(folder)["summary"]
    scores = {f"{row['model']}/final_score": row["final_score"] for row in result["leaderboard"]}
    assert scores.items() <= summary.items()
    for row in result["leaderboard"]:
        (path,) = folder.glob(f"wandb/*/files/summaries-{row['model']}.jsonl")
        lines = path.read_text("utf-8").splitlines()
        assert [set(json.loads(line)) for line in lines] == [{"fname", "dialogue", "summary"}] * 3


@pytest.mark.slow
@pytest.mark.parametrize("allowed", [False, True])
def test_the_program_tracks_finetune_with_texts_where_allowed(dialsum, tmp_path, allowed):
    write_data(tmp_path / "train.csv", "train.csv", 8, "#Person1#은 말한다.")
    write_data(tmp_path / "dev.csv", "test.csv", 3, "#Person1#은 말한다.")
    options = ["--train", "train.csv", "--dev", "dev.csv", "--num-epochs", 1, "--max-new-tokens", 8]
    texts = ["--wandb-log-text"] if allowed else []
    (run,) = json.loads(dialsum("finetune", *options, "--wandb", "offline", *texts, "--json").stdout)["runs"]
    folder = tmp_path / run["run_dir"]
    assert read(folder)["summary"]["final_score"] == run["after"]["final_score"]
    assert (b"#Person1#" in everything_in(folder / "wandb")) == allowed
    files = folder.glob("wandb/*/files/summaries.jsonl")
    lines = [json.loads(line) for path in files for line in path.read_text("utf-8").splitlines()]
    assert [set(line) for line in lines] == [{"fname", "dialogue", "summary"}] * 3 * allowed


@pytest.mark.slow
@pytest.mark.parametrize(("command", "code"), [("predict", 2), ("screen", 1)])
def test_a_command_that_fails_is_a_failed_run(dialsum, tmp_path, command, code):
    """In a screening, the only model's error is a row, and no exception."""
    broken = tmp_path / "broken"
    broken.mkdir()
    option = "--model" if command == "predict" else "--models"
    dialsum(command, option, broken, "--limit", 2, "--wandb", "offline", check=code)
    (folder,) = (tmp_path / "runs" / command).glob("2*")
    assert read(folder)["exit"] == 1
