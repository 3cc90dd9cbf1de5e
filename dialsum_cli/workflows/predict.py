"""`dialsum predict`: summarise dialogues into a submission file."""

from time import perf_counter

from dialsum_cli import registry
from dialsum_cli.data.dialogues import read_dialogues
from dialsum_cli.data.submissions import write_submission
from dialsum_cli.errors import RequestError
from dialsum_cli.models.baselines import BASELINES
from dialsum_cli.prompts import load_prompt
from dialsum_cli.reporter import QuietReporter, Reporter
from dialsum_cli.results import PredictResult
from dialsum_cli.runs import data_facts, new_folder, provenance, start_run
from dialsum_cli.settings import PredictSettings
from dialsum_cli.store import Resumed, SummaryStore
from dialsum_cli.summarizer import Batch, collect


def predict(settings: PredictSettings, reporter: Reporter | None = None) -> PredictResult:
    """Write one summary for each dialogue, in the order of the input.

    Raises:
        RequestError: the output exists; no such model or prompt; the data can't be read.
        DialsumError: the model can't be loaded, or the output not be written.
    """
    reporter = reporter or QuietReporter()
    if settings.output.exists() and not settings.overwrite:  # before hours of work, not after
        raise RequestError(f"'{settings.output}' exists already", "add --overwrite, or give another --output")
    spec = registry.resolve(settings.model)
    load_prompt(settings.prompt)
    dialogues = read_dialogues(settings.data, columns=settings.columns, limit=settings.limit, note=reporter.note)
    facts = data_facts(settings.data, len(dialogues))
    with start_run(new_folder(settings.output_dir), settings) as run:
        start = perf_counter()
        revision, earlier = None, 0.0

        def done(batch: Batch) -> None:
            nonlocal earlier
            stage.advance(len(batch.summaries))
            if batch.reused:
                earlier += batch.seconds
                reporter.note(f"{spec.name}: {len(batch.summaries)} summaries are there from an earlier run")

        with reporter.stage(spec.name, len(dialogues), "dialogues") as stage:
            if spec.kind == "baseline":
                summaries = collect(BASELINES[spec.name](settings.seed), dialogues, done)
            else:
                from dialsum_cli.generation.engines import open_summarizer

                with open_summarizer(spec, settings, reporter) as (summarizer, loaded):
                    store = SummaryStore(settings.output_dir / "summaries", summarizer.ingredients())
                    summaries = collect(Resumed(summarizer, store), dialogues, done)
                    revision = loaded.revision
        seconds = earlier + perf_counter() - start
        rows = ((summary.fname, summary.text) for summary in summaries)
        digest = write_submission(settings.output, rows, overwrite=settings.overwrite)
        shortened = sum(summary.prompt_truncated for summary in summaries)
        if shortened:
            reporter.warn(f"{shortened} of {len(dialogues)} dialogues were too long for {spec.name} and were shortened")
        empty = sum(not summary.text for summary in summaries)
        if empty:
            reporter.warn(f"{empty} of {len(dialogues)} summaries are empty")
        broken = sum("\ufffd" in summary.text for summary in summaries)
        if broken:
            reporter.warn(f"{broken} of {len(dialogues)} summaries hold broken characters (U+FFFD)")
        result = PredictResult(
            output=settings.output,
            data=settings.data,
            rows=len(summaries),
            seconds=seconds,
            dialogues_per_second=len(summaries) / seconds,
            empty=empty,
            truncated=sum(summary.truncated for summary in summaries),
            prompts_truncated=shortened,
            sha256=digest,
            run_dir=run.folder,
        )
        run.write_json(
            "provenance.json", provenance(data=facts.model_dump(), model=spec.source or spec.name, revision=revision)
        )
        run.write("result.json", result.model_dump_json(indent=2))
    return result
