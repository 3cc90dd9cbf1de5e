"""The trials of a search in SQLite, and what to try next; the only module that knows Optuna."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dialsum_cli.errors import DialsumError, MissingPartError
from dialsum_cli.settings import Entry, Range, is_integer
from dialsum_cli.tuning.spaces import Options, Space, draw

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial as OptunaTrial

State = Literal["running", "complete", "pruned", "failed"]
STARTUP = 5  # trials that are drawn at random before the others are learned from
LEARNED, TRIES = 20, 200  # draws by what was learned, and draws in all, until one is new
TOP = 0.25  # share of the trials whose options are held beside those of all to tell what matters
FEWEST = 8  # trials from which on that is told: of fewer, the top would be a single one


@dataclass(frozen=True, slots=True)
class Trial:
    """One try: `options` are all of the stage, those too that the search doesn't change."""

    number: int
    state: State
    options: Options
    value: float | None = None
    reason: str | None = None
    """Why it has no value."""


def check_installed() -> None:
    """Refuse to go on without Optuna.

    Raises:
        MissingPartError: it isn't installed.
    """
    if find_spec("optuna") is None:
        raise MissingPartError("Optuna is not installed", "pip install 'dialsum[tune]'")


class Study:
    """The trials of one stage, in a database that outlives the process.

    What a trial tries is decided by the seed, its number and the trials before it: a search that was killed goes on as
    if it had not been. A trial is there as a whole or not at all, and one that was under way goes on under its number.

    Args:
        path: the database; several stages may share it.
        start: what the first trial tries: all options of the stage.

    Raises:
        DialsumError: the database can't be read or written; so do all that read and write it.
    """

    def __init__(self, path: Path, stage: str, space: Space, start: Options, seed: int) -> None:
        import optuna
        from sqlalchemy import URL

        optuna.logging.disable_default_handler()
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self._path, self._space, self._start, self._seed = path, space, start, seed
        url = URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
        with self._explained():
            self._study = optuna.create_study(storage=url, study_name=stage, direction="maximize", load_if_exists=True)

    @property
    def trials(self) -> list[Trial]:
        """All trials, by their numbers."""
        names: dict[int, State] = {0: "running", 1: "complete", 2: "pruned", 3: "failed"}
        with self._explained():
            reasons = self._study.user_attrs
            return [
                Trial(
                    each.number, names[each.state.value], each.user_attrs["options"], each.value,
                    reasons.get(f"reason {each.number}"),
                )
                for each in self._study.trials
            ]  # fmt: skip

    def next(self) -> Trial | None:
        """The trial that is to be run: one that was under way, or else a new one; None where all has been tried."""
        trials = self.trials
        for trial in trials:
            if trial.state == "running":
                return trial
        proposal = self._start_itself() if not trials else self._proposed(trials)
        if proposal is None:
            return None
        from optuna.trial import TrialState, create_trial

        options, params = proposal
        distributions = {name: _distribution(name, self._space[name]) for name in params}
        with self._explained():
            self._study.add_trial(
                create_trial(
                    state=TrialState.RUNNING, params=params, distributions=distributions,
                    user_attrs={"options": options},
                )
            )  # fmt: skip
        return self.trials[-1]

    def finish(self, trial: Trial, value: float) -> None:
        """Keep what a trial came to."""
        with self._explained():
            self._study.tell(trial.number, value)

    def give_up(self, trial: Trial, reason: str, *, pruned: bool) -> None:
        """Keep that a trial came to nothing: because memory ran out (`pruned`), or because it can't be done."""
        from optuna.trial import TrialState

        with self._explained():
            self._study.set_user_attr(f"reason {trial.number}", reason)
            self._study.tell(trial.number, state=TrialState.PRUNED if pruned else TrialState.FAIL)

    def importances(self) -> dict[str, float]:
        """Each option's share in being among the best trials, the largest first; empty where it can't be told.

        PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255): how far an option's values in the best trials are from
        those in all of them. The shares add up to 1.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        values = [trial.value for trial in self.trials if trial.value is not None]
        if len(values) < FEWEST or len(set(values)) == 1:
            return {}
        with self._explained(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that an option which few trials had is told inaccurately
            return get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator(target_quantile=TOP))

    def _start_itself(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The starting point; where a value of it lies outside the space, the search learns nothing from it."""
        options, picked = draw(self._space, self._start, lambda name, entry: self._start[name])
        return options, {name: options[name] for name in picked if _holds(self._space[name], options[name])}

    def _proposed(self, trials: list[Trial]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Options that no trial had yet, drawn in memory, so that the database gets them as a whole."""
        import numpy as np
        import optuna
        from optuna.samplers import RandomSampler, TPESampler

        known = {_key(trial.options) for trial in trials}
        seed = int(np.random.SeedSequence([self._seed, len(trials)]).generate_state(1)[0])
        learned, blind = TPESampler(seed=seed, n_startup_trials=STARTUP), RandomSampler(seed)
        memory = optuna.create_study(direction="maximize")
        with self._explained():
            memory.add_trials(self._study.trials)
        for attempt in range(TRIES):
            memory.sampler = learned if attempt < LEARNED else blind
            options, params = self._drawn(memory.ask())
            if _key(options) not in known:
                return options, params
        return None

    def _drawn(self, trial: "OptunaTrial") -> tuple[dict[str, Any], dict[str, Any]]:
        options, picked = draw(self._space, self._start, lambda name, entry: _suggested(trial, name, entry))
        return options, {name: options[name] for name in picked}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """A database's no as an error of ours."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (StorageInternalError, SQLAlchemyError) as error:
            reason = " ".join(str(error.__cause__ or error).split())
            raise DialsumError(f"can't use '{self._path}': {reason}", "free some disk, or give --output-dir") from error


def _key(options: Options) -> str:
    return json.dumps(options, sort_keys=True)


def _distribution(name: str, entry: Entry) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(entry, Range):
        return CategoricalDistribution(entry)
    if is_integer(name):
        return IntDistribution(int(entry.low), int(entry.high), log=entry.log, step=int(entry.step or 1))
    return FloatDistribution(entry.low, entry.high, log=entry.log, step=entry.step)


def _suggested(trial: "OptunaTrial", name: str, entry: Entry) -> Any:
    """A value; a fraction in three digits, because the rest would mean nothing and is hard to read."""
    if not isinstance(entry, Range):
        return trial.suggest_categorical(name, entry)
    if is_integer(name):
        return trial.suggest_int(name, int(entry.low), int(entry.high), log=entry.log, step=int(entry.step or 1))
    value = trial.suggest_float(name, entry.low, entry.high, log=entry.log, step=entry.step)
    short = round(value, 10) if entry.step else float(f"{value:.3g}")
    return min(max(short, entry.low), entry.high)


def _holds(entry: Entry, value: Any) -> bool:
    if not isinstance(entry, Range):
        return value in entry
    on_step = (
        entry.step is None or abs((value - entry.low) / entry.step - round((value - entry.low) / entry.step)) < 1e-9
    )
    return entry.low <= value <= entry.high and on_step
