"""The summarizer: what turns dialogues into summaries, be it a baseline, a model or a server."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dialsum_cli.data.dialogues import Dialogue


@dataclass(frozen=True, slots=True)
class Summary:
    """One summary, and what happened on its way.

    Attributes:
        fname: the dialogue's id.
        text: the summary; may be empty.
        truncated: generation ended at `max_new_tokens`, not at an end token.
        prompt_truncated: the dialogue was shortened to fit into the model.
    """

    fname: str
    text: str
    truncated: bool = False
    prompt_truncated: bool = False


class Summarizer(Protocol):
    """Anything that summarises dialogues."""

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Summary]:
        """Yield exactly one summary for each dialogue, as they are done: in any order."""


def collect(summarizer: Summarizer, dialogues: Sequence[Dialogue], done: Callable[[Summary], None]) -> list[Summary]:
    """All summaries in the order of the dialogues; `done` is told of each one as it comes.

    Raises:
        RuntimeError: the summarizer left out a dialogue, or answered one twice: a bug of its own.
    """
    summaries: dict[str, Summary] = {}
    for summary in summarizer.summarize(dialogues):
        if summary.fname in summaries:
            raise RuntimeError(f"{summary.fname} was summarised twice")
        summaries[summary.fname] = summary
        done(summary)
    if len(summaries) != len(dialogues):
        raise RuntimeError(f"{len(dialogues) - len(summaries)} of {len(dialogues)} dialogues were not summarised")
    return [summaries[dialogue.fname] for dialogue in dialogues]
