"""What a model's weights are worth: dev summarised and scored, before, during and after training."""

from collections.abc import Sequence
from dataclasses import dataclass

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.generation.engines import HuggingFaceSummarizer
from dialsum_cli.metrics.scoring import Score, Scorer
from dialsum_cli.models.loading import LoadedModel
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import FinetuneSettings
from dialsum_cli.summarizer import Summary, collect


@dataclass(slots=True)
class Evaluator:
    """Summarises dev with a model as it is, and scores the summaries by the metric of `dialsum score`."""

    loaded: LoadedModel
    settings: FinetuneSettings
    dev: Sequence[Dialogue]
    reporter: Reporter
    summarizer: HuggingFaceSummarizer | None = None

    def evaluate(self, title: str, limit: int | None = None) -> tuple[Score, list[Summary]]:
        """The score on the first `limit` dev dialogues, and the summaries."""
        dialogues = self.dev[:limit]
        if self.summarizer is None:
            self.summarizer = HuggingFaceSummarizer(self.loaded, self.settings, self.reporter.warn)
        with self.reporter.stage(f"{self.loaded.spec.name}: {title}", len(dialogues), "dialogues") as stage:
            summaries = collect(self.summarizer, dialogues, lambda batch: stage.advance(len(batch.summaries)))
        scorer = Scorer([dialogue.references for dialogue in dialogues], seed=self.settings.seed)
        return scorer.score([summary.text for summary in summaries]), summaries

    def judge(self) -> dict[str, float]:
        """What a training goes by: scores (0-100) by name."""
        score, summaries = self.evaluate("evaluation", self.settings.eval_limit)
        names = ("final_score", "rouge1", "rouge2", "rougeL")
        cut = sum(summary.truncated for summary in summaries)
        return {name: getattr(score, name) for name in names} | {"empty": score.empty, "truncated": cut}
