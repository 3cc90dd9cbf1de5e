"""The checks in a process of their own: one that crashes or hangs is a finding, and the others still run."""

import json
import logging
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from signal import Signals
from threading import Event, Thread, Timer

from dialsum_cli.errors import DialsumError
from dialsum_cli.health import machine, parts, places
from dialsum_cli.health.plan import Planned, plans
from dialsum_cli.health.rows import Check, broken, warning
from dialsum_cli.results import DoctorRow
from dialsum_cli.settings import ENV_PREFIX, DoctorSettings, FinetuneSettings, ScreenSettings

logger = logging.getLogger("dialsum")
PATIENCE = 90  # seconds that one check may take
GOODBYE = 3  # seconds in which a process that is asked nothing more may end by itself: torch takes one of them


def checks(settings: DoctorSettings) -> list[Check]:
    """All checks, in the order in which they are looked at."""
    return [*machine.CHECKS, *places.CHECKS, *parts.CHECKS, *plans(settings)]


def examine(settings: Planned, chosen: Sequence[Check], patience: float = PATIENCE) -> Iterator[list[DoctorRow]]:
    """The rows of each check, as they are found."""
    child: _Child | None = None
    faulty: set[str] = set()
    try:
        for check in chosen:
            if missing := [name for name in check.needs if name in faulty]:
                yield [warning(check.name, f"not looked at: {missing[0]} is broken")]
                continue
            child = child or _Child(settings)
            rows, lives = child.ask(check, patience)
            if not lives:
                child = None
            if any(row.status == "broken" for row in rows):
                faulty.add(check.name)
            yield rows
    finally:
        if child:
            child.end()


class _Child:
    """A process that answers the name of a check by its rows, one line of JSON each."""

    def __init__(self, settings: Planned) -> None:
        # As this process finds modules, so must that one: what is first on the path is what is broken.
        # All options are in its argument.
        inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(ENV_PREFIX)}
        environment = inherited | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"}
        written = json.dumps(settings.model_dump(mode="json"))  # a path that is no UTF-8 stands in it escaped
        command = [sys.executable, "-P", "-m", __name__, settings.command(), written]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, encoding="utf-8", errors="replace"
        )
        self.said: deque[str] = deque(maxlen=1)  # on standard error, before it fell over
        assert self.process.stderr
        self.listener = Thread(target=self._listen, args=(self.process.stderr,), daemon=True)
        self.listener.start()

    def _listen(self, lines: Iterable[str]) -> None:
        self.said.extend(line.strip() for line in lines if line.strip())

    def ask(self, check: Check, patience: float) -> tuple[list[DoctorRow], bool]:
        """What it found, and whether it is still there."""
        assert self.process.stdin
        assert self.process.stdout
        timed_out = Event()

        def kill() -> None:
            timed_out.set()
            self.process.kill()

        late = Timer(patience, kill)
        late.start()
        with suppress(BrokenPipeError):  # it has fallen over already: no answer comes
            self.process.stdin.write(f"{check.name}\n")
            self.process.stdin.flush()
        answer = self.process.stdout.readline()
        late.cancel()
        if answer:
            return [DoctorRow.model_validate(row) for row in json.loads(answer)], True
        code = self.process.wait()
        self.end()
        if timed_out.is_set():
            found = f"no answer within {patience:g} s"
        else:
            last = f": {self.said[0]}" if self.said else ""
            found = f"Python ended with {Signals(-code).name if code < 0 else f'exit code {code}'}{last}"
        return [broken(check.name, found, check.remedy)], False

    def end(self) -> None:
        """Leave nothing behind: let it end as Python does, with whatever runs at exit, or kill it."""
        assert self.process.stdin
        assert self.process.stdout
        assert self.process.stderr
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(GOODBYE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.listener.join(1)
        self.process.stdout.close()
        self.process.stderr.close()


def look(check: Check) -> list[DoctorRow]:
    """What a check finds; an error is a finding."""
    rows: list[DoctorRow] = []
    try:
        rows.extend(check.look())
    except DialsumError as error:
        rows.append(broken(check.name, str(error), error.remedy or check.remedy))
    except Exception as error:  # whatever the parts of this machine raise is what is to be told
        logger.info("%s", check.name, exc_info=True)
        line = " ".join(f"{type(error).__name__}: {error}".split())
        rows.append(broken(check.name, line, check.remedy))
    return rows


def main() -> None:
    """Answer names of checks until there are no more; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    classes: dict[str, type[Planned]] = {
        each.command(): each for each in (DoctorSettings, ScreenSettings, FinetuneSettings)
    }
    settings = classes[sys.argv[1]].model_validate(json.loads(sys.argv[2]))
    every = checks(settings) if isinstance(settings, DoctorSettings) else plans(settings)
    known = {check.name: check for check in every}
    for name in sys.stdin:
        rows = [row.model_dump(mode="json") for row in look(known[name.rstrip("\n")])]
        answers.write(json.dumps(rows) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
