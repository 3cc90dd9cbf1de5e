"""What the terminal shows: data on standard output, everything else on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from shlex import quote
from time import perf_counter

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.prompt import Confirm
from rich.segment import Segment
from rich.text import Text

from dialsum_cli.display import Passage, below, parts
from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.markup import readable
from dialsum_cli.reporter import Reporter, Stage
from dialsum_cli.results import (
    CacheCleanResult,
    CheckResult,
    EnsembleResult,
    FinetuneResult,
    PredictResult,
    Result,
    ScreenResult,
    TuneResult,
)
from dialsum_cli.settings import BUNDLED
from dialsum_cli.tables import Table
from dialsum_cli.views import as_table


class _Readable(Console):
    """Rich's, on which no text can tell the terminal anything."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """What is shown, and Rich's own codes as they are."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(readable(segment.text), segment.style)


stdout, stderr = _Readable(highlight=False), _Readable(stderr=True, highlight=False)


def show(result: Result, *, as_json: bool) -> None:
    """Print a result: one JSON document, or its table with a line on what to do next."""
    if as_json:
        text = result.to_json() + "\n"
        if isinstance(stdout.file, TextIOWrapper):  # JSON is UTF-8, whatever the terminal can show
            stdout.file.buffer.write(text.encode())
        else:
            stdout.file.write(text)
        stdout.file.flush()
        return
    for part in parts(result):
        match part:
            case Table():
                _print(part, stdout)
            case Passage():
                stdout.file.write(readable(part.text))  # as it is: Rich would fold it, and expand its tabs
            case _:
                stdout.print(part, soft_wrap=True)
    stdout.file.flush()
    if hint := next_step(result):
        stderr.print(Text(hint, "dim"), soft_wrap=True)


def _print(table: Table, console: Console) -> None:
    if table.shown:
        console.print(table.to_rich(console.width))
    for line in below(table, console.width):
        console.print(line, soft_wrap=True)


def fail(error: DialsumError) -> None:
    """Say what went wrong, and what to do about it."""
    stderr.print(Text.assemble(("Error: ", "bold red"), str(error)), soft_wrap=True)
    if error.remedy:
        stderr.print(Text.assemble(("  Try: ", "bold"), error.remedy), soft_wrap=True)


def interrupted(output_dir: Path | None = None) -> None:
    """Say that Ctrl-C was heard, and where a command that goes on next time keeps its work, if it has done any."""
    there = output_dir is not None and output_dir.is_dir() and any(output_dir.iterdir())
    kept = f" What was finished is kept in '{output_dir}': the same command goes on from there." if there else ""
    stderr.print(Text(f"Stopped.{kept}", "yellow"), soft_wrap=True)


class TerminalReporter(Reporter):
    """Reports to the terminal, and to the log as well."""

    def note(self, message: str) -> None:
        """Print it."""
        super().note(message)
        stderr.print(Text(message), soft_wrap=True)

    def warn(self, message: str) -> None:
        """Print it in yellow."""
        super().warn(message)
        stderr.print(Text.assemble(("Warning: ", "bold yellow"), message), soft_wrap=True)

    def preview(self, result: Result) -> None:
        """Print its table beside the progress, not among the data."""
        _print(as_table(result), stderr)

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Stage]:
        """Show a progress bar with rate and time left; without a terminal, one line at the end."""
        start = perf_counter()
        progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), MofNCompleteColumn(), _Rate(unit),
            TimeRemainingColumn(compact=True), console=stderr, transient=True, disable=not stderr.is_terminal,
        )  # fmt: skip
        with super().stage(title, total, unit), progress:
            bar = _Bar(progress, title, total)
            try:
                yield bar
            except KeyboardInterrupt:
                progress.stop()
                stderr.print(Text(f"{title}: {bar.done} of {total} {unit}", "yellow"), soft_wrap=True)
                raise
        units = unit.removesuffix("s") if total == 1 else unit
        done = f"{bar.done} of {total}" if bar.done < total else f"{total}"  # as where a training stops early
        stderr.print(Text(f"{title}: {done} {units} in {perf_counter() - start:.1f} s", "dim"), soft_wrap=True)

    def confirm(self, question: str, flag: str) -> bool:
        """Ask on the terminal."""
        if not (stderr.is_terminal and sys.stdin and sys.stdin.isatty()):
            raise RequestError("there is no terminal on which to confirm this", f"add {flag}")
        return Confirm.ask(Text(question), console=stderr, default=False)


class _Bar(Stage):
    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self.progress, self.task, self.done = progress, progress.add_task(title, total=total), 0

    def advance(self, steps: int = 1) -> None:
        self.done += steps
        self.progress.advance(self.task, steps)


class _Rate(ProgressColumn):
    """Steps per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """The rate so far."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {self.unit}/s" if speed else "", "dim")


def next_step(result: Result) -> str:
    """Where a result is kept, and what to type next."""
    match result:
        case ScreenResult():
            best = [row.model for row in result.leaderboard if row.rank and row.kind in ("causal", "seq2seq")]
            data = result.data.path
            own = "" if data == str(BUNDLED / "dev.csv") else f" --train TRAIN.csv --dev {quote(data)}"
            following = f" Next: dialsum finetune --models {quote(best[0])}{own}" if best else ""
            return f"Kept in {result.run_dir}.{following}"
        case FinetuneResult() if done := [run for run in result.runs if run.status == "ok"]:
            best_run = max(done, key=lambda run: run.after.final_score if run.after else 0.0)
            kept = f"Kept in {best_run.run_dir}."
            if best_run.before and best_run.after and best_run.after.final_score <= best_run.before.final_score:
                return f"{kept} No model has gained from it."
            return f"{kept} Next: dialsum predict --model {quote(str(best_run.run_dir))} --data TEST.csv"
        case PredictResult():
            output, known = quote(str(result.output)), "hand it in, or where summaries are known: "
            gold = "GOLD.csv"
            if result.data == str(BUNDLED / "test.csv"):
                known, gold = "", f"{quote(str(BUNDLED / 'test_references.csv'))} --dialogues {quote(result.data)}"
            following = f"{known}dialsum score {output} {gold}"
            if result.check.limit is not None:
                following = "the same command without --limit"
            if not result.check.fit:
                following = f"dialsum check {output} --data {quote(result.data)}"
            return f"Kept in {result.run_dir}. Next: {following}"
        case EnsembleResult() if result.verdict == "do not ensemble":
            return f"{result.output} was written, but {result.best} is better."
        case EnsembleResult():
            return f"Next: dialsum check {quote(str(result.output))} --data DIALOGUES.csv"
        case TuneResult():
            last = result.stages[-1]
            following = f"predict --config {quote(str(last.best))} --data TEST.csv"
            if last.stage == "training":
                following = f"predict --model {quote(str(last.model))} --data TEST.csv"
            return f"Kept in {result.run_dir}, a page in {result.report.name}. Next: dialsum {following}"
        case CheckResult() if not result.fit:
            return "Next: mend the faults, or predict again, and check again."
        case CacheCleanResult() if result.dry_run:
            return "Nothing was deleted. Without --dry-run the same command deletes."
    return ""
