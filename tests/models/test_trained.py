"""What a fine-tuned model's folder brings along, and what it must not decide."""

import json

import pytest
from tiny_models import make_model

from dialsum_cli import PredictSettings, TuneSettings, predict, tune
from dialsum_cli.data.submissions import read_submission
from dialsum_cli.engines.huggingface import open_summarizer
from dialsum_cli.models.trained import as_trained, save_options
from dialsum_cli.registry import resolve
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import GenerationSettings

BEAMS = PredictSettings(num_beams=4, length_penalty=0.7, max_new_tokens=8)


class Told(Reporter):
    """Remembers the warnings."""

    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Makes a model of a family that was trained to be used with beams."""
    monkeypatch.chdir(tmp_path)

    def make(family):
        folder = make_model(tmp_path / family, family)
        save_options(folder, BEAMS, {})
        return folder

    return make


@pytest.mark.parametrize(
    ("given", "beams", "penalty"),
    [
        ({}, 4, 0.7),
        ({"num_samples": 2}, 1, 1.0),
        ({"num_samples": 2, "num_beams": 3}, 3, 0.7),  # refused where it is asked for
        ({"num_samples": 2, "length_penalty": 2.0}, 1, 2.0),
    ],
)
def test_samples_are_drawn_without_the_beams_of_the_training(tmp_path, given, beams, penalty):
    save_options(tmp_path, BEAMS, {})
    asked, _ = as_trained(PredictSettings(**given), tmp_path)
    assert (asked.num_beams, asked.length_penalty) == (beams, penalty)


def test_settings_that_know_no_samples_keep_the_beams(tmp_path):
    save_options(tmp_path, BEAMS, {})
    assert as_trained(GenerationSettings(), tmp_path)[0].num_beams == 4


@pytest.mark.parametrize("family", ["llama", "bart"])
@pytest.mark.parametrize("number", [2, 4, 8])  # fewer than the beams, as many, more
def test_a_model_trained_with_beams_draws_samples(trained, family, number):
    result = predict(
        PredictSettings(model=str(trained(family)), limit=2, num_samples=number, keep_samples="s.csv", temperature=2.0)
    )
    drawn = [tuple(read_submission(path).values()) for path in result.samples]
    assert len(set(drawn)) == number


def test_its_sampling_can_be_tuned(trained):
    options = {"num_samples": 2, "limit": 4, "trials": 2, "space": {"temperature": [0.5, 1.0]}}
    [stage] = tune(TuneSettings(model=str(trained("llama")), **options)).stages
    assert [(trial.status, trial.options["num_beams"]) for trial in stage.trials] == [("ok", 1)] * 2
    assert json.loads(stage.trials[0].model_dump_json())["options"]["num_samples"] == 2


@pytest.mark.parametrize(("family", "warned"), [("llama", True), ("bart", False)])
def test_another_prompt_is_a_matter_of_models_that_are_asked_with_one(trained, family, warned):
    told = Told()
    with open_summarizer(resolve(str(trained(family))), PredictSettings(prompt="short"), told):
        pass
    assert any("trained with another prompt" in each for each in told.warnings) is warned
