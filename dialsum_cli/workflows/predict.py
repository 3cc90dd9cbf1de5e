"""`dialsum predict`: summarise dialogues into a submission file."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter

from dialsum_cli import processes, registry
from dialsum_cli.data.dialogues import Dialogue, stream_dialogues, survey
from dialsum_cli.data.template import order_of, read_layout
from dialsum_cli.data.writing import Submission, check_output, open_submission
from dialsum_cli.engines.choice import check_engine, open_engine, refuse, tell_prompt
from dialsum_cli.engines.shared import led, resumed
from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.fitness import Inspector
from dialsum_cli.long_dialogues import Chunked, Measuring, fits
from dialsum_cli.metrics.morphemes import tokenizer
from dialsum_cli.models.baselines import BASELINES
from dialsum_cli.prompts import load_prompt
from dialsum_cli.registry import ModelSpec
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.results import CheckResult, PredictResult
from dialsum_cli.runs import new_folder, provenance, start_run
from dialsum_cli.settings import PredictSettings, SummarizerSettings
from dialsum_cli.store import SummaryStore
from dialsum_cli.summarizer import Batch, Engine, Summarizer, Summary, collect
from dialsum_cli.tracking import tracked

OF_A_MODEL = {*SummarizerSettings.model_fields, "engine", "long_dialogue"} - {"config"}  # and of no baseline
PART = 4096  # dialogues in memory at a time: among so many, enough have about the same length to share a batch


@led
def predict(settings: PredictSettings, reporter: Reporter = QUIET) -> PredictResult:
    """Write one summary for each dialogue, in the order of the input or of the template, and check them.

    Memory doesn't grow with the data, but for 8 bytes a row, and for the summaries where a template has another order.
    A model's summaries are kept as they are made, and never made again; a baseline makes its own faster than they
    could be looked up.

    Raises:
        RequestError: the output exists; no such model or prompt; the data or the template can't be read; samples are
            asked of what can't draw any, or other options given that the model would have to ignore.
        DialsumError: the model can't be loaded, the output not be written, or the data changed meanwhile.
    """
    check_engine(settings)
    read = [Path(each) for each in (settings.data, settings.template, settings.prompt) if each and Path(each).is_file()]
    check_output(settings.output, overwrite=settings.overwrite, read=read)
    served = settings.api_model if settings.served else None
    spec, *others = [registry.served(served)] if served else map(registry.resolve, settings.members)
    name = " + ".join(each.name for each in (spec, *others))
    _check_sampling(settings, spec, read)
    load_prompt(settings.prompt)
    if spec.kind == "baseline":
        refuse(settings, OF_A_MODEL, spec.name, "leave it out, or name a model that reads")
    layout = read_layout(settings.template) if settings.template else None
    before = _stamp(settings.data)
    facts = survey(settings.data, columns=settings.columns, limit=settings.limit, note=reporter.note)
    order = None
    if settings.template and layout:
        order = order_of(
            settings.template, layout, lambda: (each.fname for each in _stream(settings)), settings.data,
            limit=settings.limit,
        )  # fmt: skip
    if not {"model", "average_logits"} & settings.model_fields_set and not served:
        reporter.note(f"no --model: {name}, which dialsum brings for trying things")
    with (
        start_run(new_folder(settings.output_dir), settings) as run,
        tracked("predict", run.folder, settings, reporter, spec) as tracker,
    ):
        start, job = perf_counter(), _Job()
        held: list[tuple[str, str]] = []
        with (
            open_submission(settings.output, layout, overwrite=settings.overwrite) as submission,
            _open_samples(settings) as kept,
            reporter.stage(name, facts.rows, "dialogues") as stage,
            _opened([spec, *others], settings, reporter) as (summarizer_of, model),
            closing(_stream(settings)) as stream,
        ):
            for number, dialogues in enumerate(_parts(stream, facts.rows)):
                summarizer = summarizer_of(number)
                summaries = job.summarise(summarizer, dialogues, stage.advance)
                rows = [(summary.fname, summary.text) for summary in summaries]
                if order is None:
                    submission.write(rows)
                else:
                    held += rows
                if kept:
                    _keep_samples(summarizer, dialogues, kept)
                tracker.log_texts(
                    f"summaries-{number}" if number else "summaries",
                    ("fname", "dialogue", "summary"),
                    ((fname, each.text, text) for (fname, text), each in zip(rows, dialogues, strict=True)),
                )
            if job.rows != facts.rows or _stamp(settings.data) != before:
                raise DialsumError(f"'{settings.data}' changed while it was read", "run the same command again")
            if order is not None:
                submission.write(sorted(held, key=lambda row: order[row[0]]))
        seconds = job.earlier + perf_counter() - start
        verdict = _verdict(job.inspector, settings, facts.rows)
        _tell(job, verdict, name, reporter)
        result = PredictResult(
            output=settings.output,
            data=settings.data,
            rows=job.rows,
            seconds=seconds,
            dialogues_per_second=job.rows / seconds,
            empty=job.inspector.found.rows["empty"],
            truncated=job.truncated,
            prompts_truncated=job.shortened,
            chunked=job.chunked,
            sha256=submission.sha256,
            run_dir=run.folder,
            check=verdict,
            samples=[each.path for each in kept],
        )
        run.write_json("provenance.json", provenance(data=facts.model_dump(), processes=processes.count(), **model))
        run.write("result.json", result.to_json())
        tracker.summarise(result.model_dump())
    return result


def _stream(settings: PredictSettings) -> Generator[Dialogue, None, None]:
    return stream_dialogues(settings.data, columns=settings.columns, limit=settings.limit)


def _stamp(data: str) -> tuple[int, int] | None:
    """What changes with a file; None for a data set of the hub, which is read from an unchanging cache."""
    path = Path(data)
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None


def _parts(dialogues: Iterator[Dialogue], rows: int) -> Iterator[list[Dialogue]]:
    """All `rows` dialogues in parts; no last part of a single row, in which `random` would find no other row."""
    while rows > 0 and (part := [*islice(dialogues, PART if rows > PART + 1 else rows)]):
        yield part
        rows -= len(part)


@contextmanager
def _opened(
    specs: Sequence[ModelSpec], settings: PredictSettings, reporter: Reporter
) -> Iterator[tuple[Callable[[int], Summarizer], dict[str, object]]]:
    """What summarises each part, by its number, and what the run's provenance says of the model, or of all members."""
    spec, *others = specs
    facts: dict[str, object] = {"model": spec.source or spec.name, "revision": None}
    if spec.kind == "baseline":
        baseline = BASELINES[spec.name](settings.seed)
        yield lambda part: baseline, facts
        return
    with open_engine(spec, settings, reporter, *others) as (engine, loaded):
        tell_prompt(settings, [loaded.spec], reporter, f"{spec.name} is none")
        facts["revision"] = loaded.revision
        if others:
            facts = {"average_logits": [each.source for each in specs], "weights": engine.ingredients()["weights"]}
        yield partial(_resumed, engine, settings), facts


def _resumed(engine: Engine, settings: PredictSettings, part: int) -> Summarizer:
    """An engine with a store of its own for each part, so that a store is never larger than what memory holds.

    The first part's has no number: all that fits into one part shares it, whatever `--limit` says.
    """
    ingredients = {**engine.ingredients(), **({"part": part} if part else {})}
    folder = settings.output_dir / "summaries"
    if settings.num_samples is None:
        made: Summarizer = resumed(engine, SummaryStore(folder, ingredients))
    else:
        from dialsum_cli.engines.samples import elected

        sampling = settings.num_samples, settings.temperature, settings.top_p, settings.seed
        made = elected(engine, sampling, folder, ingredients)
    if settings.long_dialogue == "cut":
        return made
    if not isinstance(engine, Measuring):
        raise RequestError("--long-dialogue chunk: this engine can't tell what fits into the model", "leave it out")
    return Chunked(made, partial(fits, engine))


def _check_sampling(settings: PredictSettings, spec: ModelSpec, read: Sequence[Path]) -> None:
    """Refuse, before any work, samples of what draws none, and options that only samples have.

    Raises:
        RequestError: such an option; or a file of samples is there already.
        MissingPartError: there are samples to choose from, and Mecab isn't installed as it has to be.
    """
    if settings.num_samples is None:
        refuse(settings, ("temperature", "top_p", "keep_samples"), "a single summary", "add --num-samples 8")
        return
    if settings.served or settings.engine == "vllm" or spec.kind == "baseline":
        whom = spec.name if spec.kind == "baseline" else "a server" if settings.served else "--engine vllm"
        raise RequestError(f"--num-samples means nothing to {whom}", "leave it out, or give a model for --engine hf")
    if settings.num_beams > 1:
        raise RequestError("--num-samples draws tokens, --num-beams searches for the best", "leave one of them out")
    tokenizer()
    if settings.keep_samples and settings.long_dialogue == "chunk":
        raise RequestError(
            "--keep-samples: what is summarised in parts has no samples of its own", "leave out --long-dialogue chunk"
        )
    for path in _sample_files(settings):
        if path.resolve() == settings.output.resolve():
            raise RequestError(f"'{path}' is the output as well", "give --keep-samples another name")
        check_output(path, overwrite=settings.overwrite, read=read)


def _sample_files(settings: PredictSettings) -> list[Path]:
    path = settings.keep_samples
    numbers = range(1, (settings.num_samples or 0) + 1) if path else ()
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in numbers if path]


@contextmanager
def _open_samples(settings: PredictSettings) -> Iterator[list[Submission]]:
    """A submission for each sample's number; none where they aren't kept."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(open_submission(path, overwrite=settings.overwrite)) for path in _sample_files(settings)
        ]


def _keep_samples(summarizer: Summarizer, dialogues: Sequence[Dialogue], kept: Sequence[Submission]) -> None:
    from dialsum_cli.engines.samples import Elected

    assert isinstance(summarizer, Elected), "`_check_sampling` lets nothing else keep samples"
    for number, submission in enumerate(kept):
        submission.write((each.fname, summarizer.samples[each.fname][number]) for each in dialogues)


@dataclass(slots=True)
class _Job:
    """What is counted while the parts go by."""

    inspector: Inspector = field(default_factory=Inspector)
    rows: int = 0
    truncated: int = 0
    shortened: int = 0
    chunked: int = 0
    reused: int = 0
    earlier: float = 0.0  # seconds that the reused ones took then

    def summarise(
        self, summarizer: Summarizer, dialogues: Sequence[Dialogue], advance: Callable[[int], None]
    ) -> list[Summary]:
        """The summaries of one part, looked at and counted."""

        def done(batch: Batch) -> None:
            advance(len(batch.summaries))
            if batch.reused:
                self.reused += len(batch.summaries)
                self.earlier += batch.seconds

        summaries = collect(summarizer, dialogues, done)
        for summary, dialogue in zip(summaries, dialogues, strict=True):
            self.inspector.see(summary.fname, summary.text, dialogue.text)
            self.truncated += summary.truncated
            self.shortened += summary.prompt_truncated
        self.rows += len(summaries)
        self.chunked += summarizer.chunked if isinstance(summarizer, Chunked) else 0
        return summaries


def _verdict(inspector: Inspector, settings: PredictSettings, rows: int) -> CheckResult:
    """What `dialsum check` finds in the file: its ids, order and quoting are right by the way it was written."""
    findings = sorted(inspector.findings(), key=lambda finding: finding.kind)
    return CheckResult(
        submission=settings.output,
        data=settings.data,
        rows=rows,
        fit=all(finding.kind != "fault" for finding in findings),
        length=inspector.length,
        train_length=None,
        findings=findings,
        limit=settings.limit,
    )


def _tell(job: _Job, verdict: CheckResult, name: str, reporter: Reporter) -> None:
    if job.reused:
        reporter.note(f"{name}: {job.reused} summaries are there from an earlier run")
    if job.chunked:
        reporter.note(f"{job.chunked} of {job.rows} dialogues were too long for {name} and were summarised in parts")
    if job.shortened:
        reporter.warn(f"{job.shortened} of {job.rows} dialogues were too long for {name} and were shortened")
    for finding in verdict.findings:
        tell = reporter.warn if finding.kind == "fault" else reporter.note
        fnames = ", ".join(example.partition(": ")[0] for example in finding.where)  # and none of their text
        tell(f"{finding.rows} of {job.rows} summaries ({fnames}): {finding.what}; {finding.remedy}")
