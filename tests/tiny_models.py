"""Tiny models with random weights and real tokenizers, made in seconds and saved as any model on the hub is."""

import csv
from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from dialsum_cli.settings import BUNDLED

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
SPECIALS = [
    "<s>",
    "</s>",
    "<pad>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]


def _texts() -> list[str]:
    with (BUNDLED / "dev.csv").open(encoding="utf-8") as file:
        return [row["dialogue"] for row in csv.DictReader(file)]


@cache
def _backend(frame: bool) -> Tokenizer:
    """A byte-level BPE of 600 tokens, trained on the bundled dialogues; `frame` puts texts between `<s>` and `</s>`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    if frame:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
        )
    return tokenizer


def _tokenizer(family: str) -> PreTrainedTokenizerBase:
    if family == "mbart":  # its own class, which opens a text with its language; every letter of the corpus is a piece
        letters = [*sorted(set("".join(_texts())) - set("\n ")), "\n", "▁"]
        pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((letter, -5.0) for letter in letters)]
        return MBart50Tokenizer(vocab=pieces, src_lang="ko_KR", tgt_lang="ko_KR")
    end = {"llama": "<|eot_id|>", "qwen": "<|im_end|>"}.get(family, "</s>")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_backend(family in ("bart", "t5")), bos_token="<s>", eos_token=end, pad_token="<pad>"
    )
    tokenizer.chat_template = {"llama": LLAMA3, "qwen": CHATML}.get(family)
    return tokenizer


def make_model(folder: Path, family: str, *, seed: int = 0, positions: int = 2048) -> Path:
    """Save a random model of a family and its tokenizer; returns the folder.

    Families: `bart`, `gemma2` (which caps its logits), `gpt2`, `llama`, `mbart` (in Korean), `mistral`, `qwen`, `t5`.
    """
    torch.manual_seed(seed)
    tokenizer = _tokenizer(family)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    size = {"vocab_size": len(tokenizer), **ids}
    decoder = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
               "num_key_value_heads": 2, "max_position_embeddings": positions, **size}  # fmt: skip
    match family:
        case "llama":
            model = LlamaForCausalLM(LlamaConfig(**decoder))
        case "qwen":
            model = Qwen2ForCausalLM(Qwen2Config(**decoder))
        case "mistral":
            model = MistralForCausalLM(MistralConfig(**decoder))
        case "gemma2":
            model = Gemma2ForCausalLM(Gemma2Config(head_dim=16, **decoder))
        case "gpt2":
            model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=positions, **size))
        case "bart" | "mbart":
            layers = {f"{side}_{name}": value for side in ("encoder", "decoder")
                      for name, value in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 64))}  # fmt: skip
            size |= {"d_model": 32, "max_position_embeddings": positions, "forced_eos_token_id": None,
                     "decoder_start_token_id": tokenizer.eos_token_id, **layers}  # fmt: skip
            if family == "bart":
                model = BartForConditionalGeneration(BartConfig(**size))
            else:
                model = MBartForConditionalGeneration(MBartConfig(**size))
                model.generation_config.forced_bos_token_id = tokenizer.convert_tokens_to_ids("ko_KR")
        case "t5":
            config = T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=2, **size)
            model = T5ForConditionalGeneration(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
