"""The catalogue of known models: data, no torch."""

import os
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from dialsum_cli.errors import UnknownModelError

Kind = Literal["causal", "seq2seq", "baseline", "api"]
Dtype = Literal["bf16", "fp16", "fp32"]
Method = Literal["auto", "full", "lora", "qlora"]

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
BUNDLED = Path(__file__).parent / "models" / "bundled"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is fine-tuned unless options say otherwise; rates are per optimizer step, batches in rows."""

    learning_rate: float
    num_epochs: float = 3
    batch_size: int = 16
    method: Method = "auto"
    scheduler: str = "constant_with_warmup"
    warmup_ratio: float = 0.03
    optimizer: str = "adamw_torch"
    max_grad_norm: float = 0.3
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    lora_r: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.1
    patience: int = 3


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model that can summarise.

    Attributes:
        name: what `--models` calls it; for a model outside the catalogue, the id or path itself.
        source: Hugging Face id, or a local folder; empty for a baseline and for a model behind a server.
        kind: None until the model's own config has been read (a model outside the catalogue).
        nickname: as experiment tracking shows it.
        parameters: in billions; None where the catalogue does not know.
        layers: decoder layers; None where the catalogue does not know.
        dtype: the number format it was trained in; None: as its config says.
        recipe: None where nothing is known about fine-tuning it.
        revision: commit, tag or branch of the repository; None: the newest.
    """

    name: str
    source: str
    kind: Kind | None = None
    nickname: str = ""
    family: str = ""
    parameters: float | None = None
    layers: int | None = None
    size: str = ""
    dtype: Dtype | None = "bf16"
    licence: str = ""
    gated: bool = False
    recipe: Recipe | None = None
    note: str = ""
    revision: str | None = None

    @property
    def bundled(self) -> bool:
        """Whether the weights ship with the package."""
        return self.source.startswith(str(BUNDLED))


# Dettmers et al. 2023 (arXiv 2305.14314, appendix B): LoRA on every linear layer, a constant rate, AdamW with its
# default beta2 of 0.999, dropout 0.1 up to 13B and 0.05 above; the smaller rate from 7B on. Theirs is the paged AdamW:
# an adapter's state takes 0.1 to 0.4 GB, and bitsandbytes (0.50, optim/optimizer.py, `step`) waits for the GPU after
# each of its 400 tensors.
QLORA = Recipe(2e-4)
QLORA_7B = Recipe(1e-4)
QLORA_14B = Recipe(1e-4, lora_dropout=0.05)
# All weights, as Seq2SeqTrainer is used for BART: cosine after a tenth of warm-up.
FULL = Recipe(1e-5, num_epochs=20, batch_size=50, method="full", scheduler="cosine", warmup_ratio=0.1,
              optimizer="adamw_torch", max_grad_norm=1.0)  # fmt: skip
FULL_SMALL = replace(FULL, num_epochs=3, batch_size=8)
TINY = replace(FULL, learning_rate=1e-3, num_epochs=2, batch_size=16)

CATALOGUE = {
    spec.name: spec
    for spec in (
        ModelSpec("tiny-bart", str(BUNDLED / "tiny-bart"), "seq2seq", "Tiny-BART", "bart", size="tiny", dtype="fp32",
                  licence="MIT", recipe=TINY, note="bundled; runs anywhere"),
        ModelSpec("tiny-llama", str(BUNDLED / "tiny-llama"), "causal", "Tiny-Llama", "llama", size="tiny", dtype="fp32",
                  licence="MIT", recipe=TINY, note="bundled; runs anywhere"),
        ModelSpec("llama3b", "Bllossom/llama-3.2-Korean-Bllossom-3B", "causal", "Llama-3.2-Korean-3B", "llama",
                  3.2, 28, "3B", licence="Llama 3.2", recipe=QLORA),
        ModelSpec("llama8b", "MLP-KTLim/llama-3-Korean-Bllossom-8B", "causal", "Llama-3-Korean-8B", "llama",
                  8.0, 32, "8B", licence="Llama 3", recipe=QLORA_7B),
        ModelSpec("qwen4b", "Qwen/Qwen3-4B-Instruct-2507", "causal", "Qwen3-4B-Instruct", "qwen",
                  4.0, 36, "4B", licence="Apache-2.0", recipe=QLORA),
        ModelSpec("qwen7b", "Qwen/Qwen2.5-7B-Instruct", "causal", "Qwen2.5-7B-Instruct", "qwen",
                  7.6, 28, "7B", licence="Apache-2.0", recipe=QLORA_7B),
        ModelSpec("qwen8b", "Qwen/Qwen3-8B", "causal", "Qwen3-8B", "qwen",
                  8.2, 36, "8B", licence="Apache-2.0", recipe=QLORA_7B),
        ModelSpec("qwen14b", "Qwen/Qwen2.5-14B-Instruct", "causal", "Qwen2.5-14B-Instruct", "qwen",
                  14.8, 48, "14B", licence="Apache-2.0", recipe=QLORA_14B),
        ModelSpec("aica5b", "Bllossom/llama-3.2-Korean-Bllossom-AICA-5B", "causal", "Llama-3.2-Korean-AICA-5B", "llama",
                  4.3, 32, "5B", licence="Llama 3.2", recipe=QLORA, note="vision-language, used as text only"),
        ModelSpec("solar10b", "upstage/SOLAR-10.7B-Instruct-v1.0", "causal", "SOLAR-10.7B-Instruct", "llama",
                  10.7, 48, "11B", "fp16", licence="CC-BY-NC-4.0", recipe=QLORA_7B, note="48 layers: slow to decode"),
        ModelSpec("kanana2b", "kakaocorp/kanana-1.5-2.1b-instruct-2505", "causal", "Kanana-1.5-2.1B", "llama",
                  2.1, 32, "2B", licence="Apache-2.0", recipe=QLORA),
        ModelSpec("kanana8b", "kakaocorp/kanana-1.5-8b-instruct-2505", "causal", "Kanana-1.5-8B", "llama",
                  8.0, 32, "8B", licence="Apache-2.0", recipe=QLORA_7B),
        ModelSpec("ax7b", "skt/A.X-4.0-Light", "causal", "A.X-4.0-Light", "qwen",
                  7.3, 28, "7B", licence="Apache-2.0", recipe=QLORA_7B),
        ModelSpec("midm2b", "K-intelligence/Midm-2.0-Mini-Instruct", "causal", "Midm-2.0-Mini", "llama",
                  2.3, 48, "2B", licence="MIT", recipe=QLORA),
        ModelSpec("exaone1b", "LGAI-EXAONE/EXAONE-4.0-1.2B", "causal", "EXAONE-4.0-1.2B", "exaone",
                  1.3, 30, "1B", licence="EXAONE (non-commercial)", recipe=QLORA),
        ModelSpec("gemma4b", "google/gemma-3-4b-it", "causal", "Gemma-3-4B", "gemma",
                  4.3, 34, "4B", licence="Gemma", gated=True, recipe=QLORA),
        ModelSpec("kobart", "digit82/kobart-summarization", "seq2seq", "KoBART-Summarization", "bart",
                  0.124, 6, "base", licence="MIT", recipe=FULL),
        ModelSpec("kobart-base", "gogamza/kobart-base-v2", "seq2seq", "KoBART-Base-v2", "bart",
                  0.124, 6, "base", licence="MIT", recipe=FULL),
        ModelSpec("kot5", "paust/pko-t5-base", "seq2seq", "pko-T5-Base", "t5",
                  0.276, 12, "base", licence="CC-BY-4.0", recipe=FULL_SMALL, note="overflows in fp16: bf16 or fp32"),
        ModelSpec("kot5-large", "paust/pko-t5-large", "seq2seq", "pko-T5-Large", "t5",
                  0.82, 24, "large", licence="CC-BY-4.0", recipe=FULL_SMALL, note="overflows in fp16: bf16 or fp32"),
        ModelSpec("mbart", "facebook/mbart-large-50", "seq2seq", "mBART-Large-50", "mbart",
                  0.611, 12, "large", licence="MIT", recipe=FULL_SMALL, note="needs ko_KR language codes"),
        ModelSpec("kogpt2", "skt/kogpt2-base-v2", "causal", "KoGPT2-Base-v2", "gpt2",
                  0.125, 12, "base", "fp32", licence="CC-BY-NC-SA-4.0", recipe=FULL_SMALL, note="no chat template"),
        ModelSpec("constant", "", "baseline", "Constant", note="one sentence for every dialogue"),
        ModelSpec("lead1", "", "baseline", "Lead-1", note="the first line of the dialogue"),
        ModelSpec("lead2", "", "baseline", "Lead-2", note="the first two lines"),
        ModelSpec("lead3", "", "baseline", "Lead-3", note="the first three lines"),
        ModelSpec("random", "", "baseline", "Random", note="the summary of another row"),
    )
}  # fmt: skip
BASELINES = tuple(spec.name for spec in CATALOGUE.values() if spec.kind == "baseline")


def resolve(name: str) -> ModelSpec:
    """The model that a name stands for: a catalogue entry, an existing folder, or a Hugging Face id.

    Raises:
        UnknownModelError: when it is none of these; the remedy suggests the nearest catalogue name.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    path = Path(os.path.expanduser(name))  # and os.path.isdir, because Path's own raise on what is no path
    if name and os.path.isdir(path):
        return ModelSpec(name, str(path), nickname=path.resolve().name, dtype=None)
    known = next((spec for spec in CATALOGUE.values() if spec.source == name != ""), None)
    if known:
        return known
    if HUB_ID.fullmatch(name) and not os.path.isdir(path.parent):
        return ModelSpec(name, name, nickname=name.rpartition("/")[2], dtype=None)
    near = get_close_matches(name.lower(), CATALOGUE, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UnknownModelError(
        f"no model '{name}': not in the catalogue, not a folder, not a Hugging Face id (owner/name)",
        f"{hint}`dialsum models` lists the catalogue",
    )


def served(name: str) -> ModelSpec:
    """The model that a server knows by this name, whatever the catalogue has under it."""
    return ModelSpec(name, "", "api", nickname=name.rpartition("/")[2], dtype=None)
