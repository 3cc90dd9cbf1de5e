"""What a fine-tuned model's folder says beside its weights: the prompt and the options that it was trained with."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from dialsum_cli.errors import DialsumError
from dialsum_cli.prompts import load_prompt
from dialsum_cli.registry import Kind
from dialsum_cli.settings import GenerationSettings

OPTIONS, PROMPT = "dialsum.json", "prompt.yaml"
KEPT = ("block_foreign", "max_new_tokens", "num_beams", "length_penalty", "no_repeat_ngram_size")
SettingsT = TypeVar("SettingsT", bound=GenerationSettings)


def save_options(folder: Path, settings: GenerationSettings, facts: Mapping[str, object]) -> None:
    """Write what inference needs to ask as training asked, and `facts` for people."""
    folder.joinpath(PROMPT).write_text(load_prompt(settings.prompt).to_yaml(), encoding="utf-8")
    content = {"generation": {name: getattr(settings, name) for name in KEPT}, **facts}
    folder.joinpath(OPTIONS).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def as_trained(settings: SettingsT, folder: Path, kind: Kind | None = None) -> tuple[SettingsT, str]:
    """The settings with what the model in `folder` was trained with wherever nothing else was asked for.

    Returns the settings, and what the user should know: that the model is asked otherwise than it was trained; or "".
    No prompt is compared for the kind `seq2seq`, which is asked with none.

    Raises:
        DialsumError: the folder's file of options is damaged.
    """
    path = folder / OPTIONS
    if not path.is_file():
        return settings, ""
    try:
        options = json.loads(path.read_text(encoding="utf-8"))["generation"]
    except (ValueError, KeyError) as error:
        raise DialsumError(f"'{path}' is damaged: {error}", "copy the model's folder again") from None
    options["prompt"] = str(folder / PROMPT)
    given = settings.model_fields_set
    if getattr(settings, "num_samples", None) is not None:
        options["num_beams"] = 1  # samples are drawn, not searched for
    if (settings.num_beams if "num_beams" in given else options["num_beams"]) == 1:
        options.pop("length_penalty", None)  # of the beams that it was trained with: without any, it means nothing
    changed = settings.model_copy(update={name: value for name, value in options.items() if name not in given})
    if kind == "seq2seq":
        return changed, ""
    ours, theirs = (replace(load_prompt(prompt), name="") for prompt in (changed.prompt, options["prompt"]))
    if ours != theirs:
        return changed, f"it was trained with another prompt than --prompt {settings.prompt}"
    return changed, ""
