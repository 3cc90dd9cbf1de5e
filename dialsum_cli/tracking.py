"""Experiment tracking: what a command does as a Weights & Biases run, and nothing at all unless it is asked for."""

import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from numbers import Number
from pathlib import Path
from secrets import token_hex
from shlex import quote
from typing import Any, Literal

from dialsum_cli.errors import RequestError, one_line, without_password
from dialsum_cli.registry import ModelSpec
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import Settings, TrackingSettings

INIT_SECONDS = 6
"""For the server's answer; wandb takes one or two more to give up, so that going offline is done within ten."""

FINISH_SECONDS = 60
"""For the last of an upload, so that a network lost in the night doesn't hold up the next model."""

_ARCHITECTURE = {"seq2seq": ("encoder_decoder", "encoder-decoder"), "causal": ("causal_lm", "decoder-only")}
_TRAINING = {"full": "full-finetune", "lora": "lora", "qlora": "qlora-4bit"}


@dataclass(frozen=True, slots=True)
class Training:
    """How a model is trained: `precision` is that of the computation, `batch_size` in rows per optimizer step."""

    method: Literal["full", "lora", "qlora"]
    precision: Literal["bf16", "fp16", "fp32"]
    num_epochs: float
    batch_size: int
    learning_rate: float
    started: datetime


@dataclass(frozen=True, slots=True)
class Label:
    """What a run is found by; `job` is the command."""

    name: str
    job: str
    group: str
    tags: tuple[str, ...] = ()


def training_label(spec: ModelSpec, training: Training) -> Label:
    """The label of a fine-tuning, as in `Llama-3.2-Korean-3B_ep3_bs16_lr2e-4_20250103-143025`; the kind is known."""
    assert spec.kind in _ARCHITECTURE, spec
    architecture = _ARCHITECTURE[spec.kind][1]
    baseline = spec.kind == "seq2seq" and training.method == "full"
    return Label(
        name=f"{spec.nickname}_ep{training.num_epochs:g}_bs{training.batch_size}"
        f"_lr{short_rate(training.learning_rate)}_{training.started:%Y%m%d-%H%M%S}",
        job="finetune",
        group=f"{architecture}-{'baseline' if baseline else training.method}",
        tags=(*_model_tags(spec), f"training:{_TRAINING[training.method]}", f"float:{training.precision}"),
    )


def command_label(job: str, started: datetime, spec: ModelSpec | None = None) -> Label:
    """The label of any other command's run, of one model or of several."""
    nickname = f"{spec.nickname}_" if spec else ""
    return Label(f"{nickname}{job}_{started:%Y%m%d-%H%M%S}", job, job, _model_tags(spec) if spec else ())


def _model_tags(spec: ModelSpec) -> tuple[str, ...]:
    kind = _ARCHITECTURE[spec.kind][0] if spec.kind in _ARCHITECTURE else spec.kind
    facts = {"model-type": kind, "size": spec.size, "arch": spec.family}
    return tuple(f"{name}:{value}" for name, value in facts.items() if value)


def short_rate(rate: float) -> str:
    """A learning rate as people write it: `2e-4`, where Python prints 0.0002, and `1e-5`, where it prints 1e-05."""
    return f"{Decimal(repr(rate)).normalize():e}".replace("e+", "e")


def run_config(
    settings: Settings, spec: ModelSpec | None = None, training: Training | None = None, **parts: object
) -> dict[str, object]:
    """A run's config: the resolved settings, the model, the training (`lr` is its rate in figures), more `parts`."""
    config = {"settings": settings.model_dump(mode="json"), **parts}
    if spec:
        config["model"] = asdict(spec)
    if training:
        config["training"] = asdict(training) | {"lr": short_rate(training.learning_rate)}
    return config


@dataclass(slots=True)
class Tracker:
    """One run, while it lasts; where nothing is tracked, nothing happens.

    `failed` may be set where the work has failed and no exception says so.
    """

    run: Any = None
    texts: bool = False
    failed: bool = False

    def log(self, metrics: Mapping[str, object], *, step: int) -> None:
        """Log numbers at a step; steps don't go back."""
        if self.run:
            self.run.log(_public(metrics), step=step)

    def summarise(self, values: Mapping[str, object]) -> None:
        """Set the run's final numbers; what is None, a text or a list is left out, because it may be private."""
        if self.run:
            self.run.summary.update({_public(name): value for name, value in values.items() if _is_number(value)})

    def log_texts(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Add texts of dialogues or summaries to the run's files, as JSONL, if `--wandb-log-text` allows it.

        No `wandb.Table`: it leaves a copy of the texts in the home directory, and that one's path in the run.
        """
        if self.run and self.texts:
            path = Path(self.run.dir, f"{name}.jsonl")
            lines = (json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
            path.write_text("".join(lines), encoding="utf-8")
            self.run.save(str(path), base_path=self.run.dir, policy="now")


class Tracking:
    """The runs of one command: a server that couldn't be reached is not asked again."""

    def __init__(self, settings: TrackingSettings, reporter: Reporter) -> None:
        self._settings, self._reporter, self._mode = settings, reporter, settings.wandb

    @contextmanager
    def run(self, folder: Path, label: Label, config: Mapping[str, object]) -> Iterator[Tracker]:
        """One run, kept in `folder/wandb`; an exception that leaves the context finishes it as failed.

        Raises:
            RequestError: `--wandb online`, and there is no key, or none that can be one.
        """
        if self._mode == "off":
            yield Tracker()
            return
        tracker = Tracker(self._start(folder, label, config), self._settings.wandb_log_text)
        try:
            yield tracker
        except BaseException:
            self._finish(tracker.run, exit_code=1)
            raise
        self._finish(tracker.run, exit_code=int(tracker.failed))

    def _start(self, folder: Path, label: Label, config: Mapping[str, object]) -> Any:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # wandb's reports on itself tell of this machine
        import wandb
        from wandb.errors import AuthenticationError, CommError, UsageError

        logging.getLogger("wandb").setLevel(logging.CRITICAL)  # its log of itself holds absolute paths
        folder.mkdir(parents=True, exist_ok=True)

        def init(mode: Literal["online", "offline"], run_id: str) -> Any:
            run = wandb.init(
                project=self._settings.wandb_project, name=label.name, group=label.group, job_type=label.job,
                tags=label.tags, config=_public(config), dir=str(folder.resolve()), id=run_id,
                settings=wandb.Settings(mode=mode, **_private_settings()),
            )  # fmt: skip
            Path(run.settings.log_dir, "debug-core.log").unlink(missing_ok=True)  # a link into the home directory
            return run

        if self._mode == "online":
            attempt = token_hex(4)
            try:
                run = init("online", attempt)
            except (AuthenticationError, UsageError) as error:
                raise RequestError(f"W&B: {one_line(error)}", "`wandb login`, or give --wandb offline") from None
            except CommError as error:
                self._mode = "offline"
                for left in (folder / "wandb").glob(f"run-*-{attempt}"):
                    shutil.rmtree(left)
                reason = str(error).partition("\n")[0]
                self._reporter.warn(f"W&B's server does not take the run, which is kept offline instead: {reason}")
            else:
                self._reporter.note(f"W&B: {run.url}")
                return run
        run = init("offline", token_hex(4))
        kept = quote(str(folder / "wandb" / Path(run.settings.sync_dir).name))
        self._reporter.note(f"W&B: kept offline; `wandb sync {kept}` uploads it")
        return run

    def _finish(self, run: Any, *, exit_code: int) -> None:
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError:
            kept = quote(str(run.settings.sync_dir))
            self._reporter.warn(f"W&B took more than {FINISH_SECONDS} s for the rest: `wandb sync {kept}` uploads it")


def tracked(
    job: str, folder: Path, settings: TrackingSettings, reporter: Reporter, spec: ModelSpec | None = None
) -> AbstractContextManager[Tracker]:
    """The one run of a command that trains nothing."""
    label = command_label(job, datetime.now(), spec)
    return Tracking(settings, reporter).run(folder, label, run_config(settings, spec))


def _private_settings() -> dict[str, Any]:
    """Settings of wandb's with which it looks at nothing but what it is given, and waits no longer than it has to."""
    return {
        "console": "off", "save_code": False, "disable_code": True, "disable_git": True, "disable_job_creation": True,
        "label_disable": True, "x_disable_machine_info": True, "x_disable_meta": True, "x_disable_stats": True,
        "x_save_requirements": False, "host": "", "program": "", "username": "", "email": "",
        "symlink": False, "reinit": "create_new", "silent": True,
        "init_timeout": INIT_SECONDS, "finish_timeout": FINISH_SECONDS, "finish_timeout_raises": True,
    }  # fmt: skip


def _is_number(value: object) -> bool:
    return isinstance(value, Number)


def _public(value: Any) -> Any:
    """Plain values, in whose texts the home directory is `~` and no address has a password."""
    if isinstance(value, Mapping):
        return {_public(str(name)): _public(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_public(each) for each in value]
    if value is None or _is_number(value):
        return value
    text = without_password(str(value))
    for home in {str(Path.home()), str(Path.home().resolve())} - {os.sep}:
        text = re.sub(rf"(?<![\w.-]){re.escape(home)}(?![\w-]|\.\w)", "~", text)
    return text
