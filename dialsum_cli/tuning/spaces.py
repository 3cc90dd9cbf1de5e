"""Which options a search tries: those of its space, as far as they mean anything beside the others."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dialsum_cli.errors import RequestError
from dialsum_cli.prompts import prompt_names
from dialsum_cli.registry import Kind, Recipe
from dialsum_cli.settings import Entry, Range

Options = Mapping[str, Any]
Space = Mapping[str, Entry]


class Need(NamedTuple):
    """What another option has to be for one to mean anything, and what it is where it means nothing."""

    other: str
    met: Callable[[Any], bool]
    words: str
    idle: Any = None


_SAMPLES = Need("num_samples", lambda count: count is not None, "samples: num_samples", 1.0)
_ADAPTER = Need("method", lambda method: method != "full", "an adapter: method lora or qlora")
NEEDS = {
    "num_beams": Need("num_samples", lambda count: count is None, "no samples, which are drawn", 1),
    "length_penalty": Need("num_beams", lambda beams: beams > 1, "beams: num_beams above 1", 1.0),
    "temperature": _SAMPLES,
    "top_p": _SAMPLES,
    **dict.fromkeys(("lora_r", "lora_alpha", "lora_dropout"), _ADAPTER),
    "warmup_ratio": Need("scheduler", lambda name: name != "constant", "a scheduler that warms up, not constant"),
}
_FIRST = ("num_samples", "num_beams", "method", "scheduler")  # because others depend on them


def draw(space: Space, start: Options, pick: Callable[[str, Entry], Any]) -> tuple[dict[str, Any], list[str]]:
    """Options that go together, and the names of those that were picked.

    Args:
        space: what may change.
        start: all options of the stage, with the values of those that don't change.
        pick: chooses a value for an option; it is asked for those only that mean something beside the others.
    """
    options, picked = dict(start), []
    for name in sorted(options, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST)):
        need = NEEDS.get(name)
        if need and not need.met(options[need.other]):
            options[name] = options[name] if need.idle is None else need.idle
        elif name in space:
            options[name] = pick(name, space[name])
            picked.append(name)
    return options, picked


def check(space: Space, start: Options, kind: Kind | None) -> None:
    """Refuse what would never be tried.

    Raises:
        RequestError: an option that means nothing to the model, or beside what the others may be.
    """
    if "prompt" in space and kind == "seq2seq":
        raise RequestError("--space: an encoder-decoder is asked nothing, so that prompt means nothing", "leave it out")
    given = [name for name, need in NEEDS.items() if start.get(name, need.idle) != need.idle is not None]
    for name in dict.fromkeys((*space, *given)):
        need = NEEDS.get(name)
        if need and not any(need.met(value) for value in _ends(space, start, need.other)):
            where = "--space: " if name in space else ""
            raise RequestError(f"{where}{name} needs {need.words}", f"leave {name} out, or change {need.other}")


def _ends(space: Space, start: Options, name: str) -> list[Any]:
    """What an option may be; of a range, its ends."""
    entry = space.get(name, [start[name]])
    return [entry.low, entry.high] if isinstance(entry, Range) else entry


def default_decoding(kind: Kind | None, start: Options, *, stepped: bool, trained: bool) -> Space:
    """What is tried where no space is given.

    A model that our own loop decodes gets no beams: they would take it out of the fast path, and cost a chat model a
    point. One that was fine-tuned keeps the prompt that it knows. Temperature is for samples alone: greedy decoding and
    beams have none.
    """
    longest = start["max_new_tokens"]
    space: dict[str, Entry] = {"max_new_tokens": sorted({max(1, longest // 2), max(1, longest * 3 // 4), longest})}
    if start["num_samples"] is not None:
        space |= {"temperature": Range(low=0.3, high=1.0, step=0.1), "top_p": [0.8, 0.9, 1.0]}
    elif not stepped:
        space |= {"num_beams": [1, 2, 4], "length_penalty": Range(low=0.4, high=2.0, step=0.2)}
    if kind == "seq2seq":
        space["no_repeat_ngram_size"] = [0, 3, 4]
    elif not trained:
        space["prompt"] = prompt_names()
    return space


def default_training(recipe: Recipe) -> Space:
    """What is tried where no space is given: the recipe's surroundings, an adapter's rank and dropout where it has one.

    Rates a third and three times as large are what is usually tried around a known one; ranks from 8 to 64 are those of
    the QLoRA paper (arXiv 2305.14314, figure 4).
    """
    space: dict[str, Entry] = {
        "learning_rate": Range(low=recipe.learning_rate / 3, high=recipe.learning_rate * 3, log=True),
        "num_epochs": sorted({max(1.0, recipe.num_epochs / 2), recipe.num_epochs, recipe.num_epochs * 1.5}),
        "label_smoothing": [0.0, 0.05, 0.1],
        "scheduler": ["constant_with_warmup", "linear", "cosine"],
    }
    if recipe.method != "full":
        space |= {"lora_r": [8, 16, 32, 64], "lora_dropout": [0.0, 0.05, 0.1]}
    return space
