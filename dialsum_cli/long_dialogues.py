"""Dialogues that don't fit into a model, summarised in parts, and then their parts' summaries."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.summarizer import Batch, Summarizer, Summary


@runtime_checkable
class Measuring(Protocol):
    """A summarizer that can tell how long a dialogue is: `prompt` as in `prompts.chat`, and what may be in it."""

    prompt: Any
    max_prompt_tokens: int | None


def fits(summarizer: Measuring, text: str) -> bool:
    """Whether a dialogue fits into the model whole."""
    most = summarizer.max_prompt_tokens
    return most is None or len(summarizer.prompt.encode(text).ids) <= most


def split(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The dialogue in parts that fit, each with as many turns (lines) as it can hold; a turn that doesn't fit stays."""
    if fits(text):
        return [text]
    turns = text.splitlines()
    parts = []
    while turns:
        most = bisect_left(range(1, len(turns) + 1), True, key=lambda n: not fits("\n".join(turns[:n])))
        parts.append("\n".join(turns[: max(most, 1)]))
        turns = turns[max(most, 1) :]
    return parts


@dataclass(slots=True)
class _Long:
    """A dialogue on its way: its text, or by now its parts' summaries, the parts that are asked, their summaries."""

    dialogue: Dialogue
    text: str
    parts: list[str] = field(default_factory=list)
    answers: dict[int, Summary] = field(default_factory=dict)
    truncated: bool = False
    prompt_truncated: bool = False

    def divide(self, fits: Callable[[str], bool]) -> None:
        """Cut the text into parts, but for one that has become no shorter: the model's own shortening ends that."""
        before = "\n".join(self.parts)
        self.parts = [self.text] if self.parts and len(self.text) >= len(before) else split(self.text, fits)
        self.answers = {}

    def answer(self, number: int, summary: Summary) -> Summary | None:
        """Take a part's summary; the dialogue's own where that was the last one."""
        self.answers[number] = summary
        self.truncated |= summary.truncated
        self.prompt_truncated |= summary.prompt_truncated
        if len(self.answers) < len(self.parts):
            return None
        self.text = "\n".join(self.answers[each].text for each in range(len(self.parts)))
        if len(self.parts) > 1:
            return None
        return Summary(self.dialogue.fname, self.text, self.truncated, self.prompt_truncated)


@dataclass(slots=True)
class Chunked:
    """A summarizer that cuts what doesn't fit between turns, lets another one summarise the parts, and joins that.

    Attributes:
        chunked: how many dialogues were cut.
    """

    summarizer: Summarizer
    fits: Callable[[str], bool]
    chunked: int = 0

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Batch]:
        """Yield one summary for each dialogue; a batch of parts alone holds none."""
        left = [_Long(dialogue, dialogue.text) for dialogue in dialogues]
        first = True
        while left:
            for each in left:
                each.divide(self.fits)
            self.chunked += sum(len(each.parts) > 1 for each in left) if first else 0
            first = False
            asked = {
                f"{place}.{number}": (each, number)
                for place, each in enumerate(left)
                for number in range(len(each.parts))
            }
            parts = [Dialogue(fname, each.parts[number]) for fname, (each, number) in asked.items()]
            for batch in self.summarizer.summarize(parts):
                answered = [(*asked[summary.fname], summary) for summary in batch.summaries]
                done = [each.answer(number, summary) for each, number, summary in answered]
                yield replace(batch, summaries=[summary for summary in done if summary])
            left = [each for each in left if len(each.parts) > 1]
