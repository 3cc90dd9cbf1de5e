"""The sample submission of a contest: which columns a submission has to have, and in which order its rows."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

from dialsum_cli.data.dialogues import check_fname
from dialsum_cli.data.records import Record, column_names, read_records
from dialsum_cli.data.submissions import some_ids
from dialsum_cli.data.writing import Layout
from dialsum_cli.errors import DataError

INDEX = re.compile(r"Unnamed: \d+|index|")  # pandas writes its index without a name, and reads it back as `Unnamed: 0`


def read_layout(path: Path) -> Layout:
    """The columns of a template; where neither is called `fname` or `summary`, the ids come before the summaries.

    Raises:
        DataError: it can't be read, or has other columns than an id, a summary and perhaps an index.
    """
    names = column_names(path)
    index = next((name for name in names if INDEX.fullmatch(name)), None)
    rest = [name for name in names if name != index]
    if len(rest) != 2 or len(set(rest)) != 2:
        listed = ", ".join(name or "(no name)" for name in names) or "none"
        raise DataError(
            f"'{path}' line 1: its columns are {listed}", "give a template with an id, a summary and perhaps an index"
        )
    fname, summary = rest[::-1] if rest[0] == "summary" or rest[1] == "fname" else rest
    first = next(read_records(path, {}, (), lambda message: None, limit=1), None)
    start = first.text(index) if first and index is not None else ""
    return Layout(tuple(names), fname, summary, index, int(start) if start.isdecimal() else 0)


def order_of(
    path: Path, layout: Layout, fnames: Callable[[], Iterable[str]], data: str, *, limit: int | None = None
) -> dict[str, int] | None:
    """Where each id of the data stands in the template; None where it has no rows, or has them in the data's order.

    With a `limit`, the data are a part of what the template has ids of.

    Raises:
        DataError: names ids that only one of the two has, or that the template has twice.
    """
    theirs = (record.text("fname") for record in _rows(path, layout))
    if all(mine == yours for mine, yours in zip_longest(fnames(), theirs)):  # holds neither
        return None
    lines: dict[str, int] = {}
    for record in _rows(path, layout):
        check_fname(record, lines)
    if not lines:
        return None
    known = set(fnames())
    missing = [fname for fname in fnames() if fname not in lines]
    extra = [fname for fname in lines if fname not in known] if limit is None else []
    faults = [f"lacks {some_ids(missing)}"] * bool(missing) + [f"has {some_ids(extra)} that the data lack"] * bool(
        extra
    )
    if faults:
        raise DataError(f"'{path}' {' and '.join(faults)} ('{data}')", "give the template and the data of one contest")
    return {fname: place for place, fname in enumerate(filter(known.__contains__, lines))}


def _rows(path: Path, layout: Layout) -> Iterator[Record]:
    return read_records(path, {"fname": layout.fname}, (), lambda message: None)
