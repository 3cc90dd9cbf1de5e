"""How a submission is written: row by row, in the columns that are asked for, as CSV, JSONL or Parquet."""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO
from unicodedata import normalize

from dialsum_cli.errors import RequestError
from dialsum_cli.runs import explained, whole_file


@dataclass(frozen=True, slots=True)
class Layout:
    """A submission's columns: which holds the ids, which the summaries, and which, if any, counts the rows.

    Attributes:
        start: the number of the first row.
    """

    columns: tuple[str, ...] = ("fname", "summary")
    fname: str = "fname"
    summary: str = "summary"
    index: str | None = None
    start: int = 0


class _Csv:
    """Quoted as RFC 4180 has it, with line feeds."""

    def __init__(self, file: BinaryIO, columns: Sequence[str]) -> None:
        self._text = TextIOWrapper(file, encoding="utf-8", newline="")
        self._writer = csv.writer(self._text, lineterminator="\n")
        self._writer.writerow(columns)

    def write(self, rows: Iterable[Sequence[object]]) -> None:
        self._writer.writerows(rows)

    def close(self) -> None:
        self._text.flush()
        self._text.detach()


class _Jsonl:
    def __init__(self, file: BinaryIO, columns: Sequence[str]) -> None:
        self._file, self._columns = file, columns

    def write(self, rows: Iterable[Sequence[object]]) -> None:
        lines = (json.dumps(dict(zip(self._columns, row, strict=True)), ensure_ascii=False) for row in rows)
        self._file.writelines(f"{line}\n".encode() for line in lines)

    def close(self) -> None:
        pass


class _Parquet:
    def __init__(self, file: BinaryIO, columns: Sequence[str]) -> None:
        self._file, self._columns = file, columns
        self._writer: Any = None  # opened with the types of the first rows

    def write(self, rows: Iterable[Sequence[object]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        values = zip(*rows, strict=True)
        table = pa.table({name: list(column) for name, column in zip(self._columns, values, strict=True)})
        self._writer = self._writer or pq.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer:
            self._writer.close()


SINKS: Mapping[str, type[_Csv | _Jsonl | _Parquet]] = {".csv": _Csv, ".jsonl": _Jsonl, ".parquet": _Parquet}


@dataclass(slots=True)
class Submission:
    """A submission that is being written; `sha256` is known once it is whole."""

    path: Path
    layout: Layout
    sink: _Csv | _Jsonl | _Parquet
    rows: int = 0
    sha256: str = field(default="", init=False)

    def write(self, rows: Iterable[tuple[str, str]]) -> None:
        """Write some more (fname, summary).

        Raises:
            DialsumError: the disk is full.
        """
        written = [*map(self._cells, rows)]
        if written:
            with explained(self.path):
                self.sink.write(written)

    def _cells(self, row: tuple[str, str]) -> list[object]:
        layout = self.layout
        fname, text = row[0], normalize("NFC", row[1])  # as boards, and `check`, count morphemes
        if "\r" in text:  # which csv.writer leaves unquoted before Python 3.13, and readers take for a line feed
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        cells = {layout.fname: fname, layout.summary: text, layout.index: layout.start + self.rows}
        self.rows += 1
        return [cells[column] for column in layout.columns]


def check_output(path: Path, *, overwrite: bool, read: Iterable[Path] = ()) -> None:
    """Refuse, before hours of work and not after, a submission that will not be written.

    Raises:
        RequestError: as `check_place`; or its ending says no format.
    """
    if path.suffix.lower() not in SINKS:
        raise RequestError(f"'{path}' is neither .csv nor .jsonl nor .parquet", "give the output one of these endings")
    check_place(path, overwrite=overwrite, read=read)


def check_place(path: Path, *, overwrite: bool, read: Iterable[Path] = ()) -> None:
    """Refuse, before any work, a file that can't be written, or that would replace what the work reads.

    Raises:
        RequestError: it is one of `read`, or in a folder of these; it exists, and `overwrite` is False; it is a folder,
            or in one that can't be written.
    """
    with explained(path):
        target = path.resolve()
    if any(target.is_relative_to(each.resolve()) for each in read):
        raise RequestError(f"'{path}' is, or is in, what is read", "give another name to write to")
    if target.is_dir():
        raise RequestError(f"'{path}' is a folder", "give the name of a file")
    if target.exists() and not overwrite:
        raise RequestError(f"'{path}' exists already", "add --overwrite, or give another name")
    folder = next(each for each in target.parents if each.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        why = "may not be written to" if folder.is_dir() else "is no folder"
        raise RequestError(f"can't write '{path}': '{folder}' {why}", "choose another place")


@contextmanager
def open_submission(path: Path, layout: Layout | None = None, *, overwrite: bool) -> Iterator[Submission]:
    """A submission to write to, under a temporary name that is renamed once the context is left without an error.

    Raises:
        RequestError: as `check_output`.
        DialsumError: the disk is full, or the folder can't be written.
    """
    check_output(path, overwrite=overwrite)
    layout = layout or Layout()
    with whole_file(path, overwrite=overwrite) as file:
        submission = Submission(path, layout, SINKS[path.suffix.lower()](file, layout.columns))
        yield submission
        with explained(path):
            submission.sink.close()
            file.seek(0)
            submission.sha256 = hashlib.file_digest(file, "sha256").hexdigest()


def write_submission(path: Path, rows: Iterable[tuple[str, str]], *, overwrite: bool) -> str:
    """Write `fname,summary` as CSV, JSONL or Parquet, under a temporary name first; returns the SHA-256."""
    with open_submission(path, overwrite=overwrite) as submission:
        submission.write(rows)
    return submission.sha256
