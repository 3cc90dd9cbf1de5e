"""What a search has found: the verdict, and the file of options to go on with."""

from typing import Any, Literal

import yaml

from dialsum_cli.metrics.scoring import Score
from dialsum_cli.metrics.statistics import gain
from dialsum_cli.results import LEVEL, Scores
from dialsum_cli.settings import FinetuneSettings, TrackingSettings, TuneSettings
from dialsum_cli.tuning.spaces import Options

ELSEWHERE = {"output_dir", "resume", *TrackingSettings.model_fields}  # what says nothing of how a model is trained


def judged(before: Score, after: Score, seed: int) -> dict[str, Any]:
    """The fields of a `TunedStage` that compare the leading trial with the starting point, on dialogues held out."""
    gained = gain(after.items.final_score, before.items.final_score, seed=seed)
    better = gained["gain"] > 0 and gained["p_value"] < LEVEL
    return {
        "verdict": "improvement" if better else "no improvement",
        "before": Scores.of(before),
        "after": Scores.of(after),
        **gained,
    }


def best_yaml(settings: TuneSettings, stage: Literal["decoding", "training"], options: Options, comment: str) -> str:
    """A file that `predict`, or after a search for training `finetune`, takes as `--config`.

    It holds all that decides the result but the dialogues to summarise, so that nothing depends on defaults.
    """
    values: dict[str, Any]
    if stage == "decoding":
        values = {"model": settings.model, "precision": settings.precision, "seed": settings.seed, **options}
        if options["num_samples"] is None:  # beside which these would have to be left out
            values = {name: value for name, value in values.items() if name not in ("temperature", "top_p")}
    else:
        ours = {name: value for name, value in settings.model_dump(mode="json").items() if name not in ELSEWHERE}
        shared = {name: value for name, value in ours.items() if name in FinetuneSettings.model_fields}
        values = {"models": [settings.model], **shared, **options}
    given = {name: value for name, value in values.items() if value not in (None, {})}
    return f"# {comment}\n" + yaml.safe_dump(given, allow_unicode=True, sort_keys=False)
