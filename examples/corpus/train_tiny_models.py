"""Train the two bundled models from nothing on half of the corpus's topics: `python examples/corpus/train_tiny_models.py`."""

import argparse
import csv
import hashlib
import json
import platform
import random
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from dialsum_cli.prompts import load_prompt, prompt_names
from dialsum_cli.prompts.chat import ChatPrompt, EncoderPrompt

PACKAGE = Path(__file__).resolve().parents[2] / "dialsum_cli"
TRAIN = PACKAGE / "data" / "bundled" / "train.csv"
BUNDLED = PACKAGE / "models" / "bundled"
IGNORED = -100  # a label that cross_entropy leaves out

LLAMA_CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# Llama 3's own: words with the sign before them, digits in threes, signs, blanks.
LLAMA_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Recipe:
    """How the models are trained; the defaults are those of the bundled weights."""

    steps: int = 3000
    batch_size: int = 32
    learning_rate: float = 1.5e-3
    warmup: float = 0.05  # share of the steps
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    max_grad_norm: float = 1.0
    vocabulary: int = 4096
    renamed: float = 0.7  # share of the examples in which some of the words are replaced
    seed: int = 42


@dataclass(frozen=True)
class Row:
    """A dialogue and its reference summary."""

    dialogue: str
    summary: str


def read_rows(path: Path) -> tuple[list[Row], list[str]]:
    """The rows of every other topic, and these topics: the rest is left for fine-tuning."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    seen = sorted({row["topic"] for row in rows})[::2]
    return [Row(row["dialogue"], row["summary"]) for row in rows if row["topic"] in seen], seen


class Renamer:
    """Replaces words and numbers that dialogue and summary share, in both: what a summary says has to be copied.

    A thousand dialogues hold too few names, days and prices to learn that from. A new word is invented or another
    row's, and ends in the same final consonant, so that the particles still agree.
    """

    def __init__(self, rows: Sequence[Row], generator: random.Random) -> None:
        self.random = generator
        self.syllables: dict[int, list[str]] = {}  # by final consonant
        for syllable in sorted(set(re.findall("[가-힣]", "".join(row.dialogue + row.summary for row in rows)))):
            self.syllables.setdefault(_final(syllable), []).append(syllable)
        self.every_syllable = [syllable for group in self.syllables.values() for syllable in group]
        self.words: dict[int, list[str]] = {}
        for word in sorted({word for row in rows for word in _shared(row) if not word.isdigit()}):
            self.words.setdefault(_final(word), []).append(word)

    def __call__(self, row: Row) -> Row:
        """The row with about half of its shared words replaced."""
        shared = {word: self._other(word) for word in _shared(row) if self.random.random() < 0.5}
        if not shared:
            return row
        longest_first = sorted(shared, key=len, reverse=True)
        pattern = re.compile(rf"(?<![가-힣\d])(?<!Person)(?:{'|'.join(longest_first)})")
        return Row(*(pattern.sub(lambda match: shared[match[0]], text) for text in (row.dialogue, row.summary)))

    def _other(self, word: str) -> str:
        draw = self.random
        if word.isdigit():
            return str(draw.randrange(10 ** (len(word) - 1), 10 ** len(word)))
        if draw.random() < 0.5:
            return draw.choice(self.words[_final(word)])
        length = max(1, len(word) + draw.choice((-1, 0, 0, 1)))
        return "".join([*draw.choices(self.every_syllable, k=length - 1), draw.choice(self.syllables[_final(word)])])


def _final(word: str) -> int:
    """The index of the last syllable's final consonant, 0 for none (Unicode's order of Hangul syllables)."""
    return (ord(word[-1]) - ord("가")) % 28


def _shared(row: Row) -> list[str]:
    """What the summary has from the dialogue: the longest beginnings of its words, and whole numbers."""
    beginnings = {word[:n] for word in re.findall("[가-힣]+", row.dialogue) for n in range(2, len(word) + 1)}
    numbers = set(re.findall(r"(?<!Person)\d+", row.dialogue))
    found: dict[str, None] = {}  # a set that keeps its order, so that a seed decides all
    for word in re.findall(r"[가-힣]+|(?<!Person)\d+", row.summary):
        if word in numbers:
            found[word] = None
        elif length := next((n for n in range(len(word), 1, -1) if word[:n] in beginnings), 0):
            found[word[:length]] = None
    return list(found)


def texts(rows: Sequence[Row]) -> Iterator[str]:
    """What a vocabulary is made from: the rows, and the prompts as often as a tenth of the dialogues."""
    for row in rows:
        yield from (row.dialogue, row.summary)
    for _ in range(len(rows) // 10):
        for prompt in map(load_prompt, prompt_names()):
            yield from (prompt.system, prompt.user, "system user assistant")


def bart_tokenizer(rows: Sequence[Row], size: int) -> PreTrainedTokenizerFast:
    """Like KoBART's: pieces of words with `▁` for the blank before them, `<s>` and `</s>` around; bytes for the rest."""
    specials = ["<s>", "</s>", "<pad>", "<unk>", "<mask>"]
    alphabet = [f"<0x{byte:02X}>" for byte in range(256)]
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="never"),
            pre_tokenizers.Split(Regex(r"\n|\p{N}|▁?[^▁\n\p{L}\p{N}]+|▁?\p{L}+|▁"), "isolated"),
        ]
    )
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[*specials, *alphabet], show_progress=False)
    backend.train_from_iterator(texts(rows), trainer)
    backend = _without_special(backend, alphabet)
    ids = [(token, specials.index(token)) for token in ("<s>", "</s>")]
    backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def _without_special(backend: Tokenizer, pieces: Sequence[str]) -> Tokenizer:
    """The tokenizer with pieces that training had to reserve as special tokens made ordinary ones."""
    state = json.loads(backend.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in set(pieces)]
    return Tokenizer.from_str(json.dumps(state))


def llama_tokenizer(rows: Sequence[Row], size: int) -> PreTrainedTokenizerFast:
    """Like Llama 3's: byte-level pieces, its chat template and special tokens, `<|begin_of_text|>` before a text."""
    bos, eos, pad = "<|begin_of_text|>", "<|eot_id|>", "<|finetune_right_pad_id|>"
    specials = [bos, "<|end_of_text|>", pad, "<|start_header_id|>", "<|end_header_id|>", eos]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts(rows), trainer)
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=eos,
        pad_token=pad,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = LLAMA_CHAT_TEMPLATE
    return tokenizer


def bart_model(tokenizer: PreTrainedTokenizerFast) -> BartForConditionalGeneration:
    """Three layers that read, two that write."""
    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=len(tokenizer),
            d_model=160,
            encoder_layers=3,
            decoder_layers=2,
            encoder_attention_heads=5,
            decoder_attention_heads=5,
            encoder_ffn_dim=512,
            decoder_ffn_dim=512,
            max_position_embeddings=1024,
            dropout=0.1,
            init_std=0.02,
            scale_embedding=True,
            forced_eos_token_id=None,
            forced_bos_token_id=None,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=tokenizer.eos_token_id,
        )
    )


def llama_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Five layers, two heads of keys and values."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=192,
            intermediate_size=448,
            num_hidden_layers=5,
            num_attention_heads=6,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


class BartTask:
    """Tiny BART and what it learns from."""

    def __init__(self, rows: Sequence[Row], recipe: Recipe) -> None:
        self.tokenizer = bart_tokenizer(rows, recipe.vocabulary)
        self.prompt = EncoderPrompt(self.tokenizer)
        self.model = bart_model(self.tokenizer)

    def encode(self, row: Row) -> tuple[list[int], list[int]]:
        """The ids that go in, and the labels that should come out."""
        return self.prompt.encode(row.dialogue).ids, self.prompt.answer_ids(row.summary)

    def logits(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (tokens, vocabulary) and labels (tokens) of all answers in a batch."""
        answered = batch["labels"] != IGNORED
        return self.model(**batch).logits[answered], batch["labels"][answered]


class LlamaTask:
    """Tiny Llama and what it learns from: the prompt of screening, with a loss on the answer alone."""

    def __init__(self, rows: Sequence[Row], recipe: Recipe) -> None:
        self.tokenizer = llama_tokenizer(rows, recipe.vocabulary)
        self.prompt = ChatPrompt(self.tokenizer, load_prompt("korean"))
        self.model = llama_model(self.tokenizer)

    def encode(self, row: Row) -> tuple[list[int], list[int]]:
        """The ids of prompt and answer, and the labels that are the answer's."""
        ids, answer = self.prompt.encode(row.dialogue).ids, self.prompt.answer_ids(row.summary)
        return ids + answer, [IGNORED] * len(ids) + answer

    def logits(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (tokens, vocabulary) and labels (tokens) of all answers in a batch."""
        labels = batch["labels"][:, 1:]
        answered = labels != IGNORED
        hidden = self.model.model(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        return self.model.lm_head(hidden[:, :-1][answered]), labels[answered]


TASKS: dict[str, type[BartTask | LlamaTask]] = {"tiny-bart": BartTask, "tiny-llama": LlamaTask}


def collate(examples: Sequence[tuple[list[int], list[int]]], pad: int, device: torch.device) -> dict[str, torch.Tensor]:
    """Examples padded on the right, on the device."""

    def padded(sequences: Sequence[Sequence[int]], value: int) -> torch.Tensor:
        tensors = [torch.tensor(sequence) for sequence in sequences]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value).to(device)

    ids, labels = zip(*examples, strict=True)
    return {
        "input_ids": padded(ids, pad),
        "attention_mask": padded([[1] * len(each) for each in ids], 0),
        "labels": padded(labels, IGNORED),
    }


def batches(task: BartTask | LlamaTask, rows: Sequence[Row], recipe: Recipe) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Batches without end; in each pass over the rows, those of similar length meet."""
    generator = random.Random(recipe.seed)
    rename = Renamer(rows, generator)
    while True:
        examples = [task.encode(rename(row) if generator.random() < recipe.renamed else row) for row in rows]
        examples.sort(key=lambda example: len(example[0]) + generator.randrange(30))
        chosen = [examples[i : i + recipe.batch_size] for i in range(0, len(examples), recipe.batch_size)]
        generator.shuffle(chosen)
        yield from chosen


def train(task: BartTask | LlamaTask, rows: Sequence[Row], recipe: Recipe, device: torch.device) -> list[float]:
    """Train a task's model in place; returns the loss of every step."""
    model = task.model.to(device).train()
    matrices = [each for each in model.parameters() if each.ndim > 1]
    vectors = [each for each in model.parameters() if each.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, int(recipe.warmup * recipe.steps), recipe.steps)
    losses: list[float] = []
    started = time.perf_counter()
    for step, examples in zip(range(1, recipe.steps + 1), batches(task, rows, recipe), strict=False):
        batch = collate(examples, int(task.tokenizer.pad_token_id), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits, labels = task.logits(batch)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        if step % 50 == 0:
            mean = sum(losses[-50:]) / 50
            print(f"step {step} of {recipe.steps}: loss {mean:.3f}, {time.perf_counter() - started:.0f} s", flush=True)
    return losses


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write model and tokenizer: half the bytes a weight in the file, fp32 when loaded."""
    model = model.cpu().eval()
    special = {name: getattr(model.config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    start = getattr(model.config, "decoder_start_token_id", None)
    model.generation_config = GenerationConfig(**special, decoder_start_token_id=start)
    model.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and write both models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=BUNDLED, help="folder for the two models")
    parser.add_argument("--data", type=Path, default=TRAIN, help="the training split")
    parser.add_argument("--models", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options = parser.parse_args(arguments)
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device)
    rows, topics = read_rows(options.data)
    recipe = Recipe(steps=options.steps)
    for name in options.models:
        torch.manual_seed(recipe.seed)
        task = TASKS[name](rows, recipe)
        print(f"{name}: {task.model.num_parameters():,} parameters, {len(task.tokenizer)} tokens", flush=True)
        started = time.perf_counter()
        losses = train(task, rows, recipe, device)
        seconds = time.perf_counter() - started
        save(task.model, task.tokenizer, options.output / name)
        record: dict[str, Any] = {
            "recipe": asdict(recipe),
            "train_sha256": hashlib.sha256(options.data.read_bytes()).hexdigest(),
            "rows": len(rows),
            "topics": topics,
            "loss": round(sum(losses[-100:]) / len(losses[-100:]), 4),  # with smoothing; mean of the last 100 steps
            "seconds": round(seconds),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "tokenizers": tokenizers.__version__,
            },
        }
        path = options.output / name / "training.json"
        path.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
