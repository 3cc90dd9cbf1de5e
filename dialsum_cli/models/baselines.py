"""Summarizers without weights: the floor that a model has to beat."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.errors import RequestError
from dialsum_cli.metrics.scoring import CONSTANT_SENTENCE, other_items
from dialsum_cli.summarizer import Batch, Summarizer, Summary


@dataclass(frozen=True, slots=True)
class Constant:
    """The same sentence for every dialogue."""

    sentence: str = CONSTANT_SENTENCE

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Batch]:
        """Yield the sentence."""
        yield Batch([Summary(dialogue.fname, self.sentence) for dialogue in dialogues])


@dataclass(frozen=True, slots=True)
class Lead:
    """The first lines of the dialogue as they stand, tags included, joined by a blank."""

    lines: int

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Batch]:
        """Yield the lines."""
        yield Batch([Summary(each.fname, " ".join(each.text.splitlines()[: self.lines])) for each in dialogues])


@dataclass(frozen=True, slots=True)
class RandomReference:
    """The first reference summary of another row, drawn with the seed."""

    seed: int

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Batch]:
        """Yield another row's summary.

        Raises:
            RequestError: there are fewer than two rows, or one without a summary.
        """
        if len(dialogues) < 2 or not all(dialogue.references for dialogue in dialogues):
            raise RequestError("the baseline 'random' needs two or more rows with summaries", "leave it out")
        pairs = zip(dialogues, other_items(len(dialogues), self.seed), strict=True)
        yield Batch([Summary(dialogue.fname, dialogues[other].references[0]) for dialogue, other in pairs])


BASELINES: dict[str, Callable[[int], Summarizer]] = {
    "constant": lambda seed: Constant(),
    "lead1": lambda seed: Lead(1),
    "lead2": lambda seed: Lead(2),
    "lead3": lambda seed: Lead(3),
    "random": RandomReference,
}
