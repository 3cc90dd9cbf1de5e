"""A model that every process of an `accelerate launch` has loaded: the first one asks, each answers its share."""

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import wraps
from itertools import count
from pathlib import Path
from textwrap import shorten
from time import perf_counter
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from dialsum_cli import processes
from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.errors import DialsumError, RequestError, one_line
from dialsum_cli.registry import ModelSpec
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import EngineSettings
from dialsum_cli.store import Resumed, SummaryStore, by_text, recall
from dialsum_cli.summarizer import Batch, Engine, Summarizer, Summary

if TYPE_CHECKING:
    from dialsum_cli.engines.huggingface import HuggingFaceSummarizer
    from dialsum_cli.generation.sampling import Sampling
    from dialsum_cli.models.loading import LoadedModel

logger = logging.getLogger("dialsum")
P = ParamSpec("P")
R = TypeVar("R")
_NUMBERS = count()  # of the first process's tasks


@dataclass(frozen=True, slots=True)
class _Open:
    """Load these models, each at this commit, as one."""

    specs: tuple[ModelSpec, ...]
    settings: EngineSettings


@dataclass(frozen=True, slots=True)
class _Ask:
    """Summarise your share, with `sampling` so many times, and keep that, until the notice `stop` is posted."""

    stop: str
    shares: Sequence[Sequence[Dialogue]]
    store: SummaryStore
    sampling: "Sampling | None"


@dataclass(frozen=True, slots=True)
class _Close:
    """Give the model's memory back."""


@dataclass(frozen=True, slots=True)
class _End:
    """The work is done, or has failed."""

    result: object = None
    error: DialsumError | None = None


def led(workflow: Callable[P, R]) -> Callable[P, R]:
    """A workflow that the first process of a launch does, while the others lend it their devices.

    It returns the same result, or raises the same error, in all of them.
    """

    @wraps(workflow)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if processes.count() == 1:
            return workflow(*args, **kwargs)
        if not processes.is_first():
            return cast(R, _follow())
        try:
            result = workflow(*args, **kwargs)
        except Exception as error:  # whatever it is, the others would wait for ever for the next task
            with suppress(SystemExit):  # another one is gone: no reason to hide what was wrong here
                processes.told(_End(error=_plain(error)))
            raise
        processes.told(_End(result))
        return result

    return run


def resumed(engine: Engine, store: SummaryStore, sampling: "Sampling | None" = None) -> Summarizer:
    """An engine whose summaries are kept: what the store has isn't made again, the rest by all that have the model.

    With `sampling`, which transformers' engine alone takes, a text is that of all samples (`engines.samples`).
    """
    return _Spread(engine, store, sampling) if isinstance(engine, _Shared) else Resumed(_made(engine, sampling), store)


def _made(engine: Engine, sampling: "Sampling | None") -> Summarizer:
    if sampling is None:
        return engine
    from dialsum_cli.engines.samples import Sampler

    return Sampler(cast("HuggingFaceSummarizer", engine), sampling)  # another engine is refused before it is opened


@contextmanager
def open_shared(
    settings: EngineSettings, reporter: Reporter, *specs: ModelSpec
) -> Iterator[tuple[Engine, "LoadedModel"]]:
    """A model that all processes load, as the first one asks it.

    Raises:
        RequestError: a host has more processes than GPUs; or as `open_summarizer`.
        DialsumError: a process can't load the model, or would write other summaries than the first one.
    """
    from dialsum_cli.models.loading import open_checkpoint

    task = _Open(tuple(open_checkpoint(spec).spec for spec in specs), settings)  # a hub's model at one commit
    processes.told(task)
    with ExitStack() as stack:
        engine, loaded = _load(task, reporter, stack)
        shared = _Shared(engine, reporter)
        try:
            yield shared, loaded
        except Exception:  # not on Ctrl-C: that ends the others as well
            shared.close()
            raise
        shared.close()


class _Shared:
    """A model that all processes have loaded, as the first one sees it: an `Engine`, and `Measuring`."""

    def __init__(self, engine: "HuggingFaceSummarizer", reporter: Reporter) -> None:
        self._engine, self._reporter = engine, reporter
        self.prompt, self.max_prompt_tokens = engine.prompt, engine.max_prompt_tokens
        self.prompt_name, self.decoding, self.ingredients = engine.prompt_name, engine.decoding, engine.ingredients
        self._asked = ""  # the stop of what the others are at

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Batch]:
        """Yield summaries that this process makes alone; those of all are made by way of a store (`resumed`)."""
        return self._engine.summarize(dialogues)

    def make(self, dialogues: Sequence[Dialogue], store: SummaryStore, sampling: "Sampling | None") -> Iterator[Batch]:
        """Yield a summary for each dialogue, with each own batch what has come from the others by then.

        Seconds are those of the clock here; memory is the most, and a batch's tokens the fewest, of any process.

        Raises:
            DialsumError: a process can't summarise its share.
        """
        store.begin()
        task = _Ask(f"stop {next(_NUMBERS)}", deal(dialogues, processes.count()), store, sampling)
        news = _News(store, dialogues)
        self._asked = processes.told(task).stop
        with _all_or_none(self._reporter, task.stop):
            try:
                for batch in _share(task, self._engine):
                    yield news.batch(batch.work_left)
            except Exception:  # which `_all_or_none` has all of them stop for
                self._asked = ""
                raise
            self._asked = ""
        if news.left:
            yield news.batch()
        if news.left:
            raise DialsumError(
                f"{len(news.left)} summaries of other processes can't be seen in '{store.path.parent}'",
                "give an --output-dir on a disk that all hosts share, and run the same command again",
            )

    def close(self) -> None:
        """Have all processes give the model's memory back, and end what they are at."""
        if self._asked:  # by --max-minutes-per-model, or an error of what the summaries were for
            processes.post(self._asked)
            processes.gathered(_Outcome())
        processes.told(_Close())


@dataclass(frozen=True, slots=True)
class _Spread:
    """As `Resumed`, but that what the store lacks is made by all processes."""

    engine: _Shared
    store: SummaryStore
    sampling: "Sampling | None"

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Batch]:
        found, left = recall(self.store, dialogues)
        if found:
            yield found
        if left:
            yield from self.engine.make(left, self.store, self.sampling)


class _News:
    """What all processes have put into a store since the last look.

    Attributes:
        left: the dialogues that have no summary by now, by `digest`.
    """

    def __init__(self, store: SummaryStore, dialogues: Sequence[Dialogue]) -> None:
        self._store = store
        self.left = by_text(dialogues)
        self._read: dict[Path, int] = {}
        self._memory: list[float | None] = []
        self._tokens: list[int | None] = []
        self._since = perf_counter()

    def batch(self, work_left: float = 0.0) -> Batch:
        """What is new, as one batch."""
        summaries = []
        for kept in self._store.batches(self._read):
            texts = [text for text in kept["summaries"] if text in self.left]
            summaries += [
                Summary(each.fname, *kept["summaries"][text]) for text in texts for each in self.left.pop(text)
            ]
            if texts:
                self._memory.append(kept["peak_memory_gib"])
                self._tokens.append(kept["batch_tokens"])
        before, self._since = self._since, perf_counter()
        return Batch(
            summaries, work_left, self._since - before,
            max(filter(None, self._memory), default=None), min(filter(None, self._tokens), default=None),
        )  # fmt: skip


def deal(dialogues: Sequence[Dialogue], hands: int) -> list[list[Dialogue]]:
    """A share for each of so many: one dialogue of each text, the long ones dealt out as evenly as the short ones."""
    longest = sorted((each for each, *_ in by_text(dialogues).values()), key=lambda each: -len(each.text))
    return [longest[hand::hands] for hand in range(hands)]


def _share(task: _Ask, engine: "HuggingFaceSummarizer") -> Iterator[Batch]:
    """Make and keep this process's share, until it is done or a process stops all.

    A batch is kept with its part of the seconds that it took: all processes worked in them.
    """
    share = {each.fname: each for each in task.shares[processes.number()]}
    store = task.store.written_by(processes.number())
    for batch in _made(engine, task.sampling).summarize([*share.values()]) if share else ():
        store.keep(replace(batch, seconds=batch.seconds / processes.count()), share)
        yield batch
        if processes.posted(task.stop):
            return


def _follow() -> object:
    """Do what the first process asks for, until its work is done; returns its result, or raises its error."""
    engine: HuggingFaceSummarizer | None = None
    reporter = _Remembering()
    with ExitStack() as model:
        while True:
            task: object = processes.told(None)
            # Whatever fails here, the first process has heard of it, says it and decides what follows.
            if isinstance(task, _Open):
                with suppress(Exception):
                    engine = _load(task, reporter, model)[0]
            elif isinstance(task, _Ask):
                assert engine is not None, "what isn't loaded isn't asked"
                with suppress(Exception), _all_or_none(reporter, task.stop):
                    _answer(task, engine)
            elif isinstance(task, _Close):
                engine = None
                model.close()
            else:
                assert isinstance(task, _End), task
                if task.error:
                    raise task.error
                return task.result


def _answer(task: _Ask, engine: "HuggingFaceSummarizer") -> None:
    if not task.store.path.exists():
        raise DialsumError(
            f"'{task.store.path}', which the first process has made, can't be seen here",
            "give an --output-dir on a disk that all hosts share",
        )
    for _ in _share(task, engine):
        pass


def _load(task: _Open, reporter: Reporter, stack: ExitStack) -> tuple["HuggingFaceSummarizer", "LoadedModel"]:
    """The model in this process, once every process has it; nothing remains where one of them fails."""
    from dialsum_cli.engines.huggingface import open_summarizer

    with ExitStack() as loading:
        with _all_or_none(reporter):
            _prepare(task)
        with _all_or_none(reporter):
            first, *others = task.specs
            opened: AbstractContextManager[Any] = open_summarizer(first, task.settings, reporter, *others)
            engine, loaded = loading.enter_context(opened)
            if isinstance(reporter, _Remembering):
                reporter.warnings.clear()  # the first process has had the same ones
        _check_alike(processes.gathered(_flat(engine)))
        stack.push(loading.pop_all())
    return engine, loaded


def _prepare(task: _Open) -> None:
    """Download, once on each host, what the others then find in its cache."""
    import torch

    from dialsum_cli.models.loading import download

    here, gpus = processes.count_here(), torch.cuda.device_count()
    if gpus and here > gpus:
        raise RequestError(f"{here} processes would share {gpus} GPU{'s' * (gpus > 1)}", f"--num_processes {gpus}")
    if processes.is_first_here():
        for spec in task.specs:
            download(spec, task.settings)


def _flat(engine: Engine) -> dict[str, object]:
    facts = dict(engine.ingredients())
    versions = facts.pop("versions")
    assert isinstance(versions, dict)
    return facts | {f"version of {name}": version for name, version in versions.items()}


def _check_alike(facts: Sequence[dict[str, object]]) -> None:
    """Refuse processes that would write other summaries than the store says.

    Raises:
        DialsumError: another kind of GPU, another precision, version or weights.
    """
    for number, theirs in enumerate(facts):
        for name, ours in facts[0].items():
            if theirs.get(name) != ours:
                mine, other = (shorten(str(value), 80) for value in (ours, theirs.get(name)))
                raise DialsumError(
                    f"process {number} would write other summaries than process 0: its {name} is {other}, not {mine}",
                    "launch on GPUs of one kind, with the same files, versions and --precision",
                )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What becomes of a process's part of what all do."""

    error: DialsumError | None = None
    traceback: str = ""
    warnings: Sequence[str] = ()


@contextmanager
def _all_or_none(reporter: Reporter, stop: str = "") -> Iterator[None]:
    """What all processes do: where one of them fails, it fails in all; the first one tells of the others' warnings.

    Raises:
        DialsumError: another process's error.
    """
    try:
        yield
    except Exception as error:  # whatever fails here, the others wait for this process's outcome
        if stop:
            processes.post(stop)
        processes.gathered(_Outcome(_plain(error), traceback.format_exc()))
        raise
    warnings = tuple(reporter.warnings) if isinstance(reporter, _Remembering) else ()
    outcomes = processes.gathered(_Outcome(warnings=warnings))
    if processes.is_first():
        for number, outcome in enumerate(outcomes):
            for line in outcome.warnings:
                reporter.warn(f"process {number}: {line}")
    elif isinstance(reporter, _Remembering):
        reporter.warnings.clear()
    for number, outcome in enumerate(outcomes):
        if outcome.error:
            logger.error("process %d failed\n%s", number, outcome.traceback)
            raise type(outcome.error)(f"process {number}: {outcome.error}", outcome.error.remedy)


def _plain(error: Exception) -> DialsumError:
    """An error that another process can read, whatever library raised it."""
    return error if isinstance(error, DialsumError) else DialsumError(one_line(error))


@dataclass
class _Remembering(Reporter):
    """Remembers warnings for the process that shows them."""

    warnings: list[str] = field(default_factory=list)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
