"""Submissions read whatever is wrong with them: each fault is told, and what can be read goes on."""

import csv
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import normalize

from dialsum_cli.data.records import long_fields, raw_records, reader_of, told
from dialsum_cli.data.template import INDEX
from dialsum_cli.data.writing import Layout
from dialsum_cli.errors import DataError

Fault = Callable[[str, str], None]
"""Told the name of a rule (`fitness.RULES`) and where it was broken."""

_UNDECODED = re.compile("[\ud800-\udfff]")  # what `surrogateescape` makes of bytes that are not UTF-8


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a submission.

    Attributes:
        line: where it starts in its file; of Parquet, its number.
        summary: None where the row is damaged and its summary can't be told.
    """

    line: int
    fname: str
    summary: str | None

    @property
    def where(self) -> str:
        """How findings name it."""
        return f"line {self.line} ({self.fname})" if self.fname.strip() else f"line {self.line}"


def read_suspect(path: Path, layout: Layout | None, fault: Fault) -> Iterator[Row]:
    """The rows of a submission whose columns have to be those of `layout`; without one, `fname,summary` at least.

    Raises:
        DataError: there is no such file, or it can't be read at all.
    """
    reader_of(path)  # refuses folders, and files of another kind
    with told(path), path.open("rb") as file:
        head = file.read(4)
    if path.suffix.lower() != ".csv":
        yield from _read_strictly(path, layout or Layout(), fault)
    elif head.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        fault("encoding", "line 1: UTF-16")
    else:
        if head.startswith(BOM_UTF8):
            fault("byte_order_mark", "line 1")
        yield from _read_csv(path, layout, fault)


def _read_csv(path: Path, layout: Layout | None, fault: Fault) -> Iterator[Row]:
    """RFC 4180, as far as it goes; after quotes that don't match, the next line is taken for the next row."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file, long_fields():
        rows = csv.reader(file, strict=True)
        header: list[str] = []
        places = None
        line = 1
        while True:
            try:
                row = next(rows)
            except StopIteration:
                break
            except csv.Error as error:
                fault("quotes", f"line {line}: {error}")
                row = []
            if row and places is None:
                header = row
                places = _places(row, layout, fault)
                if places is None:
                    return
            elif row and places:
                yield _row(line, row, len(header), places, fault)
            line = rows.line_num + 1
        if not header:
            fault("header", "line 1: empty")


def _places(header: Sequence[str], layout: Layout | None, fault: Fault) -> tuple[int, int] | None:
    """Where the ids and the summaries stand; None where that can't be told."""
    names = [normalize("NFC", cell).strip() for cell in header]
    wanted = layout or Layout()
    said = f"line 1: {','.join(names)[:80]}"
    if sorted(names) == sorted(wanted.columns) and (layout is None or names == [*layout.columns]):
        if names != [*wanted.columns]:
            fault("columns", said)
        return names.index(wanted.fname), names.index(wanted.summary)
    if layout is None and names.count(wanted.fname) == names.count(wanted.summary) == 1:
        if [name for name in names if not INDEX.fullmatch(name)] != [*wanted.columns]:
            fault("columns", said)
        return names.index(wanted.fname), names.index(wanted.summary)
    fault("header", said)
    # The rows can still be looked at where it is plain which column is which.
    rest = [place for place, name in enumerate(names) if not INDEX.fullmatch(name)]
    return (rest[0], rest[1]) if len(rest) == 2 else None


def _row(line: int, row: Sequence[str], width: int, places: tuple[int, int], fault: Fault) -> Row:
    fname, summary = (row[place] if place < len(row) else "" for place in places)
    found = _composed(line, fname, summary, fault)
    whole = True
    for name, broken, what in (
        ("fields", len(row) != width, f": {len(row)} where the header has {width}"),
        ("encoding", any(map(_UNDECODED.search, row)), ": not UTF-8"),
        ("nul", any("\0" in cell for cell in row), ""),
    ):
        if broken:
            fault(name, f"{found.where}{what}")
            whole = False
    return found if whole else replace(found, summary=None)


# What NFC puts together: combining marks, Hangul's conjoining letters. It changes other characters as well (the ohm
# sign, compatibility ideographs), in which nobody writes Korean.
_PARTS = re.compile("[\u0300-\u036f\u1100-\u11ff\u3099\u309a]")


def _composed(line: int, fname: str, summary: str, fault: Fault) -> Row:
    """A row in NFC, as all that it is held beside."""
    row = Row(line, normalize("NFC", fname), normalize("NFC", summary))
    for name, composed, written in (("decomposed", row.summary, summary), ("decomposed_ids", row.fname, fname)):
        if composed != written and _PARTS.search(written):
            fault(name, row.where)
    return row


def _read_strictly(path: Path, layout: Layout, fault: Fault) -> Iterator[Row]:
    """JSONL and Parquet, which go on after no fault."""
    columns = {"fname": layout.fname, "summary": layout.summary}
    try:
        for record in raw_records(path, columns, ()):
            yield _composed(record.line, record.text("fname"), record.text("summary"), fault)
    except DataError as error:
        said = str(error).removeprefix(f"'{path}' ")
        fault("header" if "no column" in said else "unreadable", said)
