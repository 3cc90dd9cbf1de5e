"""Which token ids a Korean summary may use, as tables over the states of the byte automaton."""

import io
import json
import logging
import zipfile
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from dialsum_cli.errors import DialsumError
from dialsum_cli.models.automaton import HASH, START, Tokens, automaton, korean_characters, scan
from dialsum_cli.models.sources import own_cache
from dialsum_cli.runs import write_atomically
from dialsum_cli.text import TAG

logger = logging.getLogger("dialsum.vocabulary")

LONGEST_PIECE = 32  # characters of one token; a bound, so that a dialogue's endless "word" costs no endless time


@cache
def _blanks() -> dict[int, str]:
    """A `str.translate` table that leaves nothing but foreign words: all else becomes blanks."""
    unprintable = {char for char in map(chr, range(0x10000)) if not char.isprintable()}
    return {ord(char): " " for char in korean_characters() | unprintable}


def _foreign_pieces(tokens: dict[int, bytes]) -> dict[str, list[int]]:
    """Token ids by the one foreign piece that each holds, among Korean characters or alone.

    Tokens with a longer piece, two pieces or a part of a character are left out: words can be written without them.
    """
    pieces: dict[str, list[int]] = {}
    for id_, data in tokens.items():
        text = data.decode(errors="replace")
        words = text.translate(_blanks()).split()
        if len(words) != 1 or len(words[0]) > LONGEST_PIECE or "\ufffd" in text:
            continue
        if korean_characters().issuperset(text.replace(words[0], "", 1)):
            pieces.setdefault(words[0], []).append(id_)
    return pieces


def _build_tables(tokens: Tokens) -> "Tables":
    """The tables of a tokenizer, from nothing."""
    data = {id_: tokens.bytes_of(id_) for id_ in tokens.texts}
    ends = scan(data)
    allowed = ends < len(ends)
    # Where only the dialogue allows a token, the text goes on as if at a character's border.
    border = np.full(ends.shape[1], START, np.uint8)
    border[[id_ for id_, text in data.items() if text.endswith(b"#")]] = HASH
    border = np.where(allowed[START], ends[START], border)
    # A dialogue about `<think>` must not open that token: added tokens are never pieces of words.
    pieces = _foreign_pieces({id_: text for id_, text in data.items() if id_ not in tokens.added})
    return allowed, np.where(allowed, ends, border), pieces


Tables = tuple[NDArray[np.bool_], NDArray[np.uint8], dict[str, list[int]]]


def _cached_tables(tokens: Tokens) -> Tables:
    """The tables of a tokenizer from the cache, or built and put there; says so when a cached file is broken."""
    path = own_cache() / "vocabularies" / f"{tokens.key()}.npz"
    if path.exists():
        try:
            with path.open("rb") as opened, np.load(opened) as file:  # np.load alone leaves a broken file open
                return file["allowed"], file["next_state"], json.loads(file["pieces"].tobytes())
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            logger.warning("'%s' is broken (%s); building it again", path, error)
    allowed, next_state, pieces = _build_tables(tokens)
    buffer = io.BytesIO()
    encoded = np.frombuffer(json.dumps(pieces).encode(), np.uint8)
    np.savez_compressed(buffer, allowed=allowed, next_state=next_state, pieces=encoded)
    try:
        write_atomically(path, buffer.getvalue(), overwrite=True)
    except DialsumError as error:
        logger.warning("%s: the tables of this tokenizer will be built again next time", error)
    return allowed, next_state, pieces


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Vocabulary:
    """Which token may follow, by the state that the text so far has left; `START` is the state of an empty text.

    A summary may hold Korean characters (`korean_characters`), tags (`dialsum_cli.text.TAG`), and what `extra_mask`
    opens for its dialogue; no character or tag is left unfinished, and only then may it end.

    Attributes:
        allowed: (states, size) bool.
        next_state: (states, size) uint8.
        pieces: token ids by the foreign piece that each holds.
    """

    allowed: Tensor
    next_state: Tensor
    pieces: dict[str, list[int]]

    @classmethod
    def build(
        cls, tokenizer: PreTrainedTokenizerBase, end_ids: Collection[int], size: int | None = None
    ) -> "Vocabulary":
        """The tables of a tokenizer, from the cache in `$XDG_CACHE_HOME/dialsum` where it has them.

        Args:
            tokenizer: one with a `tokenizers` backend.
            end_ids: the control tokens that end the turn; all others are closed.
            size: the width of the model's logits where that isn't the number of tokens; ids without a token are closed.

        Raises:
            DialsumError: the tokenizer has no such backend, or a decoder whose tokens have no bytes of their own.
        """
        allowed, next_state, pieces = _cached_tables(Tokens.of(tokenizer))
        width = size or max(len(tokenizer), allowed.shape[1])
        padding = ((0, 0), (0, max(width - allowed.shape[1], 0)))
        allowed, next_state = np.pad(allowed, padding)[:, :width], np.pad(next_state, padding)[:, :width]
        allowed[: HASH + 1, list(end_ids)] = True
        next_state[:, list(end_ids)] = START
        return cls(torch.from_numpy(allowed), torch.from_numpy(next_state), pieces)

    @property
    def states(self) -> int:
        """How many states there are."""
        return self.allowed.shape[0]

    def to(self, device: torch.device | str) -> "Vocabulary":
        """The same with its tables on a device."""
        return replace(self, allowed=self.allowed.to(device), next_state=self.next_state.to(device))

    def extra_mask(self, dialogue: str) -> Tensor:
        """What a dialogue opens: (size + states) bool, to be stacked to one row per dialogue for `mask`.

        The first `size` columns are the tokens allowed where a character is whole: those of `START`, and those whose
        foreign letters are a piece of one of the dialogue's foreign words (names, acronyms, unknown tags). The others
        are the states where that is so: `START`, `HASH`, and a tag begun with letters that are such a piece.

        Words are written piece by piece, so pieces may also come in another order (Jimmy opens `Jim`, `my` and `i`,
        hence `Jimmi`): no foreign character comes out that the dialogue's words don't have, but a word may. A foreign
        character for which the tokenizer has no token of its own stays closed (rare Han characters, most emoji).
        """
        return self.extra_masks([dialogue])[0]

    def extra_masks(self, dialogues: Sequence[str]) -> Tensor:
        """The extra masks of several dialogues: (dialogues, size + states) bool."""
        _, letters = automaton()
        size = self.allowed.shape[1]
        rows: list[int] = []
        columns: list[int] = []
        for row, dialogue in enumerate(dialogues):
            words = set(TAG.sub(" ", dialogue).translate(_blanks()).split())
            found = {
                word[start : start + length]
                for word in words
                for length in range(1, min(len(word), LONGEST_PIECE) + 1)
                for start in range(len(word) - length + 1)
            }
            opened = [id_ for piece in found for id_ in self.pieces.get(piece, ())]
            opened += [size + state for state, read in letters.items() if not read or read in found]
            rows += [row] * len(opened)
            columns += opened
        device = self.allowed.device
        masks = torch.zeros(len(dialogues), size + self.states, dtype=torch.bool, device=device)
        masks[:, :size] = self.allowed[START]
        masks[torch.tensor(rows, device=device), torch.tensor(columns, device=device)] = True
        return masks

    def mask(self, state: Tensor, extra: Tensor) -> Tensor:
        """The tokens that may follow: (rows, texts, size) bool for the texts on each row's dialogue, one or several.

        States are (rows, texts), extra masks (rows, size + states). There is always a token. Like `advance` it neither
        waits for the device nor changes shapes: it can be captured.
        """
        size = self.allowed.shape[1]
        at_border = extra[:, size:].gather(1, state)[..., None].expand(-1, -1, size)
        # On a CPU, `&` takes whole words at a time only where both sides lie in memory: a tenth of the time.
        return self.allowed[state] | (extra[:, None, :size] & at_border.contiguous())

    def advance(self, state: Tensor, token: Tensor) -> Tensor:
        """The states (int64) after one more token each (int64)."""
        return self.next_state[state, token].long()


class KoreanLogitsProcessor(LogitsProcessor):
    """Keeps `model.generate` to a vocabulary, with sampling and beams too; one instance per call.

    Args:
        vocabulary: on the model's device, built with the width of its logits.
        extra: (dialogues, size + states), the stacked extra masks in the order of the batch.
        prompt_length: how many ids of each row are the prompt (1 for an encoder-decoder: its start token).
    """

    def __init__(self, vocabulary: Vocabulary, extra: Tensor, prompt_length: int) -> None:
        self._vocabulary, self._extra, self._prompt_length = vocabulary, extra, prompt_length
        self._written = self._state = torch.empty(0, dtype=torch.long)  # nothing yet: no batch has this shape

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (rows, size) with -inf for every token that may not follow; ids are (rows, length)."""
        written = input_ids[:, self._prompt_length :]
        before = written[:, :-1]
        if before.shape == self._written.shape and torch.equal(before, self._written):
            self._state = self._vocabulary.advance(self._state, written[:, -1])
        else:  # the first step, or beams that changed places: walk from the start
            self._state = torch.full_like(input_ids[:, 0], START)
            for token in written.unbind(1):
                self._state = self._vocabulary.advance(self._state, token)
        self._written = written
        # `generate` repeats each dialogue's row for beams and returned sequences.
        states = self._state.view(len(self._extra), -1)
        allowed = self._vocabulary.mask(states, self._extra).flatten(0, 1)
        blocked = scores.masked_fill(~allowed, -torch.inf)
        stuck = blocked.amax(1, keepdim=True).isneginf()
        if stuck.any():
            # Another processor closed all that may follow. One that leaves a single token forces it (the language
            # code of mBART): it decides. Else (repeated n-grams within a tag) the character or tag is completed.
            forced = scores.isfinite().sum(1, keepdim=True) == 1
            completing = torch.zeros_like(scores).masked_fill(~allowed, -torch.inf)
            blocked = torch.where(stuck, torch.where(forced, scores, completing), blocked)
        return blocked
