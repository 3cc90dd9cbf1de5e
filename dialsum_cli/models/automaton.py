"""The byte automaton of Korean text: which bytes may follow each other, and what a tokenizer's tokens do to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import regex
from numpy.typing import NDArray

from dialsum_cli.errors import DialsumError
from dialsum_cli.text import TAG, TAG_NAMES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# States of the automaton. At START and after a `#` (which may open a tag) every character is whole and a summary may
# end; all other states are inside a character or inside a tag, and only what completes it may follow.
START, HASH = 0, 1

FORMAT = 1  # of the cached tables: raise it with every change of what they hold

# What Korean text is set in: Hangul and symbols (· ℃ ㎡ ① →) of the Korean standard character set (KS X 1001, with the
# further syllables of code page 949), and the digits, punctuation and currency signs that belong to no script.
# Script_Extensions tell the danda and the Arabic comma from what Korean shares (「」). Letters of no script (ー, µ),
# combining marks, blanks but the space, control and invisible characters, emoji and U+FFFD aren't needed and stay out.
_STANDARD = regex.compile(
    r"[[\p{Script=Hangul}[\p{Script=Common}&&[\p{P}\p{S}\p{N}]]]--\p{Default_Ignorable_Code_Point}]", regex.VERSION1
)
_PUNCTUATION = regex.compile(
    r"[\p{Script=Common}&&[\p{P}\p{Nd}\p{Sc}]&&[\p{scx=Common}\p{scx=Hangul}]]", regex.VERSION1
)


@cache
def korean_characters() -> frozenset[str]:
    """Every character that a Korean summary may hold whatever its dialogue holds; Latin letters of tags come on top."""
    plane = (chr(code) for code in range(0x10000))
    return frozenset("\n ").union(
        char for char in plane if _PUNCTUATION.match(char) or (_STANDARD.match(char) and char.encode("cp949", "ignore"))
    )


@cache
def automaton() -> tuple[NDArray[np.uint8], dict[int, str]]:
    """The byte automaton: `step[state, byte]` is the next state, and `letters[state]` what has been read of a tag.

    The last state is the dead end that no byte leaves. Characters share states by what may follow (a minimal
    automaton); tags have one state per prefix, because a dialogue may use that prefix in a word of its own.
    """
    rows: list[dict[int, int]] = [{}, {}]
    letters = {START: "", HASH: ""}
    known: dict[tuple[bytes, ...], int] = {(b"",): START}

    def new_state() -> int:
        rows.append({})
        return len(rows) - 1

    def add_endings(state: int, endings: Sequence[bytes]) -> None:
        for byte, group in groupby(endings, key=lambda ending: ending[0]):
            rest = tuple(ending[1:] for ending in group)
            if rest not in known:
                known[rest] = new_state()
                add_endings(known[rest], rest)
            rows[state][byte] = known[rest]

    add_endings(START, sorted(char.encode() for char in korean_characters()))
    hash_sign = ord("#")
    rows[START][hash_sign] = HASH
    rows[HASH] = dict(rows[START])
    for name in TAG_NAMES:
        state = HASH
        for end, letter in enumerate(name.encode(), 1):
            state = rows[state].setdefault(letter, len(rows))
            if state == len(rows):
                letters[new_state()] = name[:end]
        if name == "Person":  # one digit or more
            numbered = new_state()
            letters[numbered] = name
            rows[state] |= dict.fromkeys(b"0123456789", numbered)
            rows[numbered] |= dict.fromkeys(b"0123456789", numbered)
            state = numbered
        rows[state][hash_sign] = START
    dead = len(rows)
    step = np.full((dead + 1, 256), dead, np.uint8)
    for state, row in enumerate(rows):
        step[state, list(row)] = list(row.values())
    return step, letters


_BYTE_TOKEN = regex.compile("<0x([0-9A-Fa-f]{2})>")
# GPT-2's byte-level alphabet: printable Latin-1 bytes stand for themselves, the others are shifted up in order
# (openai/gpt-2, src/encoder.py, bytes_to_unicode).
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_BYTE_OF = {chr(byte): byte for byte in _PRINTABLE} | {
    chr(0x100 + index): byte for index, byte in enumerate(sorted(set(range(256)) - set(_PRINTABLE)))
}


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenizer's tokens by id, without control tokens; the ids that were added; its decoding steps by type."""

    texts: dict[int, str]
    added: frozenset[int]
    decoders: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Tokens:
        """Read a tokenizer; raises DialsumError where it has no `tokenizers` backend."""
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise DialsumError(f"can't read the tokens of a {type(tokenizer).__name__}", "add --no-block-foreign")
        # Parsing the whole backend takes five times as long, most of it for merges.
        decoder = json.loads(backend.decoder.__getstate__()) if backend.decoder else {"decoders": []}
        added = backend.get_added_tokens_decoder()
        special = {*tokenizer.all_special_ids, *(id_ for id_, token in added.items() if token.special)}
        texts = {id_: text for text, id_ in backend.get_vocab(with_added_tokens=True).items()}
        # A model that was given its tags as special tokens still writes them as text.
        kept = sorted(id_ for id_, text in texts.items() if id_ not in special or TAG.fullmatch(text))
        return cls({id_: texts[id_] for id_ in kept}, frozenset(added), tuple(decoder.get("decoders", [decoder])))

    def key(self) -> str:
        """A hash of all that decides the tables: these tokens and the automaton."""
        step, _ = automaton()
        facts = [FORMAT, self.decoders, sorted(self.added), list(self.texts), step.tobytes()]
        return hashlib.sha256("\0".join([*self.texts.values(), repr(facts)]).encode()).hexdigest()

    def bytes_of(self, id_: int) -> bytes:
        """What a token adds to the text; raises DialsumError where a decoder gives tokens no bytes of their own."""
        text = self.texts[id_]
        for decoder in self.decoders:
            match decoder:
                case {"type": "ByteLevel"}:
                    return bytes(_BYTE_OF[char] for char in text) if _BYTE_OF.keys() >= set(text) else text.encode()
                case {"type": "ByteFallback"}:
                    if byte := _BYTE_TOKEN.fullmatch(text):
                        return bytes.fromhex(byte[1])
                case {"type": "Replace", "pattern": {"String": old}, "content": new}:
                    text = text.replace(old, new)
                case {"type": "Metaspace", "replacement": mark}:
                    text = text.replace(mark, " ")
                case {"type": "Fuse" | "Strip"}:  # join tokens, trim the text's ends: no matter for a token alone
                    pass
                case _:
                    problem = f"can't tell the bytes of tokens behind the decoder {decoder['type']}"
                    raise DialsumError(problem, "add --no-block-foreign")
        return text.encode()


def scan(tokens: dict[int, bytes]) -> NDArray[np.uint8]:
    """The state in which each token ends from each state it may start in: (states, highest id + 1).

    The dead end stands where a token may not start, or where no other token could complete what it leaves unfinished.
    """
    step, _ = automaton()
    dead = len(step) - 1
    tokens = {id_: data for id_, data in tokens.items() if data}
    ids, lengths = np.array(list(tokens)), np.array([len(data) for data in tokens.values()])
    starts, data = lengths.cumsum() - lengths, np.frombuffer(b"".join(tokens.values()), np.uint8)
    ends = np.full((dead, ids.max() + 1), dead, np.uint8)
    for start in range(dead):
        live, state = np.arange(len(ids)), np.full(len(ids), start, np.uint8)
        for position in range(lengths.max()):
            state = step[state, data[starts[live] + position]]
            live, state = live[state != dead], state[state != dead]
            over = lengths[live] == position + 1
            ends[start, ids[live[over]]] = state[over]
            live, state = live[~over], state[~over]
    reachable = [np.unique(row) for row in ends]
    completes = np.arange(dead + 1) <= HASH
    for _ in range(dead):
        completes[:dead] |= [completes[states].any() for states in reachable]
    return np.where(completes[ends], ends, np.uint8(dead))
