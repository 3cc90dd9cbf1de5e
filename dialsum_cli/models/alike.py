"""What models must have in common for their logits to be averaged."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dialsum_cli.errors import RequestError
from dialsum_cli.models.loading import load_tokenizer, open_checkpoint
from dialsum_cli.models.planning import layers
from dialsum_cli.models.trained import KEPT, as_trained
from dialsum_cli.prompts import load_prompt
from dialsum_cli.registry import ModelSpec
from dialsum_cli.settings import SummarizerSettings

PROBE = "#Person1#: 안녕하세요, 김 대리님! 3시 meeting 괜찮으세요? 뷁 😀\n#Person2#: 네, #PhoneNumber#로 전화 주세요."
"""Hangul, rare Hangul, tags, digits, Latin, an emoji: equal vocabularies that merge otherwise differ here."""
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "chat_template")


def check_alike(specs: Sequence[ModelSpec], settings: SummarizerSettings) -> None:
    """Refuse models whose logits don't speak of the same tokens after the same prompt; no weights are loaded.

    Raises:
        RequestError: names two models and what differs: architecture, size, tokenizer, or the prompt and options of
            their training where none were given.
        DialsumError: as `open_checkpoint`.
    """
    first, *others = (_traits(spec, settings) for spec in specs)
    for spec, traits in zip(specs[1:], others, strict=True):
        for name, value in traits.items():
            if value == first[name]:
                continue
            shown = f" ({first[name]}, {value})" if isinstance(value, str | int | None) else ""
            remedy = "average fine-tunings of one model, or let `dialsum ensemble` choose among these models' summaries"
            if name.startswith("--"):
                remedy = f"say how both are asked: {name}, or average models that were trained alike"
            raise RequestError(f"--average-logits: {specs[0].name} and {spec.name} differ in {name}{shown}", remedy)


def _traits(spec: ModelSpec, settings: SummarizerSettings) -> Mapping[str, object]:
    """What has to be equal, by the name under which a difference is told; the deeper difference first."""
    checkpoint = open_checkpoint(spec)
    config = checkpoint.config.get_text_config(decoder=True)
    tokenizer = load_tokenizer(checkpoint)
    asked, _ = as_trained(settings, checkpoint.source.folder)
    chat = None if checkpoint.spec.kind == "seq2seq" else replace(load_prompt(asked.prompt), name="")
    sizes = config.vocab_size, config.hidden_size, layers(config), getattr(config, "max_position_embeddings", None)
    return {
        "architecture": checkpoint.config.model_type,
        "size": "vocabulary {}, width {}, layers {}, positions {}".format(*sizes),
        "tokenizer": [tokenizer.get_vocab(), tokenizer.encode(PROBE), *(getattr(tokenizer, name) for name in SPECIAL)],
        "--prompt": [chat],
        **{f"--{name.replace('_', '-')}": getattr(asked, name) for name in KEPT},
    }
