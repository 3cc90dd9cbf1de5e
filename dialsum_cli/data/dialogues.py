"""Dialogues: what they are, and how they are read from CSV, JSONL and Parquet."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dialsum_cli.data.records import Record, read_records
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
    for record in read_records(path, columns or {}, ("fname", "dialogue"), note, limit):
        ignored |= {name for name in record.values if not OURS.fullmatch(name)}
        check_fname(record, lines)
        dialogue = _dialogue(record)
        if references and not dialogue.references:
            raise record.fault("there is no summary to compare with", NO_SUMMARY)
        dialogues.append(dialogue)
    if ignored:
        note(f"'{path}': ignored the columns {', '.join(name or '(no name)' for name in sorted(ignored))}")
    if not dialogues:
        raise DataError(f"'{path}' has no rows", "give a file with at least one dialogue")
    return dialogues


def read_gold(
    path: str | Path, *, columns: Mapping[str, str] | None = None, note: Callable[[str], None] = lambda message: None
) -> dict[str, tuple[str, ...]]:
    """The reference summaries of a file by `fname`, in its order, as many for each; its dialogues are not looked at.

    Raises:
        DataError: names the file, the line and the `fname` of the first fault.
    """
    wanted = {ours: theirs for ours, theirs in (columns or {}).items() if ours != "dialogue"}
    return {record.text("fname"): references for record, references in _gold_records(Path(path), wanted, note)}


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
        for record, references in _gold_records(Path(path), columns or {}, note)
    ]


def _gold_records(
    path: Path, columns: Mapping[str, str], note: Callable[[str], None]
) -> Iterator[tuple[Record, tuple[str, ...]]]:
    lines: dict[str, int] = {}
    expected = 0
    for record in read_records(path, columns, ("fname",), note):
        check_fname(record, lines)
        references = _references(record)
        if not references:
            raise record.fault("there is no summary to compare with", NO_SUMMARY)
        if not all(reference.strip(". \t\n") for reference in references):
            raise record.fault("a summary to compare with has only periods", "mend it, or remove that row")
        expected = expected or len(references)
        if len(references) != expected:
            raise record.fault(
                f"{len(references)} summaries where the first row has {expected}", "give each row as many"
            )
        yield record, references
    if not lines:
        raise DataError(f"'{path}' has no rows", "give a file with at least one summary")


def check_fname(record: Record, lines: dict[str, int]) -> None:
    """Refuse a missing or repeated `fname`; `lines` remembers where each one stood."""
    fname = record.text("fname")
    if not fname.strip():
        raise record.fault("fname is empty", "give every row an id of its own")
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
    names = sorted((name for name in record.values if SUMMARY.fullmatch(name)), key=lambda name: (len(name), name))
    return tuple(filter(None, (record.text(name).strip() for name in names)))


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
