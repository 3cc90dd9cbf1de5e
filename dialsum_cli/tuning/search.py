"""The loop of a search: what is tried, what becomes of it, and which trial leads."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.errors import DialsumError, MemoryShortError, RequestError, one_line
from dialsum_cli.reporter import Reporter
from dialsum_cli.tuned import value as written
from dialsum_cli.tuning.study import Study, Trial

logger = logging.getLogger("dialsum")


class Bench(Protocol):
    """Where the trials of a stage are run."""

    def measure(self, trial: Trial) -> float:
        """The final score of a trial on the dialogues that the search sees.

        Raises:
            RequestError: its options don't go with the model.
        """

    def write(self, trial: Trial, dialogues: Sequence[Dialogue], title: str) -> list[str]:
        """The summaries of a trial that was measured, in the order of the dialogues; `title` is for the progress."""

    def run_dir(self, trial: Trial) -> Path | None:
        """Where the model of a trial that was measured is; None where all trials have the same one."""


def search(
    study: Study, trials: int, bench: Bench, measured: Callable[[Trial, float], None], reporter: Reporter
) -> list[Trial]:
    """Run trials until there are so many that are done, or nothing new is left to try; returns those that are done.

    A trial that does not fit into memory, in batches however small, is pruned; one that can't be done (`RequestError`)
    has failed. What is no trial's fault, such as a full disk, ends the search, which can go on later; so does what a
    library raises, unless only one trial has it. `measured` is told of each trial that got its score.

    Raises:
        Exception: whatever the starting point raises, because nothing can be held beside it then.
    """
    from dialsum_cli.models.loading import out_of_memory

    if kept := [trial for trial in study.trials if trial.state != "running"]:
        reporter.note(f"going on after trial {kept[-1].number}, which an earlier session ended with")
    after_strange = False
    while True:
        done = [trial for trial in study.trials if trial.state != "running"]
        if len(done) >= trials:
            return done
        trial = study.next()
        if trial is None:
            reporter.note(f"nothing new was drawn after {len(done)} trials: the space seems to hold no more")
            return done
        try:
            value = bench.measure(trial)
        except Exception as error:  # whatever a drawn option raises is its trial's end, and the search goes on
            pruned = isinstance(error, MemoryShortError) or out_of_memory(error)
            strange = not isinstance(error, DialsumError | OSError)
            its_own = pruned or isinstance(error, RequestError) or (strange and not after_strange)
            after_strange = strange and not pruned  # two in a row are the machine's: a GPU, say, that fails from now on
            if trial.number == 0 or not its_own:
                raise
            logger.exception("trial %d came to nothing", trial.number)
            reporter.warn(f"trial {trial.number} {'ran out of memory' if pruned else 'failed'}: {one_line(error)}")
            study.give_up(trial, one_line(error), pruned=pruned)
        else:
            study.finish(trial, value)
            after_strange = False
            measured(trial, value)
            reporter.note(_told(study.trials, trial, value))


def leader(trials: Sequence[Trial]) -> Trial:
    """The trial with the highest score; of several, the first."""
    return max(trials, key=lambda trial: (-1.0 if trial.value is None else trial.value, -trial.number))


def _told(trials: Sequence[Trial], trial: Trial, value: float) -> str:
    start = trials[0].options
    changed = [f"{name} {written(each)}" for name, each in trial.options.items() if each != start[name]]
    options = ", ".join(changed) or "the starting point"
    best = leader(trials)
    so_far = "" if best.number == trial.number else f"; the best so far is trial {best.number} with {best.value:.2f}"
    return f"trial {trial.number}: {value:.2f} with {options}{so_far}"
