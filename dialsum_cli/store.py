"""Summaries that outlive the process that made them: the same question is never answered twice."""

import errno
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.errors import DialsumError
from dialsum_cli.summarizer import Batch, Summarizer, Summary

logger = logging.getLogger("dialsum")


class SummaryStore:
    """The summaries that one set of ingredients has made, in `folder/<hash of the ingredients>.jsonl`.

    A line is a batch, written at once and synced, so that a killed process loses the batch that it was at and two
    processes can share a file. The first line tells the ingredients, for people. Of a launch's processes, which may
    be on several hosts, each writes a file of its own (`<hash>.1.jsonl`, ...); all files are read.

    Args:
        folder: where the stores of all models are; made when something is kept.
        ingredients: all that decides a summary's text but its dialogue, as plain values.
    """

    def __init__(self, folder: Path, ingredients: Mapping[str, object]) -> None:
        self._ingredients = json.dumps(ingredients, ensure_ascii=False, sort_keys=True)
        self._name = hashlib.sha256(self._ingredients.encode()).hexdigest()[:32]
        self.path = folder / f"{self._name}.jsonl"

    def written_by(self, process: int) -> "SummaryStore":
        """The same store as one process of a launch writes it: hosts that share a disk can't append to one file."""
        store = copy(self)
        store.path = self.path.with_name(f"{self._name}.{process}.jsonl" if process else f"{self._name}.jsonl")
        return store

    def begin(self) -> None:
        """Make the file, if it isn't there, so that another host can tell whether it sees this folder.

        Raises:
            DialsumError: the disk is full, or the file can't be written.
        """
        self._append(b"")

    def batches(self, read: MutableMapping[Path, int] | None = None) -> list[dict[str, Any]]:
        """The batches kept so far: `summaries` by the hash of their dialogue, and what they took.

        A line that was cut off by a crash is left out.

        Args:
            read: how many bytes of each file have been read already, and will have been after this; a last line that
                another process may be writing at this moment is left for the next time.

        Raises:
            DialsumError: a file can't be read.
        """
        found: list[dict[str, Any]] = []
        for path in sorted(self.path.parent.glob(f"{self._name}*.jsonl")):
            try:
                with path.open("rb") as file:
                    file.seek(read.get(path, 0) if read is not None else 0)
                    content = file.read()
            except OSError as error:
                raise DialsumError(f"can't read '{path}': {error.strerror}", "remove it to start afresh") from None
            if read is not None:
                content = content[: content.rfind(b"\n") + 1]
                read[path] = read.get(path, 0) + len(content)
            found += _parsed(path, content)
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
        self._append(f"\n{json.dumps(content, ensure_ascii=False)}\n".encode())

    def _append(self, line: bytes) -> None:
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


def _parsed(path: Path, content: bytes) -> Iterator[dict[str, Any]]:
    for line in filter(None, content.split(b"\n")):
        try:
            batch = json.loads(line)
        except ValueError:  # half a line, perhaps with half a letter
            logger.warning("'%s' has an unfinished line: its batch is made again", path)
            continue
        if "summaries" in batch:
            yield batch


@dataclass(frozen=True, slots=True)
class Resumed:
    """A summarizer that gives what a store has, lets another make the rest, and keeps that."""

    summarizer: Summarizer
    store: SummaryStore

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Batch]:
        """Yield what earlier runs made of these dialogues, as one batch, then the new ones."""
        found, left = recall(self.store, dialogues)
        if found:
            yield found
        alike = {same[0].fname: same for same in by_text(left).values()}
        asked = {fname: same[0] for fname, same in alike.items()}
        for batch in self.summarizer.summarize([*asked.values()]) if asked else ():
            self.store.keep(batch, asked)
            repeated = [replace(one, fname=each.fname) for one in batch.summaries for each in alike[one.fname]]
            yield replace(batch, summaries=repeated)


def by_text(dialogues: Iterable[Dialogue]) -> dict[str, list[Dialogue]]:
    """Dialogues by `digest`: one of each has to be asked, and its summary is that of the others."""
    alike: dict[str, list[Dialogue]] = {}
    for dialogue in dialogues:
        alike.setdefault(digest(dialogue), []).append(dialogue)
    return alike


def recall(store: SummaryStore, dialogues: Sequence[Dialogue]) -> tuple[Batch | None, list[Dialogue]]:
    """What earlier runs made of these dialogues, as one batch, and the dialogues that are left.

    Raises:
        DialsumError: the store can't be read.
    """
    left = by_text(dialogues)
    found: list[Summary] = []
    seconds, memory, tokens, counted = 0.0, [], [], Counter[str]()
    for kept in store.batches():
        known = {text: left.pop(text) for text in kept["summaries"] if text in left}
        if known:
            found += [Summary(each.fname, *kept["summaries"][text]) for text in known for each in known[text]]
            seconds += kept["seconds"] * len(known) / len(kept["summaries"])
            memory.append(kept["peak_memory_gib"])
            tokens.append(kept["batch_tokens"])
            for name in ("prompt_tokens", "summary_tokens"):  # a server's batches hold one dialogue each
                counted[name] += kept.get(name) or 0
    rest = [dialogue for dialogue in dialogues if digest(dialogue) in left]
    if not found:
        return None, rest
    peak, budget = max(filter(None, memory), default=None), min(filter(None, tokens), default=None)
    batch = Batch(
        found, seconds=seconds, peak_memory_gib=peak, batch_tokens=budget, reused=True,
        prompt_tokens=counted["prompt_tokens"] or None, summary_tokens=counted["summary_tokens"] or None,
    )  # fmt: skip
    return batch, rest


def digest(dialogue: Dialogue) -> str:
    """What a dialogue's summary is kept under: two dialogues of the same text have the same one."""
    return hashlib.sha256(dialogue.text.encode()).hexdigest()[:32]
