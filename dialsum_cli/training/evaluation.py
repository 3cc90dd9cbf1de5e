"""What a model's weights are worth: dev summarised and scored, before, during and after training."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from dialsum_cli import processes
from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.engines.huggingface import HuggingFaceSummarizer
from dialsum_cli.metrics.scoring import Score, Scorer
from dialsum_cli.models.loading import LoadedModel
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import FinetuneSettings
from dialsum_cli.summarizer import Summarizer, Summary, collect


def summarise(
    summarizer: Summarizer, dialogues: Sequence[Dialogue], title: str, reporter: Reporter
) -> tuple[list[Summary], list[str]]:
    """All summaries in the order of the dialogues, and their texts; each process of a launch makes its share.

    Raises:
        ElsewhereError: another process could not make its share.
    """
    longest_first = sorted(dialogues, key=lambda dialogue: -len(dialogue.text))
    share = longest_first[processes.number() :: processes.count()]  # as much work for each
    with reporter.stage(title, len(dialogues), "dialogues") as stage:
        made = collect(summarizer, share, lambda batch: stage.advance(len(batch.summaries)))
        summaries = {summary.fname: summary for part in processes.gathered(made) for summary in part}
        stage.advance(len(dialogues) - len(share))  # the others' are there as well
    ordered = [summaries[dialogue.fname] for dialogue in dialogues]
    return ordered, [summary.text for summary in ordered]


def judge(scorer: Scorer, texts: Sequence[str]) -> Score:
    """The score of these summaries, which the first process tells to all: what follows from it has to be the same."""
    score = scorer.score(texts) if processes.is_first() else None
    told = processes.told(score)
    assert told is not None
    return told


@dataclass
class Evaluator:
    """Summarises dev with a model as it is, and scores the summaries by the metric of `dialsum score`."""

    loaded: LoadedModel
    settings: FinetuneSettings
    dev: Sequence[Dialogue]
    scorer: Scorer
    """Of all of dev."""
    reporter: Reporter

    @cached_property
    def summarizer(self) -> HuggingFaceSummarizer:
        """The model as it is by now."""
        return HuggingFaceSummarizer(self.loaded, self.settings, self.reporter.warn)

    @cached_property
    def first(self) -> tuple[Sequence[Dialogue], Scorer]:
        """The dialogues of dev that a training goes by, and their scorer."""
        dialogues = self.dev[: self.settings.eval_limit]
        if len(dialogues) == len(self.dev):
            return dialogues, self.scorer
        return dialogues, Scorer([dialogue.references for dialogue in dialogues], seed=self.settings.seed)

    def evaluate(self) -> tuple[Score, list[Summary]]:
        """The score on all of dev, and the summaries."""
        return self._evaluated("after", self.dev, self.scorer)

    def _evaluated(self, title: str, dialogues: Sequence[Dialogue], scorer: Scorer) -> tuple[Score, list[Summary]]:
        title = f"{self.loaded.spec.name}: {title}"
        summaries, texts = summarise(self.summarizer, dialogues, title, self.reporter)
        return judge(scorer, texts), summaries

    def judge(self) -> dict[str, float]:
        """What a training goes by: scores (0-100) by name."""
        score, summaries = self._evaluated("evaluation", *self.first)
        self.reporter.note(f"{self.loaded.spec.name}: final score {score.final_score:.2f}")
        names = ("final_score", "rouge1", "rouge2", "rougeL")
        cut = sum(summary.truncated for summary in summaries)
        return {name: getattr(score, name) for name in names} | {"empty": score.empty, "truncated": cut}
