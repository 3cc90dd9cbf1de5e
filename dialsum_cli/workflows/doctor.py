"""`dialsum doctor` and `--show-plan`: what works on this machine, what models will take of it, and what to type."""

from collections.abc import Sequence

from dialsum_cli.data.dialogues import read_dialogues
from dialsum_cli.data.submissions import columns_by_file
from dialsum_cli.errors import RequestError
from dialsum_cli.health.plan import Planned, plans, together
from dialsum_cli.health.process import checks, examine
from dialsum_cli.health.rows import Check
from dialsum_cli.reporter import QUIET, Reporter
from dialsum_cli.results import DoctorResult, DoctorRow
from dialsum_cli.settings import DoctorSettings, FinetuneSettings, ScreenSettings


def doctor(settings: DoctorSettings, reporter: Reporter = QUIET) -> DoctorResult:
    """Look at every part that dialsum rests on, and at what the models named will take.

    Raises:
        DataError: the data of a plan can't be read, or the training data have no summaries.
    """
    if settings.models:  # before anything is looked at
        columns = columns_by_file((settings.data, settings.train), settings.columns, reporter.note)
        read_dialogues(settings.data, columns=columns[settings.data], note=reporter.note)
        read_dialogues(settings.train, columns=columns[settings.train], references=True, note=reporter.note)
    return _looked_at(settings, checks(settings), reporter)


def show_plan(settings: ScreenSettings | FinetuneSettings, reporter: Reporter = QUIET) -> DoctorResult:
    """Tell what a command would download, and what it would take of this machine, with exactly its options.

    Raises:
        RequestError: something else than transformers is to run the models.
        DataError: the data can't be read, or lack the summaries that the command needs.
    """
    if isinstance(settings, ScreenSettings):
        if settings.served or settings.engine == "vllm":
            raise RequestError("--show-plan foretells what transformers takes of this machine", "leave it out")
        read_dialogues(settings.data, columns=settings.columns, limit=settings.limit, references="equal",
                       note=reporter.note)  # fmt: skip
    else:
        columns = columns_by_file((settings.train, settings.dev), settings.columns, reporter.note)
        read_dialogues(settings.train, columns=columns[settings.train], references=True, note=reporter.note)
        read_dialogues(settings.dev, columns=columns[settings.dev], references="equal", note=reporter.note)
    return _looked_at(settings, plans(settings), reporter)


def _looked_at(settings: Planned, chosen: Sequence[Check], reporter: Reporter) -> DoctorResult:
    rows: list[DoctorRow] = []
    with reporter.stage(settings.command(), len(chosen), "checks") as stage:
        for found in examine(settings, chosen):
            rows += found
            stage.advance()
    if downloads := together(rows):
        rows.append(downloads)
    return DoctorResult(checks=rows)
