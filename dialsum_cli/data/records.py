"""Rows of CSV, JSONL and Parquet files and of hub data sets, each with its line, so that every fault can be named."""

import csv
import json
import sys
import unicodedata
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from shlex import quote
from textwrap import shorten

from dialsum_cli.data.hub import named, open_data_set
from dialsum_cli.errors import DataError


@dataclass(frozen=True, slots=True)
class Record:
    """One row under our column names; `line` is where it starts in its file (for Parquet: the row's number)."""

    path: str | Path
    line: int
    values: dict[str, object]

    def text(self, name: str) -> str:
        """The value of a column as text, its lines ended by a line feed; empty where there is none.

        Raises:
            DataError: it is neither text nor a number.
        """
        value = self.values.get(name)
        if isinstance(value, str):
            return value.replace("\r\n", "\n").replace("\r", "\n") if "\r" in value else value
        if value is None or value != value:  # NaN stands for a missing value
            return ""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fault(f"`{name}` is no text but of type {type(value).__name__}", "write it as text")
        return str(value)

    def fault(self, what: str, remedy: str) -> DataError:
        """The error that names this row by file, line and `fname`."""
        return _fault(self.path, self.line, self.values.get("fname"), what, remedy)


def _fault(path: str | Path, line: int, fname: object, what: str, remedy: str) -> DataError:
    name = shorten(str(fname), 60, placeholder="...") if isinstance(fname, str | int) else ""
    return DataError(f"'{path}' line {line}{f' ({name})' if name else ''}: {what}", remedy)


def read_records(
    path: str | Path,
    columns: Mapping[str, str],
    required: Sequence[str],
    note: Callable[[str], None],
    limit: int | None = None,
) -> Iterator[Record]:
    """The first `limit` rows of a file, or of a data set of the hub, under our names, their text in NFC.

    `columns` maps our name to the file's where they differ; what it names has to be there, as has `required`, which
    holds `fname`. That text was changed is told through `note`, once a file.

    Raises:
        DataError: an unreadable file, a missing column, an unparsable line.
    """
    normalised = 0
    for record in raw_records(path, columns, required, limit):
        normalised += _normalise(record.values)
        yield record
    if normalised:
        note(f"'{path}': {normalised} rows held decomposed Unicode and were normalised to NFC")


def raw_records(
    path: str | Path, columns: Mapping[str, str], required: Sequence[str], limit: int | None = None
) -> Iterator[Record]:
    """What `read_records` reads, its text as it stands there.

    Raises:
        DataError: as `read_records`.
    """
    with told(path):
        reader = reader_of(path)
        for record in islice(reader(path, columns, required), limit):
            _refuse_nul(path, record.line, record.values.items())
            yield record


@contextmanager
def told(path: str | Path) -> Iterator[None]:
    """Why a file can't be read as an error of ours."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"there is no file '{path}'", "check the path") from None
    except OSError as error:
        raise DataError(
            f"can't read '{path}': {error.strerror or error}", "check the path and its permissions"
        ) from None
    except UnicodeDecodeError:
        raise _not_utf8(Path(path)) from None


def column_names(path: Path) -> list[str]:
    """The names of a file's columns as they stand in it; of a JSONL file, those of its first line.

    Raises:
        DataError: the file can't be read, or has none.
    """
    if path.suffix.lower() == ".csv" and path.is_file():
        with told(path), closing(_csv_rows(path)) as rows:
            return _header(path, rows)
    first = next(read_records(path, {}, (), lambda message: None, limit=1), None)
    if first is None:
        raise DataError(f"'{path}' has no rows", "give a file with at least one row")
    return [*first.values]


def reader_of(path: str | Path) -> Callable[[str | Path, Mapping[str, str], Sequence[str]], Iterator[Record]]:
    """What reads a file by its ending; raises DataError for a folder, and where nothing reads it."""
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    if named(path):
        return _read_hub
    if Path(path).is_dir():
        raise DataError(f"'{path}' is a folder", "give a CSV, JSONL or Parquet file")
    reader = readers.get(Path(path).suffix.lower())
    if reader is None:
        raise DataError(f"'{path}' is neither .csv nor .jsonl nor .parquet", "give a file of one of these kinds")
    return reader


def _normalise(values: dict[str, object]) -> bool:
    """Bring the text of a row into NFC, in place; whether that changed anything."""
    changed = False
    for name, value in values.items():
        values[name] = _nfc(value)
        changed = changed or (values[name] is not value and values[name] != value)
    return changed


def _nfc(value: object) -> object:
    """Text in NFC, also within lists and mappings."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, list):
        return [_nfc(item) for item in value]
    if isinstance(value, dict):
        return {name: _nfc(item) for name, item in value.items()}
    return value


def _not_utf8(path: Path) -> DataError:
    """The error that names the first line that is not UTF-8, and how to convert the file."""
    data = path.read_bytes()
    encoding = "UTF-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "CP949"
    line = next(number for number, text in enumerate(data.split(b"\n"), 1) if not _decodes(text, "UTF-8"))
    convert = f"iconv -f {encoding} -t UTF-8 {quote(str(path))} > utf8{path.suffix}"
    remedy = convert if _decodes(data, encoding) else "save it as text in UTF-8"
    return DataError(f"'{path}' line {line}: not UTF-8", remedy)


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _name(header: str) -> str:
    return unicodedata.normalize("NFC", header).strip()


def _mapping(theirs: Mapping[str, str], missing: Sequence[str], found: Sequence[str]) -> str:
    """What --columns might be: all that is asked for, with the likeliest names for what is missing."""
    taken = {"fname", "dialogue", "summary", "topic"} | set(theirs.values())
    rest = [name for name in found if name and name not in taken]
    named = {ours: wanted for ours, wanted in theirs.items() if ours != wanted and ours not in missing}
    for ours in missing:
        likely = get_close_matches(theirs[ours], rest, n=1, cutoff=0.3)
        if not likely and ours == "fname":
            likely = [name for name in rest if "id" in name.lower()][:1]
        elif not likely and len(rest) == 1:
            likely = rest
        named[ours] = likely[0] if likely else "NAME"
        rest = [name for name in rest if name != named[ours]]
    return ",".join(f"{ours}={name}" for ours, name in named.items())


def _names(
    path: str | Path, line: int, found: Sequence[str], columns: Mapping[str, str], required: Sequence[str]
) -> dict[str, str]:
    """Our name -> the file's, once every column that is asked for is known to be there, and to be one."""
    theirs = {name: name for name in required} | {ours: _name(name) for ours, name in columns.items()}
    there = shorten(", ".join(name or "(no name)" for name in found), 200, placeholder=", ...") or "none"
    if missing := [ours for ours, wanted in theirs.items() if wanted not in found]:
        raise DataError(
            f"'{path}' line {line}: no column {' and no '.join(f'`{theirs[ours]}`' for ours in missing)}; "
            f"there are {there}",
            "separate the columns by commas"
            if len(found) == 1 and Path(path).suffix.lower() == ".csv"
            else f"rename it, or add --columns {quote(_mapping(theirs, missing, found))}",
        )
    if repeated := next((name for name in found if name and found.count(name) > 1), None):
        raise DataError(
            f"'{path}' line {line}: there is more than one column `{repeated}`", "rename all but one of them"
        )
    rest = [name for name in found if name not in theirs and name not in theirs.values()]
    return {name: name for name in rest} | theirs


@contextmanager
def long_fields() -> Iterator[None]:
    """Let a field of a CSV file be of any length; once the last such file is read, the csv module is as it was."""
    _limits.append(csv.field_size_limit(sys.maxsize))
    try:
        yield
    finally:
        before = _limits[0]
        _limits.pop()
        if not _limits:
            csv.field_size_limit(before)


_limits: list[int] = []  # of files that are being read, in whatever order they are closed


def _csv_rows(path: str | Path) -> Generator[tuple[int, list[str]], None, None]:
    """The rows of a CSV file, the header and empty lines among them, each with the line where it starts."""
    with Path(path).open(encoding="utf-8-sig", newline="") as file, long_fields():
        rows = csv.reader(file, strict=True)
        line = 1
        try:
            for row in rows:
                yield line, row
                line = rows.line_num + 1
        except csv.Error as error:
            raise DataError(f"'{path}' line {line}: {error}", "mend the quotes of the row that starts there") from None


def _header(path: str | Path, rows: Iterator[tuple[int, list[str]]]) -> list[str]:
    """The names of a CSV file's columns, which its first line has to hold."""
    _, cells = next(rows, (1, []))
    if not cells:
        raise DataError(f"'{path}' line 1: empty", "give a CSV file with a header")
    _refuse_nul(path, 1, cells)
    return [_name(cell) for cell in cells]


def _read_csv(path: str | Path, columns: Mapping[str, str], required: Sequence[str]) -> Iterator[Record]:
    with closing(_csv_rows(path)) as rows:
        header = _header(path, rows)
        names = _names(path, 1, header, columns, required)
        places = {ours: header.index(theirs) for ours, theirs in names.items()}
        for line, row in rows:
            if row and len(row) != len(header):
                fname = dict(zip(header, row, strict=False)).get(names.get("fname", ""))
                raise _fault(
                    path,
                    line,
                    fname,
                    f"{len(row)} field{'s' * (len(row) > 1)} where the header has {len(header)}",
                    "put fields that hold a comma, a quote or a line break in double quotes",
                )
            if row:
                yield Record(path, line, {ours: row[place] for ours, place in places.items()})


def _refuse_nul(path: str | Path, line: int, values: Iterable[object]) -> None:
    if any(map(_holds_nul, values)):
        raise DataError(f"'{path}' line {line}: holds a NUL byte: no text file", "give a text file in UTF-8")


def _holds_nul(value: object) -> bool:
    """Whether there is one in a text, or in one within lists and mappings."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        value = [*value.items()]
    return isinstance(value, list | tuple) and any(map(_holds_nul, value))


def _read_jsonl(path: str | Path, columns: Mapping[str, str], required: Sequence[str]) -> Iterator[Record]:
    with Path(path).open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                values = json.loads(text)
                if "\\u" in text:  # half of a surrogate pair can be escaped, but is no text
                    json.dumps(values, ensure_ascii=False).encode()
            except (ValueError, RecursionError) as error:
                what = getattr(error, "msg", error)
                raise DataError(f"'{path}' line {line}: no JSON: {what}", "write one JSON object a line") from None
            if not isinstance(values, dict):
                raise DataError(f"'{path}' line {line}: no JSON object", "write one JSON object a line")
            header = [_name(name) for name in values]
            names = _names(path, line, header, columns, required)
            row = dict(zip(header, values.values(), strict=True))
            yield Record(path, line, {ours: row[theirs] for ours, theirs in names.items()})


def _read_parquet(path: str | Path, columns: Mapping[str, str], required: Sequence[str]) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        header = [_name(name) for name in file.schema_arrow.names]
        names = _names(path, 1, header, columns, required)
        number = 0
        for batch in file.iter_batches():
            for values in batch.to_pylist():
                number += 1
                row = dict(zip(header, values.values(), strict=True))
                yield Record(path, number, {ours: row[theirs] for ours, theirs in names.items()})
    except pa.ArrowException as error:
        why = shorten(str(error), 200, placeholder="...")
        raise DataError(f"'{path}' is no Parquet file: {why}", "write it again") from None


def _read_hub(path: str | Path, columns: Mapping[str, str], required: Sequence[str]) -> Iterator[Record]:
    header, rows = open_data_set(path)
    header = [_name(name) for name in header]
    names = _names(path, 1, header, columns, required)
    for number, values in enumerate(rows, 1):
        row = dict(zip(header, values.values(), strict=True))
        yield Record(path, number, {ours: row[theirs] for ours, theirs in names.items()})
