"""`dialsum predict`: summarise dialogues into a submission file."""

from time import perf_counter

from dialsum_cli import registry
from dialsum_cli.data.dialogues import read_dialogues
from dialsum_cli.data.submissions import write_submission
from dialsum_cli.errors import RequestError
from dialsum_cli.models.baselines import BASELINES
from dialsum_cli.results import PredictResult, QuietReporter, Reporter
from dialsum_cli.runs import data_facts, new_folder, provenance, start_run
from dialsum_cli.settings import PredictSettings
from dialsum_cli.summarizer import Summary, collect


def predict(settings: PredictSettings, reporter: Reporter | None = None) -> PredictResult:
    """Write one summary for each dialogue, in the order of the input.

    Raises:
        RequestError: the output exists; no such model; the data can't be read.
        DialsumError: the model can't be loaded, or the output not be written.
    """
    reporter = reporter or QuietReporter()
    if settings.output.exists() and not settings.overwrite:  # before hours of work, not after
        raise RequestError(f"'{settings.output}' exists already", "add --overwrite, or give another --output")
    spec = registry.resolve(settings.model)
    dialogues = read_dialogues(settings.data, columns=settings.columns, limit=settings.limit, note=reporter.note)
    with start_run(new_folder(settings.output_dir), settings) as run:
        start = perf_counter()
        revision = None

        def done(summary: Summary) -> None:
            stage.advance()

        with reporter.stage(spec.name, len(dialogues), "dialogues") as stage:
            if spec.kind == "baseline":
                summaries = collect(BASELINES[spec.name](settings.seed), dialogues, done)
            else:
                from dialsum_cli.generation.engines import open_summarizer

                with open_summarizer(spec, settings, reporter) as (summarizer, loaded):
                    summaries = collect(summarizer, dialogues, done)
                    revision = loaded.revision
        seconds = perf_counter() - start
        rows = ((summary.fname, summary.text) for summary in summaries)
        digest = write_submission(settings.output, rows, overwrite=settings.overwrite)
        result = PredictResult(
            output=settings.output,
            rows=len(summaries),
            seconds=seconds,
            dialogues_per_second=len(summaries) / seconds,
            empty=sum(not summary.text for summary in summaries),
            truncated=sum(summary.truncated for summary in summaries),
            prompts_truncated=sum(summary.prompt_truncated for summary in summaries),
            sha256=digest,
            run_dir=run.folder,
        )
        facts = data_facts(settings.data, len(dialogues))
        run.write_json(
            "provenance.json", provenance(data=facts.model_dump(), model=spec.source or spec.name, revision=revision)
        )
        run.write("result.json", result.model_dump_json(indent=2))
    return result
