"""What `dialsum doctor` returns."""

from typing import Literal

from dialsum_cli.results.base import Result


class DoctorRow(Result):
    """What one look at this machine found.

    Attributes:
        check: which: `torch`, `disk`, or `llama3b: screening` of a model that was named.
        found: one line, on a fault the exact error.
        remedy: the line to type next; empty where nothing is to be done.
        facts: the numbers behind the line, by names that end in their units (`free_bytes`, `minutes`).
    """

    check: str
    status: Literal["ok", "warning", "broken"]
    found: str
    remedy: str = ""
    facts: dict[str, bool | int | float | str | None] = {}


class DoctorResult(Result):
    """What on this machine works, and what doesn't."""

    table = "checks"

    checks: list[DoctorRow]

    @property
    def failed(self) -> bool:
        """Whether something is broken."""
        return any(row.status == "broken" for row in self.checks)
