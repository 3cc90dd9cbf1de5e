"""Results as tables, for the terminal and for notebooks."""

from functools import singledispatch
from pathlib import PurePath

from dialsum_cli import ballot, scoreboard, tuned
from dialsum_cli.results import (
    CacheCleanResult,
    CachedModel,
    CatalogueRow,
    CheckResult,
    DataCheckResult,
    DoctorResult,
    FinetuneResult,
    LengthsResult,
    ModelsResult,
    PredictResult,
    PreflightResult,
    ReportResult,
    Result,
    ScreenResult,
    TrainingPlan,
)
from dialsum_cli.scoreboard import interval, p_value, short, signed, spread
from dialsum_cli.tables import Column, Table


@singledispatch
def as_table(result: Result) -> Table:
    """A result as a table: its fields, unless it has one of its own."""
    table = Table([Column("", "left"), Column("Value", "left")], title=type(result).__name__)
    for name, value in result.model_dump(mode="json").items():
        table.add(name.replace("_", " "), value)
    return table


def _number(value: float | None, digits: int = 1) -> str | None:
    return None if value is None else f"{value:.{digits}f}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.0f}%"


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
        tied = bool(row.tied_with_best) and result.data.rows >= scoreboard.FEW
        marks = ["tied with the best"] if tied and row.rank != 1 else []
        marks += ["below a baseline"] if row.below_baseline else []
        style = "bold green" if row.rank == 1 else "green" if tied else ""
        style = "yellow" if row.below_baseline else "dim" if row.kind == "baseline" else style
        table.add(
            row.rank, "\n".join([short(row.model), *marks]),
            _number(row.final_score, 2), interval(row.ci95),
            _number(row.rouge1), _number(row.rouge2), _number(row.rougeL),
            _percent(row.korean_ratio), _percent(row.tag_fidelity), row.truncated, row.empty,
            _number(row.dialogues_per_second), _number(row.peak_memory_gib), style=style,
        )  # fmt: skip
    alike = [short(row.model) for row in result.leaderboard if row.tied_with_best and row.rank != 1]
    if alike and result.data.rows < scoreboard.FEW:
        rows = f"{result.data.rows} dialogue{'s are' if result.data.rows > 1 else ' is'}"
        table.notes.append((f"{rows} too few to tell the best from {', '.join(alike)}.", "dim"))
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
def _(result: TrainingPlan) -> Table:
    table = Table(
        [Column("Model", "left"), Column("Method", "left"), Column("Trained", weight=2), Column("Steps", weight=1),
         Column("Memory"), Column("Epoch", weight=3), Column("All"), Column("Disk", weight=4)],
        title="What the training takes",
        caption=f"{result.micro_batch_tokens:,} tokens at once"
        + (f" in each of {result.processes} processes" if result.processes > 1 else "")
        + (", gradient checkpointing" if result.gradient_checkpointing else "")
        + "; evaluations not counted.",
    )  # fmt: skip
    memory = None if result.memory_bytes is None else f"{result.memory_bytes / 2**30:.1f} GiB"
    table.add(
        short(result.model), f"{result.method}, {result.precision}", f"{result.trainable_parameters / 1e6:,.1f} M",
        result.steps, memory, f"{result.minutes_an_epoch:.1f} min", f"{result.minutes:.1f} min",
        _size(result.disk_bytes),
    )  # fmt: skip
    return table


@as_table.register
def _(result: FinetuneResult) -> Table:
    table = Table(
        [Column("Model", "left"), Column("Before"), Column("After"), Column("95 %", weight=3), Column("Gain"),
         Column("Gain, 95 %", weight=4), Column("p", weight=5), Column("Seconds", weight=2)],
        title="Fine-tuning · final score on dev",
        caption=result.signature,
    )  # fmt: skip
    for run in result.runs:
        if run.before is None or run.after is None:
            table.add(f"{short(run.model)}\nfailed", *[None] * 7, style="red")
            table.notes.append((f"{short(run.model)} failed: {run.error}", "red"))
            continue
        before, after = run.before.final_score, run.after.final_score
        below = after < max(result.floor.values())
        table.add(
            short(run.model) + ("\nbelow the floor" if below else ""), _number(before, 2), _number(after, 2),
            interval(run.after.ci95), signed(after - before), run.gain_ci95 and spread(run.gain_ci95),
            None if run.p_value is None else p_value(run.p_value), _number(run.train_seconds, 0),
            style="yellow" if below else "",
        )  # fmt: skip
    for name, final_score in result.floor.items():
        table.add(f"({name})", None, _number(final_score, 2), *[None] * 5, style="dim")
    if any((run.evaluations or 0) > 1 and (run.gain or 0) > 0 for run in result.runs):
        chosen = "After: by the weights that are best on these dialogues; expect a little less on others."
        table.notes.append((chosen, "dim"))
    return table


@as_table.register
def _(result: LengthsResult) -> Table:
    table = Table(
        [Column("Of", "left"), Column("Texts", weight=2), Column("50 %", weight=4), Column("90 %", weight=5),
         Column("99 %", weight=3), Column("Longest"), Column("Limit"), Column("Over it")],
        title=f"Tokens · {short(result.model)}",
    )  # fmt: skip
    for row in result.lengths:
        style = "yellow" if row.over else ""
        table.add(row.what, row.texts, row.p50, row.p90, row.p99, row.max, row.limit, row.over, style=style)
    return table


@as_table.register
def _(result: DataCheckResult) -> Table:
    table = Table([])
    for finding in result.findings:
        line = f"{finding.what}: {finding.rows} ({', '.join(finding.where)}). {finding.remedy}"
        table.notes.append((line, "yellow" if finding.kind == "warning" else ""))
    return table


@as_table.register
def _(result: PredictResult) -> Table:
    columns = [Column("Output", "left"), Column("Rows"), Column("Empty"), Column("Cut"), Column("Rows/s", weight=1)]
    table = Table(columns, title="Submission", caption=f"sha256 {result.sha256}")
    table.add(result.output, result.rows, result.empty, result.truncated, _number(result.dialogues_per_second))
    table.notes.append(_verdict(result.check))
    return table


def _verdict(result: CheckResult) -> tuple[str, str]:
    faults = sum(finding.kind == "fault" for finding in result.findings)
    if faults:
        return f"Not fit to hand in: {faults} fault{'s' * (faults > 1)}.", "bold red"
    odd = len(result.findings)
    oddities = f", with {odd} oddit{'ies' if odd > 1 else 'y'}" if odd else ""
    if result.limit is not None:
        return f"No fault{oddities}, of the first {result.limit} dialogues alone: --limit is for trying.", "yellow"
    return f"Fit to hand in{oddities}.", "green"


@as_table.register
def _(result: CheckResult) -> Table:
    table = Table(
        [Column("", "left"), Column("Rows"), Column("What", "left"), Column("Where", "left", weight=1)],
        title=f"Check · {result.rows} rows of {PurePath(result.submission).name}",
    )
    for finding in result.findings:
        style = "red" if finding.kind == "fault" else "yellow"
        table.add(finding.kind, finding.rows, finding.what, "\n".join(finding.where), style=style)
        table.notes.append((f"{finding.what}: {finding.remedy}", "dim"))
    told = any(finding.check == "length" for finding in result.findings)
    if result.length and result.train_length and not told:
        lengths = f"{result.length:.0f} characters a summary; the training summaries have {result.train_length:.0f}."
        table.notes.append((lengths, ""))
    table.notes.append(_verdict(result))
    return table


@as_table.register
def _(result: ReportResult) -> Table:
    table = Table(
        [Column("Run", "left"), Column("Command", "left", weight=3), Column("Model", "left"), Column("Final"),
         Column("95 %", weight=2), Column("Rows", weight=1)],
        title=f"Runs · {len(result.runs)} on {PurePath(result.output).name}",
    )  # fmt: skip
    for run in result.runs:
        command = run.command if run.finished else f"{run.command}\nunfinished"
        table.add(
            run.folder, command, short(run.model), _number(run.final_score, 2), interval(run.ci95),
            run.data and run.data.rows, style="" if run.finished else "yellow",
        )  # fmt: skip
    table.notes += [(note, "yellow") for note in result.notes]
    kept = f" Experiment log: {result.markdown}." if result.markdown else ""
    table.notes.append((f"Page: {result.output}.{kept}", ""))
    return table


as_table.register(scoreboard.scores)
as_table.register(ballot.systems)
as_table.register(tuned.trials)


@as_table.register
def _(result: CacheCleanResult) -> Table:
    verb = "would free" if result.dry_run else "freed"
    table = Table(
        [Column("What", "left"), Column("Size"), Column("Cache", "left", weight=1), Column("Fate", "left"),
         Column("Why", "left", weight=2)],
        title=f"Caches · {verb} {_size(result.freed_bytes)}",
    )  # fmt: skip
    if not result.deleted and not result.kept:
        table.notes.append(("Nothing is cached.", ""))
    for fate, rows in (("goes" if result.dry_run else "deleted", result.deleted), ("stays", result.kept)):
        groups: dict[tuple[str, ...], list[CachedModel]] = {}
        for row in rows:  # repositories one by one, of other caches what has the same fate for the same reason
            name = row.name if row.cache.startswith("hub") else ""
            groups.setdefault((row.cache, row.reason, name), []).append(row)
        for (cache, reason, _), group in groups.items():
            name = group[0].name if len(group) == 1 else f"{len(group)} entries"
            style = "red" if group[0].undeletable else "dim" if fate == "stays" else ""
            table.add(name, _size(sum(row.bytes for row in group)), cache, fate, reason, style=style)
    return table


@as_table.register
def _(result: DoctorResult) -> Table:
    table = Table([Column("", "left"), Column("What", "left"), Column("Found", "left")], title="This machine")
    styles = {"ok": "", "warning": "yellow", "broken": "red"}
    for row in result.checks:
        table.add(row.status, row.check, row.found, style=styles[row.status])
        if row.remedy:  # below the table, where no column folds what is to be pasted
            table.notes.append((f"{row.check}: {row.remedy}", styles[row.status]))
    counts = {status: sum(row.status == status for row in result.checks) for status in ("broken", "warning")}
    warned = f", {counts['warning']} warning{'s' * (counts['warning'] > 1)}" if counts["warning"] else ""
    style = "bold red" if counts["broken"] else "green"
    table.notes.append((f"{counts['broken'] or 'Nothing is'} broken{warned}.", style))
    return table


@as_table.register
def _(result: ModelsResult) -> Table:
    if len(result.models) == 1:
        return _all_of(result.models[0])
    table = Table(
        [Column("Name", "left"), Column("Repository", "left", weight=9), Column("Kind", "left", weight=3),
         Column("Size"), Column("Layers", weight=2), Column("Licence", "left", weight=8),
         Column("Note", "left", weight=1)],
        title="Catalogue",
        caption="Any Hugging Face id or local folder works as well.",
    )  # fmt: skip
    for model in result.models:
        size = None if model.parameters is None else f"{model.parameters / 1e9:g}B"
        table.add(model.name, model.repository, model.kind, size, model.layers, model.licence, model.note)
    return table


def _all_of(model: CatalogueRow) -> Table:
    table = Table([Column("Name", "left"), Column(model.name, "left")], title="Model")
    recipe = {f"recipe: {name}": value for name, value in (model.recipe or {}).items()}
    for name, value in (model.model_dump(exclude={"name", "recipe"}) | recipe).items():
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif name == "parameters" and value:
            value = f"{value:,}"
        table.add(name.replace("_", " "), None if value == "" else value)
    if model.recipe is None:
        table.notes.append(("No recipe: nothing is known about fine-tuning it.", "dim"))
    return table
