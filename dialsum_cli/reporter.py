"""How a workflow reports while it works."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dialsum_cli.results import Result

logger = logging.getLogger("dialsum")
# A run's log listens; what the terminal shows goes through the reporter. On import, bitsandbytes warns of kernels that
# CPUs lack.
for _name in ("dialsum", "bitsandbytes"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Stage:
    """One stretch of work whose progress is shown: by whoever overrides this."""

    def advance(self, steps: int = 1) -> None:
        """Count steps that are done."""


class Reporter:
    """What a workflow tells while it works: to the log alone, as in a notebook; the terminal's shows it as well."""

    def note(self, message: str) -> None:
        """Tell something that the user may want to know."""
        logger.info(message)

    def warn(self, message: str) -> None:
        """Tell something that the user should act on."""
        logger.warning(message)

    def preview(self, result: Result) -> None:
        """Show what the result will be, before it is."""

    @contextmanager
    def stage(self, title: str, total: int, unit: str) -> Iterator[Stage]:
        """Show the progress of `total` steps, counted in `unit`, until the context is left."""
        logger.info("%s: %d %s", title, total, unit)
        yield Stage()
        logger.info("%s: done", title)

    def confirm(self, question: str, flag: str) -> bool:
        """Ask before something that can't be undone, and no where nobody is asked; `flag` would have said yes.

        Raises:
            RequestError: where there is no terminal to ask on.
        """
        return False


QUIET = Reporter()
