"""`dialsum score`: judge prediction files against a gold file."""

from dialsum_cli.data.dialogues import read_gold
from dialsum_cli.data.submissions import align, read_submission
from dialsum_cli.metrics.scoring import CONSTANT_SENTENCE, Scorer
from dialsum_cli.results import QuietReporter, Reporter, ScoreResult, SystemScore
from dialsum_cli.settings import ScoreSettings


def score(settings: ScoreSettings, reporter: Reporter | None = None) -> ScoreResult:
    """Score each prediction file against the last file, the gold, joined by `fname`.

    Raises:
        DataError: a file can't be read, or the ids of a prediction file are not those of the gold.
    """
    reporter = reporter or QuietReporter()
    *paths, gold_path = settings.files
    predictions = {str(path): read_submission(path, columns=settings.columns, note=reporter.note) for path in paths}
    gold = read_gold(gold_path, columns=settings.columns, note=reporter.note)
    aligned = {path: align(path, summaries, gold, gold_path) for path, summaries in predictions.items()}
    scorer = Scorer(list(gold.values()), seed=settings.seed)
    systems = []
    for path, hypotheses in aligned.items():
        result = scorer.score(hypotheses)
        systems.append(
            SystemScore(
                path=path,
                rouge1=result.rouge1,
                rouge2=result.rouge2,
                rougeL=result.rougeL,
                final_score=result.final_score,
                rouge_sum=result.rouge_sum,
                ci95=result.ci95,
                n=result.n,
                empty=result.empty,
            )
        )
    floor = {"constant sentence": scorer.score([CONSTANT_SENTENCE] * len(gold)).final_score}
    return ScoreResult(systems=systems, signature=scorer.signature, floor=floor)
