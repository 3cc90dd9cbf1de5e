"""Dialogues: what they are, and how they are read, all at once or one by one."""

import json
import re
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

from dialsum_cli.data.hub import named
from dialsum_cli.data.records import Record, read_records
from dialsum_cli.errors import DataError
from dialsum_cli.results import DataFacts
from dialsum_cli.runs import data_facts
from dialsum_cli.text import without_word

SUMMARY = re.compile(r"summary\d*")
NO_SUMMARY = (
    "give a file with a column `summary`, or `summary1`, `summary2`, ..., or name yours: --columns summary=NAME"
)
NO_FNAME = ("fname is empty", "give every row an id of its own")
OURS = re.compile(rf"fname|dialogue|topic|{SUMMARY.pattern}")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One dialogue, one turn a line (`#Person1#: ...`), with its reference summaries, of which there may be none."""

    fname: str
    text: str
    references: tuple[str, ...] = ()
    topic: str = ""


def read_dialogues(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    references: bool | Literal["equal"] = False,
    note: Callable[[str], None] = lambda message: None,
) -> list[Dialogue]:
    """The first `limit` dialogues of a file; with `references`, every one must have at least one summary.

    With "equal" references they can be scored by: each has as many as the first, and none is without a word.
    What was changed or ignored on reading is told through `note`.

    Raises:
        DataError: names the file, the line and the `fname` of the first fault.
    """
    dialogues: list[Dialogue] = []
    lines: dict[str, int] = {}
    for record in _records(path, columns, limit, note):
        check_fname(record, lines)
        dialogue = _dialogue(record)
        if references == "equal":
            _check_references(record, dialogue.references, dialogues[0].references if dialogues else None)
        elif references and not dialogue.references:
            raise record.fault("there is no summary to compare with", NO_SUMMARY)
        dialogues.append(dialogue)
    return dialogues


def stream_dialogues(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    note: Callable[[str], None] = lambda message: None,
) -> Generator[Dialogue, None, None]:
    """The first `limit` dialogues of a file one by one, for data larger than memory.

    A repeated `fname` is not noticed, as that would take all that were there before: `survey` notices.

    Raises:
        DataError: names the file, the line and the `fname` of the first other fault.
    """
    for record in _records(path, columns, limit, note):
        if not record.text("fname").strip():
            raise record.fault(*NO_FNAME)
        yield _dialogue(record)


def survey(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    note: Callable[[str], None] = lambda message: None,
) -> DataFacts:
    """Read all dialogues once and keep none: whether they are fit to be summarised, and how many there are.

    Takes 8 bytes of memory a row.

    Raises:
        DataError: names the file, the line and the `fname` of the first fault; a repeated `fname` comes last.
    """
    hashes = array("q")

    def read() -> Iterator[Dialogue]:
        for dialogue in stream_dialogues(path, columns=columns, limit=limit, note=note):
            hashes.append(hash(dialogue.fname))
            yield dialogue

    facts = facts_of(path, read())
    if _any_twice(hashes):  # the same id, or by rare chance two with one hash: only their lines can tell
        lines: dict[str, int] = {}
        for record in _records(path, columns, limit, lambda message: None):
            check_fname(record, lines)
    return facts


def facts_of(path: str | Path, dialogues: Iterable[Dialogue]) -> DataFacts:
    """Which data these dialogues are, all that were read of them.

    The SHA-256 is the file's; of a data set of the hub, that of the ids, texts and references.
    """
    on_hub, content, rows = named(path) is not None, sha256(), 0
    for each in dialogues:
        rows += 1
        if on_hub:
            content.update(json.dumps((each.fname, each.text, *each.references)).encode())
    return DataFacts(path=str(path), sha256=content.hexdigest(), rows=rows) if on_hub else data_facts(path, rows)


def _any_twice(hashes: "array[int]") -> bool:
    import numpy as np

    values = np.sort(np.frombuffer(hashes, dtype=np.int64))
    return bool((values[1:] == values[:-1]).any())


def _records(
    path: str | Path, columns: Mapping[str, str] | None, limit: int | None, note: Callable[[str], None]
) -> Iterator[Record]:
    """The records of dialogues; which columns are ignored is told at the end, once a file."""
    seen: set[str] = set()
    record = None
    for record in read_records(path, columns or {}, ("fname", "dialogue"), note, limit):
        seen |= record.values.keys()
        yield record
    if ignored := sorted(name for name in seen if not OURS.fullmatch(name)):
        note(f"'{path}': ignored the columns {', '.join(name or '(no name)' for name in ignored)}")
    if record is None:
        raise DataError(f"'{path}' has no rows", "give a file with at least one dialogue")


def read_gold(
    path: str | Path, *, columns: Mapping[str, str] | None = None, note: Callable[[str], None] = lambda message: None
) -> dict[str, tuple[str, ...]]:
    """The reference summaries of a file by `fname`, in its order, as many for each; its dialogues are not looked at.

    Raises:
        DataError: names the file, the line and the `fname` of the first fault.
    """
    wanted = {ours: theirs for ours, theirs in (columns or {}).items() if ours != "dialogue"}
    return {record.text("fname"): references for record, references in _gold_records(path, wanted, note)}


def read_gold_dialogues(
    path: str | Path, *, columns: Mapping[str, str] | None = None, note: Callable[[str], None] = lambda message: None
) -> list[Dialogue]:
    """The rows of a gold file, as many references for each; `text` is empty where the file has no dialogues.

    Raises:
        DataError: names the file, the line and the `fname` of the first fault.
    """
    return [
        _dialogue(record)
        if "dialogue" in record.values
        else Dialogue(record.text("fname"), "", references, record.text("topic").strip())
        for record, references in _gold_records(path, columns or {}, note)
    ]


def _gold_records(
    path: str | Path, columns: Mapping[str, str], note: Callable[[str], None]
) -> Iterator[tuple[Record, tuple[str, ...]]]:
    lines: dict[str, int] = {}
    first = None
    for record in read_records(path, columns, ("fname",), note):
        check_fname(record, lines)
        references = _references(record)
        _check_references(record, references, first)
        first = first or references
        yield record, references
    if not lines:
        raise DataError(f"'{path}' has no rows", "give a file with at least one summary")


def _check_references(record: Record, references: tuple[str, ...], first: tuple[str, ...] | None) -> None:
    """Refuse references that nothing can be scored by; `first` are those of the first row."""
    if not references:
        raise record.fault("there is no summary to compare with", NO_SUMMARY)
    if any(map(without_word, references)):
        raise record.fault("a summary to compare with has only periods", "mend it, or remove that row")
    if first is not None and len(references) != len(first):
        summaries = f"{len(references)} summar{'ies' if len(references) > 1 else 'y'}"
        raise record.fault(f"{summaries} where the first row has {len(first)}", "give each row as many")


def check_fname(record: Record, lines: dict[str, int]) -> None:
    """Refuse a missing or repeated `fname`; `lines` remembers where each one stood."""
    fname = record.text("fname")
    if not fname.strip():
        raise record.fault(*NO_FNAME)
    if fname in lines:
        raise record.fault(f"fname stands already in line {lines[fname]}", "give every row an id of its own")
    lines[fname] = record.line


def _dialogue(record: Record) -> Dialogue:
    value = record.values.get("dialogue")
    text = (_join_turns(record, value) if isinstance(value, list) else record.text("dialogue")).strip()
    if not text:
        raise record.fault("the dialogue is empty", "mend or remove that row")
    return Dialogue(record.text("fname"), text, _references(record), record.text("topic").strip())


def _references(record: Record) -> tuple[str, ...]:
    return tuple(filter(None, (record.text(name).strip() for name in _summaries(tuple(record.values)))))


@lru_cache(maxsize=64)  # all rows of a file have the same columns
def _summaries(names: tuple[str, ...]) -> list[str]:
    """Those that hold summaries, by their numbers."""
    return sorted(filter(SUMMARY.fullmatch, names), key=lambda name: (len(name), name))


def _join_turns(record: Record, turns: list[object]) -> str:
    lines = []
    said = False
    for turn in turns:
        if not (
            isinstance(turn, Mapping) and isinstance(turn.get("speaker"), str) and isinstance(turn.get("text"), str)
        ):
            raise record.fault("a turn of the dialogue lacks `speaker` or `text`", "write every turn with both")
        text = " ".join(turn["text"].split())
        lines.append(f"{turn['speaker']}: {text}")
        said = said or bool(text)
    return "\n".join(lines) if said else ""
