from types import SimpleNamespace

import numpy as np
import pytest
from transformers import AutoTokenizer

from dialsum_cli.metrics.scoring import score
from dialsum_cli.metrics.trainer import compute_metrics
from dialsum_cli.settings import BUNDLED

SUMMARIES = ["#Person1#은 커피를 마십니다.", "#Person2#는 집에 갑니다."]
LABELS = ["#Person1#은 차를 마십니다.", "#Person2#는 학교에 갑니다."]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(BUNDLED.parents[1] / "models" / "bundled" / "tiny-bart")


def padded(tokenizer, texts, pad):
    rows = [[tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
            for text in texts]  # fmt: skip
    width = max(map(len, rows)) + 2
    return np.array([row + [pad] * (width - len(row)) for row in rows])


@pytest.mark.parametrize("wrap", [lambda ids: ids, lambda ids: (ids, "hidden states")])
def test_ids_score_as_their_texts_do(tokenizer, wrap):
    predicted = SimpleNamespace(
        predictions=wrap(padded(tokenizer, SUMMARIES, tokenizer.pad_token_id)),
        label_ids=padded(tokenizer, LABELS, -100),
    )
    expected = score(SUMMARIES, ([text] for text in LABELS))
    got = compute_metrics(tokenizer)(predicted)
    assert list(got) == ["rouge1", "rouge2", "rougeL", "final_score", "rouge_sum"]
    assert got == {name: getattr(expected, name) for name in got}
    assert compute_metrics(tokenizer, morphemes="char")(predicted) != got


def test_logits_are_refused(tokenizer):
    with pytest.raises(ValueError, match="predict_with_generate=True"):
        compute_metrics(tokenizer)(SimpleNamespace(predictions=np.zeros((1, 2, 3)), label_ids=np.zeros((1, 2))))
