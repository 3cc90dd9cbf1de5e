"""When a server may be asked again, by its limits and after failures, and how long all answers will take."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from time import monotonic

from anyio import sleep

SHORTEST, LONGEST = 0.5, 60.0  # seconds of back-off


class Pace:
    """Lets requests start no closer together than `per_minute` allows, and none before a pause is over.

    Tries that failed count like any other: so do the servers' own limits.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until the next request may start."""
        while (wait := self._next - monotonic()) > 0:
            await sleep(wait)  # and look again: another request was first, or a longer pause has begun
        self._next = monotonic() + self._gap

    def pause(self, seconds: float) -> None:
        """Let no request start for so long."""
        self._next = max(self._next, monotonic() + seconds)


def work_left(answered: int, total: int, at_once: int, elapsed: float, seconds: float) -> float:
    """The work that is left of `total` answers, in batches of so many seconds as the last one.

    Answers come in waves: before the first one of `at_once` is over, the rate is that of its requests.
    """
    return (total - answered) * elapsed / max(answered, min(at_once, total)) / seconds


def backoff(tries: int) -> float:
    """Seconds to wait after so many failures in a row (from 1): twice as long each time, up to half of it by chance.

    The chance keeps requests that failed together from coming back together (Brooker, "Exponential Backoff And
    Jitter", AWS 2015: "equal jitter").
    """
    longest = min(LONGEST, SHORTEST * 2.0 ** min(tries, 60))
    return longest / 2 + random.uniform(0, longest / 2)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds for which a server asks to be left alone; None where it says nothing that can be understood.

    Retry-After is a number of seconds or a date (RFC 9110, section 10.2.3); OpenAI and Azure send retry-after-ms too.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        return seconds if isfinite(seconds) and seconds >= 0 else None
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)
