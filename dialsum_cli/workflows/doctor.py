"""`dialsum doctor`: what on this machine works or doesn't, and what to type about it."""

from dialsum_cli.data.dialogues import read_dialogues
from dialsum_cli.health.plan import together
from dialsum_cli.health.process import checks, examine
from dialsum_cli.reporter import QuietReporter, Reporter
from dialsum_cli.results import DoctorResult, DoctorRow
from dialsum_cli.settings import DoctorSettings


def doctor(settings: DoctorSettings, reporter: Reporter | None = None) -> DoctorResult:
    """Look at every part that dialsum rests on, and at what the models named will take.

    Raises:
        DataError: the data of a plan can't be read, or the training data have no summaries.
    """
    reporter = reporter or QuietReporter()
    if settings.models:  # before anything is looked at
        read_dialogues(settings.data, columns=settings.columns, note=reporter.note)
        read_dialogues(settings.train, columns=settings.columns, references=True, note=reporter.note)
    chosen, rows = checks(settings), list[DoctorRow]()
    with reporter.stage("doctor", len(chosen), "checks") as stage:
        for found in examine(settings, chosen):
            rows += found
            stage.advance()
    if downloads := together(rows):
        rows.append(downloads)
    return DoctorResult(checks=rows)
