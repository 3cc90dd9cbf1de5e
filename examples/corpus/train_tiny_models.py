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
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel, PreTokenizer, Split
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
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
LLAMA_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class Recipe:
    """How a model is trained."""

    steps: int
    learning_rate: float
    warmup: float  # share of the steps
    batch_size: int = 48
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    max_grad_norm: float = 1.0
    vocabulary: int = 4096
    renamed: float = 0.7  # share of the examples in which some of the words are replaced
    seed: int = 42
    workers: int = 4  # processes that prepare batches; part of the recipe, because each draws for itself


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


def train_tokenizer(
    rows: Sequence[Row],
    size: int,
    words: PreTokenizer,
    around: str,
    special: dict[str, str],
    others: Sequence[str] = (),
) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `size` tokens, as BART and Llama 3 have: every text comes back from its ids as it was.

    Args:
        rows: what it is trained on.
        size: tokens, special ones included; these come last.
        words: cuts a text before bytes are joined to tokens.
        around: the special tokens before and behind `$A`, a text.
        special: by their names, such as `bos_token`.
        others: special tokens without such a name.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = words
    backend.decoder = decoders.ByteLevel()
    contents = [*special.values(), *others]
    alphabet = ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=size - len(contents), initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(texts(rows), trainer)
    backend.add_special_tokens([AddedToken(content, special=True, normalized=False) for content in contents])
    ids = [(content, backend.token_to_id(content)) for content in contents if content in around]
    backend.post_processor = TemplateProcessing(single=around, special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)


def bart_tokenizer(rows: Sequence[Row], size: int) -> PreTrainedTokenizerFast:
    """BART's special tokens, and its way to cut a text into words: GPT-2's."""
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return train_tokenizer(rows, size, ByteLevel(add_prefix_space=False), "<s> $A </s>", special)


def llama_tokenizer(rows: Sequence[Row], size: int) -> PreTrainedTokenizerFast:
    """Llama 3's special tokens, chat template, and way to cut a text into words."""
    special = {
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "pad_token": "<|finetune_right_pad_id|>",
    }
    others = ["<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
    split = Split(Regex(LLAMA_WORDS), "isolated")
    words = pre_tokenizers.Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = train_tokenizer(rows, size, words, "<|begin_of_text|> $A", special, others)
    tokenizer.chat_template = LLAMA_CHAT_TEMPLATE
    return tokenizer


def bart_model(tokenizer: PreTrainedTokenizerFast) -> BartForConditionalGeneration:
    """Three layers that read, two that write; positions start as sines, so that the next is a rotation of the last."""
    model = BartForConditionalGeneration(
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
            forced_eos_token_id=None,
            forced_bos_token_id=None,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            decoder_start_token_id=tokenizer.eos_token_id,
        )
    )
    for positions in (model.model.encoder.embed_positions, model.model.decoder.embed_positions):
        positions.weight.data.copy_(sines(*positions.weight.shape))
    return model


def sines(positions: int, width: int) -> torch.Tensor:
    """Sinusoidal positions (Vaswani et al. 2017, section 3.5), scaled to the deviation of BART's fresh embeddings."""
    angles = torch.arange(positions)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return 0.02 * 2**0.5 * torch.cat([angles.sin(), angles.cos()], dim=1)


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
# BART normalises after each block: at 2e-3 it never learns to look at what the encoder read (loss 2.5, not 1.8).
RECIPES = {
    "tiny-bart": Recipe(steps=4500, learning_rate=1e-3, warmup=0.1),
    "tiny-llama": Recipe(steps=5000, learning_rate=2e-3, warmup=0.05),
}


def collate(examples: Sequence[tuple[list[int], list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Examples padded on the right."""

    def padded(sequences: Sequence[Sequence[int]], value: int) -> torch.Tensor:
        tensors = [torch.tensor(sequence) for sequence in sequences]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)

    ids, labels = zip(*examples, strict=True)
    return {
        "input_ids": padded(ids, pad),
        "attention_mask": padded([[1] * len(each) for each in ids], 0),
        "labels": padded(labels, IGNORED),
    }


class Batches(IterableDataset[dict[str, torch.Tensor]]):
    """Batches without end; in each pass over the rows, those of similar length meet. Worker n draws with seed + n."""

    def __init__(self, task: BartTask | LlamaTask, rows: Sequence[Row], recipe: Recipe) -> None:
        self.task, self.rows, self.recipe = task, rows, recipe

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        generator = random.Random(self.recipe.seed + (worker.id if worker else 0))
        rename = Renamer(self.rows, generator)
        size, pad = self.recipe.batch_size, int(self.task.tokenizer.pad_token_id)
        while True:
            renamed = [rename(row) if generator.random() < self.recipe.renamed else row for row in self.rows]
            examples = [self.task.encode(row) for row in renamed]
            examples.sort(key=lambda example: len(example[0]) + generator.randrange(30))
            starts = list(range(0, len(examples), size))
            generator.shuffle(starts)
            for start in starts:
                yield collate(examples[start : start + size], pad)


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
    losses: list[torch.Tensor] = []  # on the device: reading one would wait for it
    started = time.perf_counter()
    loader = DataLoader(Batches(task, rows, recipe), batch_size=None, num_workers=recipe.workers)
    for step, examples in zip(range(1, recipe.steps + 1), loader, strict=False):
        batch = {name: tensor.to(device) for name, tensor in examples.items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits, labels = task.logits(batch)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
        if step % 50 == 0:
            mean = float(sum(losses[-50:])) / 50
            print(f"step {step} of {recipe.steps}: loss {mean:.3f}, {time.perf_counter() - started:.0f} s", flush=True)
    return torch.stack(losses).tolist()


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


def make(name: str, data: Path, folder: Path, recipe: Recipe, device: torch.device) -> list[float]:
    """Train one model, write it with the record of its training, and return the loss of every step."""
    torch.manual_seed(recipe.seed)
    rows, topics = read_rows(data)
    task = TASKS[name](rows, recipe)
    print(f"{name}: {task.model.num_parameters():,} parameters, {len(task.tokenizer)} tokens", flush=True)
    started = time.perf_counter()
    losses = train(task, rows, recipe, device)
    save(task.model, task.tokenizer, folder)
    last = losses[-100:]
    record = {
        "recipe": asdict(recipe),
        "train_sha256": hashlib.sha256(data.read_bytes()).hexdigest(),
        "weights_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "rows": len(rows),
        "topics": topics,
        "loss": round(sum(last) / len(last), 4),  # with label smoothing, mean of the last 100 steps
        "seconds": round(time.perf_counter() - started),
        "machine": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {platform.machine()}",
        "versions": {"python": platform.python_version()}
        | {module.__name__: module.__version__ for module in (torch, transformers, tokenizers)},
    }
    text = json.dumps(record, ensure_ascii=False, indent=2)
    (folder / "training.json").write_text(f"{text}\n", encoding="utf-8")
    return losses


def main() -> None:
    """Train and write both models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=TRAIN, help="the training split")
    parser.add_argument("--output", type=Path, default=BUNDLED, help="folder for the models")
    parser.add_argument("--models", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--steps", type=int, help="fewer than the recipe's, to try it out")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options = parser.parse_args()
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(automatic if options.device == "auto" else options.device)
    for name in options.models:
        recipe = replace(RECIPES[name], steps=options.steps) if options.steps else RECIPES[name]
        make(name, options.data, options.output / name, recipe, device)


if __name__ == "__main__":
    main()
