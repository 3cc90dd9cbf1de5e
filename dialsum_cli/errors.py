"""The errors that dialsum raises on purpose.

DialsumError                 the work failed: exit 1
├── MissingPartError         this machine lacks a part that the work needs; the remedy installs it
├── MemoryShortError         it does not fit into memory, however small its parts
└── RequestError             the request was wrong: exit 2
    ├── UnknownModelError    no such model; the remedy names the nearest
    └── DataError            a file is unreadable or malformed; says which, and where in it
"""

import re


class DialsumError(Exception):
    """The work failed for a reason that the user can act on.

    Args:
        message: one line: what is wrong, and where.
        remedy: one line: what to do or type next.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


def one_line(error: Exception) -> str:
    """What an error says, and its remedy, in one line."""
    line = " ".join(str(error).split()) or type(error).__name__
    return f"{line} (try: {error.remedy})" if isinstance(error, DialsumError) and error.remedy else line


class MissingPartError(DialsumError):
    """This machine lacks a part that the work needs."""


class MemoryShortError(DialsumError):
    """The work does not fit into memory, however small its parts."""


class RequestError(DialsumError):
    """The request was wrong; nothing was started."""

    exit_code = 2


class UnknownModelError(RequestError):
    """A model name that is neither in the catalogue, nor a folder, nor a Hugging Face id."""


class DataError(RequestError):
    """A file that can't be read, or whose content isn't what it has to be."""


def without_password(text: str) -> str:
    """A message whose addresses hold no name and no password: people paste it."""
    return re.sub(r"://[^/@\s]+@", "://", text)


def gigabytes(count: int) -> str:
    """Bytes as a message tells them."""
    if 0 < count < 1e5:
        return f"{count / 1e3:.1f} kB"
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """Seconds as a message tells them."""
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"
