"""Recipes: every resolved value, what overrides it, and what excludes each other."""

from dataclasses import asdict, fields, replace

import pytest
import torch
import yaml
from tiny_models import make_model
from transformers import BartConfig, LlamaConfig

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.errors import RequestError
from dialsum_cli.models.loading import load, open_checkpoint
from dialsum_cli.registry import CATALOGUE, Recipe, resolve
from dialsum_cli.settings import FinetuneSettings, PredictSettings
from dialsum_cli.training.methods import add_tags, check_trainable, choose

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
GPU = torch.cuda.is_available()
TINY_CONFIG = LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=8)

# Dettmers et al. 2023, as adapters on 4-bit weights are trained everywhere.
QLORA = {
    "method": "auto", "num_epochs": 3, "batch_size": 16, "scheduler": "constant_with_warmup", "warmup_ratio": 0.03,
    "optimizer": "adamw_torch", "max_grad_norm": 0.3, "weight_decay": 0.0, "label_smoothing": 0.0, "lora_r": 16,
    "lora_alpha": 32, "lora_dropout": 0.1, "patience": 3,
}  # fmt: skip
LARGE = QLORA | {"lora_dropout": 0.05}
FULL = {
    "method": "full", "scheduler": "cosine", "warmup_ratio": 0.1, "optimizer": "adamw_torch", "max_grad_norm": 1.0,
    "weight_decay": 0.0, "label_smoothing": 0.0, "patience": 3,
}  # fmt: skip
RECIPES = {
    "llama3b": QLORA | {"learning_rate": 2e-4},
    "qwen4b": QLORA | {"learning_rate": 2e-4},
    "aica5b": QLORA | {"learning_rate": 2e-4},
    "kanana2b": QLORA | {"learning_rate": 2e-4},
    "midm2b": QLORA | {"learning_rate": 2e-4},
    "exaone1b": QLORA | {"learning_rate": 2e-4},
    "gemma4b": QLORA | {"learning_rate": 2e-4},
    "llama8b": QLORA | {"learning_rate": 1e-4},
    "qwen7b": QLORA | {"learning_rate": 1e-4},
    "qwen8b": QLORA | {"learning_rate": 1e-4},
    "kanana8b": QLORA | {"learning_rate": 1e-4},
    "ax7b": QLORA | {"learning_rate": 1e-4},
    "solar10b": QLORA | {"learning_rate": 1e-4},
    "qwen14b": LARGE | {"learning_rate": 1e-4},
    "kobart": FULL | {"learning_rate": 1e-5, "batch_size": 50, "num_epochs": 20},
    "kobart-base": FULL | {"learning_rate": 1e-5, "batch_size": 50, "num_epochs": 20},
    "kot5": FULL | {"learning_rate": 1e-5, "batch_size": 8, "num_epochs": 3},
    "kot5-large": FULL | {"learning_rate": 1e-5, "batch_size": 8, "num_epochs": 3},
    "mbart": FULL | {"learning_rate": 1e-5, "batch_size": 8, "num_epochs": 3},
    "kogpt2": FULL | {"learning_rate": 1e-5, "batch_size": 8, "num_epochs": 3},
    "tiny-bart": FULL | {"learning_rate": 1e-3, "batch_size": 16, "num_epochs": 2},
    "tiny-llama": FULL | {"learning_rate": 1e-3, "batch_size": 16, "num_epochs": 2},
}


def settings(**given):
    return FinetuneSettings(models=["tiny-bart"], **given)


def test_the_table_has_every_model_that_can_be_trained():
    assert RECIPES.keys() == {name for name, spec in CATALOGUE.items() if spec.kind != "baseline"}


@pytest.mark.parametrize("name", RECIPES)
def test_every_value_of_a_recipe_is_the_documented_one(name):
    expected = dict(RECIPES[name])
    recipe = asdict(CATALOGUE[name].recipe)
    assert {key: recipe[key] for key in expected} == expected
    if expected["method"] != "full":
        assert expected.keys() == recipe.keys()  # nothing is left out of this table
    choices = choose(CATALOGUE[name], TINY_CONFIG, settings())
    resolved = asdict(choices.recipe)
    if expected["method"] == "auto":  # said aloud, and in the sources
        expected |= {"method": resolved["method"]}
        assert any(resolved["method"] in note for note in choices.notes)
        assert GPU or "no GPU" in choices.sources["method"]
    assert {key: resolved[key] for key in expected} == expected
    own = f"recipe of {name}"
    differing = {key for key, source in choices.sources.items() if source != own}
    assert differing <= {"method", "precision"}
    assert resolved["method"] in ("full", "lora", "qlora")
    if not GPU:
        assert choices.precision == "fp32"


def text_config(hidden, layers, inner, vocabulary):
    return LlamaConfig(
        hidden_size=hidden, num_hidden_layers=layers, intermediate_size=inner, vocab_size=vocabulary,
        num_attention_heads=hidden // 128, num_key_value_heads=8, tie_word_embeddings=False,
    )  # fmt: skip


@pytest.mark.parametrize(("config", "kind", "recipe", "source"), [
    (text_config(3072, 28, 8192, 128_256), "causal", QLORA | {"learning_rate": 2e-4}, "chat models below 6B"),
    (text_config(4096, 32, 14_336, 128_256), "causal", QLORA | {"learning_rate": 1e-4}, "chat models of 7B and 8B"),
    (text_config(5120, 48, 13_824, 152_064), "causal", LARGE | {"learning_rate": 1e-4}, "chat models from 13B on"),
    (BartConfig(), "seq2seq", RECIPES["kot5"], "encoder-decoders"),
], ids=["3B", "8B", "14B", "bart"])  # fmt: skip
def test_a_model_outside_the_catalogue_gets_the_recipe_of_its_size(tmp_path, config, kind, recipe, source):
    spec = replace(resolve(str(tmp_path)), kind=kind)
    choices = choose(spec, config, settings())
    resolved = asdict(choices.recipe)
    for key in recipe.keys() - {"method", "optimizer"}:
        assert (resolved[key], choices.sources[key]) == (recipe[key], source), key
    assert any(source in note for note in choices.notes)


GIVEN = {
    "method": "qlora", "learning_rate": 3e-5, "num_epochs": 1.5, "batch_size": 7, "scheduler": "linear",
    "warmup_ratio": 0.2, "optimizer": "adamw_torch", "max_grad_norm": 0.7, "weight_decay": 0.01,
    "label_smoothing": 0.1, "lora_r": 4, "lora_alpha": 5, "lora_dropout": 0.2, "patience": 9,
}  # fmt: skip


def test_every_value_can_be_given():
    assert GIVEN.keys() == {field.name for field in fields(Recipe)}
    choices = choose(CATALOGUE["llama3b"], TINY_CONFIG, settings(**GIVEN))
    assert asdict(choices.recipe) == GIVEN
    assert choices.precision == "nf4"
    assert {choices.sources[key] for key in GIVEN} == {"given"}


@pytest.mark.parametrize("name", GIVEN)
def test_one_value_that_is_given_leaves_the_others(name):
    spec = CATALOGUE["llama8b"]
    plain, changed = (choose(spec, TINY_CONFIG, settings(**given)) for given in ({}, {name: GIVEN[name]}))
    assert asdict(changed.recipe) == asdict(plain.recipe) | {name: GIVEN[name]}
    assert changed.sources[name] == "given"


def test_options_of_an_adapter_are_told_of_where_all_weights_are_trained():
    notes = choose(CATALOGUE["kobart"], TINY_CONFIG, settings(lora_r=4, lora_alpha=8)).notes
    assert "kobart: all its weights are trained, without --lora-r and --lora-alpha" in notes


@pytest.mark.parametrize("zero", [{"max_grad_norm": 0}, {"warmup_ratio": 0}, {"lora_dropout": 0}, {"weight_decay": 0}])
def test_zero_is_a_value_like_any_other(zero):
    (name,) = zero
    assert getattr(choose(CATALOGUE["llama3b"], TINY_CONFIG, settings(**zero)).recipe, name) == 0


@pytest.mark.parametrize(("given", "method", "precision"), [
    ({"precision": "nf4"}, "qlora", "nf4"),
    ({"precision": "fp32"}, "lora", "fp32"),
    ({"precision": "bf16"}, "lora", "bf16"),
    ({"method": "lora", "precision": "bf16"}, "lora", "bf16"),
    ({"method": "qlora"}, "qlora", "nf4"),
    ({"method": "full"}, "full", "fp32"),
])  # fmt: skip
def test_method_and_precision_decide_each_other(given, method, precision):
    choices = choose(CATALOGUE["llama3b"], TINY_CONFIG, settings(**given))
    assert (choices.recipe.method, choices.precision) == (method, precision)
    assert choices.sources["precision"].startswith("given" if "precision" in given else "auto")


@pytest.mark.parametrize(("name", "kind", "given", "words"), [
    ("lead2", None, {}, "is a baseline"),
    ("kobart", None, {"method": "lora"}, "trained in full"),
    ("kobart", None, {"method": "qlora"}, "trained in full"),
    ("kobart", None, {"precision": "bf16"}, "holds the weights of kobart in fp32"),
    ("kobart", None, {"method": "auto", "precision": "bf16"}, "holds the weights of kobart in fp32"),
    ("kobart", None, {"method": "auto", "precision": "nf4"}, "holds the weights of kobart in fp32"),
    ("tiny-llama", None, {"precision": "nf4"}, "holds the weights of tiny-llama in fp32"),
    ("llama3b", None, {"method": "qlora", "precision": "bf16"}, "--method qlora holds the weights of llama3b in nf4"),
    ("llama3b", None, {"method": "lora", "precision": "nf4"}, "in bf16 or fp16 or fp32"),
    ("llama3b", None, {"method": "full", "precision": "bf16"}, "in fp32"),
    (".", "seq2seq", {"method": "lora"}, "trained in full"),
    (".", "seq2seq", {"precision": "bf16"}, "--method full holds the weights of . in fp32"),
    (".", "seq2seq", {"precision": "nf4"}, "--method full holds the weights of . in fp32"),
])  # fmt: skip
def test_what_excludes_each_other_is_refused(name, kind, given, words):
    spec = resolve(name) if kind is None else replace(resolve(name), kind=kind)
    with pytest.raises(RequestError, match=words) as error:
        choose(spec, TINY_CONFIG, settings(**given))
    assert error.value.remedy
    if kind is None and given.get("method") != "auto":  # what the catalogue knows is refused before anything is loaded
        with pytest.raises(RequestError, match=words):
            check_trainable(spec, settings(**given))


@pytest.mark.parametrize("family", ["bart", "t5", "mbart"])
def test_tags_of_the_data_become_tokens_whose_every_table_is_trained(tmp_path, family):
    loaded = load(resolve(str(make_model(tmp_path / family, family))), PredictSettings())
    dialogues = [Dialogue("0", "#Person1#: 안녕.\n#Person2#: 네, #PhoneNumber#로요.", ("#Person1#이 인사한다.",))]
    before, old = loaded.model.get_input_embeddings().weight.detach().clone(), len(loaded.tokenizer)
    tagged, note = add_tags(loaded, dialogues)
    tags = ["#Person1#", "#Person2#", "#PhoneNumber#"]
    tokenizer = tagged.tokenizer
    ids = {tag: tokenizer.encode(tag, add_special_tokens=False) for tag in tags}
    if not note.endswith("are trained"):  # a tokenizer that would put a blank behind a tag
        assert family == "mbart"
        assert tokenizer is loaded.tokenizer
        assert "would change how a summary reads" in note
        return
    assert all(len(each) == 1 for each in ids.values())
    assert len(loaded.tokenizer) == old  # the untrained one is what it was
    assert tokenizer.decode(tokenizer.encode("#Person1#이", add_special_tokens=False)) == "#Person1#이"
    assert "#Person3#" not in tokenizer.get_vocab()  # which nothing would train
    table = tagged.model.get_input_embeddings().weight
    assert table.shape[0] >= len(tokenizer)
    pieces = loaded.tokenizer.encode("#Person1#", add_special_tokens=False)
    torch.testing.assert_close(table[ids["#Person1#"][0]], before[pieces].mean(dim=0))
    output = tagged.model.get_output_embeddings().weight
    assert output.shape[0] == table.shape[0]
    labels = torch.tensor([ids["#Person1#"] + [tokenizer.eos_token_id]])
    inputs = torch.tensor([ids["#Person2#"] + ids["#PhoneNumber#"]])
    tagged.model(input_ids=inputs, labels=labels).loss.backward()
    for tag in tags:
        assert table.grad[ids[tag][0]].abs().sum() > 0, tag


def test_settings_of_a_run_parse_back_and_say_where_each_value_comes_from(tmp_path):
    given = settings(learning_rate=5e-5, seed=7, prompt="short")
    choices = choose(CATALOGUE["kobart"], BartConfig(), given)
    resolved = given.model_copy(update={**asdict(choices.recipe), "precision": choices.precision})
    path = tmp_path / "settings.yaml"
    path.write_text(resolved.to_yaml(choices.sources), encoding="utf-8")
    assert FinetuneSettings(config=path).model_dump() == resolved.model_dump()
    lines = dict(line.split(": ", 1) for line in path.read_text(encoding="utf-8").splitlines() if ": " in line)
    for field in fields(Recipe):
        source = "given" if field.name == "learning_rate" else "recipe of kobart"
        assert lines[field.name].endswith(f"# {source}"), field.name
    assert "# auto" in lines["precision"]
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["batch_size"] == 50


def test_a_folders_kind_is_read_from_its_configuration(tmp_path):
    checkpoint = open_checkpoint(resolve(str(make_model(tmp_path / "t5", "t5"))))
    choices = choose(checkpoint.spec, checkpoint.config, settings())
    assert (choices.recipe.method, choices.precision) == ("full", "fp32")
