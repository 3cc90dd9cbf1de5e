"""Results as the terminal, Rich and notebooks show them: their tables, and what stands below, in order."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from itertools import pairwise

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from dialsum_cli import ballot, scoreboard, tuned
from dialsum_cli.markup import Html, html, tag
from dialsum_cli.results import BatchesResult, EnsembleResult, PromptsResult, Result, ScoreResult, TuneResult
from dialsum_cli.tables import Table
from dialsum_cli.views import as_table

PLAIN_WIDTH = 100
"""Cells of a result that is shown as plain text, where nobody says how wide the page is."""
_STYLE = """
.dialsum { overflow-x: auto; }
.dialsum .left { text-align: left; white-space: pre-line; }
.dialsum .right { text-align: right; }
.dialsum caption { text-align: left; font-weight: 600; }
.dialsum p { margin: .25rem 0; white-space: pre-wrap; }
.dialsum pre { white-space: pre-wrap; }
.dialsum .bold { font-weight: 600; }
.dialsum .dim { opacity: .65; }
.dialsum .red { color: #d0453c; }
.dialsum .green { color: #2e8b57; }
.dialsum .yellow { color: #b07800; }
.dialsum .magenta { color: #a05fb5; }
"""  # colours that can be read on white and on black


@dataclass(frozen=True, slots=True)
class Passage:
    """Text that is shown to the letter, unfolded: pieces with the style of each; "" for none."""

    pieces: Sequence[tuple[str, str]]

    @property
    def text(self) -> str:
        """The pieces joined."""
        return "".join(text for text, _ in self.pieces)


Part = Table | Text | Passage


@singledispatch
def parts(result: Result) -> Iterator[Part]:
    """What a result shows, from top to bottom: its table, unless it says otherwise."""
    yield as_table(result)


@parts.register
def _(result: ScoreResult) -> Iterator[Part]:
    yield as_table(result)
    yield from scoreboard.verdicts(result)
    yield Text()
    yield scoreboard.findings(result)
    yield from scoreboard.worst(result)
    if done := result.verification:
        yield Text(f"Verified: {scoreboard.verified(done)}")


@parts.register
def _(result: EnsembleResult) -> Iterator[Part]:
    yield as_table(result)
    yield ballot.agreement(result)
    yield ballot.verdict(result)


@parts.register
def _(result: TuneResult) -> Iterator[Part]:
    yield as_table(result)
    yield from map(tuned.verdict, result.stages)


@parts.register
def _(result: PromptsResult) -> Iterator[Part]:
    for prompt in result.prompts:
        title = f"{prompt.model} · {f'prompt {prompt.prompt}' if prompt.prompt else 'no prompt: the dialogue alone'}"
        yield Text(title + (" · dialogue shortened" if prompt.shortened else ""), "bold")
        yield Passage([(f"\n{prompt.marked}\n\n", "")])


@parts.register
def _(result: BatchesResult) -> Iterator[Part]:
    for batch in result.batches:
        yield Text(f"{batch.model} · {len(batch.rows)} rows · what is trained stands in ⟪⟫", "bold")
        for row in batch.rows:
            yield Passage(
                [(f"\n{row.fname}\n{row.given}", "dim"), (f"⟪{row.trained}⟫", "bold green"),
                 (f" + {row.padding} of padding\n", "dim")]
            )  # fmt: skip


def below(table: Table, width: int | None = None) -> Iterator[Text]:
    """What stands below a table: the columns that `width` cells have no room for, its notes and its caption."""
    if width and table.shown and (missing := table.left_out(width)):
        yield Text(f"No room here for {', '.join(missing)}: widen the window, or add --json.", "dim")
    yield from (Text(*note) for note in table.notes)
    if table.caption:
        yield Text(table.caption, "dim")


def renderables(result: Result, width: int) -> Iterator[RichTable | Text]:
    """A result for Rich, on a page of `width` cells."""
    for part in parts(result):
        match part:
            case Table():
                if part.shown:
                    yield part.to_rich(width)
                yield from below(part, width)
            case Passage():
                yield Text.assemble(*part.pieces)
            case _:
                yield part


def as_text(result: Result) -> str:
    """A result as plain text."""
    file = io.StringIO()
    console = Console(file=file, width=PLAIN_WIDTH, color_system=None, highlight=False, force_jupyter=False)
    for renderable in renderables(result, PLAIN_WIDTH):
        console.print(renderable)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def as_html(result: Result) -> Html:
    """A result as a piece of a page, such as a notebook: text is escaped, and every rule of style is its own."""
    return tag("div", tag("style", Html(_STYLE)), *map(_as_html, parts(result)), class_="dialsum")


def _as_html(part: Part) -> Html:
    match part:
        case Table():
            table = replace(part, caption="").to_html() if part.shown else ""
            return html(table, *map(_paragraph, below(part)))
        case Passage():
            return tag("pre", *(tag("span", text, class_=style or None) for text, style in part.pieces))
    return _paragraph(part)


def _paragraph(text: Text) -> Html:
    cuts = sorted({0, len(text), *(end for span in text.spans for end in (span.start, span.end))})
    pieces = []
    for start, end in pairwise(cuts):
        styles = [str(span.style) for span in text.spans if span.start <= start and end <= span.end]
        pieces.append(tag("span", text.plain[start:end], class_=" ".join(styles)) if styles else text.plain[start:end])
    return tag("p", *pieces, class_=str(text.style) or None) if pieces else html()
