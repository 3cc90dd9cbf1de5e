"""What the automaton lets through: searched to the end, on real vocabularies and on each kind of tokenizer."""

import codecs
import itertools
import logging

import pytest
import regex
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from real_tokenizers import real_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import BartConfig, BartForConditionalGeneration, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dialsum_cli.errors import DialsumError
from dialsum_cli.models import vocabulary as room
from dialsum_cli.models.vocabulary import HASH, START, KoreanLogitsProcessor, Vocabulary, korean_characters
from dialsum_cli.text import TAG

SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4)]
NAMED_TAGS = [f"#{name}#" for name in room.TAG_NAMES[1:]]
TAGS = [*(f"#Person{number}#" for number in range(1, 8)), *NAMED_TAGS]
TAG_PREFIXES = {tag[:end] for tag in [*TAGS, "#Person0#", "#Person8#", "#Person9#"] for end in range(1, len(tag))}
PLAIN = "#Person1#: 안녕하세요, 오늘 3시에 뵐까요?\n#Person2#: 네!"
NAMES = "#Person1#: 야 Jimmy, UFO 봤어? é\n#고객#: Émile와 #Card1#은 <think> 했대."
# Written apart from the code: what is Korean, or belongs to no script and is no letter, mark or invisible character.
HARMLESS = regex.compile(r"(?V1)[\n\p{Script=Hangul}[\p{Script=Common}--[\p{L}\p{M}\p{C}]]]*")


def byte_level() -> PreTrainedTokenizerFast:
    """All bytes, some syllables, pieces of tags and names, and pieces of characters that end in the next token."""
    alphabet = {text: byte for byte, text in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    words = [b"<s>", b"</s>", "안".encode(), "漢".encode(), "안".encode()[:2], "漢".encode()[:2], "안".encode()[2:] + b" #P",
             "字".encode()[1:], b"Person", b"#Person1#", b"erson2#: ", b"#P", b" Jim", b"my", b"my#", b"Jimmy Kim", b"1#"]  # fmt: skip
    characters = {byte: text for text, byte in room._BYTE_OF.items()}
    for word in words:
        alphabet["".join(characters[byte] for byte in word)] = len(alphabet)
    tokenizer = Tokenizer(models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.add_tokens([AddedToken("<think>", special=False), AddedToken("#Person2#", special=True)], special_tokens=False)
    return fast


def byte_fallback() -> PreTrainedTokenizerFast:
    """Sentencepiece with a token for each byte, as Llama-2, Mistral and Gemma have."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"▁안녕漢字#:.1Persona", "▁안", "▁J", "im"]
    tokenizer = Tokenizer(models.BPE({piece: id_ for id_, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>")


def whole_pieces() -> PreTrainedTokenizerFast:
    """Sentencepiece without bytes, as KoBART and T5 have; it lacks most letters of tags, so most tags are closed."""
    pieces = ["<unk>", "</s>", "<pad>", *"▁안녕漢字#:.12Personb", "▁안녕", "▁#", "#Person1#", "▁Jim", "Email#", "#Em", "#SS"]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(rank)) for rank, piece in enumerate(pieces)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", pad_token="<pad>")


KINDS = {"byte level": byte_level, "byte fallback": byte_fallback, "whole pieces": whole_pieces}
REAL = ["qwen3", "llama3.1"]


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """(tokenizer, vocabulary) by name; the tables are cached in a folder of the tests' own."""
    known = {}

    def get(name):
        if name not in known:
            tokenizer = KINDS[name]() if name in KINDS else real_tokenizer(name)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
                known[name] = tokenizer, Vocabulary.build(tokenizer, [tokenizer.eos_token_id], len(tokenizer) + 3)
        return known[name]

    return get


def allows(vocabulary: Vocabulary, ids: list[int], dialogue: str = PLAIN) -> bool:
    """Whether the ids may be written one after the other, and the summary may end then."""
    extra, state = vocabulary.extra_mask(dialogue)[None], torch.tensor([START])
    for id_ in ids:
        if not vocabulary.mask(state, extra)[0, id_]:
            return False
        state = vocabulary.advance(state, torch.tensor([id_]))
    return state.item() in (START, HASH)


def encode(tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def every_text(tokenizer, vocabulary: Vocabulary, dialogue: str):
    """Every character that any allowed path of tokens can complete outside tags, by searching all of them.

    The search knows the automaton by its tables only: a node is a state and the bytes that really wait to be completed.
    """
    tokens = room._Tokens.of(tokenizer)
    data = {id_: tokens.bytes_of(id_) for id_ in tokens.texts}
    masks = vocabulary.mask(torch.arange(vocabulary.states), vocabulary.extra_mask(dialogue).expand(vocabulary.states, -1))
    allowed = [row.nonzero()[:, 0].tolist() for row in masks]
    next_state, written = vocabulary.next_state.tolist(), set()
    seen, waiting = {(START, b"")}, [(START, b"")]
    while waiting:
        state, pending = waiting.pop()
        assert allowed[state], "nothing may follow"
        for id_ in allowed[state]:
            if id_ == tokenizer.eos_token_id:
                assert pending.strip(b"#") == b"" or not TAG_PREFIXES.intersection([pending.decode()]) or state > HASH
                continue
            decoder = codecs.getincrementaldecoder("utf-8")()
            text = TAG.sub("", decoder.decode(pending + data[id_]))
            rest, _ = decoder.getstate()
            opened = regex.search(r"#[A-Za-z]*[0-9]*\Z", text)
            tag = opened[0] if opened and not rest else ""
            tag = regex.sub(r"[0-9]+\Z", "1", tag) if tag.startswith("#Person") else tag
            if tag in TAG_PREFIXES:
                text, rest = text[: opened.start()], tag.encode()
            written.update(text)
            node = (next_state[state][id_], rest)
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    return written
