"""The hf engine: summaries from a model of transformers."""

import gc
import hashlib
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, PreTrainedConfig, PreTrainedTokenizerBase

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.engines.answers import AnswerReader
from dialsum_cli.errors import RequestError
from dialsum_cli.generation.averaging import averaged
from dialsum_cli.generation.batching import run_batches
from dialsum_cli.generation.decoding import Decoder
from dialsum_cli.generation.sampling import Sampling, SamplingProcessor
from dialsum_cli.models.alike import check_alike
from dialsum_cli.models.kernels import fuse, ready_attention
from dialsum_cli.models.loading import LoadedModel, load
from dialsum_cli.models.planning import batch_tokens, device, free_bytes, stepped
from dialsum_cli.models.trained import as_trained
from dialsum_cli.models.vocabulary import KoreanLogitsProcessor, Vocabulary
from dialsum_cli.prompts import load_prompt
from dialsum_cli.prompts.chat import ChatPrompt, EncoderPrompt
from dialsum_cli.registry import ModelSpec
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import GenerationSettings, SummarizerSettings
from dialsum_cli.store import digest
from dialsum_cli.summarizer import Batch, Decoding, Engine, Summary

PROGRAMS = ("torch", "transformers", "tokenizers", "bitsandbytes", "peft")  # another version may write another text
# Options that leave it as it is, or count by what becomes of them.
NO_TEXT = ("config", "prompt", "block_foreign", "batch_tokens")


class HuggingFaceSummarizer:
    """Summarises with a model of transformers, rows of similar length together.

    What `models.planning.stepped` names is decoded by `generation.decoding`, all else (beams, encoder-decoder models,
    repeated n-grams forbidden, other architectures) by `model.generate`: `decoding` tells.

    Args:
        loaded: the model, or the first of several whose logits are averaged (`generation.averaging`, by `generate`).
        others: the further ones, which `models.alike` found to be like the first.

    Raises:
        RequestError: `max_new_tokens` leaves the model no room for a dialogue, or `no_repeat_ngram_size` would break
            its tags, or there is a `length_penalty` and no beams.
        DialsumError: foreign words are to be blocked, and what its tokens spell can't be told.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        settings: GenerationSettings,
        warn: Callable[[str], None],
        others: Sequence[LoadedModel] = (),
    ) -> None:
        self.loaded, self.others, self.settings, self.warn = loaded, others, settings, warn
        tokenizer = loaded.tokenizer
        self.prompt, self.max_prompt_tokens = open_prompt(loaded.spec, loaded.model.config, tokenizer, settings)
        stops = loaded.model.generation_config.eos_token_id  # a model may end in ways that its template does not show
        stops = {*(stops if isinstance(stops, list) else [stops])} - {None}
        self.reader = AnswerReader(tokenizer, self.prompt, stops)
        self.end_ids = self.reader.end_ids
        members = 1 + len(others)
        self.batch_tokens = batch_tokens(loaded.model.config, loaded.precision, settings, free_bytes(), members)
        self._check_tags()
        if settings.length_penalty != 1 and settings.num_beams == 1:
            raise RequestError("--length-penalty means nothing without beams", "add --num-beams 4, or leave it out")
        self.prompt_name: str | None = self.prompt.name
        blocked = not loaded.is_seq2seq if settings.block_foreign is None else settings.block_foreign
        self.vocabulary = self._vocabulary() if blocked else None
        self.decoding: Decoding | None = "generate"
        self.decoder: Decoder | None = None
        if not others and stepped(loaded.model.config, settings):
            self.decoding = "graph" if device().type == "cuda" else "eager"
            self.decoder = Decoder(loaded.model, sorted(self.end_ids), settings.max_new_tokens, self.vocabulary)

    def _check_tags(self) -> None:
        """Refuse, or for an encoder-decoder tell of, a ban on repeated n-grams that forbids a tag's second mention."""
        tokens = len(self.loaded.tokenizer.encode("#Person1#", add_special_tokens=False))
        if self.settings.no_repeat_ngram_size == 0 or tokens == 1:
            return
        problem = f"{self.loaded.spec.name} writes #Person1# in {tokens} tokens: --no-repeat-ngram-size breaks its tags"
        if not self.loaded.is_seq2seq:
            raise RequestError(problem, "leave it out")
        self.warn(problem)

    def _vocabulary(self) -> Vocabulary:
        """What a summary may be written with, on the model's device."""
        tokenizer, ends = self.loaded.tokenizer, self.reader.open_ids()
        if self.loaded.is_seq2seq and tokenizer.bos_token_id is not None:
            ends.add(tokenizer.bos_token_id)  # BART begins its answers with it; decoding leaves it out
        width = self.loaded.model.config.get_text_config(decoder=True).vocab_size
        return Vocabulary.build(tokenizer, ends, width).to(self.loaded.model.device)

    def ingredients(self) -> Mapping[str, object]:
        """All that decides a summary's text but its dialogue, as plain values.

        The size of batches is none of it, although kernels round differently in another batch: memory that ran out
        changes it at any time. The device is, because another one rounds differently in every batch, and is as fast
        as it is.
        """
        names = (name for name in GenerationSettings.model_fields if name not in NO_TEXT)
        asked = None if self.loaded.is_seq2seq else load_prompt(self.settings.prompt)
        return {
            "engine": "hf",
            "weights": [each.identity for each in (self.loaded, *self.others)],
            "precision": self.loaded.precision,
            "prompt": asked and {"system": asked.system, "user": asked.user, "plain": asked.plain},
            "template": self.loaded.tokenizer.chat_template,
            "block_foreign": self.vocabulary is not None,
            "options": {name: getattr(self.settings, name) for name in names},
            "end_ids": sorted(self.end_ids),
            "max_prompt_tokens": self.max_prompt_tokens,
            "device": torch.cuda.get_device_name() if device().type == "cuda" else platform.machine(),
            "versions": {name: version(name) for name in PROGRAMS} | {"dialsum": own_code()},
        }

    def summarize(self, dialogues: Sequence[Dialogue], sampling: Sampling | None = None) -> Iterator[Batch]:
        """Yield one summary for each dialogue, batch by batch, the longest dialogues first.

        With `sampling` it is that many for each, one after the other.
        """
        start = perf_counter()
        prompts = [self.prompt.encode(dialogue.text, self.max_prompt_tokens) for dialogue in dialogues]
        samples = sampling.num_samples if sampling else 1
        copies = samples if self.decoder is None else 1  # of a prompt, which the decoder's samples share
        lengths = [copies * len(prompt.ids) + samples * self.settings.max_new_tokens for prompt in prompts]

        def run(batch: list[int]) -> list[Summary]:
            answers = self._generate([prompts[i].ids for i in batch], [dialogues[i] for i in batch], sampling)
            return [
                Summary(dialogues[i].fname, *self.reader.read(ids), prompts[i].shortened)
                for i, samples in zip(batch, answers, strict=True)
                for ids in samples
            ]

        padded = self.decoder is None
        for summaries, work_left in run_batches(lengths, self.batch_tokens, run, self._shrink, padded=padded):
            seconds = perf_counter() - start
            yield Batch(summaries, work_left, seconds, peak_memory_gib(), self.batch_tokens)
            start = perf_counter()

    def _shrink(self, batch_tokens: int) -> None:
        self.batch_tokens = batch_tokens
        self.warn(f"out of memory: batches of {batch_tokens} tokens from here on")

    @torch.inference_mode()
    def _generate(
        self, prompts: Sequence[Sequence[int]], dialogues: Sequence[Dialogue], sampling: Sampling | None
    ) -> list[list[list[int]]]:
        """The ids of each prompt's answers."""
        extra = None
        if self.vocabulary is not None:
            extra = self.vocabulary.extra_masks([dialogue.text for dialogue in dialogues])
        keys = [digest(dialogue) for dialogue in dialogues]
        if self.decoder is not None:
            return self.decoder.decode(prompts, extra, sampling, keys)
        model, tokenizer = self.loaded.model, self.loaded.tokenizer
        batch = tokenizer.pad({"input_ids": [list(ids) for ids in prompts]}, return_tensors="pt").to(model.device)
        # Our own configuration, whole: models on the hub bring sampling temperatures and penalties of their own.
        config = GenerationConfig.from_dict(
            model.generation_config.to_dict()
            | {
                "max_new_tokens": self.settings.max_new_tokens,
                "num_beams": self.settings.num_beams,
                "length_penalty": self.settings.length_penalty,
                "no_repeat_ngram_size": self.settings.no_repeat_ngram_size,
                "do_sample": sampling is not None,  # for several answers; which ones is the processor's affair
                "num_return_sequences": sampling.num_samples if sampling else 1,
                "eos_token_id": sorted(self.end_ids),
            }
        )
        generate: Any = model.generate  # typed as the union of all that transformers' models may be
        start = 1 if self.loaded.is_seq2seq else batch["input_ids"].shape[1]
        processors: list[LogitsProcessor] = []
        if self.vocabulary is not None and extra is not None:
            processors.append(KoreanLogitsProcessor(self.vocabulary, extra, start))
        if sampling is not None:
            draws = sampling.draws(keys, self.settings.max_new_tokens).flatten(0, 1).to(model.device)
            processors.append(SamplingProcessor(sampling, draws, start))
        copies = max(config.num_beams, config.num_return_sequences)
        with averaged(model, [each.model for each in self.others], batch, copies) as cache, ready_attention():
            answers = generate(**batch, **cache, generation_config=config, logits_processor=processors)
        output = answers[:, start:].tolist()
        samples = len(output) // len(prompts)
        return [output[row : row + samples] for row in range(0, len(output), samples)]


def open_prompt(
    spec: ModelSpec, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, settings: GenerationSettings
) -> tuple[ChatPrompt | EncoderPrompt, int | None]:
    """A model's prompt, and the most tokens that it may take; None where there is no limit (relative positions).

    Raises:
        RequestError: `max_new_tokens` leaves the model no room for a dialogue, or there is no such prompt.
        DialsumError: the chat template can't be used.
    """
    seq2seq = spec.kind == "seq2seq"
    prompt = EncoderPrompt(tokenizer) if seq2seq else ChatPrompt(tokenizer, load_prompt(settings.prompt))
    config = config.get_text_config(decoder=True)
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if positions is None:
        return prompt, None
    room = int(positions) - (0 if seq2seq else settings.max_new_tokens)
    if room < 1 or settings.max_new_tokens > positions:
        raise RequestError(
            f"--max-new-tokens {settings.max_new_tokens} is too long for {spec.name}, which has {positions} positions",
            f"give at most {positions // 2}",
        )
    return prompt, room


@contextmanager
def open_summarizer(
    spec: ModelSpec, settings: SummarizerSettings, reporter: Reporter, *others: ModelSpec
) -> Iterator[tuple[Engine, LoadedModel]]:
    """A loaded model as a summarizer, or several as one; their memory is free again when the context is left.

    With `others` all logits are averaged; whatever is no weight, the facts that are yielded too, is the first model's.

    Raises:
        RequestError: as `load` and `check_alike`.
        DialsumError: as `load`.
    """
    release_memory()  # of a model that failed: its traceback kept it alive while the context was left
    if others:
        check_alike([spec, *others], settings)
    loaded, asked = _loaded(spec, settings, reporter)
    same = settings.model_copy(update={"precision": loaded.precision})
    rest = [_loaded(each, same, reporter)[0] for each in others]
    summarizer = HuggingFaceSummarizer(loaded, asked, reporter.warn, rest)
    if others:
        reporter.note(f"{1 + len(others)} models' logits are averaged in {loaded.precision}, by transformers' generate")
    try:
        if not summarizer.prompt.has_template and not loaded.is_seq2seq:
            reporter.note(f"{spec.name} has no chat template: it gets the plain Korean prompt")
        yield summarizer, loaded
    finally:
        del summarizer, loaded, rest
        release_memory()


def _loaded(
    spec: ModelSpec, settings: SummarizerSettings, reporter: Reporter
) -> tuple[LoadedModel, SummarizerSettings]:
    """A model, and the settings with what it was trained with; the user is told where it isn't as it might seem."""
    loaded = load(spec, settings)
    fuse(loaded.model)
    if loaded.deviation:
        reporter.note(f"{spec.name}: {loaded.deviation}")
    asked, note = as_trained(settings, loaded.folder, loaded.spec.kind)
    if note:
        reporter.warn(f"{spec.name}: {note}")
    return loaded, asked


def peak_memory_gib() -> float | None:
    """The most device memory in use since the model began to load, in GiB; None on a CPU.

    A CPU has no such number for one model: the high-water mark of a process is that of all models that it ran.
    """
    return torch.cuda.max_memory_allocated() / 2**30 if device().type == "cuda" else None


def release_memory() -> None:
    """Give back what a model took that nothing refers to any more, and measure the next one's peak afresh."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


@cache
def own_code() -> str:
    """A hash of our own code that takes part in writing a summary: a checkout changes without its version changing."""
    root = Path(__file__).parent.parent
    rooms = ("engines", "generation", "models", "prompts")
    files = sorted(path for room in rooms for path in (root / room).glob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in [*files, root / "text.py"])).hexdigest()
