"""The benchmarks run on a CPU as they do on a GPU: tiny models, a few steps."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

TRAINING = Path(__file__).resolve().parent.parent / "benchmarks" / "training.py"
METHODS = ("bf16", "nf4", "nf4-checkpointing")


def results(output):
    """What is filed of the tiny shape on this machine."""
    (found,) = (each["tiny"] for each in json.loads(output.read_text(encoding="utf-8")).values() if "tiny" in each)
    return found


def train(output, launcher, ways, method):
    """Run the benchmark of the tiny shape, one step that counts; returns what is filed now."""
    options = ["--shapes", "tiny", "--steps", "1", "--ways", ways, "--methods", method, "--output", str(output)]
    subprocess.run([*launcher, str(TRAINING), *options], check=True, timeout=600)
    return results(output)


@pytest.mark.slow
def test_training_measures_the_seeds_recipe_and_ours_into_one_file(tmp_path):
    output = tmp_path / "training.json"
    rows = train(output, [sys.executable], "seed,ours", ",".join(METHODS))
    assert list(rows) == ["seed", *(f"{method} ours" for method in METHODS)]
    for key, row in rows.items():
        assert row["steps"] == 1, key
        assert row["gradient_checkpointing"] == (key in ("seed", "nf4-checkpointing ours"))
        assert row["minutes_an_epoch"] == pytest.approx(12_457 * 540 / row["tokens_per_second"] / 60)
        assert row["times_the_floor"] == pytest.approx(row["minutes_an_epoch"] / row["floor_minutes"])
    seed, ours = rows["seed"], rows["bf16 ours"]
    assert ours["times_seed"] == pytest.approx(ours["tokens_per_second"] / seed["tokens_per_second"])

    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
              "--main_process_port", "0"]  # fmt: skip
    merged = train(output, launch, "ours", "bf16")
    assert list(merged) == [*rows, "bf16 ours on 2"]
    both = merged["bf16 ours on 2"]
    assert both["times_one"] == pytest.approx(both["tokens_per_second"] / ours["tokens_per_second"])


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("trl"), reason="needs TRL: pip install trl==1.16")
@pytest.mark.parametrize("method", ["bf16", "nf4-checkpointing"])
def test_training_measures_trl_at_the_settings_of_ours(tmp_path, method):
    rows = train(tmp_path / "training.json", [sys.executable], "ours,trl", method)
    ours, trl = rows[f"{method} ours"], rows[f"{method} trl"]
    same = ("gradient_checkpointing", "lora_dropout", "optimizer", "steps")
    assert {name: trl[name] for name in same} == {name: ours[name] for name in same}
    assert trl["micro_batch_rows"] * 1024 == ours["micro_batch_tokens"]
    assert ours["times_trl"] == pytest.approx(ours["tokens_per_second"] / trl["tokens_per_second"])
