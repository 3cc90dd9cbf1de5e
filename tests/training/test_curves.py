"""The loss curve of `dialsum finetune` is that of a plain `Trainer` on the same batches."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from real_models import smollm2_folder
from tiny_models import make_model

from dialsum_cli.data.dialogues import read_dialogues
from dialsum_cli.engines.huggingface import open_prompt
from dialsum_cli.models.loading import load
from dialsum_cli.registry import FULL, QLORA, resolve
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import BUNDLED, FinetuneSettings
from dialsum_cli.training.batches import make_examples
from dialsum_cli.training.methods import prepare
from dialsum_cli.training.steps import Steps
from dialsum_cli.training.trainers import train
from tests.training.plain import train_plainly

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]
SEED = 7


class Recording(Steps):
    """Keeps the loss of every step."""

    def add_up(self, loss):
        loss = super().add_up(loss)
        self.losses = [*getattr(self, "losses", []), loss.item()]
        return loss


def opened(source, recipe, dialogues, precision):
    """A model as it is before its first step, its examples, and the settings that it was opened with."""
    settings = FinetuneSettings(
        models=[str(source)], precision=precision, prompt="short", max_new_tokens=120, seed=SEED
    )
    loaded, _ = prepare(load(resolve(str(source)), settings), recipe, dialogues, SEED)
    loaded.model.config.use_cache = False
    prompt, most = open_prompt(loaded.spec, loaded.model.config, loaded.tokenizer, settings)
    return loaded, make_examples(dialogues, prompt, most, settings.max_new_tokens).items, settings


def train_ours(loaded, examples, recipe, settings, folder, budget):
    steps = Recording(loaded, recipe, budget, pytest.fail)
    folder.mkdir()
    train(
        loaded, examples, recipe, settings, steps, folder, lambda: {"final_score": 0.0}, lambda history: None,
        Reporter(),
    )  # fmt: skip
    steps.loss.remove()
    return steps.losses


@pytest.fixture(scope="module")
def dialogues():
    found = read_dialogues(BUNDLED / "train.csv", references=True)
    return sorted(found, key=lambda dialogue: len(dialogue.text))


LORA = replace(QLORA, method="lora", lora_dropout=0.0, optimizer="adamw_torch")


@pytest.mark.parametrize(("family", "recipe"), [
    ("llama", replace(LORA, learning_rate=5e-3)),
    ("bart", replace(FULL, learning_rate=2e-3)),
    ("t5", replace(FULL, learning_rate=2e-3)),
])  # fmt: skip
def test_fifty_steps_are_those_of_a_plain_trainer(tmp_path, dialogues, family, recipe):
    folder = make_model(tmp_path / family, family)
    config = json.loads((folder / "config.json").read_text())
    without = {"dropout": 0.0, "dropout_rate": 0.0} if family != "llama" else {}
    (folder / "config.json").write_text(json.dumps(config | without))
    recipe = replace(recipe, batch_size=8, num_epochs=5, patience=9)
    loaded, examples, settings = opened(folder, recipe, dialogues[:80], "fp32")
    ours = train_ours(loaded, examples, recipe, settings, tmp_path / "ours", budget=900)
    plain, examples, _ = opened(folder, recipe, dialogues[:80], "fp32")
    theirs = train_plainly(plain, examples, recipe, SEED, tmp_path / "plain")
    assert len(ours) == len(theirs) == 50
    assert theirs[-1] < 0.95 * theirs[0]  # something was learnt, so that a difference would have grown
    assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.gpu
def test_two_hundred_steps_of_a_real_model_are_a_plain_trainers_within_the_noise_of_bf16(tmp_path, dialogues, capsys):
    """The noise is what the plain Trainer itself differs by once its batches are computed in halves."""
    recipe = replace(LORA, batch_size=16, num_epochs=2, patience=9, learning_rate=2e-4)
    chosen = dialogues[:: len(dialogues) // 1600][:1600]
    curves = {}
    for name in ("plain", "halves", "ours"):
        loaded, examples, settings = opened(smollm2_folder(), recipe, chosen, "bf16")
        if name == "ours":
            curves[name] = train_ours(loaded, examples, recipe, settings, tmp_path / name, budget=16_384)
        else:
            halves = 2 if name == "halves" else 1
            curves[name] = train_plainly(
                loaded, examples, recipe, SEED, Path(tmp_path / name), accumulation=halves, bf16=True
            )
        del loaded
        torch.cuda.empty_cache()
    plain, halves, ours = (torch.tensor(curves[name]) for name in ("plain", "halves", "ours"))
    assert len(ours) == len(plain) == 200
    noise, difference = (halves - plain).abs().mean().item(), (ours - plain).abs().mean().item()
    with capsys.disabled():
        sys.stdout.write(
            f"\nloss {plain[0]:.3f} to {plain[-10:].mean():.3f}; noise {noise:.2e}, ours {difference:.2e}\n"
        )
    assert plain[-10:].mean() < 0.9 * plain[:10].mean()
    assert difference < 2 * noise
    assert abs((ours - plain).mean().item()) < noise  # nor is it a bias
