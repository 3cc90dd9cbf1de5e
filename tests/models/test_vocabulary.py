"""What the automaton lets through: searched to the end, on real vocabularies and on each kind of tokenizer."""

import codecs
import itertools
import logging
import string

import pandas
import pytest
import regex
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from real_tokenizers import real_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    CanineTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from dialsum_cli.errors import DialsumError
from dialsum_cli.models.automaton import _BYTE_OF, HASH, START, Tokens, automaton, korean_characters
from dialsum_cli.models.vocabulary import KoreanLogitsProcessor, Vocabulary, _blanks
from dialsum_cli.text import TAG, TAG_NAMES

SYLLABLES = [chr(code) for code in range(0xAC00, 0xD7A4)]
NAMED_TAGS = [f"#{name}#" for name in TAG_NAMES[1:]]
TAGS = [*(f"#Person{number}#" for number in range(1, 8)), *NAMED_TAGS]
TAG_PREFIXES = {tag[:end] for tag in [*TAGS, "#Person0#", "#Person8#", "#Person9#"] for end in range(1, len(tag))}
PLAIN = "#Person1#: 안녕하세요, 오늘 3시에 뵐까요?\n#Person2#: 네!"
NAMES = "#Person1#: 야 Jimmy, UFO 봤어? é\n#고객#: Émile와 #Card1#은 <think> 했대."
# Written apart from the code: what is Korean, or belongs to no script and is no letter, mark or invisible character.
HARMLESS = regex.compile(r"(?V1)[\n\p{Script=Hangul}[\p{Script=Common}--[\p{L}\p{M}\p{C}]]]*")


def byte_level() -> PreTrainedTokenizerFast:
    """All bytes, some syllables, pieces of tags and names, and pieces of characters that end in the next token."""
    alphabet = {text: byte for byte, text in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    parts = ["안".encode()[:2], "漢".encode()[:2], "안".encode()[2:] + b" #P", "字".encode()[1:]]
    words = [
        "<s>",
        "</s>",
        "안",
        "漢",
        "Person",
        "#Person1#",
        "erson2#: ",
        "#P",
        " Jim",
        "my",
        "my#",
        "Jimmy Kim",
        "1#",
    ]
    characters = {byte: text for text, byte in _BYTE_OF.items()}
    for word in [*parts, *map(str.encode, words)]:
        alphabet["".join(characters[byte] for byte in word)] = len(alphabet)
    tokenizer = Tokenizer(models.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.add_tokens([AddedToken("<think>"), AddedToken("#Person2#", special=True), AddedToken("<|0|>", special=True)])
    return fast


def byte_fallback() -> PreTrainedTokenizerFast:
    """Sentencepiece with a token for each byte, as Llama-2, Mistral and Gemma have."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        *"▁안녕漢字#:.1Persona",
        "▁안",
        "▁J",
        "im",
    ]
    tokenizer = Tokenizer(
        models.BPE({piece: id_ for id_, piece in enumerate(pieces)}, [], unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )


def whole_pieces() -> PreTrainedTokenizerFast:
    """Sentencepiece without bytes, as KoBART and T5 have; it lacks most letters of tags, so most tags are closed."""
    pieces = [
        "<unk>",
        "</s>",
        "<pad>",
        *"▁안녕漢字#:.12Personb",
        "▁안녕",
        "▁#",
        "#Person1#",
        "▁Jim",
        "Email#",
        "#Em",
        "#SS",
    ]
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


class Writer:
    """Writes one token after the other for one dialogue, and knows what may follow."""

    def __init__(self, vocabulary: Vocabulary, dialogue: str = PLAIN) -> None:
        self.vocabulary, self.extra, self.rows = vocabulary, vocabulary.extra_mask(dialogue)[None], {}

    def may_follow(self, state: int) -> torch.Tensor:
        if state not in self.rows:
            self.rows[state] = self.vocabulary.mask(torch.tensor([[state]]), self.extra)[0, 0]
        return self.rows[state]

    def state_after(self, ids: list[int]) -> int | None:
        """The state that a text leaves; None if it may not be written."""
        state = START
        for id_ in ids:
            if not self.may_follow(state)[id_]:
                return None
            state = int(self.vocabulary.advance(torch.tensor(state), torch.tensor(id_)))
        return state

    def may_write(self, tokenizer, text: str) -> bool:
        """Whether a summary may be this text."""
        state = self.state_after(encode(tokenizer, text))
        return state is not None and bool(self.may_follow(state)[tokenizer.eos_token_id])


def encode(tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def search(tokenizer, vocabulary: Vocabulary, dialogue: str) -> tuple[set[str], set[bytes]]:
    """Follow every allowed path of tokens: the characters they complete outside tags, and what is left at the ends.

    The automaton is known by its tables alone: a node is a state and the bytes that really wait to be completed.
    """
    tokens = Tokens.of(tokenizer)
    data = {id_: tokens.bytes_of(id_) for id_ in tokens.texts}
    mask = vocabulary.mask(torch.arange(vocabulary.states)[None], vocabulary.extra_mask(dialogue)[None])
    allowed = [row.nonzero()[:, 0].tolist() for row in mask[0]]
    next_state = vocabulary.next_state.tolist()
    written, ends, seen, waiting = set(), set(), {(START, b"")}, [(START, b"")]
    while waiting:
        state, pending = waiting.pop()
        assert allowed[state], f"nothing may follow {pending!r}"
        for id_ in allowed[state]:
            if id_ == tokenizer.eos_token_id:
                ends.add(pending)
                continue
            decoder = codecs.getincrementaldecoder("utf-8")()
            text = TAG.sub("", decoder.decode(pending + data[id_]))
            rest, _ = decoder.getstate()
            if not rest and (opened := regex.search(r"#[A-Za-z]*[0-9]*\Z", text)):
                tag = regex.sub(r"(?<=#Person)[0-9]+\Z", "1", opened[0])
                if tag in TAG_PREFIXES:
                    text, rest = text[: opened.start()], tag.encode()
            written.update(text)
            node = next_state[state][id_], rest
            if node not in seen:
                seen.add(node)
                waiting.append(node)
    return written, ends


def test_automaton_accepts_exactly_the_korean_characters():
    step, letters = automaton()
    dead, accepted, waiting = len(step) - 1, set(), [(START, b"")]
    while waiting:
        state, prefix = waiting.pop()
        for byte in range(256):
            text, reached = prefix + bytes([byte]), step[state, byte]
            if reached in (START, HASH):
                accepted.add(text.decode())
            elif reached != dead:
                waiting.append((reached, text))
    assert accepted == korean_characters()
    assert (step[dead] == dead).all()
    assert dead < 255
    assert {f"#{word}" for word in letters.values()} == {prefix.rstrip("0123456789") for prefix in TAG_PREFIXES}


@pytest.mark.parametrize(
    ("characters", "korean"),
    [
        ("".join(SYLLABLES) + "ㄱㅋㅠㅡ㈜㉠", True),
        (string.digits + string.punctuation + "\n ", True),
        ("…·‘’“”「」『』《》〈〉【】、。—–‥※", True),
        ("₩€£¥$℃℉％㎏㎝㎡㏄½②±×÷≤≥→★♥☎", True),
        ("AzéßＡªµÅⅣ", False),
        ("漢々〆〇あアー㊀㈠㍻ㄅ", False),
        ("ДαعאไअᎣ।،؟", False),
        ("\t\r\0\x1b\u00a0\u3000\u200b\u200d\u202e\u2028\ufeff\ufffd\ufffc\u3164\uffa0\u115f", False),
        ("\u1100\u1161\u11a8\u0301\u3099\u302e\ufe0f😀❤🇰\ue000", False),
    ],
)
def test_korean_characters(characters, korean):
    assert {char for char in characters if (char in korean_characters()) is not korean} == set()


@pytest.mark.parametrize("name", REAL)
def test_all_korean_stays_writable(make, name):
    tokenizer, vocabulary = make(name)
    writer = Writer(vocabulary)
    lone = [*SYLLABLES, *string.digits, *string.punctuation, *TAGS, "ㅋ", "₩", "℃", "「", "…", "\n", "\n\n", " "]
    within = [
        f"{before}{text}{after}"
        for text in [*TAGS, "3.5%", "뷁"]
        for before in ("", " ", "과 ", '"')
        for after in ("은 ", ": ", "\n", "#")
    ]
    assert [text for text in [*lone, *within] if not writer.may_write(tokenizer, text)] == []


@pytest.mark.parametrize("name", [*REAL, *KINDS])
def test_no_path_leaves_korean(make, name):
    tokenizer, vocabulary = make(name)
    written, ends = search(tokenizer, vocabulary, PLAIN)
    assert HARMLESS.fullmatch("".join(written))
    assert written <= korean_characters()
    assert ends == {b"", b"#"}
    if name != "whole pieces":  # all others have bytes to spell everything with
        assert written == korean_characters()


@pytest.mark.parametrize("name", [*REAL, *KINDS])
def test_a_dialogue_opens_its_own_letters_only(make, name):
    tokenizer, vocabulary = make(name)
    written, ends = search(tokenizer, vocabulary, NAMES)
    own = {char for char in TAG.sub("", NAMES) if char not in korean_characters()}
    assert not HARMLESS.fullmatch("".join(written))
    assert written - korean_characters() <= own
    assert ends <= {b"", b"#", b"#C", b"#Ca", b"#Car", b"#Card"}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize(
    "text", ["Jimmy", " Jimmy는 UFO를 봤다.", "#고객#은 Émile을", "#Card1#, #Card, #C", "é", "think"]
)
def test_what_stands_in_the_dialogue_is_writable(make, name, text):
    tokenizer, vocabulary = make(name)
    assert Writer(vocabulary, NAMES).may_write(tokenizer, text)
    assert not Writer(vocabulary, PLAIN).may_write(tokenizer, text)


@pytest.mark.parametrize("text", ["<think>", "<tool_call>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"])
def test_a_dialogue_opens_no_added_token(make, text):
    tokenizer, vocabulary = make("qwen3")
    (id_,) = encode(tokenizer, text)
    extra = vocabulary.extra_mask(f"{text} {text[1:-1]}")
    opened = vocabulary.mask(torch.arange(vocabulary.states)[None], extra[None])
    assert opened[..., id_].any() == (id_ == tokenizer.eos_token_id)


def test_gold_summaries_are_writable_but_for_words_that_their_dialogue_lacks(make, shared_data):
    tokenizer, vocabulary = make("qwen3")
    frame = pandas.read_csv(shared_data / "korean-dialogsum" / "dev.csv")
    for dialogue, summary in zip(frame.dialogue, frame.summary, strict=True):
        words = set(TAG.sub(" ", summary).translate(_blanks()).split())
        known = all(word in TAG.sub(" ", dialogue) for word in words)
        assert Writer(vocabulary, dialogue).may_write(tokenizer, summary) == known, (summary, words)


def test_tokens_beyond_the_vocabulary_and_control_tokens_are_closed(make):
    tokenizer, vocabulary = make("byte level")
    assert vocabulary.allowed.shape == vocabulary.next_state.shape == (vocabulary.states, len(tokenizer) + 3)
    assert not vocabulary.allowed[:, len(tokenizer) :].any()
    control = tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "<|0|>"])  # the last would be text if it were no control
    assert not vocabulary.allowed[:, control].any()
    assert vocabulary.allowed[:, tokenizer.eos_token_id].nonzero()[:, 0].tolist() == [START, HASH]


def test_tags_that_were_added_as_special_tokens_are_text(make):
    tokenizer, vocabulary = make("byte level")
    (id_,) = encode(tokenizer, "#Person2#")
    assert id_ in tokenizer.added_tokens_decoder
    assert Writer(vocabulary).state_after([id_, *encode(tokenizer, "안"), id_]) == START


def test_a_tag_may_follow_a_name_that_ends_in_its_first_sign(make):
    tokenizer, vocabulary = make("byte level")
    ids = tokenizer.convert_tokens_to_ids(["my#", "Person", "1#"])
    assert Writer(vocabulary, "Jimmy").state_after(ids) == START
    assert Writer(vocabulary, "Jim").state_after(ids) is None


@settings(max_examples=60)
@given(
    dialogue=st.lists(st.sampled_from([*"안 漢字é\t#1.", "Jim", "my", "Person", "#Person1#", "<think>", "</s>"])).map(
        "".join
    ),
    data=st.data(),
)
def test_random_walks_keep_to_the_dialogue(make, dialogue, data):
    tokenizer, vocabulary = make("byte level")
    tokens, extra = Tokens.of(tokenizer), vocabulary.extra_mask(dialogue)[None]
    state, written = torch.tensor([START]), b""
    for _ in range(data.draw(st.integers(0, 30))):
        choices = vocabulary.mask(state[None], extra)[0, 0].nonzero()[:, 0].tolist()
        if (id_ := data.draw(st.sampled_from(choices))) == tokenizer.eos_token_id:
            written.decode()
            break
        written += tokens.bytes_of(id_)
        state = vocabulary.advance(state, torch.tensor([id_]))
    text = TAG.sub("", written.decode(errors="ignore"))
    opened = regex.search(r"#[A-Za-z]+[0-9]*\Z", text)
    text = text[: opened.start()] if opened and opened[0].rstrip("0123456789") in TAG_PREFIXES else text
    assert set(text) - korean_characters() <= set(TAG.sub("", dialogue)) - set("\t")


def causal(tokenizer) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 3, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        initializer_range=1.0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"do_sample": False, "num_beams": 3, "num_return_sequences": 2},
        {"do_sample": True, "num_return_sequences": 4},
        {"do_sample": False, "no_repeat_ngram_size": 1},
    ],
    ids=["greedy", "beams", "sampling", "no repeated token"],
)
def test_generate_keeps_to_the_vocabulary(make, options):
    tokenizer, vocabulary = make("byte level")
    model, dialogues = causal(tokenizer), [PLAIN, NAMES]
    tokenizer.padding_side = "left"
    inputs = tokenizer(["안녕", "안"], return_tensors="pt", padding=True, return_token_type_ids=False)
    length = inputs["input_ids"].shape[1]
    extra = torch.stack([vocabulary.extra_mask(dialogue) for dialogue in dialogues])
    open_ids = model.generate(**inputs, max_new_tokens=24, **options)[:, length:].tolist()
    kept_ids = model.generate(
        **inputs, max_new_tokens=24, logits_processor=[KoreanLogitsProcessor(vocabulary, extra, length)], **options
    )[:, length:].tolist()
    each = options.get("num_return_sequences", 1)
    writers = [Writer(vocabulary, dialogue) for dialogue in (PLAIN, NAMES) for _ in range(each)]

    def followed(rows):
        texts = [list(itertools.takewhile(lambda id_: id_ != tokenizer.pad_token_id, row)) for row in rows]
        return [writer.state_after(ids) is not None for writer, ids in zip(writers, texts, strict=True)]

    assert not any(followed(open_ids))
    assert all(followed(kept_ids))


def test_greedy_is_the_best_allowed_token_at_each_step(make):
    tokenizer, vocabulary = make("byte level")
    model, extra = causal(tokenizer), vocabulary.extra_mask(NAMES)[None]
    ids, state = torch.tensor([encode(tokenizer, "안녕")]), torch.tensor([START])
    processor = KoreanLogitsProcessor(vocabulary, extra, ids.shape[1])
    generated = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, logits_processor=[processor]
    )
    while ids.shape[1] < generated.shape[1]:
        logits = model(ids).logits[:, -1].masked_fill(~vocabulary.mask(state[None], extra)[0], -torch.inf)
        ids = torch.cat([ids, logits.argmax(1, keepdim=True)], 1)
        state = vocabulary.advance(state, ids[:, -1])
    assert generated.tolist() == ids.tolist()


def test_beams_that_change_places_take_their_states_along(make):
    tokenizer, vocabulary = make("byte level")
    rows = [[tokenizer.bos_token_id, *encode(tokenizer, text)] for text in ("#Pe", "1!.")]
    scores, extra = torch.zeros(2, len(tokenizer) + 3), vocabulary.extra_mask(PLAIN)[None]
    processor = KoreanLogitsProcessor(vocabulary, extra, 1)
    for length, order in [(1, [0, 1]), (2, [0, 1]), (3, [1, 0]), (4, [1, 0]), (4, [0, 0])]:
        ids = torch.tensor(rows)[order, :length]
        kept = processor(ids, scores).isfinite()
        writer = Writer(vocabulary)
        assert torch.equal(kept, torch.stack([writer.may_follow(writer.state_after(row[1:])) for row in ids.tolist()]))


def test_a_forced_token_is_written_and_the_rest_keeps_to_the_vocabulary(make):
    tokenizer, vocabulary = make("byte level")
    torch.manual_seed(0)
    (language,) = encode(tokenizer, "<think>")  # as closed as the language code of mBART
    end = tokenizer.eos_token_id
    config = BartConfig(
        vocab_size=len(tokenizer) + 3, d_model=16, init_std=1.0, encoder_layers=1, encoder_attention_heads=2,
        encoder_ffn_dim=16, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16, forced_eos_token_id=None,
        bos_token_id=tokenizer.bos_token_id, pad_token_id=tokenizer.pad_token_id, eos_token_id=end,
        decoder_start_token_id=end,
    )  # fmt: skip
    model = BartForConditionalGeneration(config).eval()
    processor = KoreanLogitsProcessor(vocabulary, vocabulary.extra_mask(PLAIN)[None], 1)
    ids = model.generate(
        torch.tensor([encode(tokenizer, "안녕")]),
        max_new_tokens=12,
        num_beams=2,
        forced_bos_token_id=language,
        logits_processor=[processor],
    )[0, 1:].tolist()
    assert ids[0] == language
    assert len(ids) > 2
    assert Writer(vocabulary).state_after(ids[1:]) is not None


def test_what_other_processors_closed_is_completed(make):
    """A ban on repeated n-grams must not break a tag: after `#P` only the tag may go on."""
    tokenizer, vocabulary = make("byte level")
    extra = vocabulary.extra_mask(PLAIN)[None]
    ids = torch.tensor([[tokenizer.bos_token_id, *encode(tokenizer, "#P")]])
    scores = torch.full((1, len(tokenizer) + 3), -torch.inf)
    scores[0, encode(tokenizer, "가")] = 1.0
    after = KoreanLogitsProcessor(vocabulary, extra, 1)(ids, scores)
    assert set(after.isfinite().nonzero()[:, 1].tolist()) == {
        encode(tokenizer, "e")[0],
        encode(tokenizer, "h")[0],
        encode(tokenizer, "a")[0],
    } | {id_ for id_ in range(len(tokenizer)) if tokenizer.convert_ids_to_tokens(id_).startswith("erson2#")}


@pytest.fixture
def cache_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def same(one: Vocabulary, other: Vocabulary) -> bool:
    return (
        torch.equal(one.allowed, other.allowed)
        and torch.equal(one.next_state, other.next_state)
        and one.pieces == other.pieces
    )


def test_tables_are_cached_by_tokenizer(cache_home):
    first = Vocabulary.build(byte_level(), [1])
    (path,) = (cache_home / "dialsum" / "vocabularies").iterdir()
    written = path.stat()
    assert same(first, Vocabulary.build(byte_level(), [1]))
    assert path.stat().st_ino == written.st_ino  # it was not written anew
    Vocabulary.build(byte_fallback(), [2])
    assert len(list(path.parent.iterdir())) == 2


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[:200] + b"\xff" * 64 + data[264:]],
)
def test_a_broken_cache_is_built_again_and_said(cache_home, caplog, damage):
    first = Vocabulary.build(byte_level(), [1])
    (path,) = (cache_home / "dialsum" / "vocabularies").iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with caplog.at_level(logging.WARNING):
        assert same(first, Vocabulary.build(byte_level(), [1]))
    assert "is broken" in caplog.text
    assert str(path) in caplog.text
    caplog.clear()
    assert same(first, Vocabulary.build(byte_level(), [1]))
    assert caplog.text == ""


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    tokenizer = byte_level()
    assert Writer(Vocabulary.build(tokenizer, [tokenizer.eos_token_id])).may_write(tokenizer, "안")
    assert "built again next time" in caplog.text


def test_tokenizers_whose_bytes_are_unknown_are_refused(cache_home):
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "안": 1}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    with pytest.raises(DialsumError, match="WordPiece") as caught:
        Vocabulary.build(PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]"), [0])
    assert "--no-block-foreign" in caught.value.remedy
    with pytest.raises(DialsumError, match="CanineTokenizer"):
        Vocabulary.build(CanineTokenizer(), [0])


@pytest.mark.parametrize("name", [*REAL, *KINDS])
def test_bytes_are_those_of_the_tokenizers_own_decoder(make, name):
    tokenizer, _ = make(name)
    tokens = Tokens.of(tokenizer)
    for text in ["안녕 漢字 #Person1#: 1.", "뷁é\n" if name != "whole pieces" else "안"]:
        ids = encode(tokenizer, text)
        ours = b"".join(tokens.bytes_of(id_) for id_ in ids).decode()
        assert ours.strip() == tokenizer.decode(ids, clean_up_tokenization_spaces=False).strip() == text.strip()
