"""Small tokenizers, each built with the traps of one family of models, and the real ones beside them."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from dialsum_cli.registry import resolve
from tests.real_models import smollm2_folder
from tests.real_tokenizers import real_tokenizer

CORPUS = [
    "#Person1#: 안녕하세요, 오늘 점심 뭐 먹을까요?",
    "#Person2#: 저는 김치찌개가 좋아요. 같이 가요, Jimmy!",
    "다음 대화를 한국어로 두세 문장으로 요약하세요. 요약: 두 사람은 점심을 먹으러 갑니다.",
    "system user assistant model ### User: Assistant: <s> </s> think [INST] end_of_turn im_start im_end h1 <|>",
]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n'"
    " + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
CHATML_THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
SOLAR = (  # no BOS, no control token, no end of turn, and the system's turn is left out without a word
    "{% for m in messages %}{% if m.role != 'system' %}"
    "{{ '### ' + m.role + ':\n' + m.content + ('\n\n' if m.role == 'user' else '') }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant:\n' }}{% endif %}"
)
DATED_DOUBLE_BOS = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ bos_token }}{{ '<s>[INST]Today: ' + date_string + '\n' }}"
    "{% for m in messages %}{{ m.content + '[/INST]' if m.role != 'assistant' else m.content + eos_token }}{% endfor %}"
)


def _sentencepiece_like(specials: list[str], extra: list[str], traps: bool = False) -> Tokenizer:
    """A BPE with byte fallback as converted from SentencePiece: its control tokens are pieces of the vocabulary.

    With `traps`, merges build `<s>` and `</s>` out of their letters.
    """
    trainer = trainers.BpeTrainer(vocab_size=400, show_progress=False)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(CORPUS, trainer)
    trained_model = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in trained_model["merges"]]
    if traps:
        merges = [("<", "s"), ("<s", ">"), ("<", "/"), ("</", "s"), ("</s", ">"), *merges]
    pieces = [*specials, *BYTES, *extra, *trained_model["vocab"], *(a + b for a, b in merges)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    model = models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    tokenizer.add_special_tokens(specials)
    return tokenizer


def _with_bos(tokenizer: Tokenizer, template: str = "<s> $A") -> None:
    names = [part for part in template.split() if part != "$A"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(name, tokenizer.token_to_id(name)) for name in names]
    )


def mistral_like() -> PreTrainedTokenizerBase:
    tokenizer = _sentencepiece_like(["<unk>", "<s>", "</s>", "[INST]", "[/INST]"], [], traps=True)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    _with_bos(tokenizer)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=MISTRAL, **names)


def gemma_like() -> PreTrainedTokenizerBase:
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
    ordinary = ["\n\n", "▁▁", "<h1>"]
    tokenizer = _sentencepiece_like(specials, ordinary)
    tokenizer.add_tokens([AddedToken(content, normalized=False) for content in ordinary])
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    _with_bos(tokenizer, "<bos> $A")
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=GEMMA, **names)


def solar_like() -> PreTrainedTokenizerBase:
    tokenizer = _sentencepiece_like(["<unk>", "<s>", "</s>"], [], traps=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    _with_bos(tokenizer)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=SOLAR, **names)


def double_bos() -> PreTrainedTokenizerBase:
    tokenizer = mistral_like()
    tokenizer.chat_template = DATED_DOUBLE_BOS
    return tokenizer


def no_template() -> PreTrainedTokenizerBase:
    tokenizer = solar_like()
    tokenizer.chat_template = None
    return tokenizer


def _byte_level(specials: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(specials)
    return tokenizer


def thinking() -> PreTrainedTokenizerBase:
    """ChatML as in SmolLM2 (BOS is `<|im_start|>`), a template that opens a thought, and NFKC: ＜think＞ is <think>."""
    tokenizer = _byte_level([])
    tokenizer.normalizer = normalizers.NFKC()
    # Matched in the normalised text, unlike most: full-width look-alikes are control tokens to this one.
    tokenizer.add_special_tokens([AddedToken(name, normalized=True) for name in ("<|im_start|>", "<|im_end|>")])
    tokenizer.add_tokens(["<|im", "<think>", "</think>", "<tool_call>"])  # the longest one that fits is meant
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=CHATML_THINKING,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
    )


def bart_like() -> PreTrainedTokenizerBase:
    """Puts <s> and </s> around a text, and knows the tags as special tokens, as KoBART does once it is given them."""
    tokenizer = _byte_level(["<s>", "</s>", "<pad>", "#Person1#", "#Person2#"])
    _with_bos(tokenizer, "<s> $A </s>")
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def kobart_like() -> PreTrainedTokenizerBase:
    """Puts nothing around a text, and was given Korean words as added tokens, as extended vocabularies are."""
    tokenizer = _byte_level(["<s>", "</s>", "<pad>"])
    tokenizer.add_tokens(["김치찌개", "안녕"])
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def mbart_like() -> PreTrainedTokenizerBase:
    """Opens a text with its language, whose code is a word like any other to the eye."""
    tokenizer = _byte_level(["</s>", "<pad>", "ko_KR", "en_XX"])
    _with_bos(tokenizer, "ko_KR $A </s>")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>")


def t5_like() -> PreTrainedTokenizerBase:
    """Unigram: every piece of the vocabulary is spelled by its letters, control tokens included."""
    specials = ["<pad>", "</s>", "<unk>", "<extra_id_0>"]
    letters = [*sorted(set("".join(CORPUS)) - {" "}), "▁"]
    vocabulary = [(piece, 0.0) for piece in specials] + [(letter, -5.0) for letter in letters] + [("요약", -6.0)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.add_special_tokens(specials)
    _with_bos(tokenizer, "$A </s>")
    names = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@dataclass(frozen=True)
class Family:
    """A tokenizer, and what is known of it without the code under test."""

    make: Callable[[], PreTrainedTokenizerBase]
    end: tuple[str, ...] = ()
    text_tokens: frozenset[str] = field(default_factory=frozenset)
    """Added tokens that a harmless dialogue may contain."""
    slow: bool = False
    """Takes a minute to fetch."""


CHAT = {
    "llama3.1": Family(lambda: real_tokenizer("llama3.1"), ("<|eot_id|>",)),
    "qwen3": Family(lambda: real_tokenizer("qwen3"), ("<|im_end|>",)),
    "smollm2": Family(lambda: AutoTokenizer.from_pretrained(smollm2_folder()), ("<|im_end|>",), slow=True),
    "tiny-llama": Family(lambda: AutoTokenizer.from_pretrained(resolve("tiny-llama").source), ("<|eot_id|>",)),
    "mistral": Family(mistral_like, ("</s>",)),
    "gemma": Family(gemma_like, ("<end_of_turn>",), frozenset({"\n\n", "▁▁"})),
    "solar": Family(solar_like, ("</s>",)),
    "double-bos": Family(double_bos, ("</s>",)),
    "thinking": Family(thinking, ("<|im_end|>",)),
    "no-template": Family(no_template, ("</s>",)),
}
ENCODER = {
    "bart": Family(bart_like, text_tokens=frozenset({"#Person1#", "#Person2#"})),
    "kobart": Family(kobart_like, text_tokens=frozenset({"김치찌개", "안녕"})),
    "mbart": Family(mbart_like),
    "t5": Family(t5_like),
}


def cases(*families: dict[str, Family], without: Collection[str] = ()) -> list[Any]:
    """The names of families as parameters of a test, the slow ones in the slow tier."""
    return [
        pytest.param(name, marks=pytest.mark.slow) if family.slow else name
        for each in families
        for name, family in each.items()
        if name not in without
    ]


@cache
def tokenizer_of(name: str) -> PreTrainedTokenizerBase:
    return (CHAT | ENCODER)[name].make()


@cache
def control_tokens(name: str) -> dict[str, int]:
    """Names and ids of all added tokens but ordinary text; the one for what a vocabulary can't spell is left out."""
    family, tokenizer = (CHAT | ENCODER)[name], tokenizer_of(name)
    ordinary = family.text_tokens | {"<unk>"}
    return {token.content: i for i, token in tokenizer.added_tokens_decoder.items() if token.content not in ordinary}
