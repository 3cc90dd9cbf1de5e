"""`accelerate launch`: several processes write what one would, whatever becomes of one of them."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from frail import frail
from safetensors.torch import load_file, save_file

from dialsum_cli.settings import BUNDLED
from tests.workflows.test_screen import timeless

LAUNCH = (
    sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0",
)  # fmt: skip
SMALL = ("--data", BUNDLED / "test.csv", "--limit", 14, "--max-new-tokens", 16, "--batch-tokens", 1500)


@pytest.fixture
def launch(tmp_path):
    """Run a program in two processes, in an empty folder."""

    def run(*arguments, check=True):
        program = arguments if str(arguments[0]).endswith(".py") else ("-m", "dialsum_cli", *arguments)
        launched = subprocess.Popen(
            [*LAUNCH, *map(str, program)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        out, err = launched.communicate(timeout=600)
        assert (launched.returncode == 0) == check, f"exit {launched.returncode}\n{out}\n{err}"
        return out, err

    return run


def texts(folder):
    """The hashes of the dialogues in all stores of a folder, as often as they were summarised."""
    lines = [line for path in folder.rglob("*.jsonl") for line in path.read_text("utf-8").splitlines() if line]
    return [text for line in lines for text in json.loads(line).get("summaries", ())]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("--model", "tiny-bart"),
        ("--model", "tiny-llama", "--num-samples", 2, "--keep-samples", "samples.csv"),
        ("--model", "tiny-llama", "--long-dialogue", "chunk", "--prompt", "long.yaml"),
    ],
    ids=["one summary", "the best of two samples", "in parts"],
)
def test_two_processes_write_the_file_of_one_byte_for_byte(tmp_path, dialsum, launch, options):
    instruction = "한국어로 짧게 요약하세요. " * 300  # so long that some dialogues don't fit beside it
    prompt = f"system: {instruction}\nuser: '{{dialogue}}'\nplain: '{{dialogue}}'\n"
    (tmp_path / "long.yaml").write_text(prompt, "utf-8")
    command = ("predict", *options, *SMALL, "--output", "file.csv", "--json")
    alone = json.loads(dialsum(*command, "--output-dir", "one").stdout)
    one = {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")}
    out, err = launch(*command, "--output-dir", "two", "--overwrite")
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")} == one
    result = json.loads(out)  # one document, of the first process
    assert result["rows"] == 14
    assert result["chunked"] == alone["chunked"]
    assert bool(result["chunked"]) == ("chunk" in options)
    assert len([*(tmp_path / "two").glob("2*")]) == 1  # one run folder
    assert json.loads(Path(tmp_path, result["run_dir"], "provenance.json").read_text("utf-8"))["processes"] == 2
    assert len([*(tmp_path / "two").rglob("*.1.jsonl")]) >= 1  # the second one has worked as well
    assert sorted(texts(tmp_path / "two")) == sorted({*texts(tmp_path / "one")})  # each text once
    assert err.count("14 dialogues in") == 1  # the progress, too


@pytest.mark.slow
def test_after_the_loss_of_a_process_the_same_command_asks_only_what_is_missing(tmp_path, dialsum, launch):
    command = (
        "predict", "--model", "tiny-llama", "--data", BUNDLED / "test.csv", "--limit", 60, "--max-new-tokens", 16,
        "--batch-tokens", 1000, "--output", "file.csv", "--output-dir", "two",
    )  # fmt: skip
    _, err = launch(*frail("keep", 2, signal.SIGKILL, rank=1)[1:], *command, check=False)
    assert "the same command" in err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []  # no half of a file
    kept = texts(tmp_path)
    assert 0 < len(kept) < 60
    _, err = launch(*command)
    assert f"{len(kept)} summaries are there from an earlier run" in err
    assert len(texts(tmp_path)) == len({*texts(tmp_path)}) == 60
    dialsum(*command[:-4], "--output", "one.csv", "--output-dir", "one")
    assert (tmp_path / "file.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


@pytest.fixture
def broken(tmp_path):
    """A model that lacks a weight."""
    folder = Path(shutil.copytree(BUNDLED.parents[1] / "models/bundled/tiny-llama", tmp_path / "broken"))
    weights = load_file(folder / "model.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.slow
def test_a_screening_of_two_processes_is_that_of_one_but_for_its_times(tmp_path, dialsum, launch, broken):
    command = ("screen", "--models", f"{broken.name},tiny-bart,tiny-llama", "--data", BUNDLED / "dev.csv",
               "--limit", 8, "--max-new-tokens", 16, "--batch-tokens", 1500, "--json")  # fmt: skip
    one = json.loads(dialsum(*command, "--output-dir", "one").stdout)
    two = json.loads(launch(*command, "--output-dir", "two")[0])
    assert timeless(two["leaderboard"]) == timeless(one["leaderboard"])
    assert [row["status"] for row in two["leaderboard"]].count("failed") == 1
    assert two["signature"] == one["signature"]
    files = [{path.name: path.read_bytes() for path in (tmp_path / each["run_dir"] / "predictions").iterdir()}
             for each in (one, two)]  # fmt: skip
    assert files[0] == files[1]


@pytest.mark.slow
def test_a_model_that_takes_too_long_is_stopped_in_all_and_goes_on_next_time(tmp_path, launch):
    command = ("screen", "--models", "tiny-llama,tiny-bart", "--data", BUNDLED / "dev.csv", "--limit", 40, "--json",
               "--max-new-tokens", 16, "--batch-tokens", 1000, "--output-dir", "two")  # fmt: skip
    rows = json.loads(launch(*command, "--max-minutes-per-model", 0.0001)[0])["leaderboard"]
    assert [row["status"] for row in rows].count("stopped") == 2
    kept = texts(tmp_path)
    assert 0 < len(kept) < 80
    rows = json.loads(launch(*command)[0])["leaderboard"]
    assert {row["status"] for row in rows} == {"ok"}
    assert len(texts(tmp_path)) == 80  # none of either model was made twice


ELSEWHERE = """
import os, sys
from dialsum_cli import {command}, {settings}, DialsumError
output = open(f"process-{{os.environ['RANK']}}.txt", "w")
if os.environ["RANK"] == "1":
    os.chdir("other")
try:
    result = {command}({settings}({options}))
    print("has", result.{shown}, file=output)
except DialsumError as error:
    print("says", error, file=output)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "settings", "options", "shown", "ends"),
    [
        (
            "screen",
            "ScreenSettings",
            "models=['tiny-bart', 'model'], limit=3, max_new_tokens=4, baselines=False, output_dir={folder!r}",
            "leaderboard",
            ["status='ok'", "status='failed', error='process 1: "],
        ),
        (
            "predict",
            "PredictSettings",
            "model='model', limit=3, max_new_tokens=4, output_dir={folder!r}",
            "rows",
            ["says process 1: "],
        ),
        (
            "predict",
            "PredictSettings",
            "model='tiny-llama', limit=3, max_new_tokens=4, output_dir='runs'",
            "rows",
            ["says process 1: ", "can't be seen here"],
        ),
        (
            "predict",
            "PredictSettings",
            "model='lead1', limit=3, output_dir={folder!r}",
            "rows",
            ["has 3"],
        ),
    ],
    ids=["a model fails in one process of two", "the only model does", "no shared folder", "a baseline"],
)
def test_what_one_process_lacks_ends_in_all_and_never_hangs(
    tmp_path, launch, broken, command, settings, options, shown, ends
):
    shutil.copytree(BUNDLED.parents[1] / "models/bundled/tiny-llama", tmp_path / "model")
    shutil.copytree(broken, tmp_path / "other" / "model")
    options = options.format(folder=str(tmp_path / "runs"))
    program = ELSEWHERE.format(command=command, settings=settings, options=options, shown=shown)
    (tmp_path / "program.py").write_text(program)
    launch(tmp_path / "program.py")
    first, second = ((tmp_path / f"process-{number}.txt").read_text("utf-8") for number in range(2))
    assert first == second  # the same result, or error
    assert all(end in first for end in ends), first


@pytest.mark.slow
@pytest.mark.parametrize(
    "work",
    [
        "from dialsum_cli.cli import main; main()",
        "from dialsum_cli import PredictSettings, predict; predict(PredictSettings(model='lead1', limit=2))",
    ],
    ids=["the program", "the function"],
)
def test_no_thread_of_the_network_outlives_python(tmp_path, launch, work):
    """One that does may abort the process at its end, after all work is done."""
    (tmp_path / "program.py").write_text(
        "import atexit, os\n"
        "from dialsum_cli import processes\n"
        "def left():\n"
        "    open('left-' + os.environ['RANK'], 'w').write(str(processes._group.cache_info().currsize))\n"
        "atexit.register(left)\n"
        f"{work}\n"
    )
    launch(tmp_path / "program.py", "predict", "--model", "lead1", "--limit", 2)
    assert {(tmp_path / f"left-{rank}").read_text() for rank in range(2)} == {"0"}


@pytest.mark.slow
def test_a_wrong_request_is_told_once(tmp_path, launch):
    for command, message in (
        (("predict", "--data", "absent.csv"), "absent.csv"),
        (("predict", "--engine", "openai", "--base-url", "http://127.0.0.1:9/v1", "--api-model", "m"), "by itself"),
    ):
        out, err = launch(*command, check=False)
        assert out == ""
        assert err.count(message) == 1, err
    assert not (tmp_path / "submission.csv").exists()


@pytest.mark.parametrize(
    ("place", "said"), [(("0", "0"), True), (("1", "1"), False), (("2", "0"), True)], ids=["first", "second", "host"]
)
@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("score", "a.csv", "b.csv"), "work for one process"),
        (("cache-clean", "--dry-run"), "work for one process"),
        (("screen", "--show-prompt"), "work for one process"),
        (("predict", "--num-beams", "0"), "--num-beams"),
        (("predict", "--nonsense"), "--nonsense"),
    ],
)
def test_what_a_launch_cannot_do_is_refused_once_on_each_host(dialsum, place, said, command, message):
    rank, local = place
    env = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": local}
    done = dialsum(*command, check=2, env=env)
    assert done.stdout == ""
    assert (message in done.stderr) == said
    assert bool(done.stderr) == said


def test_help_is_shown_by_the_first_process_alone(dialsum):
    assert "predict" in dialsum("--help", env={"WORLD_SIZE": "2", "RANK": "0"}).stdout
    assert dialsum("--help", env={"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}).stdout == ""
