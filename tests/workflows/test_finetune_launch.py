"""`accelerate launch -m dialsum_cli finetune`: several processes train as one would, and fail or go on together."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from frail import frail
from safetensors.torch import load_file
from tiny_models import make_model
from transformers import AutoTokenizer

from dialsum_cli.prompts import load_prompt
from dialsum_cli.prompts.chat import ChatPrompt
from tests.workflows.test_finetune import TAGGED, read_rows, write_data
from tests.workflows.test_finetune_nights import ALONE, Night

pytestmark = pytest.mark.slow
LAUNCH = [
    sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
    "--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no",
]  # fmt: skip
ROWS, BATCH = 21, 5  # shares of three rows and of two; the step with what is left has a row for one process only
OPTIONS = {
    "num-epochs": 4, "batch-size": BATCH, "lora-dropout": 0, "max-new-tokens": 8, "learning-rate": 1e-3,
    "prompt": "short", "eval-limit": 3, "patience": 99,
}  # fmt: skip

# The program, with a second process whose device has little memory, or fails.
FRAIL = """
import os, sys
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from dialsum_cli.cli import main

room, fails_after = int(sys.argv.pop(1)), int(sys.argv.pop(1))
calls = 0

def take(module, arguments):
    global calls
    if isinstance(module, torch.nn.Embedding) and torch.is_grad_enabled():
        calls += 1
        if calls == fails_after:
            raise RuntimeError("the device fell off the bus")
        if arguments[0].numel() > room:
            raise torch.OutOfMemoryError("tried to allocate")

if os.environ["RANK"] == "1":
    register_module_forward_pre_hook(take)
sys.exit(main())
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    write_data(folder / "train.csv", "train.csv", ROWS, TAGGED)
    write_data(folder / "dev.csv", "dev.csv", 5)
    make_model(folder / "bart", "bart")
    config = json.loads((folder / "bart" / "config.json").read_text())
    (folder / "bart" / "config.json").write_text(json.dumps(config | {"dropout": 0.0}))
    make_model(folder / "llama", "llama")
    (folder / "frail.py").write_text(FRAIL, encoding="utf-8")
    return folder


def arguments(place, models, folder, **given):
    values = {
        "models": ",".join(str(place / model) for model in models), "train": place / "train.csv",
        "dev": place / "dev.csv", "output-dir": folder, **OPTIONS, **given,
    }  # fmt: skip
    return ["finetune", *(str(part) for name, value in values.items() for part in (f"--{name}", value)), "--json"]


def run(command, code=0):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done


@dataclass(frozen=True)
class Outcome:
    """What a run has left for a model."""

    folder: Path

    @classmethod
    def of(cls, folder, model):
        (path,) = folder.glob(f"*{model}*/*/configuration.json")
        return cls(path.parent)

    def curve(self, column):
        return [float(row[column]) for row in read_rows(self.folder / "history.csv") if row[column]]

    def weights(self):
        """Of the last step, whichever was the best."""
        last = max(self.folder.glob("checkpoints/checkpoint-*"), key=lambda path: int(path.name[11:]))
        (path,) = last.glob("*model.safetensors")
        return load_file(path)


def assert_follows(ours, theirs):
    """The same curve and the same weights, but for rounding."""
    for column in ("loss", "grad_norm", "learning_rate"):
        assert ours.curve(column) == pytest.approx(theirs.curve(column), rel=1e-4), column
    assert len(ours.curve("loss")) == 3  # steps 1, 10 and 20
    assert ours.curve("final_score") == pytest.approx(theirs.curve("final_score"), abs=0.5)  # a word may flip
    assert ours.curve("tokens") == theirs.curve("tokens")
    expected = theirs.weights()
    for name, weight in ours.weights().items():
        torch.testing.assert_close(
            weight, expected[name], atol=1e-5, rtol=1e-4, msg=lambda text, name=name: name + text
        )


@pytest.fixture(scope="module")
def alone(place):
    run([sys.executable, "-m", "dialsum_cli", *arguments(place, ["bart", "llama"], place / "alone")])
    return place / "alone"


@pytest.fixture(scope="module")
def together(place):
    done = run([*LAUNCH, "-m", "dialsum_cli", *arguments(place, ["bart", "llama"], place / "together")])
    return place / "together", done


@pytest.mark.parametrize("model", ["bart", "llama"])
def test_two_processes_follow_the_curve_of_one(alone, together, model):
    ours = Outcome.of(together[0], model)
    assert_follows(ours, Outcome.of(alone, model))
    assert json.loads((ours.folder / "plan.json").read_text())["processes"] == 2
    assert (ours.folder / "model").is_dir()
    assert len(read_rows(ours.folder / "predictions.csv")) == 5


def test_one_process_prints(together):
    _, done = together
    assert [run["status"] for run in json.loads(done.stdout)["runs"]] == ["ok", "ok"]
    assert done.stderr.count("What the training takes") == 2  # once for each model


def test_a_model_that_fails_in_one_process_fails_in_all_and_the_next_one_is_trained(place, tmp_path, alone):
    frail = [place / "frail.py", 10**9, 20]  # while bart is trained
    run([*map(str, [*LAUNCH, *frail]), *arguments(place, ["bart", "llama"], tmp_path)])
    broken, whole = Outcome.of(tmp_path, "bart"), Outcome.of(tmp_path, "llama")
    assert "process 1: the device fell off the bus" in (broken.folder / "log.txt").read_text()
    assert not (broken.folder / "result.json").exists()
    assert_follows(whole, Outcome.of(alone, "llama"))


def test_memory_that_runs_out_in_one_process_halves_what_both_compute_at_once(place, tmp_path, alone):
    prompt = ChatPrompt(AutoTokenizer.from_pretrained(place / "llama"), load_prompt("short"))
    rows = read_rows(place / "train.csv")
    widest = max(len(prompt.encode(row["dialogue"]).ids + prompt.answer_ids(row["summary"])) for row in rows)
    frail = [place / "frail.py", widest, -1]  # room for a single row
    run([*map(str, [*LAUNCH, *frail]), *arguments(place, ["llama"], tmp_path)])
    ours = Outcome.of(tmp_path, "llama")
    assert json.loads((ours.folder / "plan.json").read_text())["micro_batch_tokens"] <= widest
    assert_follows(ours, Outcome.of(alone, "llama"))


class LaunchedNight(Night):
    """A night of two processes."""

    def __init__(self, place, folder, **given):
        super().__init__(place, folder)
        for name, value in {"num-epochs": 3, **given}.items():
            self.arguments[self.arguments.index(f"--{name}") + 1] = str(value)

    def start(self, *more, program=(*LAUNCH, *ALONE[1:])):
        return super().start(*more, program=program)

    def kill_after(self, steps, rank):
        """Let one of the processes die after so many steps; the launcher ends the other one."""
        with self.start(program=[*LAUNCH, *frail("step", steps, signal.SIGKILL, rank)[1:]]) as launcher:
            _, errors = launcher.communicate()
        assert launcher.returncode != 0, errors
        alive = [each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline"])]
        assert not [command for command in alive if str(self.folder) in command]
        assert not [*self.folder.glob("*/*/result.json")]


def test_killed_processes_are_resumed_to_the_bit(place, tmp_path):
    whole = LaunchedNight(place, tmp_path / "whole")
    whole.finish()
    night = LaunchedNight(place, tmp_path / "killed")
    night.kill_after(5, rank=1)
    assert night.step() in (5, 6)  # the first process may have come so far
    night.kill_after(10, rank=0)
    assert 14 < night.step() < 18
    _, errors = night.finish()
    assert "going on from step" in errors
    assert "processes instead of" not in errors
    assert len([*night.folder.glob("*/*/configuration.json")]) == 1
    assert night.adapter() == whole.adapter()


def test_another_number_of_processes_goes_on_with_the_same_steps_and_says_what_differs(place, tmp_path):
    whole = LaunchedNight(place, tmp_path / "whole", **{"lora-dropout": 0})
    whole.start(program=ALONE).communicate()
    night = LaunchedNight(place, tmp_path / "killed", **{"lora-dropout": 0})
    night.kill_after(15, rank=1)
    with night.start(program=ALONE) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "in 1 process instead of 2" in errors
    assert "dropout's random numbers are others" in errors
    ours, theirs = Outcome.of(night.folder, "llama"), Outcome.of(whole.folder, "llama")
    last = [curve.curve("loss")[-1] for curve in (ours, theirs)]
    assert last[0] == pytest.approx(last[1], rel=1e-4)
    expected = theirs.weights()
    for name, weight in ours.weights().items():
        torch.testing.assert_close(weight, expected[name], atol=1e-4, rtol=1e-3)
    assert json.loads((ours.folder / "plan.json").read_text())["processes"] == 1
