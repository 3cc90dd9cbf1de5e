"""Averaged logits against a computation of every step from the start, without caches, padding or batches."""

import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny_models import make_model
from transformers import LlamaConfig
from transformers.modeling_outputs import BaseModelOutput

from dialsum_cli.data.dialogues import Dialogue, read_dialogues
from dialsum_cli.engines.huggingface import open_summarizer
from dialsum_cli.generation.sampling import Sampling
from dialsum_cli.models.loading import load
from dialsum_cli.models.planning import batch_tokens
from dialsum_cli.registry import resolve
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import BUNDLED, PredictSettings
from dialsum_cli.summarizer import collect

FAMILIES = ("llama", "gpt2", "gemma2", "bart", "t5")
NEW = 8


def make_member(folder, family, seed):
    """A random model; of BART, whose random models write nothing, the bundled one with noise on its weights."""
    if family != "bart":
        return make_model(folder, family, seed=seed)
    shutil.copytree(resolve("tiny-bart").source, folder)
    weights = load_file(folder / "model.safetensors")
    torch.manual_seed(seed)
    noisy = {name: weight + 0.5 * weight.std() * torch.randn_like(weight) for name, weight in weights.items()}
    save_file(noisy, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three models of each family, of other seeds (of GPT-2 from 3 on: the first ones write alike)."""
    root = tmp_path_factory.mktemp("models")
    seeds = {"gpt2": range(3, 6)}
    return {
        family: [make_member(root / f"{family}{seed}", family, seed) for seed in seeds.get(family, range(3))]
        for family in FAMILIES
    }


@pytest.fixture(scope="module")
def dialogues():
    """One, three and five lines: a batch pads them."""
    rows = read_dialogues(BUNDLED / "dev.csv", limit=3)
    return [Dialogue(row.fname, "\n".join(row.text.splitlines()[: 2 * i + 1])) for i, row in enumerate(rows)]


def opened(paths, **options):
    """The context of a summarizer of these models."""
    spec, *others = [resolve(str(path)) for path in paths]
    settings = PredictSettings(**{"max_new_tokens": NEW, "block_foreign": False} | options)
    return open_summarizer(spec, settings, Reporter(), *others)


def texts(paths, dialogues, **options):
    with opened(paths, **options) as (summarizer, _):
        return [each.text for each in collect(summarizer, dialogues, lambda batch: None)]


@torch.inference_mode()
def naive(summarizer, dialogue, beams):
    """The answer's text by beam search over the mean of the members' log-probabilities, normalised again.

    The mean of logits differs from that of log-probabilities by a constant of the row alone: this is the definition.
    """
    models = [each.model for each in (summarizer.loaded, *summarizer.others)]
    prompt = summarizer.prompt.encode(dialogue.text, summarizer.max_prompt_tokens).ids
    seq2seq = summarizer.loaded.is_seq2seq
    encoded = [each.get_encoder()(torch.tensor([prompt])) if seq2seq else None for each in models]
    start = [models[0].generation_config.decoder_start_token_id] if seq2seq else prompt

    def logits(model, states, answers):
        ids = torch.tensor([[*start, *answer] for answer in answers])
        if not seq2seq:
            return model(input_ids=ids, use_cache=False).logits[:, -1]
        states = BaseModelOutput(states.last_hidden_state.expand(len(ids), -1, -1))
        return model(encoder_outputs=states, decoder_input_ids=ids, use_cache=False).logits[:, -1]

    running, finished = [(0.0, [])], []
    while running and len(running[0][1]) < NEW:
        answers = [answer for _, answer in running]
        each = [logits(*member, answers).log_softmax(-1) for member in zip(models, encoded, strict=True)]
        scores, tokens = torch.stack(each).mean(0).log_softmax(-1).topk(2 * beams)
        grown = [
            (score + more, [*answer, token])
            for (score, answer), mores, follow in zip(running, scores.tolist(), tokens.tolist(), strict=True)
            for more, token in zip(mores, follow, strict=True)
        ]
        grown = sorted(grown, reverse=True)[: 2 * beams]
        ended = [answer[-1] in summarizer.end_ids for _, answer in grown]
        finished += [each for each, end in zip(grown[:beams], ended[:beams], strict=True) if end]
        running = [each for each, end in zip(grown, ended, strict=True) if not end][:beams]
        if beams == 1 and finished:
            break
    best = max(finished + running, key=lambda each: each[0] / len(each[1])) if beams > 1 else (finished + running)[0]
    return summarizer.reader.read(best[1])[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "beams", "members"),
    [(family, beams, 2) for family in FAMILIES for beams in (1, 3)] + [("llama", 1, 3), ("bart", 3, 3)],
)
def test_each_step_is_decided_by_the_mean_of_all_members(folders, dialogues, family, beams, members):
    paths = folders[family][:members]
    with opened(paths, num_beams=beams) as (summarizer, _):
        assert summarizer.decoding == "generate"
        together = [each.text for each in collect(summarizer, dialogues, lambda batch: None)]
        assert together == [naive(summarizer, dialogue, beams) for dialogue in dialogues]
    for path in paths:
        assert texts([path], dialogues, num_beams=beams) != together


@pytest.mark.parametrize(
    ("family", "options"),
    [("llama", {}), ("llama", {"num_beams": 3}), ("llama", {"block_foreign": True}),
     ("bart", {}), ("bart", {"num_beams": 3}), ("bart", {"block_foreign": True}),
     ("bart", {"no_repeat_ngram_size": 2})],
)  # fmt: skip
def test_a_model_and_its_copy_write_what_the_model_writes(folders, dialogues, tmp_path, family, options):
    copy = shutil.copytree(folders[family][0], tmp_path / "copy")
    alone = texts([folders[family][0]], dialogues, **options)
    assert texts([folders[family][0], copy], dialogues, **options) == alone
    assert texts([folders[family][0], folders[family][1]], dialogues, **options) != alone


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "bart"])
def test_samples_are_drawn_from_the_mean_whatever_the_batches(folders, dialogues, family):
    def samples(paths, tokens):
        with opened(paths, batch_tokens=tokens) as (summarizer, _):
            drawn = [each for batch in summarizer.summarize(dialogues, Sampling(3)) for each in batch.summaries]
        return sorted((each.fname, each.text) for each in drawn)

    first, second, _ = folders[family]
    together = samples([first, second], 10**6)
    assert len(set(together)) == 3 * len(dialogues)
    assert samples([first, second], 1) == together
    assert samples([second, first], 10**6) == together  # a mean has no order
    assert samples([first], 10**6) != together


@pytest.mark.parametrize("family", ["llama", "bart"])
def test_memory_that_runs_out_in_any_member_makes_batches_smaller(folders, dialogues, family):
    def full(_, __, inputs):
        if any(name.endswith("input_ids") and len(ids) > 1 for name, ids in inputs.items()):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with opened(folders[family][:2]) as (summarizer, loaded):
        expected = collect(summarizer, dialogues, lambda batch: None)
        summarizer.others[0].model.register_forward_pre_hook(full, with_kwargs=True)
        before = summarizer.batch_tokens
        assert collect(summarizer, dialogues, lambda batch: None) == expected
        assert summarizer.batch_tokens < before
        assert not loaded.model._forward_hooks  # nothing is averaged once a batch is done or has failed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks by the old name
@pytest.mark.parametrize("family", ["llama", "bart"])
def test_adapters_are_members_beside_whole_models(folders, dialogues, tmp_path, family):
    base = folders[family][0]
    for seed in range(2):
        torch.manual_seed(seed)
        loaded = load(resolve(str(base)), PredictSettings())
        config = LoraConfig(r=4, lora_alpha=64, init_lora_weights=False, target_modules=["q_proj", "v_proj"])
        get_peft_model(loaded.model, config).save_pretrained(tmp_path / str(seed))
        loaded.tokenizer.save_pretrained(tmp_path / str(seed))
    adapters = [tmp_path / "0", tmp_path / "1"]
    for paths in (adapters, [base, adapters[0]]):
        with opened(paths, num_beams=2) as (summarizer, _):
            together = [each.text for each in collect(summarizer, dialogues, lambda batch: None)]
            assert together == [naive(summarizer, dialogue, 2) for dialogue in dialogues]
        assert together != texts(paths[:1], dialogues, num_beams=2)


def test_every_member_has_room_for_its_cache():
    config = LlamaConfig(hidden_size=3072, num_hidden_layers=28, num_attention_heads=24, num_key_value_heads=8)
    cache = 2 * 28 * 8 * 128 * 2  # bytes of a token: keys and values of 8 heads of 128 in bf16, in 28 layers
    for free in (2**30, 2**33):
        for beams in (1, 4):
            settings = PredictSettings(num_beams=beams)
            tokens = [batch_tokens(config, "bf16", settings, free, members) for members in (2, 3, 8)]
            assert sorted(set(tokens), reverse=True) == tokens
            assert all(members * cache * each * beams < free for members, each in zip((2, 3, 8), tokens, strict=True))
    assert batch_tokens(config, "bf16", PredictSettings(batch_tokens=77), 2**30, 2) == 77
