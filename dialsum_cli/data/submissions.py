"""Prediction files: `fname,summary`, read, joined with the gold and written."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from dialsum_cli.data.dialogues import check_fname
from dialsum_cli.data.records import read_records
from dialsum_cli.errors import DataError
from dialsum_cli.runs import write_atomically

SHOWN = 3
REMEDY_OF_IDS = "mend the rows that differ, or give the gold file of the same data"
T = TypeVar("T")


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


def align(path: str | Path, summaries: Mapping[str, T], fnames: Iterable[str], gold: str | Path) -> list[T]:
    """The summaries in the order of the gold's `fnames`.

    Raises:
        DataError: names ids that only one of the two files has; nothing is ever joined by row order.
    """
    wanted = list(fnames)
    missing = [fname for fname in wanted if fname not in summaries]
    known = set(wanted)
    extra = [fname for fname in summaries if fname not in known]
    faults = [f"lacks {_some(missing)}"] * bool(missing) + [f"has {_some(extra)} that the gold lacks"] * bool(extra)
    if faults:
        raise DataError(f"'{path}' {' and '.join(faults)} ('{gold}')", REMEDY_OF_IDS)
    return [summaries[fname] for fname in wanted]


def _some(fnames: list[str]) -> str:
    more = f" and {len(fnames) - SHOWN} more" if len(fnames) > SHOWN else ""
    return f"{len(fnames)} id{'s' * (len(fnames) > 1)}: {', '.join(fnames[:SHOWN])}{more}"


def write_submission(path: Path, rows: Iterable[tuple[str, str]], *, overwrite: bool) -> str:
    """Write `fname,summary`, quoted as RFC 4180 has it, under a temporary name first; returns the SHA-256."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["fname", "summary"])
    writer.writerows(rows)
    return write_atomically(path, buffer.getvalue(), overwrite=overwrite)
