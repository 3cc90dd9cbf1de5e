"""Engines: what makes a summarizer of a loaded model."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.errors import RequestError
from dialsum_cli.generation.batching import run_batches
from dialsum_cli.models.loading import LoadedModel, load
from dialsum_cli.prompts import load_prompt
from dialsum_cli.prompts.chat import ChatPrompt, EncoderPrompt, clean_answer
from dialsum_cli.registry import ModelSpec
from dialsum_cli.results import Reporter
from dialsum_cli.settings import GenerationSettings, SummarizerSettings
from dialsum_cli.summarizer import Summarizer, Summary
from dialsum_cli.text import TAG


class HuggingFaceSummarizer:
    """Summarises with `model.generate`: rows of similar length together, padded on the left for a causal model.

    Raises:
        RequestError: `max_new_tokens` leaves the model no room for a dialogue.
    """

    def __init__(self, loaded: LoadedModel, settings: GenerationSettings, warn: Callable[[str], None]) -> None:
        self.loaded, self.settings, self.warn = loaded, settings, warn
        tokenizer = loaded.tokenizer
        self.prompt = (
            EncoderPrompt(tokenizer) if loaded.is_seq2seq else ChatPrompt(tokenizer, load_prompt(settings.prompt))
        )
        stops = loaded.model.generation_config.eos_token_id  # a model may end in ways that its template does not show
        self.end_ids = {*self.prompt.end_ids, *(stops if isinstance(stops, list) else [stops])} - {None}
        self.thinking = isinstance(self.prompt, ChatPrompt) and self.prompt.opens_thought
        # What is no text of a summary: every special token but speaker tags, which a seq2seq model may have added.
        added = tokenizer.added_tokens_decoder.items()
        self.silent_ids = {i for i, token in added if token.special and not TAG.fullmatch(token.content)} | self.end_ids
        self.max_prompt_tokens = self._room()

    def _room(self) -> int | None:
        """The longest prompt in tokens; None where the model knows no limit (relative positions)."""
        config = self.loaded.model.config.get_text_config(decoder=True)
        positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
        if positions is None:
            return None
        room = int(positions) - (0 if self.loaded.is_seq2seq else self.settings.max_new_tokens)
        if room < 1 or self.settings.max_new_tokens > positions:
            raise RequestError(
                f"--max-new-tokens {self.settings.max_new_tokens} is too long for {self.loaded.spec.name}, "
                f"which has {positions} positions",
                f"give at most {positions // 2}",
            )
        return room

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Summary]:
        """Yield one summary for each dialogue, batch by batch, the longest dialogues first."""
        prompts = [self.prompt.encode(dialogue.text, self.max_prompt_tokens) for dialogue in dialogues]
        lengths = [len(prompt.ids) + self.settings.max_new_tokens for prompt in prompts]

        def run(batch: list[int]) -> list[Summary]:
            answers = self._generate([prompts[i].ids for i in batch])
            return [
                Summary(dialogues[i].fname, text, truncated, prompts[i].shortened)
                for i, (text, truncated) in zip(batch, answers, strict=True)
            ]

        yield from run_batches(lengths, self.settings.batch_tokens, run, self.warn)

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[Sequence[int]]) -> list[tuple[str, bool]]:
        """The text of each answer, and whether it was cut at `max_new_tokens`."""
        model, tokenizer = self.loaded.model, self.loaded.tokenizer
        batch = tokenizer.pad({"input_ids": [list(ids) for ids in prompts]}, return_tensors="pt").to(model.device)
        # Our own configuration, whole: models on the hub bring sampling temperatures and penalties of their own.
        config = GenerationConfig.from_dict(
            model.generation_config.to_dict()
            | {
                "max_new_tokens": self.settings.max_new_tokens,
                "num_beams": self.settings.num_beams,
                "no_repeat_ngram_size": self.settings.no_repeat_ngram_size,
                "do_sample": False,
                "eos_token_id": sorted(self.end_ids),
            }
        )
        generate: Any = model.generate  # typed as the union of all that transformers' models may be
        output = generate(**batch, generation_config=config)
        start = 1 if self.loaded.is_seq2seq else batch["input_ids"].shape[1]
        return [self._decode(ids) for ids in output[:, start:].tolist()]

    def _decode(self, ids: list[int]) -> tuple[str, bool]:
        end = next((i for i, token in enumerate(ids) if token in self.end_ids), None)
        kept = [token for token in ids[:end] if token not in self.silent_ids]
        text = self.loaded.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return clean_answer(str(text), thinking=self.thinking), end is None


ENGINES = {"hf": HuggingFaceSummarizer}


@contextmanager
def open_summarizer(
    spec: ModelSpec, settings: SummarizerSettings, reporter: Reporter
) -> Iterator[tuple[Summarizer, LoadedModel]]:
    """A loaded model as a summarizer; its memory is free again when the context is left."""
    loaded = load(spec, settings)
    if loaded.deviation:
        reporter.note(f"{spec.name}: {loaded.deviation}")
    summarizer = ENGINES["hf"](loaded, settings, reporter.warn)
    try:
        if not summarizer.prompt.has_template and not loaded.is_seq2seq:
            reporter.note(f"{spec.name} has no chat template: it gets the plain Korean prompt")
        yield summarizer, loaded
    finally:
        del summarizer, loaded
        gc.collect()
        torch.cuda.empty_cache()
