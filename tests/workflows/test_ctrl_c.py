"""Ctrl-C in the middle of work: what was finished is kept, and the same command goes on from there."""

import signal
import subprocess

import pytest
from frail import frail
from tiny_models import make_model

from tests.workflows.test_finetune import TAGGED, write_data

GENERATING = ("--limit", 12, "--max-new-tokens", 8, "--batch-tokens", 600)
TRAINING = ("--prompt", "short", "--max-new-tokens", 4, "--num-epochs", 1, "--batch-size", 2, "--eval-limit", 2,
            "--checkpoint-minutes", 1e-6)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("event", "command", "said"),
    [
        ("keep", ("screen", "--models", "llama", "--data", "dev.csv", *GENERATING), "summaries are there from an earl"),
        ("keep", ("predict", "--model", "llama", "--data", "dev.csv", *GENERATING), "summaries are there from an earl"),
        (
            "step",
            ("finetune", "--models", "llama", "--train", "train.csv", "--dev", "dev.csv", *TRAINING),
            "going on from step 3",
        ),
    ],
    ids=["screen", "predict", "finetune"],
)
def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(dialsum, tmp_path, event, command, said):
    write_data(tmp_path / "train.csv", "train.csv", 20, TAGGED)
    write_data(tmp_path / "dev.csv", "dev.csv", 12)
    make_model(tmp_path / "llama", "llama")
    command = [*map(str, command), "--json"]
    stopped = subprocess.run([*frail(event, 3, signal.SIGINT), *command], cwd=tmp_path, capture_output=True, text=True)
    assert (stopped.returncode, stopped.stdout) == (130, ""), stopped.stderr
    last = stopped.stderr.splitlines()[-1]
    assert last == f"Stopped. What was finished is kept in 'runs/{command[0]}': the same command goes on from there."
    assert "Traceback" not in stopped.stderr
    assert not (tmp_path / "submission.csv").exists()
    assert said in dialsum(*command).stderr


@pytest.mark.parametrize("imports", [10, 200])
def test_ctrl_c_while_modules_are_read_is_one_line(tmp_path, imports):
    command = [*frail("import", imports, signal.SIGINT), "models"]
    stopped = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (130, "", "Stopped.\n")
