"""The decoder against `model.generate`, which is the standard for what comes out."""

from contextlib import contextmanager
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from tiny_models import make_model
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from dialsum_cli.data.dialogues import read_dialogues
from dialsum_cli.engines.huggingface import HuggingFaceSummarizer
from dialsum_cli.generation.cache import Layer, Shelf, Slots
from dialsum_cli.generation.decoding import CHECK_EVERY, Decoder
from dialsum_cli.generation.sampling import Sampling, SamplingProcessor
from dialsum_cli.models.loading import load
from dialsum_cli.models.planning import (
    MOST_TOKENS,
    PREFILL_TOKENS,
    batch_tokens,
    generation_bytes,
    peak_bytes,
    stepped,
    weight_bytes,
)
from dialsum_cli.models.vocabulary import KoreanLogitsProcessor, Vocabulary
from dialsum_cli.registry import resolve
from dialsum_cli.settings import BUNDLED, PredictSettings

SIZE, STATES, PAD = 97, 4, 2
SHAPE = {"vocab_size": SIZE, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
         "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": PAD}  # fmt: skip
FAMILIES = {
    "llama": {"model_type": "llama"},
    "llama without groups": {"model_type": "llama", "num_key_value_heads": 4},
    "mistral": {"model_type": "mistral", "sliding_window": None},
    "mistral with a window": {"model_type": "mistral", "sliding_window": 6},
    "qwen2": {"model_type": "qwen2"},
    "qwen2 with a window": {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 5,
                            "max_window_layers": 1},
    "qwen3": {"model_type": "qwen3", "head_dim": 32},
    "exaone4": {"model_type": "exaone4", "sliding_window": 5, "sliding_window_pattern": 2},
    "gpt2": {"model_type": "gpt2"},
}  # fmt: skip
PROMPTS = st.lists(st.lists(st.integers(3, SIZE - 1), min_size=1, max_size=40), min_size=1, max_size=7)


@cache
def model_of(family):
    """A random model, with weights large enough to have something to say."""
    torch.manual_seed(0)
    values = SHAPE | FAMILIES[family]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(values.pop("model_type"), **values)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8 if weight.dim() > 1 else 1)
    # Else `generate` takes the special tokens of the model's own configuration for missing ones.
    model.generation_config = GenerationConfig(bos_token_id=0, pad_token_id=PAD)
    return model


def through_first(ends, answer):
    return answer[: next((i + 1 for i, token in enumerate(answer) if token in ends), len(answer))]


def generated(model, prompts, ends, new, processors=(), samples=1):
    """What `model.generate` answers to the prompts, padded on the left."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    config = GenerationConfig(
        max_new_tokens=new, eos_token_id=ends, pad_token_id=PAD, do_sample=samples > 1, num_return_sequences=samples
    )
    output = model.generate(ids, attention_mask=mask, generation_config=config, logits_processor=[*processors])
    answers = [through_first(ends, answer) for answer in output[:, longest:].tolist()]
    return [answers[row : row + samples] for row in range(0, len(answers), samples)]


def random_vocabulary(seed, rows):
    """Tables that leave some token in each state, and extra masks for some rows."""
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.rand(STATES, SIZE, generator=generator) < 0.2
    allowed[:, 3] = True
    following = torch.randint(STATES, (STATES, SIZE), generator=generator, dtype=torch.uint8)
    extra = torch.rand(rows, SIZE + STATES, generator=generator) < 0.1
    return Vocabulary(allowed, following, {}), extra


@contextmanager
def shapes_seen(module):
    """The shapes of what a module is called with."""
    shapes = []

    def see(_, args, kwargs):
        shapes.append(tuple((args[0] if args else kwargs["input_ids"]).shape))

    handle = module.register_forward_pre_hook(see, with_kwargs=True)
    try:
        yield shapes
    finally:
        handle.remove()


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=12, derandomize=True)
@given(
    prompts=PROMPTS, new=st.integers(1, 40), more_ends=st.integers(0, 12), tables=st.booleans()
)  # fmt: skip
def test_greedy_tokens_are_those_of_generate(family, prompts, new, more_ends, tables):
    model, ends = model_of(family), [1, *range(SIZE - more_ends, SIZE)]  # many ends: rows that stop early
    vocabulary, extra = random_vocabulary(new, len(prompts)) if tables else (None, None)
    processors = [KoreanLogitsProcessor(vocabulary, extra, max(map(len, prompts)))] if vocabulary else []
    ours = Decoder(model, ends, new, vocabulary).decode(prompts, extra)
    assert ours == generated(model, prompts, ends, new, processors)


def test_a_model_that_knows_no_end_writes_as_much_as_it_may():
    answers = Decoder(model_of("llama"), [], 20).decode([[5, 6], [7]])
    assert [len(answer) for (answer,) in answers] == [20, 20]


@pytest.mark.parametrize("family", ["llama", "qwen2 with a window", "gpt2"])
@settings(max_examples=12, derandomize=True)
@given(
    prompts=PROMPTS, new=st.integers(1, 24), samples=st.integers(2, 4), top_p=st.sampled_from([0.3, 0.9, 1.0]),
    temperature=st.sampled_from([0.5, 1.0, 3.0]), tables=st.booleans(),
)  # fmt: skip
def test_samples_are_those_that_generate_draws(family, prompts, new, samples, top_p, temperature, tables):
    model, ends, keys = model_of(family), [1, 94, 95, 96], [str(prompt) for prompt in prompts]
    sampling = Sampling(samples, temperature, top_p, seed=new)
    vocabulary, extra = random_vocabulary(new, len(prompts)) if tables else (None, None)
    start = max(map(len, prompts))
    processors = [KoreanLogitsProcessor(vocabulary, extra, start)] if vocabulary else []
    processors.append(SamplingProcessor(sampling, sampling.draws(keys, new).flatten(0, 1), start))
    ours = Decoder(model, ends, new, vocabulary).decode(prompts, extra, sampling, keys)
    assert ours == generated(model, prompts, ends, new, processors, samples)


def test_draws_are_decided_by_seed_dialogue_and_position_alone():
    few, many = Sampling(2, seed=1).draws(["a", "b"], 5), Sampling(3, seed=1).draws(["b", "c", "a"], 9)
    assert torch.equal(few[0], many[2, :2, :5])
    assert torch.equal(few[1], many[0, :2, :5])
    assert not torch.equal(few, Sampling(2, seed=2).draws(["a", "b"], 5))
    assert few.unique().numel() == few.numel()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.6), (2.0, 0.9)])
def test_tokens_are_drawn_as_often_as_their_shares_say(temperature, top_p):
    logits = torch.tensor([0.0, 2.0, 1.0, 1.5, -1.0, -torch.inf, -3.0])
    shares = (logits / temperature).softmax(0)
    nucleus, mass = [], 0.0
    for token in shares.argsort(descending=True).tolist():  # the smallest set that has top_p
        if mass < top_p:
            nucleus.append(token)
            mass += float(shares[token])
    expected = torch.zeros_like(shares)
    expected[nucleus] = shares[nucleus] / shares[nucleus].sum()
    steps = 20_000
    draws = (torch.arange(steps) + 0.5) / steps
    drawn = Sampling(1, temperature, top_p).choose(logits.expand(steps, -1), draws)
    assert torch.allclose(drawn.bincount(minlength=len(logits)) / steps, expected, atol=2 / steps)


@pytest.mark.parametrize("draw", [0.0, 1 - 2**-24])
def test_draws_at_the_ends_of_their_range_give_tokens_that_may_follow(draw):
    logits = torch.randn(50, 5000, generator=torch.Generator().manual_seed(0))
    logits[:, ::2] = -torch.inf
    tokens = Sampling(1, 1.0, 0.95).choose(logits, torch.full((50,), draw))
    assert logits.gather(1, tokens[:, None]).isfinite().all()
    if draw == 0:
        assert torch.equal(tokens, logits.argmax(1))


def test_all_samples_of_a_prompt_share_one_prefill_and_its_place_in_the_cache():
    model, prompts = model_of("llama"), [[5] * 30, [6] * 20]
    with shapes_seen(model) as shapes:
        Decoder(model, [SIZE], 4).decode(prompts, sampling=Sampling(8), keys=["a", "b"])
    assert shapes == [(2, 30), (2, 8), (2, 8), (2, 8)]


def test_rows_that_have_ended_are_dropped_and_nothing_runs_after_the_last():
    model, prompts = model_of("llama"), [[token] * 9 for token in range(3, 35)]
    endless = Decoder(model, [SIZE], 100).decode(prompts)
    ends = sorted({answer[2 * row + 20] for row, (answer,) in enumerate(endless)})
    with shapes_seen(model) as shapes:
        answers = Decoder(model, ends, 200).decode(prompts)
    lengths = [len(answer) for (answer,) in answers]
    assert max(lengths) < 85
    rows = [shape[0] for shape in shapes[1:]]
    assert rows == sorted(rows, reverse=True)
    assert len(set(rows)) > 1
    assert max(lengths) - 1 <= len(rows) < max(lengths) + CHECK_EVERY
    assert answers == generated(model, prompts, ends, 200)


def test_a_prefill_is_taken_in_parts_and_projects_one_position_of_each_row():
    model = model_of("llama")
    prompts = [[3 + row % 90] * (900 - 10 * row) for row in range(60)]
    projected = []
    handle = model.lm_head.register_forward_hook(lambda _, inputs, output: projected.append(tuple(output.shape)))
    with shapes_seen(model) as shapes:
        answers = Decoder(model, [SIZE], 2).decode(prompts)
    handle.remove()
    *prefills, step = shapes
    assert sum(rows for rows, _ in prefills) == len(prompts) == step[0]
    assert len(prefills) > 1
    assert all(rows * width <= PREFILL_TOKENS for rows, width in prefills)
    assert sum(rows * width for rows, width in prefills) < 0.8 * len(prompts) * 900  # not padded to the longest
    assert projected == [(rows, 1, SIZE) for rows, _ in shapes]
    assert answers[::20] == generated(model, prompts[::20], [SIZE], 2)


def test_a_failure_leaves_the_model_as_it_was():
    model = model_of("llama")
    with pytest.raises(IndexError):
        Decoder(model, [1], 5).decode([[SIZE + 5]])
    assert model.config._attn_implementation == "sdpa"
    assert not model.lm_head._forward_pre_hooks
    assert generated(model, [[5, 6]], [1], 5)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft asks by the old name
def test_a_model_with_an_adapter():
    model = model_of.__wrapped__("qwen2")
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"]))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(generator=torch.Generator().manual_seed(1))
    prompts = [[5, 6, 7], [8] * 12]
    ours = Decoder(adapted.eval(), [1], 20).decode(prompts)
    assert ours == generated(adapted, prompts, [1], 20)
    assert ours != generated(model_of("qwen2"), prompts, [1], 20)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    families = ("llama", "gpt2", "bart", "t5")
    return {name: load(resolve(str(make_model(root / name, name))), PredictSettings()) for name in families}


@pytest.mark.parametrize(
    ("family", "options", "expected"),
    [
        ("llama", {}, "eager"),
        ("gpt2", {}, "eager"),
        ("llama", {"num_beams": 2}, "generate"),
        ("gpt2", {"no_repeat_ngram_size": 30}, "generate"),
        ("bart", {}, "generate"),
        ("t5", {}, "generate"),
    ],
)
def test_a_summarizer_says_how_it_decodes(loaded, family, options, expected):
    if torch.cuda.is_available():
        expected = expected.replace("eager", "graph")
    if "no_repeat_ngram_size" in options:
        loaded[family].tokenizer.add_special_tokens({"additional_special_tokens": ["#Person1#"]})
    assert HuggingFaceSummarizer(loaded[family], PredictSettings(**options), print).decoding == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "llama"}, True),
        ({"model_type": "llama", "rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0,
          "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}, True),
        ({"model_type": "llama", "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, False),
        ({"model_type": "gemma2"}, False),
        ({"model_type": "gemma3_text"}, False),
        ({"model_type": "mamba"}, False),
    ],
)  # fmt: skip
def test_which_architectures_are_stepped_through(config, expected):
    values = dict(config)
    assert stepped(AutoConfig.for_model(values.pop("model_type"), **values), PredictSettings()) is expected


@pytest.mark.parametrize("family", ["llama", "bart", "t5"])
def test_samples_do_not_depend_on_the_batches(loaded, family):
    dialogues = read_dialogues(BUNDLED / "dev.csv", limit=4)
    sampling = Sampling(3, temperature=1.5)

    def samples(tokens):
        summarizer = HuggingFaceSummarizer(
            loaded[family], PredictSettings(max_new_tokens=12, batch_tokens=tokens), print
        )
        return {
            dialogue.fname: [each.text for batch in summarizer.summarize(dialogues, sampling)
                             for each in batch.summaries if each.fname == dialogue.fname]
            for dialogue in dialogues
        }  # fmt: skip

    together = samples(10**6)
    assert {len(texts) for texts in together.values()} == {3}
    assert all(len(set(texts)) == 3 for texts in together.values())
    assert samples(1) == together


def test_batches_fit_into_the_memory_that_is_free():
    config = AutoConfig.for_model("llama", hidden_size=3072, intermediate_size=8192, num_hidden_layers=28,
                                  num_attention_heads=24, num_key_value_heads=8, vocab_size=128256)  # fmt: skip
    greedy, beams = PredictSettings(), PredictSettings(num_beams=4)
    weights, before = weight_bytes(config, "bf16"), 0
    for gib in (0.5, 1, 2, 4, 8, 16, 100):
        free = int(gib * 2**30)
        tokens = batch_tokens(config, "bf16", greedy, free)
        assert before <= tokens <= MOST_TOKENS
        assert generation_bytes(config, "bf16", greedy, free) <= weights + 0.81 * free
        assert generation_bytes(config, "bf16", beams, free) <= weights + 0.81 * free
        assert generation_bytes(config, "bf16", greedy, free) <= peak_bytes(config, "bf16", tokens)
        before = tokens
    assert before == MOST_TOKENS
    assert batch_tokens(config, "bf16", PredictSettings(batch_tokens=77), 2**30) == 77
    assert batch_tokens(config, "bf16", greedy, 0) > 0


@pytest.mark.gpu
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("samples", [1, 3])
def test_captured_steps_write_what_eager_ones_do(family, samples):
    model = model_of.__wrapped__(family).to("cuda")
    prompts = [[3 + row] * (40 - row) for row in range(24)]
    keys = [str(prompt) for prompt in prompts]
    sampling = Sampling(samples, 0.8, 0.9) if samples > 1 else None
    vocabulary, extra = random_vocabulary(1, len(prompts))
    decoder = Decoder(model, [1, *range(70, SIZE)], 60, vocabulary.to("cuda"))
    captured = decoder.decode(prompts, extra.to("cuda"), sampling, keys)
    decoder.captures = False
    assert captured == decoder.decode(prompts, extra.to("cuda"), sampling, keys)


@pytest.mark.gpu
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("heads", [2, 6])
def test_flash_attention_sees_what_the_mask_shows(samples, heads):
    lengths, room, size, outputs = [40, 7, 19, 1], 5, 64, []
    torch.manual_seed(0)
    prompts = torch.randn(2, 4, 2, 40, size, device="cuda", dtype=torch.bfloat16)
    steps = torch.randn(room, 2, 4, 2, samples, size, device="cuda", dtype=torch.bfloat16)
    queries = torch.randn(room, 4, heads, samples, size, device="cuda", dtype=torch.bfloat16)
    for flash in (True, False):
        slots = Slots(lengths, samples, room, torch.device("cuda"), flash=flash)
        layer = Layer(slots, Shelf(1))
        slots.fill(slice(0, 4), 40)
        layer.update(*prompts)
        for number in range(room):
            slots.step(torch.tensor([number], device="cuda"))
            layer.update(*steps[number])
            mask = None if flash else slots.seen(heads // 2)
            outputs.append(layer.attend(queries[number], mask, None).float())
    for mine, masked in zip(outputs[:room], outputs[room:], strict=True):
        torch.testing.assert_close(mine, masked, atol=2e-2, rtol=2e-2)
