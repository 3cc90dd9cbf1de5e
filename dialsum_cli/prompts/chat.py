"""Token ids of prompts, put together so that no dialogue can write a control token."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.prompts import SLOT, Prompt
from dialsum_cli.prompts.secret import Piece, SecretTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import PreTrainedTokenizerBase

GAP = "…"  # stands where a dialogue was shortened
_ANSWER = "{summary}"
_PROBE = "#Person1#: 안녕하세요, 잘 지냈어요?\n#Person2#: 네, 3년 만이네요."

# What templates ask for besides the messages. Llama 3.2's prints today's date unless it is given one; with the date
# that Llama 3.1's has as its default, a prompt has the same ids in training and a month later.
TEMPLATE_SETTINGS: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024"}

_THOUGHT = re.compile(r"\s*<think>.*?(</think>|\Z)", re.DOTALL)  # one that was cut off has no end


@dataclass(frozen=True)
class PromptIds:
    """An encoded prompt.

    Attributes:
        ids: the token ids, BOS included.
        dialogue: what is in it of the dialogue: all of it but the outer blanks, or what was left.
        whole: how many ids it would be with all of the dialogue.
    """

    ids: list[int]
    dialogue: str
    whole: int

    @property
    def shortened(self) -> bool:
        """Whether something was left out."""
        return self.whole > len(self.ids)


class _SlotPrompt:
    """A marked text with a slot for the dialogue, between ids that the tokenizer puts around it."""

    name: str | None = None
    has_template = False

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokens = SecretTokenizer(tokenizer)
        self._left: list[int] = []
        self._right: list[int] = []
        self._before = self._after = ""

    def _ids(self, dialogue: str) -> list[int]:
        return [*self._left, *self._tokens.encode(dialogue, self._before, self._after), *self._right]

    def encode(self, dialogue: str, max_tokens: int | None = None) -> PromptIds:
        """The prompt with this dialogue, in at most `max_tokens` ids.

        A dialogue that is too long loses whole turns (lines) from its middle, never the first or the last; where even
        those two don't fit, it loses characters from its middle. `…` stands where something is missing.

        Raises:
            RequestError: the prompt alone is longer than `max_tokens`.
        """
        dialogue = dialogue.strip()  # some templates do; so the same dialogue is in all prompts
        ids = self._ids(dialogue)
        if max_tokens is None or len(ids) <= max_tokens:
            return PromptIds(ids, dialogue, len(ids))
        text = _shorten(dialogue, lambda text: len(self._ids(text)) <= max_tokens)
        whole, ids = len(ids), self._ids(text)
        if len(ids) > max_tokens:
            raise RequestError(
                f"the prompt takes {len(ids)} tokens without any dialogue, and only {max_tokens} are allowed",
                "allow more input tokens, or use a shorter prompt: --prompt short",
            )
        return PromptIds(ids, text, whole)

    def pieces(self, prompt: PromptIds) -> list[Piece]:
        """The exact text of an encoded prompt, cut at its control tokens."""
        before = self._tokens.pieces(self._tokens.names(self._left) + self._before)
        after = self._tokens.pieces(self._after + self._tokens.names(self._right))
        return [*before, Piece(prompt.dialogue, control=False), *after]

    def control_ids(self) -> list[int]:
        """The ids of the control tokens, the same ones in every prompt."""
        return [*self._left, *self._tokens.controls(self._before + self._after), *self._right]

    def describe(self, prompt: PromptIds) -> str:
        """The exact text of an encoded prompt with its control tokens as `⟦<s>⟧`, and below it the ids."""
        text = "".join(f"⟦{piece.text}⟧" if piece.control else piece.text for piece in self.pieces(prompt))
        return f"{text}\n\n{len(prompt.ids)} ids: {' '.join(map(str, prompt.ids))}"


class EncoderPrompt(_SlotPrompt):
    """A dialogue for an encoder-decoder model, between the tokenizer's own special tokens.

    Attributes:
        end_ids: the token ids that end an answer.

    Raises:
        DialsumError: the tokenizer has no EOS, or can't be guarded (see `SecretTokenizer`).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer)
        self._left, self._right = self._tokens.left, self._tokens.right
        self.end_ids = frozenset({_eos(tokenizer)})
        self._answer_end = [] if self.end_ids.intersection(self._right) else [*self.end_ids]

    def answer_ids(self, summary: str) -> list[int]:
        """The labels for a summary: the ids that the tokenizer gives it, ending in EOS even if it adds none."""
        return [*self._left, *self._tokens.encode(summary.strip()), *self._right, *self._answer_end]


class ChatPrompt(_SlotPrompt):
    """A dialogue for a causal model: the prompt in the model's chat template, or the plain prompt if it has none.

    The ids are those of `apply_chat_template` for every dialogue that holds no control token's name, and begin with
    one BOS if template or tokenizer want one. A template that knows no system turn gets that text in the user's turn.
    All that depends on the template is done once, here.

    Attributes:
        name: the prompt's, or `plain` where the model has no chat template.
        has_template: whether the model has a chat template.
        opens_thought: whether the template makes the model think, by opening a `<think>` block for it.
        end_ids: the token ids that end an answer: EOS, and what the template puts behind an assistant's turn.

    Raises:
        DialsumError: the template fails or alters the text, or the tokenizer has no EOS or can't be guarded.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> None:
        super().__init__(tokenizer)
        self.has_template = bool(tokenizer.chat_template)
        self.name = prompt.name if self.has_template else "plain"
        eos = _eos(tokenizer)
        messages: list[dict[str, str]] = []
        asked, answered = prompt.plain, f"{prompt.plain} {_ANSWER}"
        if self.has_template:
            try:
                messages = _messages(tokenizer, prompt)
                asked = _render(tokenizer, messages, add_generation_prompt=True)
                answered = _render(tokenizer, [*messages, {"role": "assistant", "content": _ANSWER}])
            except TemplateError as error:
                raise _unusable(tokenizer, f"fails: {error}") from error
        if asked.count(SLOT) != 1 or _ANSWER not in answered:
            raise _unusable(tokenizer, "alters the text of a turn")
        header = asked.partition(SLOT)[2]
        self.opens_thought = header.rfind("<think>") > header.rfind("</think>")
        asked, (answered, _, ending) = self._tokens.mark(asked), self._tokens.mark(answered).rpartition(_ANSWER)

        # What a model continues, from the last control token on. Where a thinking block is opened in one rendering
        # only, nothing else comes between the header and the answer.
        self._header = asked[self._tokens.last_control(asked)[0] :].rpartition(SLOT)[2]
        self._lead = answered.removeprefix(asked) if answered.startswith(asked) else ""
        self._ending = ending[: self._tokens.last_control(ending)[1]] or self._tokens.names([eos])
        self.end_ids = frozenset({eos, *self._tokens.controls(self._ending)})

        bos = self._tokens.mark(tokenizer.bos_token or "")
        while bos and asked.startswith(bos * 2):
            asked = asked.removeprefix(bos)
        self._before, _, self._after = asked.partition(SLOT)
        left = self._tokens.left
        self._left = [] if self._tokens.controls(asked)[: len(left)] == left else left
        if messages and not self._agrees(tokenizer, messages):
            raise _unusable(tokenizer, "gives other token ids than its parts")

    def _agrees(self, tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> bool:
        """Whether a harmless dialogue gets the ids that transformers gives it, but for a BOS too few or too many."""
        filled = [{**message, "content": message["content"].replace(SLOT, _PROBE)} for message in messages]
        rendered = _render(tokenizer, filled, add_generation_prompt=True)
        theirs = tokenizer(rendered, add_special_tokens=False)["input_ids"]
        while theirs[:2] == [tokenizer.bos_token_id] * 2:
            theirs = theirs[1:]
        return bool(theirs == self._tokens.encode(_PROBE, self._before, self._after))

    def answer_ids(self, summary: str) -> list[int]:
        """The labels for a summary: the ids that follow the prompt's, with all tokens that end the turn."""
        answer = self._lead + summary.strip()
        header = self._tokens.encode("", self._header)
        whole = self._tokens.encode(answer, self._header, self._ending)
        if whole[: len(header)] == header:
            return whole[len(header) :]
        # The header's last token would swallow the answer's first letters, but a prompt's ids are fixed by then.
        return self._tokens.encode(answer, after=self._ending)


def clean_answer(text: str, *, thinking: bool = False) -> str:
    """An answer without the `<think>` block that it begins with, and without outer blanks; nothing else is touched.

    `thinking` says that the prompt had opened the block already (`ChatPrompt.opens_thought`).
    """
    text = f"<think>{text}" if thinking else text
    block = _THOUGHT.match(text)
    return text[block.end() if block else 0 :].strip()


def _shorten(dialogue: str, fits: Callable[[str], bool]) -> str:
    """A dialogue with as little as possible taken from its middle."""
    turns = dialogue.split("\n")
    if len(turns) > 2 and fits(text := _without_middle(turns, "\n", fits, keep=2)):
        return text
    return _without_middle(dialogue, "", fits, keep=0)


def _without_middle(units: Sequence[str], joint: str, fits: Callable[[str], bool], keep: int) -> str:
    """Units joined, with the fewest missing in the middle that make them fit; with `keep` left if none do."""

    def without(count: int) -> str:
        kept = len(units) - count
        return joint.join([*units[: (kept + 1) // 2], GAP, *units[len(units) - kept // 2 :]])

    counts = range(1, len(units) - keep + 1)
    return without(min(bisect_left(counts, True, key=lambda count: fits(without(count))) + 1, len(counts)))


def _messages(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[dict[str, str]]:
    """The prompt's turns with the slot in them; without a system turn where the template refuses or ignores it."""
    messages = prompt.messages(SLOT)
    try:
        if prompt.system in _render(tokenizer, messages, add_generation_prompt=True):
            return messages
    except TemplateError:  # how templates say that they know no system role (Gemma, early Mistral)
        pass
    return prompt.messages(SLOT, with_system=False)


def _render(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], *, add_generation_prompt: bool = False
) -> str:
    return str(
        tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, **TEMPLATE_SETTINGS
        )
    )


def _eos(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise DialsumError(f"{tokenizer.name_or_path} has no EOS token, so it can't stop", "choose another model")
    return int(tokenizer.eos_token_id)


def _unusable(tokenizer: PreTrainedTokenizerBase, what: str) -> DialsumError:
    return DialsumError(f"the chat template of {tokenizer.name_or_path} {what}", "choose another model")
