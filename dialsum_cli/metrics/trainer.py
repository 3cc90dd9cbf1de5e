"""The metric as transformers' `Seq2SeqTrainer` asks for it: token ids in, scores out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from dialsum_cli.metrics.scoring import score


def compute_metrics(
    tokenizer: Any, *, morphemes: str = "mecab", allow_other_dictionary: bool = False
) -> Callable[[Any], dict[str, float]]:
    """What to hand to a `Seq2SeqTrainer` as its `compute_metrics`; it needs `predict_with_generate=True`.

    The function takes an `EvalPrediction`, `predictions` of shape (rows, tokens) and `label_ids` of shape (rows,
    tokens), and returns `rouge1`, `rouge2`, `rougeL` and `final_score` (0-100) and `rouge_sum` (0-300) by the scorer of
    `dialsum score`. Padding, -100 and the begin and end tokens are removed before decoding; speaker tags stay, even
    where they are special tokens.

    Args:
        tokenizer: the model's transformers tokenizer.
        morphemes: the tokenizer of `score`: `mecab`, `char` or `eojeol`.
        allow_other_dictionary: as in `score`.

    Raises:
        ValueError: the predictions are logits.
        DataError: a label is empty.
        MissingPartError: Mecab isn't installed as it has to be.
    """
    dropped = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}

    def decode(rows: Iterable[Iterable[int]]) -> list[str]:
        kept = ([int(token) for token in row if token >= 0 and token not in dropped] for row in rows)
        texts = (tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False) for ids in kept)
        return [text.strip() for text in texts]

    def compute(predicted: Any) -> dict[str, float]:
        predictions = predicted.predictions[0] if isinstance(predicted.predictions, tuple) else predicted.predictions
        if predictions.ndim != 2:
            raise ValueError("the predictions are logits, not generated ids: set predict_with_generate=True")
        result = score(
            decode(predictions), ([text] for text in decode(predicted.label_ids)),
            tokenizer=morphemes, allow_other_dictionary=allow_other_dictionary,
        )  # fmt: skip
        return {name: getattr(result, name) for name in ("rouge1", "rouge2", "rougeL", "final_score", "rouge_sum")}

    return compute
