"""`dialsum screen` with a real instruct model, on a CPU."""

import json

import pytest
from real_models import smollm2_folder

from dialsum_cli.data.dialogues import read_dialogues
from dialsum_cli.data.submissions import read_submission
from dialsum_cli.settings import BUNDLED
from dialsum_cli.text import korean_ratio

pytestmark = pytest.mark.slow


def test_a_real_instruct_model_is_screened_and_writes_korean(dialsum, tmp_path):
    folder = smollm2_folder()
    options = ("--models", f"{folder},tiny-llama", "--limit", 4, "--max-new-tokens", 32, "--json")
    result = json.loads(dialsum("screen", *options).stdout)
    rows = {row["model"]: row for row in result["leaderboard"]}
    real = rows[str(folder)]
    assert (real["status"], real["kind"], real["prompt"], real["layers"]) == ("ok", "causal", "korean", 30)
    assert (real["empty"], real["prompts_truncated"], real["korean_ratio"]) == (0, 0, 1.0)
    assert rows["tiny-llama"]["rank"] < real["rank"]
    (predictions,) = (tmp_path / result["run_dir"] / "predictions").glob("*smollm2*.csv")
    texts = read_submission(predictions).values()
    assert len(set(texts)) == 4
    free = json.loads(dialsum("screen", *options, "--no-block-foreign").stdout)["leaderboard"]
    assert next(row for row in free if row["model"] == str(folder))["korean_ratio"] < 1.0  # left alone, it does not
    dialogues = read_dialogues(BUNDLED / "dev.csv", limit=4)
    assert all(korean_ratio(text, dialogue.text) == 1 for text, dialogue in zip(texts, dialogues, strict=True))
