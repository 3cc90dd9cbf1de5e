"""What a check is, and the rows that it makes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dialsum_cli.results import DoctorRow

Facts = dict[str, bool | int | float | str | None]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at, whatever has become of all others.

    Attributes:
        name: of the check, and of its rows unless they have their own.
        look: yields what it found; whatever it raises makes the check broken.
        remedy: where it raises an error that has none of its own.
        needs: checks without which this one can only repeat what they found.
    """

    name: str
    look: Callable[[], Iterator[DoctorRow]]
    remedy: str = ""
    needs: tuple[str, ...] = ()


def ok(check: str, found: str, facts: Facts | None = None) -> DoctorRow:
    """All is well."""
    return DoctorRow(check=check, status="ok", found=found, facts=facts or {})


def warning(check: str, found: str, remedy: str = "", facts: Facts | None = None) -> DoctorRow:
    """It works, and not as well as it could."""
    return DoctorRow(check=check, status="warning", found=found, remedy=remedy, facts=facts or {})


def broken(check: str, found: str, remedy: str = "", facts: Facts | None = None) -> DoctorRow:
    """It doesn't work."""
    return DoctorRow(check=check, status="broken", found=found, remedy=remedy, facts=facts or {})
