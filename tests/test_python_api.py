"""What docs/python.md shows must run as shown, in its order."""

import re
import runpy
from math import isfinite
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")  # transformers asks for it without a GPU too
def test_every_snippet_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "python_md.py"
    script.write_text("\n".join(BLOCK.findall((ROOT / "docs" / "python.md").read_text("utf-8"))), encoding="utf-8")
    names = runpy.run_path(str(script))
    assert names["best"].final_score is not None
    assert "#Person1#" in names["loaded"].tokenizer.decode(names["answer"])
    assert len(names["rows"]) == 32
    assert len(names["dev"]) == 24  # of three references each
    assert names["batch"]["labels"].shape[0] == 2
    scores = names["scores"]
    assert isfinite(scores["eval_loss"])
    assert 0 < scores["eval_final_score"] < 100
    assert scores["eval_rouge_sum"] == pytest.approx(3 * scores["eval_final_score"])
