"""How several answers to a prompt are drawn, whatever the batch they are in."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

CANDIDATES = 1024  # tokens; sorting a whole vocabulary for each draw would take longer than the rest of the step


@dataclass(frozen=True, slots=True)
class Sampling:
    """How several answers to a prompt are drawn: from the likeliest tokens that have `top_p` together.

    At most `CANDIDATES` tokens are drawn from. The draws are decided by `seed`, the dialogue and the token's position
    alone, so that another batch size gives the same answers, as far as its kernels round alike.

    Attributes:
        temperature: what logits are divided by; greater than 0.
        top_p: in (0, 1] (nucleus sampling: Holtzman et al. 2020, arXiv 1904.09751).
        num_samples: answers to each prompt.
    """

    num_samples: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 42

    def draws(self, keys: Sequence[str], length: int) -> Tensor:
        """Uniform numbers in [0, 1): (keys, num_samples, length), those of a key by its text alone."""
        draws = np.empty((len(keys), self.num_samples, length), np.float32)
        for row, key in enumerate(keys):
            for sample in range(self.num_samples):
                name = hashlib.blake2b(f"{self.seed} {sample} {key}".encode(), digest_size=16).digest()
                generator = np.random.Generator(np.random.Philox(key=int.from_bytes(name)))
                draws[row, sample] = generator.random(length, np.float32)
        return torch.from_numpy(draws)

    def choose(self, logits: Tensor, draws: Tensor) -> Tensor:
        """One token (...) of logits (..., vocabulary) by draws (...); it can be captured."""
        scores = logits.float().div(self.temperature)
        best, tokens = scores.topk(min(CANDIDATES, scores.shape[-1]))
        # The share of a token is that of all tokens, not of the candidates.
        shares = (best - scores.logsumexp(-1, keepdim=True)).exp()
        shares = shares.masked_fill(shares.cumsum(-1) - shares >= self.top_p, 0.0)
        sums = shares.cumsum(-1)
        place = (sums <= draws[..., None] * sums[..., -1:]).sum(-1, keepdim=True)
        last = (shares > 0).sum(-1, keepdim=True) - 1  # rounding may put a draw beyond it
        return tokens.gather(-1, place.minimum(last)).squeeze(-1)


class SamplingProcessor(LogitsProcessor):
    """Makes `model.generate` draw as `Sampling` does; one instance per call.

    Args:
        sampling: what to draw by.
        draws: (rows, new tokens) on the model's device, in the order in which `generate` has its rows.
        prompt_length: how many ids of each row are the prompt.
    """

    def __init__(self, sampling: Sampling, draws: Tensor, prompt_length: int) -> None:
        self._sampling, self._draws, self._prompt_length = sampling, draws, prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (rows, vocabulary) that leave the drawn token alone."""
        token = self._sampling.choose(scores, self._draws[:, input_ids.shape[1] - self._prompt_length])
        return torch.full_like(scores, -torch.inf).scatter_(1, token[:, None], 0.0)
