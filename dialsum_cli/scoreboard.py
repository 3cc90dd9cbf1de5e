"""What `dialsum score` shows: the table of scores, a sentence for each comparison, the findings, the worst cases."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import PurePath

from rich.text import Text

from dialsum_cli.results import Compared, EnsembleSystem, Piece, ScoreResult, SystemScore, Verification
from dialsum_cli.tables import Column, Table

FEW = 20
"""Rows below which a difference that may be chance is no tie: of so few the test finds only a large one."""

_MARKS = {"missing": ("[-", "-]", "red"), "extra": ("{+", "+}", "green")}  # as `wdiff` writes them, readable uncoloured
_NAMES = {"char": "characters, not morphemes", "eojeol": "eojeols, not morphemes"}


def scores(result: ScoreResult) -> Table:
    """The systems, with floor and ceiling beneath."""
    several = result.references > 1
    other = "best" if result.refs == "mean" else "mean"
    heading = [f"Scores · {result.systems[0].n} rows"]
    heading += [f"{result.refs} of {result.references} references"] if several else []
    heading += [f"by {_NAMES[result.tokenizer]}"] if result.tokenizer in _NAMES else []
    table = Table(
        [Column("System", "left"), Column("Final"), Column("95 %", weight=9),
         *([Column(other.capitalize(), weight=8)] if several else []),
         *([Column("Δ first", weight=8), Column("p", weight=7)] if len(result.systems) > 1 else []),
         Column("R1", weight=5), Column("R2", weight=4), Column("RL", weight=6), Column("Sum", weight=3),
         Column("Empty", weight=2)],
        title=" · ".join(heading),
        caption=f"Final = mean of ROUGE-1/2/L, 0-100. {result.signature}",
    )  # fmt: skip
    floor = max(result.floor.values())
    for name, system in zip(labels(result.systems), result.systems, strict=True):
        below = system.final_score < floor
        table.add(
            name + ("\nbelow the floor" if below else ""), f"{system.final_score:.2f}",
            interval(system.ci95),
            *([f"{system.by_refs[other]:.2f}"] if several else []),
            *(_compared(system) if len(result.systems) > 1 else []),
            f"{system.rouge1:.2f}", f"{system.rouge2:.2f}", f"{system.rougeL:.2f}", f"{system.rouge_sum:.2f}",
            system.empty, style="yellow" if below else "",
        )  # fmt: skip
    for name, final_score in (*result.floor.items(), *result.ceiling.items()):
        table.add(f"({name})", f"{final_score:.2f}", *[None] * (len(table.columns) - 2), style="dim")
    return table


def _compared(system: SystemScore) -> list[str | None]:
    if system.difference is None or system.p_value is None:
        return [None, None]
    return [verdict(system, system.n) if system.tied else signed(system.difference), p_value(system.p_value)]


def verdict(system: Compared, rows: int) -> str:
    """How a system does against another one on so many rows, in a word or two."""
    if system.tied:
        return "few rows" if too_few(system, rows) else "tied"
    return "better" if system.difference and system.difference > 0 else "worse"


def too_few(system: Compared, rows: int) -> bool:
    """Whether the rows are too few to tell how a system differs from another one, if it does anywhere."""
    return bool(system.tied) and rows < FEW and system.ties != rows


def verdicts(result: ScoreResult) -> Iterator[Text]:
    """A sentence for each system but the first: better or worse than that one, by how much and how surely; or tied."""
    first, *others = labels(result.systems)
    for name, system in zip(others, result.systems[1:], strict=True):
        if system.difference is None or system.difference_ci95 is None or system.p_value is None:
            continue
        low, high = system.difference_ci95
        names = first, name
        counts = rows_won(system.losses, system.ties, system.wins)
        if system.tied:
            few = f"{system.n} rows are too few to tell {names[0]} from {names[1]}"
            tied = f"{names[0]} and {names[1]} are tied"
            yield Text(
                f"{few if too_few(system, system.n) else tied}: {signed(-system.difference)} "
                f"({spread((-high, -low))}) may be chance, {p_is(system.p_value)}; {counts}."
            )
            continue
        if system.difference > 0:
            names = names[1], names[0]
            counts = rows_won(system.wins, system.ties, system.losses)
        else:
            low, high = -high, -low
        yield Text(
            f"{names[0]} is better than {names[1]} by {abs(system.difference):.2f} ({low:.2f} to {high:.2f}), "
            f"{p_is(system.p_value)}; {counts}."
        )


def interval(ends: tuple[float, float] | None) -> str | None:
    """A score's 95 % interval as it is printed."""
    return None if ends is None else f"{ends[0]:.1f}–{ends[1]:.1f}"


def p_value(value: float) -> str:
    """A p-value as it is printed."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_is(value: float) -> str:
    """The same in a sentence."""
    return f"p {'' if value < 0.001 else '= '}{p_value(value)}"


def signed(value: float) -> str:
    """A difference of scores, 0-100."""
    return f"{value + 0.0:+.2f}"  # no -0.00


def spread(ends: tuple[float, float]) -> str:
    """A difference's 95 % interval."""
    return " to ".join(map(signed, ends))


def rows_won(wins: int | None, ties: int | None, losses: int | None) -> str:
    """How two systems did row by row."""
    return f"{wins} rows won, {ties} tied, {losses} lost"


def findings(result: ScoreResult) -> Table:
    """What the scores don't tell: one row per finding, one column per system."""
    found = [system.diagnostics for system in result.systems]
    known = found[0].unknown_tags is not None
    table = Table(
        [Column("", "left"), *(Column(name, "left") for name in labels(result.systems))],
        title="What the score doesn't tell",
    )
    if not known:
        note = "A dash needs the dialogues: give a gold file with them, --columns dialogue=NAME or --dialogues FILE."
        table.notes.append((note, "dim"))
    elif found[0].unsupported_names is None:
        table.notes.append((f"Names are known to Mecab alone, not to --tokenizer {result.tokenizer}.", "dim"))

    def shares(values: Iterable[float | None]) -> list[str | None]:
        return [None if value is None else f"{100 * value:.1f} %" for value in values]

    table.add("length, of the references'", *shares(each.length_ratio for each in found))
    table.add("eojeol trigrams repeated", *shares(each.repetition_rate for each in found))
    fidelities = shares(each.tag_fidelity for each in found)
    table.add("speaker tags that the dialogue has", *(each or ("no tags" if known else None) for each in fidelities))
    table.add("letters in Hangul", *shares(each.korean_ratio for each in found))
    table.add(
        "letters of other scripts",
        *(None if each.foreign_scripts is None else _counts(each.foreign_scripts) for each in found),
    )
    table.add("rows empty", *(each.empty for each in found))
    table.add("rows cut off", *(each.cut_off for each in found))
    table.add("rows with an unknown tag", *(each.unknown_tags for each in found))
    table.add("rows that lost a tag", *(each.lost_tags for each in found))
    table.add("rows with a broken tag", *(each.broken_tags for each in found))
    table.add("rows with a broken character", *(each.broken_characters for each in found))
    table.add("rows better with speakers swapped", *(each.speaker_swaps for each in found))
    table.add("rows with a name not in the dialogue", *(each.unsupported_names for each in found))
    table.add("rows with a number not in it", *(each.unsupported_numbers for each in found))
    return table


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items()) or "none"


def worst(result: ScoreResult) -> Iterator[Text]:
    """Each system's worst cases, reference above prediction, what only one of them has in marks."""
    for name, system in zip(labels(result.systems), result.systems, strict=True):
        if not system.worst:
            continue
        yield Text.assemble(
            (f"\nLowest {len(system.worst)} of {name}", "bold"),
            "  ", ("[-only in the reference-]", "red"), " ", ("{+only in the prediction+}", "green"),
        )  # fmt: skip
        for case in system.worst:
            yield Text.assemble((f"\n{case.fname} · {case.final_score:.1f}", "bold"))
            number = f" {case.reference_number}" if result.references > 1 else ""
            yield Text.assemble((f"{f'reference{number}':13}", "dim"), _marked(case.reference))
            yield Text.assemble((f"{'prediction':13}", "dim"), _marked(case.summary) if case.summary else "(empty)")


def _marked(pieces: Iterable[Piece]) -> Text:
    text = Text()
    for mark, group in groupby(pieces, key=lambda piece: piece.mark):
        words = "".join(piece.text for piece in group)
        bare = words.lstrip()
        before, after, style = _MARKS.get(mark, ("", "", ""))
        text.append(words[: len(words) - len(bare)])
        text.append(f"{before}{bare}{after}" if bare else "", style)
    return text


def verified(verification: Verification) -> str:
    """What the package `rouge` says of the same pairs."""
    raised = f", and raises on {verification.raised} more" if verification.raised else ""
    return f"rouge 1.0.1 scores {verification.pairs - verification.raised} pairs the same{raised}."


def labels(systems: Iterable[SystemScore | EnsembleSystem]) -> list[str]:
    """The systems by the names of their files, longer where these are alike, and numbered where all is alike."""
    paths = [PurePath(system.path) for system in systems]
    names = Counter(path.name for path in set(paths))
    found = [path.name if names[path.name] == 1 else short(str(path)) for path in paths]
    return [
        name if found.count(name) == 1 else f"{name} ({found[: index + 1].count(name)})"
        for index, name in enumerate(found)
    ]


def short(name: str) -> str:
    """A path by its last two parts."""
    parts = PurePath(name).parts
    return name if len(parts) <= 2 else f"…/{parts[-2]}/{parts[-1]}"
