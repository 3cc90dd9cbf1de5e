"""`dialsum predict --average-logits`: a summarizer like any other, of models that are alike."""

import csv
import json
import shutil

import pytest
from heard import Heard
from tiny_models import make_model
from typer.testing import CliRunner

from dialsum_cli import PredictSettings, RequestError, predict
from dialsum_cli.cli import app
from dialsum_cli.data.submissions import read_submission
from dialsum_cli.models.alike import check_alike
from dialsum_cli.models.trained import save_options
from dialsum_cli.registry import resolve
from dialsum_cli.settings import GenerationSettings


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """Three dialogues in an empty folder, one of them long."""
    monkeypatch.chdir(tmp_path)
    with open("data.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["fname", "dialogue"])
        for number, lines in enumerate([1, 4, 30]):
            text = "\n".join(f"#Person{turn % 2 + 1}#: {turn}번째로 말합니다." for turn in range(lines))
            rows.writerow([f"d{number}", text])
    return tmp_path / "data.csv"


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Two models of one architecture and tokenizer."""
    root = tmp_path_factory.mktemp("models")
    return [str(make_model(root / f"llama{seed}", "llama", seed=seed)) for seed in range(2)]


def settings(**options):
    return PredictSettings(**{"data": "data.csv", "max_new_tokens": 8, "overwrite": True} | options)


def test_a_summarizer_like_any_other(members, data):
    told = Heard()
    first = predict(settings(average_logits=members), told)
    assert (first.rows, first.check.rows) == (3, 3)
    assert "2 models' logits are averaged in fp32, by transformers' generate" in told.notes
    written = read_submission("submission.csv")
    facts = json.loads((first.run_dir / "provenance.json").read_text("utf-8"))
    assert facts["average_logits"] == members
    assert len(set(facts["weights"])) == 2
    for model in members:  # neither's own summaries are taken for those of both, nor the other way round
        told = Heard()
        predict(settings(model=model), told)
        assert not any("from an earlier run" in each for each in told.notes)
        assert read_submission("submission.csv") != written
    told = Heard()
    predict(settings(average_logits=members), told)
    assert f"{' + '.join(members)}: 3 summaries are there from an earlier run" in told.notes
    assert read_submission("submission.csv") == written


def test_it_draws_samples_and_keeps_them(members):
    result = predict(settings(average_logits=members, num_samples=2, keep_samples="s.csv"))
    drawn = [read_submission(path) for path in result.samples]
    assert drawn[0] != drawn[1]
    chosen = read_submission("submission.csv")
    assert all(text in {each[fname] for each in drawn} for fname, text in chosen.items())


def test_it_summarises_long_dialogues_in_parts(tmp_path):
    models = [str(make_model(tmp_path / f"gpt{seed}", "gpt2", seed=seed, positions=400)) for seed in range(2)]
    assert predict(settings(average_logits=models, long_dialogue="chunk")).chunked > 0


def test_every_member_is_shown_its_prompt(members):
    done = CliRunner().invoke(
        app, ["predict", "--average-logits", ",".join(members), "--data", "data.csv", "--show-prompt", "--json"]
    )
    assert [each["model"] for each in json.loads(done.stdout)["prompts"]] == members


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--average-logits", "tiny-llama"], "--average-logits: give two models or more"),
        (["--average-logits", "tiny-llama,tiny-llama"], "'tiny-llama' is there twice"),
        (["--average-logits", "tiny-llama", "--average-logits", "lead3"], "'lead3' is a baseline and has no logits"),
        (["--average-logits", "tiny-llama,tiny-lama"], "tiny-lama"),
        (["--average-logits", "tiny-llama,tiny-bart", "--model", "llama3b"], "leave --model out"),
        (["--average-logits", "tiny-llama,tiny-bart"], "tiny-llama and tiny-bart differ in architecture (llama, bart)"),
        (["--average-logits", "tiny-llama,tiny-bart", "--engine", "vllm"], "means nothing to --engine vllm"),
        (["--average-logits", "tiny-llama,tiny-bart", "--base-url", "http://127.0.0.1:1/v1", "--api-model", "x"],
         "--average-logits means nothing to a server"),
    ],
)  # fmt: skip
def test_requests_that_are_refused(arguments, message, tmp_path):
    done = CliRunner().invoke(app, ["predict", "--data", "data.csv", *arguments], env={"COLUMNS": "400"})
    assert done.exit_code == 2, done.output
    assert message in done.output
    assert not (tmp_path / "submission.csv").exists()


def of_another_size(folder):
    shutil.rmtree(folder)
    make_model(folder, "llama", seed=1, positions=512)


def with_another_token(folder):
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    one, other = sorted(vocabulary, key=vocabulary.get)[-2:]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    path.write_text(json.dumps(tokenizer), encoding="utf-8")


def without_a_merge(folder):
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text("utf-8"))
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:-40]
    path.write_text(json.dumps(tokenizer), encoding="utf-8")


def with_another_template(folder):
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text("utf-8") + " ", encoding="utf-8")


def trained(**options):
    return lambda folder: save_options(folder, GenerationSettings(**options), {})


@pytest.mark.parametrize(
    ("change", "message", "given"),
    [
        (of_another_size, "differ in size (vocabulary 600, width 64, layers 2, positions 2048, vocabulary", {}),
        (with_another_token, "differ in tokenizer", {}),
        (without_a_merge, "differ in tokenizer", {}),
        (with_another_template, "differ in tokenizer", {}),
        (trained(prompt="short"), "differ in --prompt", {"prompt": "short"}),
        (trained(max_new_tokens=99), "differ in --max-new-tokens (160, 99)", {"max_new_tokens": 99}),
        (trained(no_repeat_ngram_size=3), "--no-repeat-ngram-size (0, 3)", {"no_repeat_ngram_size": 0}),
    ],
    ids=["size", "tokens", "merges", "template", "prompt", "length", "n-grams"],
)
def test_models_that_are_not_alike_are_refused_before_their_weights_are_loaded(
    members, tmp_path, change, message, given
):
    other = tmp_path / "other"
    shutil.copytree(members[1], other)
    specs = [resolve(members[0]), resolve(str(other))]
    check_alike(specs, PredictSettings())
    change(other)
    (other / "model.safetensors").unlink()
    with pytest.raises(RequestError) as error:
        check_alike(specs, PredictSettings())
    assert message in str(error.value)
    if given:  # the user decides how all are asked
        check_alike(specs, PredictSettings(**given))


def test_encoder_decoders_are_asked_nothing_that_could_differ(tmp_path):
    folders = [make_model(tmp_path / f"bart{seed}", "bart", seed=seed) for seed in range(2)]
    trained(prompt="short")(folders[1])
    check_alike([resolve(str(folder)) for folder in folders], PredictSettings())
