"""What is kept of a training: weights or adapter, tokenizer, how to ask it, and a card that says what it is."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from huggingface_hub import ModelCardData
from safetensors import SafetensorError

from dialsum_cli import __version__, registry
from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.engines.huggingface import open_summarizer
from dialsum_cli.errors import DialsumError
from dialsum_cli.metrics.scoring import Score
from dialsum_cli.models.loading import LoadedModel, load
from dialsum_cli.models.planning import half
from dialsum_cli.models.trained import save_options
from dialsum_cli.registry import ModelSpec, Recipe
from dialsum_cli.reporter import Reporter
from dialsum_cli.runs import sync
from dialsum_cli.settings import FinetuneSettings
from dialsum_cli.summarizer import Summary, collect

CHECKED = 20  # dialogues that merged weights are tried on


def save(loaded: LoadedModel, settings: FinetuneSettings, recipe: Recipe, after: Score, folder: Path) -> None:
    """Write a model's folder, which `screen` and `predict` take; whole, or not there at all.

    Raises:
        DialsumError: the disk is full, or the folder can't be written.
    """
    staging = folder.with_name(f".{folder.name}")
    try:
        shutil.rmtree(staging, ignore_errors=True)
        model = cast(Any, loaded.model)
        if recipe.method == "full":
            model.save_pretrained(staging)
        else:  # an adapter names its base as it is found from anywhere, not as the hub's cache has it
            base = loaded.spec.source if loaded.revision else str(loaded.folder.resolve())
            model.peft_config["default"].base_model_name_or_path = base
            model.save_pretrained(staging, save_embedding_layers=False)
        loaded.tokenizer.save_pretrained(staging)
        save_options(staging, settings, {"recipe": asdict(recipe), "score": after.final_score, "dialsum": __version__})
        staging.joinpath("README.md").write_text(_card(loaded, recipe, after), encoding="utf-8")
        sync(staging)
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
        sync(folder.parent, whole=False)
    except (OSError, SafetensorError) as error:
        raise DialsumError(
            f"can't write the model to '{folder}': {error}", "free some disk, and run the same command again"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _card(loaded: LoadedModel, recipe: Recipe, after: Score) -> str:
    """A model card in the hub's format (huggingface.co/docs/hub/model-cards)."""
    spec = loaded.spec
    on_hub = registry.HUB_ID.fullmatch(spec.source) is not None
    data = ModelCardData(
        language="ko",
        base_model=spec.source if on_hub else None,
        library_name="transformers" if recipe.method == "full" else "peft",
        pipeline_tag="summarization",
        tags=["dialogue-summarization", "dialsum"],
    )
    base = f"`{spec.source if on_hub else spec.name}`" + (f" at {loaded.revision}" if loaded.revision else "")
    low, high = after.ci95
    values = "\n".join(f"| {name} | {value} |" for name, value in asdict(recipe).items())
    return f"""---
{data.to_yaml()}
---

# {spec.nickname or spec.name}, fine-tuned to summarise Korean dialogues

Made by dialsum {__version__} from {base}.

* `final_score` on dev: {after.final_score:.2f} (95 % interval {low:.1f} to {high:.1f}), `{after.signature}`
* `dialsum predict --model FOLDER` asks it with the prompt in `prompt.yaml` and the options in `dialsum.json`.

| trained with | |
|---|---|
{values}
"""


def merge(
    spec: ModelSpec,
    loaded_from: Path,
    settings: FinetuneSettings,
    recipe: Recipe,
    after: Score,
    dev: Sequence[Dialogue],
    summaries: Sequence[Summary],
    reporter: Reporter,
) -> None:
    """Write `merged/` beside an adapter's folder, never into 4-bit weights, and try it.

    Adding an adapter to weights of 4 bits and rounding again would change what the model writes.

    Raises:
        DialsumError: no room for it, or the merged weights write nothing.
    """
    plain = settings.model_copy(update={"precision": half()})
    loaded = load(registry.resolve(str(loaded_from)), plain)
    model = cast(Any, loaded.model).merge_and_unload()
    folder = loaded_from.with_name("merged")
    save(replace(loaded, model=model, spec=spec), settings, replace(recipe, method="full"), after, folder)
    del model, loaded
    with (
        open_summarizer(registry.resolve(str(folder)), plain, reporter) as (engine, _),
        reporter.stage(f"{spec.name}: merged", len(dev[:CHECKED]), "dialogues") as stage,
    ):
        written = collect(engine, dev[:CHECKED], lambda batch: stage.advance(len(batch.summaries)))
    same = sum(ours.text == theirs.text for ours, theirs in zip(written, summaries, strict=False))
    if not any(summary.text.strip() for summary in written):
        raise DialsumError(f"the merged weights in '{folder}' write only empty summaries", "use the adapter in 'model'")
    reporter.note(f"merged weights in '{folder}': {same} of {len(written)} summaries are the adapter's to the letter")
