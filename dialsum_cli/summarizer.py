"""The summarizer: what turns dialogues into summaries, be it a baseline, a model or a server."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.registry import ModelSpec

Decoding = Literal["graph", "eager", "generate"]


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


@dataclass(frozen=True, slots=True)
class Batch:
    """Summaries that were made together, and what making them took.

    Attributes:
        work_left: the work that remains after it, in batches like this one.
        seconds: the time that it took, out-of-memory attempts included.
        peak_memory_gib: the most device memory that was in use since the model began to load; None on a CPU.
        batch_tokens: tokens that a batch may hold by now; smaller than asked for where memory ran out.
        reused: made by an earlier run; seconds and memory are that run's.
        prompt_tokens: tokens of its prompts as a server counts them; None where no server does.
        summary_tokens: the same of its summaries, thoughts included.
    """

    summaries: Sequence[Summary]
    work_left: float = 0.0
    seconds: float = 0.0
    peak_memory_gib: float | None = None
    batch_tokens: int | None = None
    reused: bool = False
    prompt_tokens: int | None = None
    summary_tokens: int | None = None


class Summarizer(Protocol):
    """Anything that summarises dialogues."""

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Batch]:
        """Yield exactly one summary for each dialogue, batch by batch as they are done: in any order."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a result states about a model that isn't loaded here; None where nobody tells."""

    spec: ModelSpec
    parameters: int | None = None
    layers: int | None = None
    revision: str | None = None
    precision: str | None = None


class Engine(Summarizer, Protocol):
    """A summarizer whose summaries can be kept.

    Attributes:
        prompt_name: what the model is asked with; `plain` where it has no chat template, None where nothing is.
        decoding: how it writes: `graph` (captured steps on a GPU), `eager` (the same steps on a CPU) or `generate`
            (transformers' own loop); None where that is another program's affair.
    """

    prompt_name: str | None
    decoding: Decoding | None

    def ingredients(self) -> Mapping[str, object]:
        """All that decides a summary's text but its dialogue, as plain values."""


def collect(summarizer: Summarizer, dialogues: Sequence[Dialogue], done: Callable[[Batch], None]) -> list[Summary]:
    """All summaries in the order of the dialogues; `done` is told of each batch as it comes.

    Raises:
        RuntimeError: the summarizer left out a dialogue, or answered one twice: a bug of its own.
    """
    summaries: dict[str, Summary] = {}
    for batch in summarizer.summarize(dialogues):
        for summary in batch.summaries:
            if summary.fname in summaries:
                raise RuntimeError(f"{summary.fname} was summarised twice")
            summaries[summary.fname] = summary
        done(batch)
    if len(summaries) != len(dialogues):
        raise RuntimeError(f"{len(dialogues) - len(summaries)} of {len(dialogues)} dialogues were not summarised")
    return [summaries[dialogue.fname] for dialogue in dialogues]
