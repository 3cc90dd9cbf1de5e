"""Which engine runs a model, and why."""

import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dialsum_cli import processes
from dialsum_cli.engines.shared import open_shared
from dialsum_cli.errors import MissingPartError, RequestError
from dialsum_cli.registry import ModelSpec
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import EngineSettings, GenerationSettings, Settings
from dialsum_cli.summarizer import Engine, ModelFacts

if TYPE_CHECKING:
    from dialsum_cli.models.loading import LoadedModel

logger = logging.getLogger("dialsum")


Opened = AbstractContextManager[tuple[Engine, "LoadedModel | ModelFacts"]]


def _hf(spec: ModelSpec, settings: EngineSettings, reporter: Reporter, *others: ModelSpec) -> Opened:
    if processes.count() > 1:
        return open_shared(settings, reporter, spec, *others)
    from dialsum_cli.engines.huggingface import open_summarizer

    return open_summarizer(spec, settings, reporter, *others)


def _vllm(spec: ModelSpec, settings: EngineSettings, reporter: Reporter) -> Opened:
    if find_spec("vllm") is None:
        raise MissingPartError(
            "vLLM is not installed", "pip install '.[vllm]' in an environment of its own (docs/scale.md)"
        )
    from dialsum_cli.engines.vllm import open_vllm

    return open_vllm(spec, settings, reporter)


def _openai(spec: ModelSpec, settings: EngineSettings, reporter: Reporter) -> Opened:
    from dialsum_cli.engines.openai import open_served

    return open_served(spec, settings, reporter)


# Each is imported when it is chosen: a server needs no torch here, and vLLM is in few environments.
ENGINES: dict[str, Callable[..., Opened]] = {
    "hf": _hf,
    "vllm": _vllm,
    "openai": _openai,
}


def choose_engine(settings: EngineSettings) -> tuple[str, str]:
    """The engine's name, and for `auto` the reason.

    `auto` never takes vLLM: it needs a minute to start, which pays for many thousands of dialogues and not for fewer.
    """
    if settings.engine != "auto":
        return settings.engine, "as asked"
    if settings.served:
        return "openai", "--base-url names a server"
    if find_spec("vllm"):
        return "hf", "vLLM, which is here too, pays from thousands of dialogues on: --engine vllm"
    return "hf", "no --base-url was given, and vLLM is not installed"


# What an engine can't do, and would have to ignore.
BESIDE_A_SERVER: tuple[str, ...] = (
    "models", "model", "average_logits", "precision", "num_beams", "length_penalty", "no_repeat_ngram_size",
    "batch_tokens", "long_dialogue",
)  # fmt: skip
BESIDE_VLLM = ("average_logits", "num_beams", "length_penalty", "no_repeat_ngram_size", "batch_tokens")
FOR_A_SERVER = ("base_url", "api_model", "concurrency", "requests_per_minute", "request_timeout", "max_retries")


def check_engine(settings: EngineSettings) -> None:
    """Refuse what the engine would have to ignore, before any work.

    Raises:
        RequestError: an option that the engine can't follow, or one that it lacks.
    """
    if settings.served and not (settings.base_url and settings.api_model):
        missing = "--api-model NAME" if settings.base_url else "--base-url http://127.0.0.1:8000/v1"
        raise RequestError(f"a server needs an address and a model's name: {missing.split()[0]} is missing", missing)
    if settings.served and settings.block_foreign:
        raise RequestError("--block-foreign: nobody can keep a server from foreign words", "leave --block-foreign out")
    whom, refused, remedy = "a server", BESIDE_A_SERVER, "leave it out"
    if not settings.served:
        whom, remedy = f"--engine {settings.engine}", "leave it out, or ask a server: --base-url URL --api-model NAME"
        refused = FOR_A_SERVER + (BESIDE_VLLM if settings.engine == "vllm" else ())
    refuse(settings, refused, whom, remedy)
    _check_launch(settings)


def given(settings: Settings, names: Collection[str]) -> list[str]:
    """Those of some options that say something: a default doesn't, whoever wrote it down."""
    fields = type(settings).model_fields.items()
    values = {name: field.get_default(call_default_factory=True) for name, field in fields if name in names}
    return [name for name, value in values.items() if getattr(settings, name) != value]


def refuse(settings: Settings, names: Collection[str], whom: str, remedy: str) -> None:
    """Refuse options that would have to be ignored.

    Raises:
        RequestError: one of them is given.
    """
    for name in given(settings, names):
        raise RequestError(f"--{name.replace('_', '-')} means nothing to {whom}", remedy)


def tell_prompt(
    settings: GenerationSettings,
    specs: Sequence[ModelSpec],
    reporter: Reporter,
    none: str = "there is none among these",
) -> None:
    """Say so where a prompt was given and none of the models is asked with it."""
    if given(settings, ["prompt"]) and all(spec.kind in ("seq2seq", "baseline") for spec in specs):
        reporter.note(f"--prompt {settings.prompt} is for chat models, and {none}")


def _check_launch(settings: EngineSettings) -> None:
    """Refuse what the processes of an `accelerate launch` can't do together."""
    name, _ = choose_engine(settings)
    if processes.count() > 1 and name != "hf":
        raise RequestError(
            f"--engine {name} spreads over GPUs and hosts by itself, not under accelerate launch",
            "type it without accelerate launch (docs/scale.md)",
        )
    if processes.count() > processes.count_here():
        for option in ("delete_cache", "disk_limit"):
            if getattr(settings, option, None):
                raise RequestError(
                    f"--{option.replace('_', '-')} knows the disk of one host alone, and this launch has several",
                    "leave it out; `dialsum cache-clean` on each host gives its disk back",
                )


def open_engine(spec: ModelSpec, settings: EngineSettings, reporter: Reporter, *others: ModelSpec) -> Opened:
    """A model as a summarizer, with what is known about it; its memory is free again when the context is left.

    With `others`, which transformers' engine alone takes, the logits of all are averaged.

    Raises:
        RequestError: what was asked can't be done with this model.
        MissingPartError: the engine isn't installed.
        DialsumError: the model can't be loaded.
    """
    name, reason = choose_engine(settings)
    line = f"{spec.name}: engine {name} ({reason})"
    if settings.engine == "auto" and (name != "hf" or find_spec("vllm")):
        reporter.note(line)  # where there was something to choose
    else:
        logger.info(line)
    return ENGINES[name](spec, settings, reporter, *others)
