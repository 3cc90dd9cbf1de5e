"""The bundled tiny models: what ships, and that their script trains."""

import hashlib
import json
import unicodedata
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from corpus import train_tiny_models
from corpus.train_tiny_models import BUNDLED, RECIPES, TASKS, TRAIN, Recipe, Renamer, Row, make, read_rows
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel

from dialsum_cli.prompts import load_prompt
from dialsum_cli.prompts.chat import ChatPrompt

NAMES = sorted(TASKS)
LOADERS = {"tiny-bart": AutoModelForSeq2SeqLM, "tiny-llama": AutoModelForCausalLM}
QUICK = Recipe(steps=12, learning_rate=1.5e-3, warmup=0.2, batch_size=4, workers=0)


def load(name: str, folder: Path) -> PreTrainedModel:
    """A model in fp32; fails where a weight is missing or unused."""
    model, report = LOADERS[name].from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_lower_the_loss_and_write_a_folder_that_loads(name, tmp_path, capsys):
    losses = make(name, TRAIN, tmp_path, QUICK, torch.device("cpu"))
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    model = load(name, tmp_path)
    ids = AutoTokenizer.from_pretrained(tmp_path)("#Person1#: 네.", return_tensors="pt")["input_ids"]
    assert model.generate(ids, max_new_tokens=3, do_sample=False).shape[0] == 1
    shipped = json.loads((BUNDLED / name / "config.json").read_text(encoding="utf-8"))
    written = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert written.keys() == shipped.keys()
    sizes = ("vocab_size", "d_model", "hidden_size", "encoder_layers", "num_hidden_layers", "max_position_embeddings")
    assert {key: written.get(key) for key in sizes} == {key: shipped.get(key) for key in sizes}


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_weights_belong_to_the_shipped_data(name):
    record = json.loads((BUNDLED / name / "training.json").read_text(encoding="utf-8"))
    assert record["train_sha256"] == hashlib.sha256(TRAIN.read_bytes()).hexdigest()
    weights = (BUNDLED / name / "model.safetensors").read_bytes()
    assert record["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    rows, topics = read_rows(TRAIN)
    assert (record["rows"], record["topics"]) == (len(rows), topics)
    assert record["recipe"] == asdict(RECIPES[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_model_is_small_and_complete(name):
    assert (BUNDLED / name / "model.safetensors").stat().st_size <= 6_000_000
    model, tokenizer = load(name, BUNDLED / name), AutoTokenizer.from_pretrained(BUNDLED / name)
    assert model.dtype == torch.float32
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer)
    specials = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    assert None not in specials
    assert len(set(specials)) == 3
    generation = model.generation_config
    assert [generation.bos_token_id, generation.eos_token_id, generation.pad_token_id] == specials
    start = tokenizer.eos_token_id if name == "tiny-bart" else None
    assert generation.decoder_start_token_id == start
    prompt = ChatPrompt(tokenizer, load_prompt("korean")).encode("#Person1#: 네.").ids
    assert model.config.max_position_embeddings >= 1024 > len(prompt) + 600


@pytest.mark.parametrize(
    "text",
    [
        "#Person1#: 안녕하세요, 3년 만이네요.\n#Person2#: 네, #PhoneNumber#로 전화하세요.",
        "KTX 108편은 35,000원이고 Ms. Dawson이 café에서 기다려요.",
        "두  칸, 탭\t, 줄\n\n끝 ",
        " 앞의 빈칸",
        "🙂👨‍👩‍👧 뷁 쀍 漢字 Привет 😀",
        "▁ <0x41> Ġ",
        unicodedata.normalize("NFC", "\u1112\u1161\u11ab\u1100\u1173\u11af"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_a_tokenizer_gives_back_every_text(name, text):
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED / name)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == text
    bracketed = tokenizer(text)["input_ids"]
    assert tokenizer.decode(bracketed, skip_special_tokens=True) == text
    assert bracketed[0] == tokenizer.bos_token_id


def test_tags_are_plain_text():
    for name in NAMES:
        tokenizer = AutoTokenizer.from_pretrained(BUNDLED / name)
        assert len(tokenizer("#Person1#", add_special_tokens=False)["input_ids"]) > 1
        assert not any("#" in token for token in tokenizer.all_special_tokens)


def test_the_chat_template_is_like_llama_3():
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED / "tiny-llama")
    messages = [{"role": "system", "content": "요약하세요."}, {"role": "user", "content": " 네. "}]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n요약하세요.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n네.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert tokenizer.eos_token == "<|eot_id|>"
    assert len(tokenizer("<|eot_id|>", add_special_tokens=False)["input_ids"]) == 1


def test_renaming_keeps_dialogue_and_summary_in_agreement():
    rows, _ = read_rows(TRAIN)
    rename = Renamer(rows, train_tiny_models.random.Random(0))
    changed = 0
    for row in rows[:200]:
        new = rename(row)
        changed += new != row
        assert new.dialogue.count("\n") == row.dialogue.count("\n")
        for text, other in ((row.dialogue, new.dialogue), (row.summary, new.summary)):
            assert [word for word in text.split() if "#" in word and len(word) <= 10] == [
                word for word in other.split() if "#" in word and len(word) <= 10
            ]
    assert changed > 150
    row = Row("#Person1#: 목요일 3시에 만나요.", "#Person1#은 목요일 3시에 보자고 합니다.")
    for _ in range(20):
        new = rename(row)
        day, hour = new.summary.removeprefix("#Person1#은 ").removesuffix(" 보자고 합니다.").split(" ")
        assert new.dialogue == f"#Person1#: {day} {hour} 만나요."
