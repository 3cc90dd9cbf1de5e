"""Rows of CSV, JSONL and Parquet files, each with its line, so that every fault can be named exactly."""

import csv
import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TextIO

from dialsum_cli.errors import DataError


@dataclass(frozen=True, slots=True)
class Record:
    """One row under our column names; `line` is where it starts in the file (for Parquet: the row's number)."""

    line: int
    values: dict[str, object]

    def text(self, name: str) -> str:
        """The value of a column as text; empty where there is none."""
        value = self.values.get(name)
        return "" if value is None else str(value)


def fault(path: Path, record: Record, what: str, remedy: str) -> DataError:
    """The error that names a row by file, line and `fname`."""
    fname = record.text("fname")
    return DataError(f"'{path}' line {record.line}{f' ({fname})' if fname else ''}: {what}", remedy)


def read_records(
    path: Path, columns: Mapping[str, str], required: Sequence[str], note: Callable[[str], None]
) -> Iterator[Record]:
    """The rows of a file under our names, their text in NFC; `columns` maps our name to the file's where they differ.

    What was changed or ignored is told through `note`, once a file.

    Raises:
        DataError: an unreadable file, a missing column, an unparsable line.
    """
    if path.is_dir():
        raise DataError(f"'{path}' is a folder", "give a CSV, JSONL or Parquet file")
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"'{path}' is neither .csv nor .jsonl nor .parquet", "give a file of one of these kinds")
    normalised = 0
    try:
        for record in reader(path, columns, required):
            changed = False
            for name, value in record.values.items():
                if isinstance(value, str) and not unicodedata.is_normalized("NFC", value):
                    record.values[name] = unicodedata.normalize("NFC", value)
                    changed = True
            normalised += changed
            yield record
    except FileNotFoundError:
        raise DataError(f"there is no file '{path}'", "check the path") from None
    except OSError as error:
        raise DataError(f"can't read '{path}': {error.strerror or error}", "check the path and its permissions") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"'{path}' is not UTF-8 (byte {error.start})", f"iconv -f CP949 -t UTF-8 '{path}' > utf8{path.suffix}"
        ) from None
    if normalised:
        note(f"'{path}': {normalised} rows held decomposed Unicode and were normalised to NFC")


def _rename(path: Path, line: int, names: Iterable[str], columns: Mapping[str, str], required: Sequence[str]) -> dict[str, str]:
    """File's column -> ours, once every required column is known to be there."""
    found = list(names)
    theirs = {name: columns.get(name, name) for name in {*required, *columns}}
    for ours in [*required, *columns]:
        wanted = theirs[ours]
        if wanted not in found:
            near = get_close_matches(wanted, found, n=1, cutoff=0.3) or [found[0] if found else "NAME"]
            raise DataError(
                f"'{path}' line {line}: no column `{wanted}`; there are {', '.join(found) or 'none'}",
                f"rename it, or add --columns {ours}={near[0] or 'NAME'}",
            )
    renamed = {wanted: ours for ours, wanted in theirs.items()}
    return {name: renamed.get(name, name) for name in found}


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let a field of a CSV file be of any length, and leave the csv module as it was."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_csv(path: Path, columns: Mapping[str, str], required: Sequence[str]) -> Iterator[Record]:
    with path.open(encoding="utf-8-sig", newline="") as file, _long_fields():
        rows = csv.reader(_without_nul(path, file), strict=True)
        try:
            header = next(rows, [])
            if not header:
                raise DataError(f"'{path}' is empty", "give a CSV file with a header")
            names = _rename(path, 1, header, columns, required)
            line = rows.line_num + 1
            for row in rows:
                if row and len(row) != len(header):
                    raise DataError(
                        f"'{path}' line {line}{f' ({row[0]})' if row[0] else ''}: {len(row)} fields where the header "
                        f"has {len(header)}",
                        "put fields that hold a comma, a quote or a line break in double quotes",
                    )
                if row:
                    yield Record(line, {names[name]: value for name, value in zip(header, row, strict=True)})
                line = rows.line_num + 1
        except csv.Error as error:
            raise DataError(f"'{path}' line {rows.line_num}: {error}", "mend the quotes of that row") from None


def _without_nul(path: Path, file: TextIO) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        if "\0" in line:
            raise DataError(f"'{path}' line {number}: holds a NUL byte: no text file", "give a CSV file in UTF-8")
        yield line


def _read_jsonl(path: Path, columns: Mapping[str, str], required: Sequence[str]) -> Iterator[Record]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                values = json.loads(text)
            except json.JSONDecodeError as error:
                raise DataError(f"'{path}' line {line}: no JSON: {error.msg}", "write one JSON object a line") from None
            if not isinstance(values, dict):
                raise DataError(f"'{path}' line {line}: no JSON object", "write one JSON object a line")
            names = _rename(path, line, values, columns, required)
            yield Record(line, {names[name]: value for name, value in values.items()})


def _read_parquet(path: Path, columns: Mapping[str, str], required: Sequence[str]) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        names = _rename(path, 1, file.schema_arrow.names, columns, required)
        number = 0
        for batch in file.iter_batches():
            for values in batch.to_pylist():
                number += 1
                yield Record(number, {names[name]: _plain(value) for name, value in values.items()})
    except pa.ArrowInvalid as error:
        raise DataError(f"'{path}' is no Parquet file: {error}", "write it again") from None


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value  # NaN stands for a missing value
