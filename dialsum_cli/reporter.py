"""How a workflow reports while it works."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from dialsum_cli.results import Result

logger = logging.getLogger("dialsum")
# A run's log listens; what the terminal shows goes through the reporter. On import, bitsandbytes warns of kernels that
# CPUs lack.
for _name in ("dialsum", "bitsandbytes"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Stage(Protocol):
    """One stretch of work whose progress is shown."""

    def advance(self, steps: int = 1) -> None:
        """Count steps that are done."""


class Reporter(Protocol):
    """What a workflow tells while it works; the terminal shows it, a notebook stays quiet."""

    def note(self, message: str) -> None:
        """Tell something that the user may want to know."""

    def warn(self, message: str) -> None:
        """Tell something that the user should act on."""

    def preview(self, result: Result) -> None:
        """Show what the result will be, before it is."""

    def stage(self, title: str, total: int, unit: str) -> AbstractContextManager[Stage]:
        """Show the progress of `total` steps, counted in `unit`, until the context is left."""

    def confirm(self, question: str, flag: str) -> bool:
        """Ask before something that can't be undone; where nobody can answer, `flag` would have said yes.

        Raises:
            RequestError: where there is no terminal to ask on.
        """


class QuietReporter:
    """Reports to the log alone; says yes to nothing."""

    def note(self, message: str) -> None:
        """Log it."""
        logger.info(message)

    def warn(self, message: str) -> None:
        """Log it as a warning."""
        logger.warning(message)

    def preview(self, result: Result) -> None:
        """Show nothing."""

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Stage]:
        """Show no progress; log the start and the end."""
        logger.info("%s: %d %s", title, total, unit)
        yield _Silent()
        logger.info("%s: done", title)

    def confirm(self, question: str, flag: str) -> bool:
        """No: nobody was asked."""
        return False


class _Silent:
    def advance(self, steps: int = 1) -> None:
        """Show nothing."""


QUIET = QuietReporter()
