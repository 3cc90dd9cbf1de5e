"""A copy of a tokenizer in which no text can spell a control token."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from dialsum_cli.errors import DialsumError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Added tokens that people write and no template steers by: words, blanks (Gemma's "\n\n"), tags such as #Person1#.
_TAG = re.compile(r"#\w+#")
_TEXT = re.compile(r"[\w\s▁]*|#\w+#")


@dataclass(frozen=True)
class Piece:
    """A run of text in a prompt, or one of its control tokens."""

    text: str
    control: bool


class SecretTokenizer:
    """A copy of a tokenizer whose control tokens have secret names: who writes `<|im_end|>` has written some letters.

    Template and dialogue can then be tokenised in one go, by the library itself, which treats blanks, prefixes and
    normalisation as it always does. (Tokenising the dialogue as a piece of its own gives other ids than the model
    knows.) The names also change inside the vocabulary: T5's holds `</s>` as an ordinary piece.

    Attributes:
        left, right: the ids that the tokenizer itself puts before and after every text, such as BOS and EOS.

    Raises:
        DialsumError: the tokenizer doesn't come from the `tokenizers` library, or its tokens can't be renamed.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        model = tokenizer.name_or_path or type(tokenizer).__name__
        if not tokenizer.is_fast:
            raise DialsumError(
                f"{model} has no tokenizer.json, so its control tokens can't be told from text",
                "choose a model that has one",
            )
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        controls = {token["content"]: int(token["id"]) for token in state["added_tokens"] if _is_control(token)}
        secret = secrets.token_hex(16)
        self._names = {content: f"{secret}x{number}x" for content, number in controls.items()}
        self._contents = {number: content for content, number in controls.items()}
        self._named = re.compile(f"{secret}x([0-9]+)x")
        self._control = re.compile("|".join(sorted(map(re.escape, controls), key=len, reverse=True)) or "(?!)")
        # What a vocabulary can't spell becomes <unk>: a special token, but one that every dialogue may contain.
        self._checked = set(controls.values()) - {controls.get(_unknown(state["model"]))}
        self._backend = Tokenizer.from_str(json.dumps(_renamed(state, self._names)))
        if any(self._backend.token_to_id(name) != controls[content] for content, name in self._names.items()):
            raise DialsumError(f"the control tokens of {model} can't be told from text", "choose another model")
        encoding = self._backend.encode("가", add_special_tokens=True)
        own = encoding.special_tokens_mask
        self.left, self.right = encoding.ids[: own.index(0)], encoding.ids[len(own) - own[::-1].index(0) :]

    def mark(self, text: str) -> str:
        """A template's text with its control tokens under their secret names."""
        return self._control.sub(lambda match: self._names[match[0]], text)

    def controls(self, marked: str) -> list[int]:
        """The ids of the control tokens in a marked text."""
        return [int(number) for number in self._named.findall(marked)]

    def last_control(self, marked: str) -> tuple[int, int]:
        """Where the last control token of a marked text starts and ends; (0, 0) if there is none."""
        return max((match.span() for match in self._named.finditer(marked)), default=(0, 0))

    def pieces(self, marked: str) -> list[Piece]:
        """A marked text cut at its control tokens, which get their usual names back."""
        parts = self._named.split(marked)  # texts and numbers by turns
        parts[1::2] = [self._contents[int(number)] for number in parts[1::2]]
        return [Piece(part, control=i % 2 == 1) for i, part in enumerate(parts) if part]

    def names(self, ids: list[int]) -> str:
        """The marked text of some control tokens."""
        return "".join(self._names[self._contents[number]] for number in ids)

    def encode(self, text: str, before: str = "", after: str = "") -> list[int]:
        """The ids of a text between two marked ones, with nothing put around them.

        Raises:
            DialsumError: the text would have become a control token; such a prompt must not be used.
        """
        ids: list[int] = self._backend.encode(before + text + after, add_special_tokens=False).ids
        expected = [number for number in self.controls(before) + self.controls(after) if number in self._checked]
        if [number for number in ids if number in self._checked] != expected:
            raise DialsumError("a text was read as a control token of the model", "report the model and this text")
        return ids


def _is_control(token: dict[str, Any]) -> bool:
    ordinary = _TAG if token["special"] else _TEXT
    return not ordinary.fullmatch(token["content"])


def _unknown(model: dict[str, Any]) -> str | None:
    """The piece that stands for what the vocabulary can't spell."""
    if model["type"] != "Unigram":
        return model.get("unk_token")
    return None if model["unk_id"] is None else model["vocab"][model["unk_id"]][0]


def _renamed(state: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The state of a tokenizer, as the library writes it, with other names for some tokens, inside its model too."""
    model = state["model"]
    changed: dict[str, Any] = {}
    if model["type"] == "Unigram":  # pieces and scores, in the order of their ids
        changed["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    else:
        changed["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
    if "merges" in model:  # what no text can spell needs none
        changed["merges"] = [[a, b] for a, b in model["merges"] if names.keys().isdisjoint((a, b, a + b))]
    if model.get("unk_token") in names:
        changed["unk_token"] = names[model["unk_token"]]
    added = [token | {"content": names.get(token["content"], token["content"])} for token in state["added_tokens"]]
    return state | {"model": model | changed, "added_tokens": added, "truncation": None, "padding": None}
