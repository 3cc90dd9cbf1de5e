"""What the terminal shows: data on standard output, everything else on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import singledispatch
from io import TextIOWrapper
from pathlib import PurePath
from shlex import quote
from time import perf_counter

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.prompt import Confirm
from rich.text import Text

from dialsum_cli import scoreboard
from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.reporter import QuietReporter, Stage
from dialsum_cli.results import (
    CacheCleanResult,
    FinetuneResult,
    ModelsResult,
    PredictResult,
    PreflightResult,
    PromptsResult,
    Result,
    ScoreResult,
    ScreenResult,
)
from dialsum_cli.scoreboard import short
from dialsum_cli.settings import BUNDLED
from dialsum_cli.tables import Column, Table

stdout, stderr = Console(highlight=False), Console(stderr=True, highlight=False)


def show(result: Result, *, as_json: bool) -> None:
    """Print a result: one JSON document, or its table with a line on what to do next."""
    if as_json:
        text = result.model_dump_json(indent=2) + "\n"
        if isinstance(stdout.file, TextIOWrapper):  # JSON is UTF-8, whatever the terminal can show
            stdout.file.buffer.write(text.encode())
        else:
            stdout.file.write(text)
        stdout.file.flush()
        return
    if isinstance(result, PromptsResult):
        _print_prompts(result)
    else:
        _print(as_table(result), stdout)
    if isinstance(result, ScoreResult):
        _print_below_scores(result)
    if hint := next_step(result):
        stderr.print(Text(hint, "dim"), soft_wrap=True)


def _print(table: Table, console: Console) -> None:
    console.print(table.to_rich(console.width))
    for text, style in table.notes:
        console.print(Text(text, style), soft_wrap=True)
    if table.caption:
        console.print(Text(table.caption, "dim"), soft_wrap=True)


def _print_prompts(result: PromptsResult) -> None:
    for prompt in result.prompts:
        title = f"{prompt.model} · {f'prompt {prompt.prompt}' if prompt.prompt else 'no prompt: the dialogue alone'}"
        stdout.print(Text(title + (" · dialogue shortened" if prompt.shortened else ""), "bold"), soft_wrap=True)
        stdout.file.write(f"\n{prompt.marked}\n\n")  # as it is: a table would fold it
    stdout.file.flush()


def _print_below_scores(result: ScoreResult) -> None:
    for verdict in scoreboard.verdicts(result):
        stdout.print(verdict, soft_wrap=True)
    stdout.print()
    _print(scoreboard.findings(result), stdout)
    for line in scoreboard.worst(result):
        stdout.print(line, soft_wrap=True)
    if verified := result.verification:
        raised = f", and raises on {verified.raised} more" if verified.raised else ""
        stdout.print(f"Verified: rouge 1.0.1 scores {verified.pairs - verified.raised} pairs the same{raised}.")


def fail(error: DialsumError) -> None:
    """Say what went wrong, and what to do about it."""
    stderr.print(Text.assemble(("Error: ", "bold red"), str(error)), soft_wrap=True)
    if error.remedy:
        stderr.print(Text.assemble(("  Try: ", "bold"), error.remedy), soft_wrap=True)


def interrupted() -> None:
    """Say that Ctrl-C was heard."""
    stderr.print(Text("Stopped.", "yellow"))


class TerminalReporter(QuietReporter):
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
            yield _Bar(progress, title, total)
        stderr.print(Text(f"{title}: {total} {unit} in {perf_counter() - start:.1f} s", "dim"), soft_wrap=True)

    def confirm(self, question: str, flag: str) -> bool:
        """Ask on the terminal."""
        if not (stderr.is_terminal and sys.stdin.isatty()):
            raise RequestError("there is no terminal on which to confirm this", f"add {flag}")
        return Confirm.ask(Text(question), console=stderr, default=False)


class _Bar:
    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self.progress, self.task = progress, progress.add_task(title, total=total)

    def advance(self, steps: int = 1) -> None:
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


@singledispatch
def as_table(result: Result) -> Table:
    """A result as a table."""
    raise TypeError(f"no table for {type(result).__name__}")


def _number(value: float | None, digits: int = 1) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f}%"


def _interval(interval: tuple[float, float] | None) -> str | None:
    return None if interval is None else f"{interval[0]:.1f}–{interval[1]:.1f}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@as_table.register
def _(result: ScreenResult) -> Table:
    table = Table(
        [Column("#"), Column("Model", "left"), Column("Final"), Column("95 %", weight=9), Column("R1", weight=6),
         Column("R2", weight=5), Column("RL", weight=7), Column("Hangul", weight=3), Column("Tags", weight=4),
         Column("Cut", weight=2), Column("Empty", weight=1), Column("Rows/s", weight=8), Column("GiB", weight=2)],
        title=f"Leaderboard · {result.data.rows} dialogues of {PurePath(result.data.path).name}",
        caption=f"Final = mean of ROUGE-1/2/L, 0-100. {result.signature}",
    )  # fmt: skip
    for row in result.leaderboard:
        if row.status != "ok":
            style = "red" if row.status == "failed" else "magenta"
            table.add(None, f"{short(row.model)}\n{row.status}", *[None] * 11, style=style)
            table.notes.append((f"{short(row.model)} {row.status}: {row.error}", style))
            continue
        marks = ["tied with the best"] if row.tied_with_best and row.rank != 1 else []
        marks += ["below a baseline"] if row.below_baseline else []
        style = "bold green" if row.rank == 1 else "green" if row.tied_with_best else ""
        style = "yellow" if row.below_baseline else "dim" if row.kind == "baseline" else style
        table.add(
            row.rank, "\n".join([short(row.model), *marks]),
            _number(row.final_score, 2), _interval(row.ci95),
            _number(row.rouge1), _number(row.rouge2), _number(row.rougeL),
            _percent(row.korean_ratio), _percent(row.tag_fidelity), row.truncated, row.empty,
            _number(row.dialogues_per_second), _number(row.peak_memory_gib), style=style,
        )  # fmt: skip
    return table


@as_table.register
def _(result: PreflightResult) -> Table:
    table = Table(
        [Column("Model", "left"), Column("Parameters"), Column("Layers", weight=2), Column("Precision", weight=3),
         Column("Download", weight=4), Column("Memory", weight=5), Column("Note", "left")],
        title="What the models need",
    )  # fmt: skip
    for row in result.models:
        count = None if row.parameters is None else f"{row.parameters / 1e6:,.1f} M"
        memory = None if row.memory_bytes is None else f"{row.memory_bytes / 2**30:.1f} GiB"
        download = None if row.download_bytes is None else _size(row.download_bytes)
        style = "yellow" if row.note else ""
        table.add(short(row.model), count, row.layers, row.precision, download, memory, row.note, style=style)
    return table


@as_table.register
def _(result: FinetuneResult) -> Table:
    table = Table(
        [Column("Model", "left"), Column("Before"), Column("After"), Column("95 %", weight=3), Column("Gain"),
         Column("Seconds", weight=2)],
        title="Fine-tuning · final score on dev",
        caption=result.signature,
    )  # fmt: skip
    for run in result.runs:
        if run.before is None or run.after is None:
            table.add(f"{short(run.model)}\nfailed", *[None] * 5, style="red")
            table.notes.append((f"{short(run.model)} failed: {run.error}", "red"))
            continue
        gain = run.after.final_score - run.before.final_score
        table.add(
            short(run.model), _number(run.before.final_score, 2), _number(run.after.final_score, 2),
            _interval(run.after.ci95), f"{gain:+.2f}", _number(run.train_seconds, 0),
        )  # fmt: skip
    return table


@as_table.register
def _(result: PredictResult) -> Table:
    columns = [Column("Output", "left"), Column("Rows"), Column("Empty"), Column("Cut"), Column("Rows/s", weight=1)]
    table = Table(columns, title="Submission", caption=f"sha256 {result.sha256}")
    table.add(result.output, result.rows, result.empty, result.truncated, _number(result.dialogues_per_second))
    return table


as_table.register(scoreboard.scores)


@as_table.register
def _(result: CacheCleanResult) -> Table:
    verb = "would free" if result.dry_run else "freed"
    table = Table(
        [Column("Model", "left"), Column("Size"), Column("What", "left"), Column("Why", "left", weight=1)],
        title=f"Cache · {verb} {_size(result.freed_bytes)}",
    )
    for model in result.deleted:
        table.add(model.name, _size(model.bytes), "goes" if result.dry_run else "deleted", model.reason)
    for model in result.kept:
        table.add(model.name, _size(model.bytes), "stays", model.reason, style="dim")
    return table


@as_table.register
def _(result: ModelsResult) -> Table:
    table = Table(
        [Column("Name", "left"), Column("Repository", "left", weight=9), Column("Kind", "left", weight=3),
         Column("Size"), Column("Layers", weight=2), Column("Licence", "left", weight=8),
         Column("Note", "left", weight=1)],
        title="Catalogue",
        caption="Any Hugging Face id or local folder works as well.",
    )  # fmt: skip
    for model in result.models:
        size = None if model.parameters is None else f"{model.parameters:g}B"
        table.add(model.name, model.repository, model.kind, size, model.layers, model.licence, model.note)
    return table


def next_step(result: Result) -> str:
    """Where a result is kept, and what to type next."""
    match result:
        case ScreenResult():
            best = [row.model for row in result.leaderboard if row.rank and row.kind == "seq2seq"]
            following = f" Next: dialsum finetune --models {quote(best[0])}" if best else ""
            return f"Kept in {result.run_dir}.{following}"
        case FinetuneResult() if done := [run for run in result.runs if run.status == "ok"]:
            best_run = max(done, key=lambda run: run.after.final_score if run.after else 0.0)
            return f"Kept in {best_run.run_dir}. Next: dialsum predict --model {quote(str(best_run.run_dir))}"
        case PredictResult():
            gold = BUNDLED / "test_references.csv" if result.data == str(BUNDLED / "test.csv") else "GOLD.csv"
            return f"Next: dialsum score {quote(str(result.output))} {quote(str(gold))}"
        case CacheCleanResult() if result.dry_run:
            return "Nothing was deleted. Without --dry-run the same command deletes."
    return ""
