"""Run folders as their commands left them, finished or not."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from dialsum_cli.data.submissions import columns_by_file
from dialsum_cli.errors import DataError, RequestError
from dialsum_cli.results import DataFacts, FinetuneRun, PredictResult, Scores, ScreenResult, TuneResult
from dialsum_cli.runs import file_name

Command = Literal["screen", "finetune", "predict", "tune"]
RunResult = ScreenResult | FinetuneRun | PredictResult | TuneResult
KINDS: Mapping[str, tuple[Command, type[RunResult]]] = {
    "max_minutes_per_model": ("screen", ScreenResult),
    "merge": ("finetune", FinetuneRun),
    "template": ("predict", PredictResult),
    "stage": ("tune", TuneResult),
}
"""By an option that no other of these commands has: it tells whose settings a file holds."""
FILES = ("config", "data", "dev", "output", "prompt", "template", "train")
"""Options that may name a file."""
SHOWN = 3
T = TypeVar("T")


class Options(BaseModel):
    """What is read of a run's options, whatever else they are."""

    model_config = ConfigDict(extra="allow")

    columns: dict[str, str] | None = None
    template: str | None = None
    model: str | None = None
    models: list[str] | None = None
    average_logits: list[str] | None = None


class Provenance(BaseModel):
    """What every run's provenance says, whatever else it does."""

    model_config = ConfigDict(extra="allow")

    created: str | None = None
    data: DataFacts | dict[str, DataFacts] | None = None


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run.

    Attributes:
        data: what it summarised, and was judged by; None where the run ended before it said so.
        result: None of an unfinished run.
        history: a training's log, an entry for each time something was logged.
        last_words: the last line of its log.
    """

    path: Path
    command: Command
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    created: str
    data: DataFacts | None
    result: RunResult | None
    history: Sequence[Mapping[str, float]]
    last_words: str


def read_run(path: Path) -> RunFolder:
    """What is in a run folder.

    Raises:
        DataError: it is no run folder, or a file in it is damaged; says which, and where.
    """
    written = path / "settings.yaml"
    if not written.is_file():
        raise _no_run(path)
    settings = _read(written, _mapping) or {}
    found = [kind for option, kind in KINDS.items() if option in settings]
    if len(found) != 1:
        raise DataError(f"'{written}' holds the settings of no run", "name folders that dialsum left")
    [(command, result_class)] = found
    provenance = _read(path / "provenance.json", Provenance.model_validate_json) or Provenance()
    parse: Callable[[str], RunResult] = result_class.model_validate_json
    lines = _read(path / "log.txt", str.splitlines, errors="replace")
    data = provenance.data.get("dev") if isinstance(provenance.data, dict) else provenance.data
    return RunFolder(
        path=path,
        command=command,
        settings=settings,
        provenance=provenance.model_dump(mode="json", exclude_none=True),
        created=provenance.created or _written(written),
        data=data,
        result=_read(path / "result.json", parse),
        history=_read(path / "history.csv", _history) or [],
        last_words=lines[-1] if lines else "",
    )


def _written(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat(timespec="seconds")


def _no_run(path: Path) -> DataError:
    if not path.is_dir():
        return DataError(f"'{path}' is no folder", "name folders that screen, finetune, predict or tune left")
    below = [each.parent for pattern in ("*", "*/*") for each in sorted(path.glob(f"{pattern}/settings.yaml"))]
    remedy = "name folders that screen, finetune, predict or tune left"
    if below:
        more = " ..." if len(below) > SHOWN else ""
        remedy = f"`dialsum report {' '.join(map(str, below[:SHOWN]))}{more}`, which are below it"
    return DataError(f"'{path}' is no run folder: it has no settings.yaml", remedy)


def _read(path: Path, parse: Callable[[str], T], errors: str = "strict") -> T | None:
    """A file of a run, or None where there is none."""
    try:
        return parse(path.read_text(encoding="utf-8", errors=errors)) if path.is_file() else None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        fault = f"{place}: {first['msg']}" if place else first["msg"]
    except OSError as error:
        raise DataError(
            f"can't read '{path}': {error.strerror}", "check its permissions, or leave that run out"
        ) from None
    except (ValueError, csv.Error, yaml.YAMLError) as error:
        fault = " ".join(str(error).split())
    raise DataError(f"'{path}' is malformed: {fault}", "leave that run out, or run its command again")


def _mapping(text: str) -> dict[str, Any]:
    values = yaml.safe_load(text)
    if not isinstance(values, dict):
        raise ValueError("it holds no options")
    Options.model_validate(values)
    return values


def _history(text: str) -> list[dict[str, float]]:
    rows = list(csv.DictReader(text.splitlines(), strict=True))
    for number, row in enumerate(rows, 2):
        if None in row or not row.get("step"):
            raise ValueError(f"line {number}: {'more fields than the header has' if None in row else 'no step'}")
    return [{name: float(value) for name, value in row.items() if value} for row in rows]


@dataclass(frozen=True, slots=True)
class System:
    """What wrote summaries in a run.

    Attributes:
        recorded: what the run itself says of their score.
        file: where they are, in the columns of `template` if there is one; None where they aren't kept.
        baseline: whether it only stands beneath others.
        held_out: how many dialogues of the data they are of, those that a search held out; None for all.
    """

    run: RunFolder
    model: str
    data: DataFacts
    recorded: Scores | None = None
    file: Path | None = None
    template: Path | None = None
    baseline: bool = False
    held_out: int | None = None

    @property
    def board(self) -> tuple[object, ...]:
        """Equal for systems whose scores compare."""
        return self.data.sha256, self.data.rows, self.held_out, *sorted(self.gold_columns.items())

    @property
    def gold_columns(self) -> Mapping[str, str]:
        """How the data's columns are renamed, of those that the run was given for all its files."""
        path, settings = self.data.path, self.run.settings
        columns: Mapping[str, str] = settings.get("columns") or {}
        others = [each for name in ("train", "data") if isinstance(each := settings.get(name), str)]
        with suppress(RequestError):  # no file has one of them any more: reading says so
            return columns_by_file([path, *others], columns, lambda message: None)[path]
        return columns

    @property
    def label(self) -> str:
        """The same in words."""
        renamed = "".join(f", {ours}={theirs}" for ours, theirs in self.gold_columns.items())
        part = f"{self.held_out} that no trial saw of " if self.held_out else ""
        file = f"{Path(self.data.path).name}, sha256 {self.data.sha256[:8]}"
        return f"{part}{self.data.rows} dialogues of {file}{renamed}"


def systems_of(run: RunFolder) -> Iterator[System]:
    """The systems of a finished run, the one that speaks for it first, baselines last."""
    match run.result:
        case ScreenResult(leaderboard=rows, data=data):
            for row in sorted(rows, key=lambda row: row.kind == "baseline"):
                if row.final_score is not None:
                    recorded = Scores.of(row)
                    file = run.path / "predictions" / f"{file_name(row.model)}.csv"
                    yield System(run, row.model, data, recorded, file, baseline=row.kind == "baseline")
        case FinetuneRun(model=model, before=before, after=after) if run.data:
            yield System(run, model, run.data, after, run.path / "predictions.csv")
            yield System(run, f"{model}, untrained", run.data, before, baseline=True)
        case PredictResult(output=output) if run.data:
            template = run.settings.get("template")
            yield System(run, asked(run), run.data, None, output, Path(template) if template else None)
        case TuneResult(model=model, stages=stages, data=data):
            for stage in reversed(stages):
                improved = stage.verdict == "improvement"
                name = f"{model}, {stage.stage}: " + (f"trial {stage.leader}" if improved else "the starting point")
                yield System(run, name, data, stage.after if improved else stage.before, held_out=stage.held_out)


def asked(run: RunFolder) -> str:
    """The models that a run's settings name."""
    named = run.settings.get("models") or run.settings.get("average_logits") or [run.settings.get("model")]
    return str(run.settings.get("api_model") or ", ".join(map(str, named)))


def files_of(run: RunFolder) -> Iterator[Path]:
    """What a run holds, has read or has written: its folder, and the files that its options name."""
    yield run.path
    yield from (Path(run.settings[name]) for name in FILES if isinstance(run.settings.get(name), str))
    if isinstance(run.result, PredictResult):
        yield from run.result.samples


def remarks(run: RunFolder) -> Iterator[str]:
    """What is to be said of a run that isn't what it was to become."""
    if run.result is None:
        there = ", ".join(sorted(path.name for path in run.path.iterdir() if not path.name.startswith(".")))
        yield f"{run.path} is unfinished: it has {there}. Its log ends: {run.last_words or 'with nothing'}"
    elif isinstance(run.result, ScreenResult):
        for row in run.result.leaderboard:
            if row.status != "ok":
                yield f"{row.model} of {run.path} {row.status}: {row.error}"
    elif isinstance(run.result, TuneResult):
        yield f"{run.path} keeps no summaries of its trials: it is compared with its own starting point alone."
