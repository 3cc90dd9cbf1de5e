"""An experiment log in Markdown: a table with one row a run, whose last column is its reader's."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dialsum_cli import settings as options
from dialsum_cli.errors import DataError
from dialsum_cli.results import ReportedRun

HEADER = ("Run", "Time", "Command", "Model", "Data", "Final score (95 %)", "Settings", "Board score")
INTRODUCTION = (
    "# Experiment log\n\n"
    "`dialsum report RUN_DIR... --markdown` adds a row for each run, found again by its folder. The last column is "
    "yours: a row in which it is filled stays as it is.\n\n"
)
UNFINISHED = "unfinished"
_SCORE = HEADER.index("Final score (95 %)")
UNTOLD = {"config", "data", "columns", "train", "dev", "model", "models", "output", "output_dir", "overwrite", "resume",
          "template", "keep_samples", *options.TrackingSettings.model_fields,
          *options.DiskSettings.model_fields}  # fmt: skip
"""Options that a row doesn't tell: they have cells of their own, or change nothing of what is written."""
_CELL = re.compile(r"\|((?:\\.|[^|\\])*)")
_SPECIAL = re.compile(r"([\\|<*`\[_~&$])")
_UNSHOWN = re.compile(r"[^\S ]|\s(?=\s|\Z)|(?<!\S)\s|[\ud800-\udfff]")  # blanks that Markdown folds, and no text
_WRITTEN = re.compile(r"\\(.)|&#([0-9]+);")


def read_log(path: Path) -> str | None:
    """The experiment log as it is, its line ends too; None where there is none.

    Raises:
        DataError: it can't be read.
    """
    if not path.exists():
        return None
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"'{path}' can't be read: {error}", "give the log's name, or that of no file") from None


def updated(log: str | None, rows: Mapping[str, Sequence[str]], name: str) -> str:
    """The log with these runs in it; whatever else stands in it stays.

    Args:
        log: what it is; None for a new one.
        rows: by the run's folder, all its cells but the first and the last.
        name: the file's, for messages.

    Raises:
        DataError: it is no such log, or a row of it has more or fewer cells.
    """
    log = INTRODUCTION + _row(HEADER) + "\n|" + "---|" * len(HEADER) + "\n" if log is None else log
    lines = log.split("\n")
    ours = {folder: [*map(_cell, (folder, *cells, ""))] for folder, cells in rows.items()}
    at = next((number for number, line in enumerate(lines) if _cells(line) == list(HEADER)), None)
    if at is None or at + 1 == len(lines):
        raise DataError(
            f"'{name}' is no experiment log: no line of it is {_row(HEADER)}", "give the log's name, or that of no file"
        )
    end = at + 2
    while end < len(lines) and lines[end].lstrip().startswith("|"):
        cells = _cells(lines[end])
        if len(cells) != len(HEADER):
            raise DataError(
                f"'{name}' line {end + 1}: {len(cells)} cells where the log has {len(HEADER)}", "mend that row"
            )
        if (fresh := ours.pop(_text(cells[0]), None)) and not cells[-1]:
            if cells[_SCORE] != UNFINISHED:  # a score that was known stays, though its summaries are no more
                fresh[_SCORE] = fresh[_SCORE] or cells[_SCORE]
            lines[end] = _row(fresh) + "\r" * lines[end].endswith("\r")
        end += 1
    ending = "\r" if lines[at].endswith("\r") else ""
    added = [_row(row) + ending for row in ours.values()]
    if end == len(lines) and added:  # the table was the end, without a line feed
        added.append("")
    return "\n".join([*lines[:end], *added, *lines[end:]])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(line: str) -> list[str]:
    """The cells of a table's line; none where it isn't one."""
    line = line.strip()
    found = [cell.strip() for cell in _CELL.findall(line)] if line.startswith("|") else []
    return found[:-1] if line.endswith("|") else found


def _cell(text: str) -> str:
    """Text as a cell shows it, to the letter."""
    return _UNSHOWN.sub(lambda found: f"&#{ord(found[0])};", _SPECIAL.sub(r"\\\1", text))


def _text(cell: str) -> str:
    """What a cell says, whether `_cell` wrote it, or somebody who escapes less."""
    return _WRITTEN.sub(lambda found: found[1] or chr(int(found[2])), cell)


def rows_of(runs: Iterable[ReportedRun], log: Path) -> Iterator[tuple[str, Sequence[str]]]:
    """Each run's cells for `updated` by its folder, as it is found from the log's."""
    for run in runs:
        score = "" if run.finished else UNFINISHED
        if run.final_score is not None and run.ci95:
            score = f"{run.final_score:.2f} ({run.ci95[0]:.1f}–{run.ci95[1]:.1f})"
        folder = Path(os.path.relpath(run.folder.resolve(), log.resolve().parent)).as_posix()
        model = run.model + (f", best of {run.systems}" if run.systems > 1 and run.command == "screen" else "")
        data = f"{Path(run.data.path).name} ({run.data.rows})" if run.data else ""
        yield folder, [run.created[:16].replace("T", " "), run.command, model, data, score, ", ".join(_key(run))]


def _key(run: ReportedRun) -> Iterator[str]:
    """The options that aren't as they are by default."""
    fields: Mapping[str, Any] = getattr(options, f"{run.command.capitalize()}Settings").model_fields
    for name, value in run.settings.items():
        default = fields[name].default if name in fields else None
        if name not in UNTOLD and value is not None and value != default:
            yield f"{name} {value}"
