"""Dialogues: what they are, and how they are read from CSV, JSONL and Parquet."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dialsum_cli.data.records import Record, fault, read_records
from dialsum_cli.errors import DataError

SUMMARY = re.compile(r"summary\d*")
NO_SUMMARY = "give a file with a column `summary`, or `summary1`, `summary2`, ..."
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
    references: bool = False,
    note: Callable[[str], None] = lambda message: None,
) -> list[Dialogue]:
    """The first `limit` dialogues of a file; with `references`, every one must have at least one summary.

    What was changed or ignored on reading is told through `note`.

    Raises:
        DataError: names the file, the line and the `fname` of the first fault.
    """
    path = Path(path)
    dialogues: list[Dialogue] = []
    lines: dict[str, int] = {}
    ignored: set[str] = set()
    for record in islice(read_records(path, columns or {}, ("fname", "dialogue"), note), limit):
        ignored |= {name for name in record.values if not OURS.fullmatch(name)}
        dialogue = _dialogue(path, record)
        check_fname(path, record, lines)
        if references and not dialogue.references:
            raise fault(path, record, "there is no summary to compare with", NO_SUMMARY)
        dialogues.append(dialogue)
    if ignored:
        note(f"'{path}': ignored the columns {', '.join(sorted(ignored))}")
    if not dialogues:
        raise DataError(f"'{path}' has no rows", "give a file with at least one dialogue")
    return dialogues


def read_gold(
    path: str | Path, *, columns: Mapping[str, str] | None = None, note: Callable[[str], None] = lambda message: None
) -> dict[str, tuple[str, ...]]:
    """The reference summaries of a file by `fname`, in its order; the dialogues may be absent.

    Raises:
        DataError: names the file, the line and the `fname` of the first fault.
    """
    path = Path(path)
    wanted = {ours: theirs for ours, theirs in (columns or {}).items() if ours != "dialogue"}
    gold: dict[str, tuple[str, ...]] = {}
    lines: dict[str, int] = {}
    for record in read_records(path, wanted, ("fname",), note):
        check_fname(path, record, lines)
        references = _references(record)
        if not references:
            raise fault(path, record, "there is no summary to compare with", NO_SUMMARY)
        gold[record.text("fname")] = references
    if not gold:
        raise DataError(f"'{path}' has no rows", "give a file with at least one summary")
    return gold


def check_fname(path: Path, record: Record, lines: dict[str, int]) -> None:
    """Refuse a missing or repeated `fname`; `lines` remembers where each one stood."""
    fname = record.text("fname")
    if not fname:
        raise fault(path, record, "fname is empty", "give every row an id of its own")
    if fname in lines:
        raise fault(path, record, f"fname stands already in line {lines[fname]}", "give every row an id of its own")
    lines[fname] = record.line


def _dialogue(path: Path, record: Record) -> Dialogue:
    value = record.values.get("dialogue")
    text = _join_turns(path, record, value) if isinstance(value, Sequence) and not isinstance(value, str) else None
    text = (record.text("dialogue") if text is None else text).strip()
    if not text:
        raise fault(path, record, "the dialogue is empty", "mend or remove that row")
    return Dialogue(record.text("fname"), text, _references(record), record.text("topic").strip())


def _references(record: Record) -> tuple[str, ...]:
    names = sorted((name for name in record.values if SUMMARY.fullmatch(name)), key=lambda name: (len(name), name))
    return tuple(filter(None, (record.text(name).strip() for name in names)))


def _join_turns(path: Path, record: Record, turns: Sequence[object]) -> str:
    lines = []
    for turn in turns:
        if not (isinstance(turn, Mapping) and isinstance(turn.get("speaker"), str) and isinstance(turn.get("text"), str)):
            raise fault(path, record, "a turn of the dialogue lacks `speaker` or `text`", "write every turn with both")
        lines.append(f"{turn['speaker']}: {' '.join(turn['text'].split())}")
    return "\n".join(lines)
