"""The allowed tokens of summaries whose rows in a batch come, go and change places."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dialsum_cli.models.automaton import START
from dialsum_cli.models.vocabulary import Vocabulary


@dataclass(slots=True)
class _Row:
    """One summary: `written` is the list that its engine appends tokens to, of which `read` have moved `state`."""

    dialogue: str
    written: Sequence[int]
    read: int = 0
    state: int = START
    extra: Tensor | None = None

    def catch_up(self, next_state: NDArray[np.uint8]) -> None:
        """Move the state by the tokens that have been written since."""
        if len(self.written) < self.read:  # pre-empted, and begun again
            self.read, self.state = 0, START
        for token in self.written[self.read :]:
            if token < 0:
                raise RuntimeError("the engine hides its last tokens: its scheduling must not run ahead")
            self.state = int(next_state[self.state, token])
        self.read = len(self.written)


class MovingRows:
    """Keeps rows of logits to the vocabulary, each to what its own dialogue opens.

    Args:
        build: makes the vocabulary for logits of this width; called once, with the first ones.
        device: where the logits are.
    """

    def __init__(self, build: Callable[[int], Vocabulary], device: torch.device) -> None:
        self._build, self._device = build, device
        self._rows: dict[int, _Row] = {}
        self._vocabulary: Vocabulary | None = None
        self._next_state: NDArray[np.uint8] = np.empty((0, 0), np.uint8)
        self._extra: Tensor | None = None  # of all rows, until one changes

    def change(
        self,
        removed: Iterable[int],
        added: Iterable[tuple[int, str | None, Sequence[int]]],
        moved: Iterable[tuple[int, int, bool]],
    ) -> None:
        """Follow the batch: what leaves it, then what comes, then what moves.

        Args:
            removed: indices.
            added: index, dialogue (None: a row that may write what it likes), and the list of its tokens.
            moved: from, to, and whether the two change places.
        """
        self._extra = None
        for index in removed:
            self._rows.pop(index, None)
        for index, dialogue, written in added:
            self._rows.pop(index, None)
            if dialogue is not None:
                self._rows[index] = _Row(dialogue, written)
        for source, target, swap in moved:
            row, other = self._rows.pop(source, None), self._rows.pop(target, None)
            if row is not None:
                self._rows[target] = row
            if other is not None and swap:
                self._rows[source] = other

    def block(self, logits: Tensor) -> Tensor:
        """The logits (rows, width), changed in place to -inf for every token that may not follow."""
        if not self._rows:
            return logits
        if self._vocabulary is None:
            self._vocabulary = self._build(logits.shape[1]).to(self._device)
            self._next_state = self._vocabulary.next_state.cpu().numpy()
        for row in self._rows.values():
            row.catch_up(self._next_state)
            if row.extra is None:
                row.extra = self._vocabulary.extra_mask(row.dialogue)
        if self._extra is None:
            self._extra = torch.stack([row.extra for row in self._rows.values() if row.extra is not None])
        indices = torch.tensor([*self._rows], device=self._device)
        states = torch.tensor([row.state for row in self._rows.values()], device=self._device)
        allowed = self._vocabulary.mask(states[:, None], self._extra)[:, 0]
        logits[indices] = logits[indices].masked_fill(~allowed, -torch.inf)
        return logits
