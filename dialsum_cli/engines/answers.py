"""Text out of the token ids that a model has written."""

from collections.abc import Collection, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from dialsum_cli.errors import DialsumError
from dialsum_cli.prompts.chat import ChatPrompt, EncoderPrompt, clean_answer
from dialsum_cli.text import TAG, without_half


class AnswerReader:
    """Reads a model's answers: tags stay, control tokens go, and so does a thought.

    Attributes:
        end_ids: the token ids that end an answer.

    Args:
        tokenizer: the model's.
        prompt: what the model is asked with.
        stops: the ends that the model's own configuration knows; it may end in ways that its template does not show.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, prompt: ChatPrompt | EncoderPrompt, stops: Collection[int]
    ) -> None:
        self._tokenizer = tokenizer
        self._thinking = isinstance(prompt, ChatPrompt) and prompt.opens_thought
        self.end_ids = {*prompt.end_ids, *stops}
        added = tokenizer.added_tokens_decoder.items()
        seen = {"<think>", "</think>"}  # by `clean_answer`, which takes the thought with them
        self._silent_ids = {
            i for i, token in added if token.special and token.content not in seen and not TAG.fullmatch(token.content)
        }

    def open_ids(self) -> set[int]:
        """The control tokens that an answer may hold where foreign words are blocked.

        Raises:
            DialsumError: the model ends a thought in several tokens.
        """
        if not self._thinking:
            return set(self.end_ids)
        (end, *more) = self._tokenizer.encode("</think>", add_special_tokens=False)
        if more:  # a thought is in Korean as well, and has to come to its end
            raise DialsumError(
                "`</think>` is several tokens of this model: foreign words can't be blocked", "add --no-block-foreign"
            )
        return self.end_ids | {end}

    def read(self, ids: Sequence[int]) -> tuple[str, bool]:
        """The text of an answer, and whether it was cut before its end."""
        end = next((i for i, token in enumerate(ids) if token in self.end_ids), None)
        kept = [token for token in ids[:end] if token not in self._silent_ids]
        decode: Any = self._tokenizer.decode  # typed as what it gives for batches as well
        text = decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        truncated = end is None
        return clean_answer(without_half(text) if truncated else text, thinking=self._thinking), truncated
