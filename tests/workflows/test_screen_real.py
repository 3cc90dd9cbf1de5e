"""`dialsum screen` with a real instruct model, on a CPU."""

import json

import pytest
from real_models import smollm2_folder

from dialsum_cli.data.submissions import read_submission

pytestmark = pytest.mark.slow


def test_a_real_instruct_model_is_screened_and_writes_korean(dialsum, tmp_path):
    folder = smollm2_folder()
    options = ("--models", f"{folder},tiny-llama", "--limit", 4, "--max-new-tokens", 64)
    result = json.loads(dialsum("screen", *options, "--json").stdout)
    rows = {row["model"]: row for row in result["leaderboard"]}
    real = rows[str(folder)]
    assert (real["status"], real["kind"], real["prompt"], real["layers"]) == ("ok", "causal", "korean", 30)
    assert (real["empty"], real["prompts_truncated"], real["korean_ratio"]) == (0, 0, 1.0)
    assert rows["tiny-llama"]["rank"] < real["rank"]
    (predictions,) = (tmp_path / result["run_dir"] / "predictions").glob("*smollm2*.csv")
    assert len(set(read_submission(predictions).values())) == 4
