"""The allowed tokens of a Korean summary as a logits processor of vLLM; imported by vLLM's own worker process."""

from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from dialsum_cli.engines.moving_rows import MovingRows
from dialsum_cli.models.vocabulary import Vocabulary


class KoreanProcessor(LogitsProcessor):  # type: ignore[misc]  # vLLM has an environment of its own
    """Keeps each request to the vocabulary of its dialogue.

    A request says in `SamplingParams.extra_args` what its `dialogue` is, and which control tokens (`open_ids`) it may
    write, the same ones in all requests; one without is left alone. This is the interface of vLLM's V1 model runner
    (vLLM's documentation, "Custom Logits Processors").
    """

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self._tokenizer = vllm_config.model_config.tokenizer
        self._open_ids: list[int] = []
        self._rows = MovingRows(self._build, device)

    def is_argmax_invariant(self) -> bool:
        """No: the likeliest token may be a forbidden one."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the batch."""
        if batch_update is None:
            return
        added = []
        for index, params, _, written in batch_update.added:
            asked = params.extra_args or {}
            self._open_ids = asked.get("open_ids", self._open_ids)
            added.append((index, asked.get("dialogue"), written))
        swapped = MoveDirectionality.SWAP
        moved = [(source, target, direction == swapped) for source, target, direction in batch_update.moved]
        self._rows.change(batch_update.removed, added, moved)

    def apply(self, logits: Tensor) -> Tensor:
        """The logits (rows, size) with -inf for every token that may not follow."""
        return self._rows.block(logits)

    def _build(self, size: int) -> Vocabulary:
        tokenizer = AutoTokenizer.from_pretrained(
            self._tokenizer, clean_up_tokenization_spaces=False, trust_remote_code=False
        )
        return Vocabulary.build(tokenizer, self._open_ids, size)
