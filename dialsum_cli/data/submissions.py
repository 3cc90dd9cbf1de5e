"""Prediction files: `fname,summary`, read and joined with the gold; `data/writing.py` writes them."""

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from dialsum_cli.data.dialogues import check_fname
from dialsum_cli.data.records import read_records
from dialsum_cli.errors import DataError, RequestError

SHOWN = 3
REMEDY_OF_IDS = "mend the rows that differ, or give the gold file of the same data"
T = TypeVar("T")
P = TypeVar("P", bound=str | Path)


def read_submission(
    path: str | Path, *, columns: Mapping[str, str] | None = None, note: Callable[[str], None] = lambda message: None
) -> dict[str, str]:
    """The summaries of a prediction file by `fname`, in the file's order; any other column is ignored.

    Raises:
        DataError: names the file, the line and the `fname` of the first fault.
    """
    path = Path(path)
    wanted = {ours: theirs for ours, theirs in (columns or {}).items() if ours in ("fname", "summary")}
    summaries: dict[str, str] = {}
    lines: dict[str, int] = {}
    for record in read_records(path, wanted, ("fname", "summary"), note):
        check_fname(record, lines)
        summaries[record.text("fname")] = record.text("summary").strip()
    if not summaries:
        raise DataError(f"'{path}' has no rows", "give a file with at least one summary")
    return summaries


def columns_by_file(
    paths: Iterable[P], columns: Mapping[str, str], note: Callable[[str], None]
) -> dict[P, dict[str, str]]:
    """Of the renamed columns, for each file, those that it has; a file that lacks one goes by our name for it.

    Raises:
        RequestError: no file has one of them.
    """
    renamed = {path: dict(columns) for path in paths}
    there = {path: _header(path, columns) for path in renamed} if columns else {}
    for ours, theirs in columns.items():
        lacking = [path for path, names in there.items() if names and unicodedata.normalize("NFC", theirs) not in names]
        if len(lacking) == len(renamed):
            raise RequestError(f"--columns {ours}={theirs}: no file has a column `{theirs}`", "mend that name")
        for path in lacking:
            del renamed[path][ours]
            if ours in there[path]:
                note(f"'{path}' has no column `{theirs}` and goes by its own `{ours}`")
    return renamed


def _header(path: str | Path, columns: Mapping[str, str]) -> set[str]:
    """The names of a file's columns; none where it has a fault, of which reading it tells."""
    for fname in dict.fromkeys([columns.get("fname", "fname"), "fname"]):
        with suppress(DataError):
            for record in read_records(path, {"fname": fname}, ("fname",), lambda message: None, limit=1):
                return {fname, *record.values}
    return set()


def align(path: str | Path, summaries: Mapping[str, T], fnames: Iterable[str], gold: str | Path) -> list[T]:
    """The summaries in the order of the gold's `fnames`.

    Raises:
        DataError: names ids that only one of the two files has; nothing is ever joined by row order.
    """
    wanted = list(fnames)
    missing = [fname for fname in wanted if fname not in summaries]
    known = set(wanted)
    extra = [fname for fname in summaries if fname not in known]
    faults = [f"lacks {some_ids(missing)}"] * bool(missing) + [f"has {some_ids(extra)} that the gold lacks"] * bool(
        extra
    )
    if faults:
        raise DataError(f"'{path}' {' and '.join(faults)} ('{gold}')", REMEDY_OF_IDS)
    return [summaries[fname] for fname in wanted]


def some_ids(fnames: Sequence[str]) -> str:
    """How many ids there are, and the first of them."""
    more = f" and {len(fnames) - SHOWN} more" if len(fnames) > SHOWN else ""
    return f"{len(fnames)} id{'s' * (len(fnames) > 1)}: {', '.join(fnames[:SHOWN])}{more}"
