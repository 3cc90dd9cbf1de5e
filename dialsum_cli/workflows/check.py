"""`dialsum check`: whether a submission is fit to be handed in."""

from array import array
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

from dialsum_cli.data.dialogues import Dialogue, read_dialogues, stream_dialogues, survey
from dialsum_cli.data.submissions import columns_by_file
from dialsum_cli.data.suspect import read_suspect
from dialsum_cli.data.template import order_of, read_layout
from dialsum_cli.fitness import Findings, Inspector
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.results import CheckResult
from dialsum_cli.settings import CheckSettings


def check(settings: CheckSettings, reporter: Reporter = QUIET) -> CheckResult:
    """Look for all that would lose a submission, and for what looks odd in it.

    One row suffices for a fault of the file or of its ids, and for an empty summary; what else is odd in a summary is a
    warning, and a fault where it runs through the file. Takes the memory of the ids, not that of the dialogues, unless
    the rows are in another order.

    Raises:
        DataError: the submission can't be read at all; or the data, the training data or the template can't.
    """
    layout = read_layout(settings.template) if settings.template else None
    files = [settings.data, *filter(None, [settings.train])]
    columns = columns_by_file(files, settings.columns, reporter.note)
    data: dict[str, Any] = {"path": settings.data, "columns": columns[settings.data], "limit": settings.limit}
    survey(**data, note=reporter.note)  # refuses repeated ids
    places = {dialogue.fname: place for place, dialogue in enumerate(stream_dialogues(**data))}
    if settings.template and layout:
        mine = places
        places = order_of(settings.template, layout, lambda: mine, settings.data, limit=settings.limit) or mine
    inspector = Inspector(_usual(settings.train, columns[settings.train], reporter) if settings.train else None)
    found = Findings()
    lines = array("q", [0]) * len(places)
    rows = furthest = 0
    with closing(stream_dialogues(**data)) as stream:
        dialogues = _Dialogues(stream)
        for row in read_suspect(settings.submission, layout, found.add):
            rows += 1
            place = places.get(row.fname)
            if place is None:
                found.add("unknown_ids" if row.fname.strip() else "no_id", row.where)
            elif lines[place]:
                found.add("duplicate_ids", f"{row.where}: already in line {lines[place]}")
            else:
                lines[place] = row.line
                if place < furthest:
                    found.add("order", row.where)
                furthest = max(place, furthest)
                dialogue = dialogues.take(row.fname)
                if row.summary is not None:
                    inspector.see(row.where, row.summary, dialogue)
    if rows:
        for fname, place in places.items():
            if not lines[place]:
                found.add("missing_ids", fname)
    elif not found.rows:
        found.add("no_rows", "line 1")
    findings = sorted([*found.listed(rows), *inspector.findings()], key=lambda finding: finding.kind)
    return CheckResult(
        submission=settings.submission,
        data=settings.data,
        rows=rows,
        fit=all(finding.kind != "fault" for finding in findings),
        length=inspector.length,
        train_length=inspector.usual.length if inspector.usual else None,
        findings=findings,
        limit=settings.limit,
    )


def _usual(path: str, columns: Mapping[str, str], reporter: Reporter) -> Inspector:
    train = read_dialogues(path, columns=columns, references=True, note=reporter.note)
    inspector = Inspector()
    for dialogue in train:
        inspector.see(dialogue.fname, dialogue.references[0], dialogue.text)
    return inspector


class _Dialogues:
    """Texts by id from a stream that is read no further than it has to be."""

    def __init__(self, stream: Iterator[Dialogue]) -> None:
        self._stream = stream
        self._waiting: dict[str, str] = {}

    def take(self, fname: str) -> str:
        """The text of a dialogue that the stream has, once."""
        while fname not in self._waiting:
            dialogue = next(self._stream)
            self._waiting[dialogue.fname] = dialogue.text
        return self._waiting.pop(fname)
