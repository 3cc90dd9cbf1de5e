"""`dialsum finetune` over a night: models that break, processes that die, disks that fill, curves that fall."""

import json
import random
import shutil
import signal
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest
import torch
from frail import frail, wait_for_stop
from safetensors.torch import load_file
from tiny_models import make_model

from tests.workflows.test_finetune import TAGGED, read_rows, write_data

pytestmark = pytest.mark.slow
ALONE = tuple(frail("step", 10**9, signal.SIGSTOP))  # which never comes
FAMILIES = ("t5", "mbart", "gpt2", "llama", "qwen")
WRONG = "아무도 아무 말도 하지 않았고 아무 일도 없었다."


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    write_data(folder / "tagged.csv", "train.csv", 32, "#Person1#은 인사한다.")
    write_data(folder / "wrong.csv", "train.csv", 40, WRONG)
    write_data(folder / "train.csv", "train.csv", 24, TAGGED)
    write_data(folder / "dev.csv", "dev.csv", 8)
    for family in FAMILIES:
        make_model(folder / family, family)
    shutil.copytree(folder / "llama", folder / "broken")
    weights = folder / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    return folder


def runs_of(done):
    return {Path(run["model"]).name: run for run in json.loads(done.stdout)["runs"]}


def test_models_of_all_shapes_go_from_training_to_prediction_past_a_broken_one(dialsum, place, tmp_path):
    names = ["t5", "mbart", "broken", "gpt2", "llama", "qwen"]
    done = dialsum(
        "finetune", "--models", ",".join(str(place / name) for name in names), "--train", place / "tagged.csv",
        "--dev", place / "tagged.csv", "--prompt", "short", "--max-new-tokens", 40, "--learning-rate", 1e-2,
        "--batch-size", 8, "--num-epochs", 12, "--eval-steps", 999, "--eval-limit", 4, "--json",
    )  # fmt: skip
    runs = runs_of(done)
    assert [*runs] == names
    broken = runs.pop("broken")
    assert (broken["status"], broken["after"]) == ("failed", None)
    assert "the weights of" in broken["error"]
    assert "are not whole" in broken["error"]
    assert "\n" not in broken["error"]
    assert "Traceback" not in done.stderr
    for name, run in runs.items():
        assert (run["status"], run["error"]) == ("ok", None), name
        assert run["trainer"] == ("seq2seq" if name in ("t5", "mbart") else "causal")
        assert run["after"]["final_score"] > run["before"]["final_score"] + 30, name
        output = tmp_path / f"{name}.csv"
        dialsum("predict", "--model", run["run_dir"], "--data", place / "tagged.csv", "--output", output)
        written = read_rows(output)
        assert written == read_rows(tmp_path / run["run_dir"] / "predictions.csv")
        assert sum("#Person1#" in row["summary"] for row in written) > 24, name  # tags survive


def test_nf4_trains_on_a_cpu_and_merges_into_whole_weights(dialsum, place, tmp_path):
    options = ("--batch-size", 8, "--num-epochs", 4, "--max-new-tokens", 24, "--eval-steps", 99, "--prompt", "short")
    done = dialsum(
        "finetune", "--models", "tiny-llama", "--method", "qlora", "--train", place / "tagged.csv",
        "--dev", place / "tagged.csv", "--gradient-checkpointing", "on", "--merge", *options, "--json",
    )  # fmt: skip
    run = runs_of(done)["tiny-llama"]
    assert (run["status"], run["precision"], run["plan"]["method"]) == ("ok", "nf4", "qlora")
    assert run["plan"]["gradient_checkpointing"]
    folder = tmp_path / run["run_dir"]
    losses = [float(row["loss"]) for row in read_rows(folder / "history.csv") if row["loss"]]
    assert losses[-1] < 0.7 * losses[0]
    assert run["after"]["final_score"] > run["before"]["final_score"]
    assert {weight.dtype for weight in load_file(folder / "model" / "adapter_model.safetensors").values()} == {
        torch.float32
    }
    merged = load_file(folder / "merged" / "model.safetensors")
    assert all(weight.dtype == torch.float32 for weight in merged.values())  # never into 4 bits
    assert not any("absmax" in name or "lora" in name for name in merged)
    script = f"""
import sys
sys.modules["peft"] = None  # not installed
from transformers import AutoModelForCausalLM
AutoModelForCausalLM.from_pretrained({str(folder / "merged")!r})
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


@pytest.mark.parametrize("model", ["tiny-bart", "tiny-llama"])
def test_a_curve_that_falls_stops_after_three_evaluations_at_its_best(dialsum, place, tmp_path, model):
    done = dialsum(
        "finetune", "--models", model, "--train", place / "wrong.csv", "--dev", place / "dev.csv", "--batch-size", 4,
        "--eval-steps", 1, "--num-epochs", 1, "--learning-rate", 2e-4, "--scheduler", "constant", "--warmup-ratio", 0,
        "--max-new-tokens", 40, "--json",
    )  # fmt: skip
    run = runs_of(done)[model]
    folder = tmp_path / run["run_dir"]
    history = read_rows(folder / "history.csv")
    curve = {int(row["step"]): float(row["final_score"]) for row in history if row["final_score"]}
    best = max(curve, key=curve.get)
    assert run["best_step"] == best
    assert [*curve] == [*range(1, best + 4)]  # three more, of the ten that an epoch has
    assert len(curve) < 10
    assert curve[best + 3] < curve[best]
    assert f"{model}: stopped at step {best + 3} of 10: 3 evaluations without a better score" in done.stderr
    assert f"{model}: final score {curve[best]:.2f}" in done.stderr
    assert run["after"]["final_score"] == pytest.approx(curve[best], abs=1e-4)
    dialsum("predict", "--model", folder, "--data", place / "dev.csv", "--output", "out.csv")
    assert read_rows(tmp_path / "out.csv") == read_rows(folder / "predictions.csv")


class Night:
    """A run that takes a while: 72 steps with dropout, a checkpoint after each, in a folder of its own."""

    def __init__(self, place, folder):
        self.folder = folder
        options = {
            "models": place / "llama", "train": place / "train.csv", "dev": place / "dev.csv", "prompt": "short",
            "max-new-tokens": 4, "eval-limit": 2, "num-epochs": 6, "batch-size": 2, "patience": 99,
            "lora-dropout": 0.3, "learning-rate": 1e-3, "checkpoint-minutes": 1e-6, "output-dir": folder,
        }  # fmt: skip
        self.arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]

    def start(self, *more, program=ALONE):
        command = [*program, "finetune", *self.arguments, *map(str, more), "--json"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self, *more, code=0):
        process = self.start(*more)
        output, errors = process.communicate()
        assert process.returncode == code, f"{output}\n{errors}"
        assert "Traceback" not in errors
        return json.loads(output)["runs"][0], errors

    def checkpoints(self):
        return sorted(self.folder.glob("*/*/checkpoints/checkpoint-*"), key=lambda path: int(path.name[11:]))

    def step(self):
        return int(self.checkpoints()[-1].name[11:]) if self.checkpoints() else 0

    def adapter(self):
        (path,) = self.folder.glob("*/*/model/adapter_model.safetensors")
        return path.read_bytes()


@pytest.fixture(scope="module")
def undisturbed(place):
    night = Night(place, place / "undisturbed")
    result, _ = night.finish()
    assert result["status"] == "ok"
    return night, result


def test_ten_kills_at_random_moments_leave_the_same_adapter_to_the_bit(place, tmp_path, undisturbed):
    whole, expected = undisturbed
    night, moments = Night(place, tmp_path / "killed"), random.Random(5)
    # While it loads; between two steps; while it writes a checkpoint; just before that takes its place.
    events = {"import": 1000, "step": 8, "checkpoint": 20, "rename": 8}
    for _, (event, most) in zip(range(10), cycle(events.items()), strict=False):
        with night.start(program=frail(event, moments.randrange(1, most), signal.SIGKILL)) as process:
            output, errors = process.communicate()
        assert process.returncode == -signal.SIGKILL, f"{event}: {output}\n{errors}"
    assert 10 < night.step() < 72
    result, errors = night.finish()
    assert "going on from step" in errors
    assert len([*night.folder.glob("*/*/configuration.json")]) == 1
    assert night.adapter() == whole.adapter()
    assert (result["best_step"], result["after"]) == (expected["best_step"], expected["after"])
    assert not [*night.folder.glob("*/*/checkpoints/.unfinished")]


def test_a_run_that_is_unfinished_finished_or_alive(place, tmp_path):
    night = Night(place, tmp_path / "runs")
    with night.start(program=frail("step", 2, signal.SIGSTOP)) as process:
        try:
            wait_for_stop(process)
            other, _ = night.finish("--learning-rate", 2e-3, "--num-epochs", 1)  # the first is alive: left alone
            assert other["status"] == "ok"
        finally:
            process.kill()
    (alive,) = {path.parent for path in night.folder.glob("*/*/configuration.json")} - {Path(other["run_dir"])}
    Path(other["run_dir"]).rename(tmp_path / "elsewhere")
    refused, errors = night.finish("--learning-rate", 2e-3, code=1)
    assert "learning_rate 0.001 (now 0.002)" in refused["error"]
    assert "--no-resume" in errors
    anew, _ = night.finish("--learning-rate", 2e-3, "--num-epochs", 1, "--no-resume")
    assert Path(anew["run_dir"]) != alive
    again, errors = night.finish("--learning-rate", 2e-3, "--num-epochs", 1)  # the newest is finished: afresh
    assert again["run_dir"] not in (anew["run_dir"], str(alive))
    assert "going on" not in errors


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 40 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs the program mount")
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_during_a_checkpoint_costs_nothing_older(place, small_disk, undisturbed):
    whole, _ = undisturbed
    night = Night(place, small_disk / "runs")
    ballast, left = small_disk / "ballast", 300_000  # enough for a log, too little for a checkpoint
    with night.start(program=frail("step", 3, signal.SIGSTOP)) as process:  # while it writes no checkpoint
        try:
            wait_for_stop(process)
            with ballast.open("wb") as file:
                while (free := shutil.disk_usage(small_disk).free) > left:
                    file.write(bytes(min(free - left, 1 << 20)))
                    file.flush()
            process.send_signal(signal.SIGCONT)
            output, errors = process.communicate()
        finally:
            process.kill()
    assert process.returncode == 1, errors
    (run,) = json.loads(output)["runs"]
    assert run["status"] == "failed"
    assert "can't write the checkpoint of step" in run["error"]
    assert "free some disk" in run["error"] + errors
    assert "Traceback" not in errors
    assert "\n" not in run["error"]
    newest = night.checkpoints()[-1]
    assert f"step {night.step() + 1} " in run["error"]  # what was there is there
    assert not [*newest.parent.glob(".unfinished")]
    assert load_file(newest / "adapter_model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        assert torch.load(newest / name, weights_only=False)
    assert json.loads((newest / "trainer_state.json").read_text())["global_step"] == night.step()
    ballast.unlink()
    result, errors = night.finish()
    assert result["status"] == "ok"
    assert f"going on from step {newest.name[11:]}" in errors
    assert night.adapter() == whole.adapter()
