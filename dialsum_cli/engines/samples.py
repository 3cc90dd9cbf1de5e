"""Several summaries of a dialogue drawn from one model, and the one that the others agree with most."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.engines.huggingface import HuggingFaceSummarizer
from dialsum_cli.engines.shared import resumed
from dialsum_cli.generation.sampling import Sampling
from dialsum_cli.metrics.mbr import choose
from dialsum_cli.metrics.morphemes import Tokenizer, tokenizer
from dialsum_cli.metrics.rouge import PreparedText
from dialsum_cli.store import SummaryStore
from dialsum_cli.summarizer import Batch, Engine, Summarizer, Summary


@dataclass(frozen=True, slots=True)
class Sampler:
    """A summarizer whose texts are JSON of all samples, `[[text, truncated], ...]`: what a store keeps of a dialogue.

    So an interrupted run goes on with all its samples, and another choice among them needs no new ones.
    """

    engine: HuggingFaceSummarizer
    sampling: Sampling

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Batch]:
        """Yield the samples of each dialogue as one."""
        for batch in self.engine.summarize(dialogues, self.sampling):
            samples: dict[str, list[Summary]] = {}
            for summary in batch.summaries:
                samples.setdefault(summary.fname, []).append(summary)
            yield replace(batch, summaries=[_packed(fname, each) for fname, each in samples.items()])


def _packed(fname: str, samples: Sequence[Summary]) -> Summary:
    text = json.dumps([[each.text, each.truncated] for each in samples], ensure_ascii=False)
    return Summary(fname, text, prompt_truncated=samples[0].prompt_truncated)


@dataclass(frozen=True, slots=True)
class Elected:
    """A summarizer that chooses among a `Sampler`'s samples by minimum Bayes risk, by `final_score`.

    Attributes:
        samples: by `fname`, those of all dialogues that it was asked for.
    """

    sampler: Summarizer
    tokenizer: Tokenizer
    samples: dict[str, list[str]] = field(default_factory=dict)

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Batch]:
        """Yield one summary for each dialogue, batch by batch."""
        for batch in self.sampler.summarize(dialogues):
            yield replace(batch, summaries=[self._elected(each) for each in batch.summaries])

    def _elected(self, packed: Summary) -> Summary:
        samples: list[tuple[str, bool]] = json.loads(packed.text)
        texts = [text for text, _ in samples]
        self.samples[packed.fname] = texts
        chosen = choose([PreparedText(self.tokenizer.join(text)) for text in texts]).index
        return replace(packed, text=texts[chosen], truncated=samples[chosen][1])


def elected(
    engine: Engine, sampling: tuple[int, float, float, int], folder: Path, ingredients: Mapping[str, object]
) -> Elected:
    """An engine as a summarizer that draws samples and gives the one that the others agree with most.

    Args:
        engine: one of transformers: no other draws samples.
        sampling: number of samples, temperature, top_p and seed, as `Sampling` has them.
        folder: where the stores are: samples that are there are not drawn again.
        ingredients: all but the sampling that decides a sample's text.
    """
    made = Sampling(*sampling)
    store = SummaryStore(folder, {**ingredients, "sampling": asdict(made)})
    return Elected(resumed(engine, store, made), tokenizer())
