"""Summaries that outlive the process that made them: the same question is never answered twice."""

import errno
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.errors import DialsumError
from dialsum_cli.summarizer import Batch, Summarizer, Summary

logger = logging.getLogger("dialsum")


class SummaryStore:
    """The summaries that one set of ingredients has made, in `folder/<hash of the ingredients>.jsonl`.

    A line is a batch, written at once and synced, so that a killed process loses the batch that it was at and two
    processes can share a file. The first line tells the ingredients, for people.

    Args:
        folder: where the stores of all models are; made when something is kept.
        ingredients: all that decides a summary's text but its dialogue, as plain values.
    """

    def __init__(self, folder: Path, ingredients: Mapping[str, object]) -> None:
        self._ingredients = json.dumps(ingredients, ensure_ascii=False, sort_keys=True)
        self.path = folder / f"{hashlib.sha256(self._ingredients.encode()).hexdigest()[:32]}.jsonl"

    def batches(self) -> list[dict[str, Any]]:
        """The batches kept so far: `summaries` by the hash of their dialogue, and what they took.

        A line that was cut off by a crash is left out.

        Raises:
            DialsumError: the file can't be read.
        """
        try:
            lines = self.path.read_bytes().split(b"\n") if self.path.exists() else []
        except OSError as error:
            raise DialsumError(f"can't read '{self.path}': {error.strerror}", "remove it to start afresh") from None
        found = []
        for line in filter(None, lines):
            try:
                content = json.loads(line)
            except ValueError:  # half a line, perhaps with half a letter
                logger.warning("'%s' has an unfinished line: its batch is made again", self.path)
                continue
            if "summaries" in content:
                found.append(content)
        return found

    def keep(self, batch: Batch, dialogues: Mapping[str, Dialogue]) -> None:
        """Append a batch; `dialogues` by `fname`.

        Raises:
            DialsumError: the disk is full, or the file can't be written.
        """
        summaries = {
            digest(dialogues[each.fname]): [each.text, each.truncated, each.prompt_truncated]
            for each in batch.summaries
        }
        content = {
            "summaries": summaries,
            "seconds": batch.seconds,
            "peak_memory_gib": batch.peak_memory_gib,
            "batch_tokens": batch.batch_tokens,
            "prompt_tokens": batch.prompt_tokens,
            "summary_tokens": batch.summary_tokens,
        }
        # A line begins by ending the one before, which another process may have left unfinished.
        line = f"\n{json.dumps(content, ensure_ascii=False)}\n".encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if not os.fstat(handle).st_size:
                    line = f'{{"ingredients": {self._ingredients}}}'.encode() + line
                if os.write(handle, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise DialsumError(
                f"can't write '{self.path}': {error.strerror}", "free some disk, or give another --output-dir"
            ) from None


@dataclass(frozen=True, slots=True)
class Resumed:
    """A summarizer that gives what a store has, lets another make the rest, and keeps that."""

    summarizer: Summarizer
    store: SummaryStore

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Batch]:
        """Yield what earlier runs made of these dialogues, as one batch, then the new ones."""
        left: dict[str, list[str]] = {}
        for dialogue in dialogues:
            left.setdefault(digest(dialogue), []).append(dialogue.fname)
        found: list[Summary] = []
        seconds, memory, tokens, counted = 0.0, [], [], Counter[str]()
        for kept in self.store.batches():
            known = {text: left.pop(text) for text in kept["summaries"] if text in left}
            if known:
                found += [Summary(fname, *kept["summaries"][text]) for text in known for fname in known[text]]
                seconds += kept["seconds"] * len(known) / len(kept["summaries"])
                memory.append(kept["peak_memory_gib"])
                tokens.append(kept["batch_tokens"])
                for name in ("prompt_tokens", "summary_tokens"):  # a server's batches hold one dialogue each
                    counted[name] += kept.get(name) or 0
        if found:
            peak, budget = max(filter(None, memory), default=None), min(filter(None, tokens), default=None)
            yield Batch(
                found, seconds=seconds, peak_memory_gib=peak, batch_tokens=budget, reused=True,
                prompt_tokens=counted["prompt_tokens"] or None, summary_tokens=counted["summary_tokens"] or None,
            )  # fmt: skip
        rest = {dialogue.fname: dialogue for dialogue in dialogues if digest(dialogue) in left}
        for batch in self.summarizer.summarize([*rest.values()]) if rest else ():
            self.store.keep(batch, rest)
            yield batch


def digest(dialogue: Dialogue) -> str:
    """What a dialogue's summary is kept under: two dialogues of the same text have the same one."""
    return hashlib.sha256(dialogue.text.encode()).hexdigest()[:32]
