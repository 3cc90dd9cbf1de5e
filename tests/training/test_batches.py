"""Examples, steps, micro-batches and the loss: exact, whatever the batches."""

from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_models import make_model
from torch.nn.functional import cross_entropy

from dialsum_cli.data.dialogues import Dialogue
from dialsum_cli.errors import DataError, DialsumError
from dialsum_cli.models.loading import load
from dialsum_cli.registry import FULL, QLORA, Recipe, resolve
from dialsum_cli.settings import PredictSettings
from dialsum_cli.training.batches import (
    IGNORED,
    AnswerLoss,
    Example,
    StepSampler,
    _SharedLoss,
    collate,
    full_batches,
    make_examples,
    micro_batches,
    padded_tokens,
)
from dialsum_cli.training.methods import add_adapter
from dialsum_cli.training.trainers import Steps
from tests.prompts.families import CHAT, ENCODER, cases, tokenizer_of
from tests.prompts.test_chat import ATTACKS, HARMLESS, TRICKS, controls, prompt_of

FAMILIES = ("bart", "t5", "mbart", "gpt2", "llama", "qwen", "mistral", "gemma2")
# peft 0.21 asks transformers 5.23 for a property under its former name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
SUMMARY = "#Person1#은 김치찌개를 먹자고 한다."


@pytest.fixture(scope="module")
def model_of(tmp_path_factory):
    """Loads a family's tiny model once; `llama+lora` has an adapter whose second half is no longer zero."""

    @cache
    def model(name):
        family, _, method = name.partition("+")
        folder = make_model(tmp_path_factory.mktemp("models") / family, family)
        loaded = load(resolve(str(folder)), PredictSettings())
        if method:
            loaded = add_adapter(loaded, QLORA)
            for key, weight in loaded.model.named_parameters():
                if "lora_B" in key:
                    torch.nn.init.normal_(weight.data, std=0.02)
            loaded.model.eval()
        return loaded

    return model


def plain_loss(model, rows, pad_id, smoothing):
    """The mean loss of all answer tokens by full logits of the whole batch under a full mask, and nothing clever.

    With smoothing, (1 - s) of a target is on the token and s is spread over the vocabulary (Szegedy et al. 2016,
    arXiv 1512.00567, section 7).
    """
    seq2seq = model.config.is_encoder_decoder
    given_ids = [row.prompt_ids if seq2seq else row.prompt_ids + row.answer_ids for row in rows]
    labels = [row.answer_ids if seq2seq else [-100] * len(row.prompt_ids) + row.answer_ids for row in rows]
    longest, longest_label = max(map(len, given_ids)), max(map(len, labels))
    inputs = {
        "input_ids": torch.tensor([ids + [pad_id] * (longest - len(ids)) for ids in given_ids]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in given_ids]),
    }
    targets = torch.tensor([ids + [-100] * (longest_label - len(ids)) for ids in labels])
    logits = model(**inputs, labels=targets).logits
    if not seq2seq:
        logits, targets = logits[:, :-1], targets[:, 1:]
    logs = torch.log_softmax(logits, dim=-1)
    picked = logs.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    losses = -(1 - smoothing) * picked - smoothing * logs.mean(dim=-1)
    return losses[targets != -100].mean()


def gradients_of(model):
    grads = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad(set_to_none=True)
    return grads


def fail(message):
    raise AssertionError(message)


SIZES = [(30, 5), (12, 9), (12, 9), (3, 2)]  # prompt and answer of each row, in tokens
ROWS = st.lists(st.tuples(st.integers(1, 30), st.integers(2, 9)), min_size=1, max_size=6)


def random_rows(sizes, vocabulary):
    """Rows of random ids, the pad token among them: only positions may decide what is trained."""
    generator = torch.Generator().manual_seed(len(sizes) + 7 * sum(map(sum, sizes)))

    def ids(length):
        return torch.randint(0, min(vocabulary, 600), (length,), generator=generator).tolist()

    return [Example(str(row), ids(prompt), ids(answer)) for row, (prompt, answer) in enumerate(sizes)]


@pytest.mark.parametrize("name", [*FAMILIES, "llama+lora"])
def test_loss_and_gradients_are_those_of_full_logits_under_a_full_mask(model_of, name):
    loaded = model_of(name)
    pad_id, pad = loaded.tokenizer.pad_token_id, 2 if name.startswith("mbart") else None

    @settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
    @example(sizes=SIZES, budget=45, smoothing=0.1)
    @example(sizes=SIZES, budget=16_384, smoothing=0.0)
    @given(sizes=ROWS, budget=st.sampled_from([1, 20, 45, 80, 16_384]), smoothing=st.sampled_from([0.0, 0.1]))
    def check(sizes, budget, smoothing):
        rows = random_rows(sizes, len(loaded.tokenizer))
        if pad is not None:  # mBART itself takes a label's last id that is no padding for the language
            rows = [Example(r.fname, r.prompt_ids, [i if i != pad_id else pad for i in r.answer_ids]) for r in rows]
        expected = plain_loss(loaded.model, rows, pad_id, smoothing)
        expected.backward()
        theirs = gradients_of(loaded.model)
        steps = Steps(loaded, Recipe(1e-4, label_smoothing=smoothing), budget, fail)
        try:
            loss = steps.compute(rows, torch.Tensor.backward)
        finally:
            steps.loss.remove()
        ours = gradients_of(loaded.model)
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
        assert theirs.keys() == ours.keys()
        for key, gradient in theirs.items():
            torch.testing.assert_close(
                ours[key], gradient, atol=1e-5, rtol=0, msg=lambda text, key=key: f"{key} {text}"
            )

    check()


def test_the_hook_computes_logits_of_answers_alone_and_goes_away(model_of):
    loaded = model_of("llama")
    rows = random_rows([(20, 3), (10, 5)], 600)
    batch = collate(rows, 2, seq2seq=False)
    seen = []
    handle = loaded.model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    loss = AnswerLoss(loaded.model)
    loss(batch)
    loaded.model(input_ids=batch["input_ids"])  # what generation does between two steps is left alone
    loss.remove()
    handle.remove()
    assert [tuple(shape[:-1]) for shape in seen] == [(8,), (2, 23)]


@pytest.mark.parametrize("name", cases(CHAT, ENCODER))
def test_every_end_token_is_trained_and_no_prompt_token_is(name):
    prompt, tokenizer = prompt_of(name), tokenizer_of(name)
    marker = tokenizer.eos_token
    texts = [HARMLESS, *(make(name) for make in ATTACKS.values()), *(trick(marker) for trick in TRICKS.values())]
    summaries = [SUMMARY, *(f"{text} 요약" for text in texts[1:])]
    dialogues = [
        Dialogue(str(i), text, (summary,)) for i, (text, summary) in enumerate(zip(texts, summaries, strict=True))
    ]
    seq2seq = name in ENCODER
    items = make_examples(dialogues, prompt, None, 160).items
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    batch = collate(items, pad_id, seq2seq=seq2seq)
    end = tokenizer.convert_tokens_to_ids(["</s>"] if seq2seq else [*CHAT[name].end])
    for row, (dialogue, summary) in enumerate(zip(texts, summaries, strict=True)):
        labels = batch["labels"][row].tolist()
        asked, answer = prompt.encode(dialogue).ids, prompt.answer_ids(summary)
        if seq2seq:
            assert batch["input_ids"][row].tolist()[: len(asked)] == asked
            assert batch["attention_mask"][row].tolist() == [1] * len(asked) + [0] * (
                batch["input_ids"].shape[1] - len(asked)
            )
            assert labels == answer + [IGNORED] * (len(labels) - len(answer))
            lead = [i for i in prompt.answer_ids("") if i not in end]  # the language of mBART, the <s> of BART
            assert controls(name, answer) == lead + end
        else:
            whole = asked + answer
            assert batch["input_ids"][row].tolist() == whole + [pad_id] * (len(labels) - len(whole))
            assert labels[: len(asked)] == [IGNORED] * len(asked)
            assert labels[len(asked) :] == answer + [IGNORED] * (len(labels) - len(whole))
            thought = [i for i in prompt.answer_ids("") if i not in end]
            assert [i for i in controls(name, answer) if i not in thought] == end
        assert answer[-len(end) :] == end


def test_padding_of_the_end_tokens_id_does_not_hide_the_end_token():
    # The classic: pad = eos, and all padding taken out of the loss takes the end out as well.
    prompt, end = prompt_of("solar"), tokenizer_of("solar").eos_token_id
    dialogues = [Dialogue("0", HARMLESS, (SUMMARY,)), Dialogue("1", HARMLESS, (SUMMARY * 3,))]
    labels = collate(make_examples(dialogues, prompt, None, 160).items, end, seq2seq=False)["labels"]
    assert (labels == end).sum(dim=1).tolist() == [1, 1]


def test_all_references_are_examples_and_what_is_shortened_or_long_is_counted():
    prompt = prompt_of("tiny-llama")
    long = "\n".join(f"#Person{i % 2 + 1}#: 안녕하세요, {i}번째 인사입니다." for i in range(60))
    dialogues = [Dialogue("short", HARMLESS, (SUMMARY, "요약.")), Dialogue("long", long, (SUMMARY * 8,))]
    most = len(prompt.encode(HARMLESS).ids) + 100
    examples = make_examples(dialogues, prompt, most, 160)
    assert [item.fname for item in examples.items] == ["short", "short", "long"]
    assert examples.shortened == ["long"]
    assert examples.long_answers == [item.fname for item in examples.items if len(item.answer_ids) > 160]
    assert examples.tokens == sum(item.width for item in examples.items)
    assert len(examples.items[2].prompt_ids) <= most
    assert examples.items[2].answer_ids == prompt.answer_ids(SUMMARY * 8)  # never cut


@pytest.mark.parametrize("name", ["tiny-llama", "bart", "t5", "thinking"])
def test_an_example_without_a_trained_token_is_refused(name):
    for summary in ("", "  \n"):
        with pytest.raises(DataError, match="7: its summary has no token to train on"):
            make_examples([Dialogue("7", HARMLESS, (summary,))], prompt_of(name), None, 160)


@pytest.mark.parametrize(("name", "room", "remedy"), [
    ("tiny-llama", "its summary of .* does not fit", "--max-new-tokens"),
    ("bart", "its summary of .* does not fit", "shorten it"),
])  # fmt: skip
def test_an_answer_that_would_be_cut_is_refused(name, room, remedy):
    prompt = prompt_of(name)
    most = len(prompt.encode(HARMLESS).ids)
    with pytest.raises(DataError, match=room) as error:
        make_examples([Dialogue("7", HARMLESS, (SUMMARY * 20,))], prompt, most, 20)
    assert remedy in error.value.remedy
    if name == "bart":
        assert "--max-new-tokens" not in error.value.remedy  # an encoder-decoder's positions are not shared


WIDTHS = st.lists(st.integers(1, 50), min_size=1, max_size=300)


@settings(max_examples=40)
@given(widths=WIDTHS, rows=st.integers(1, 20), seed=st.integers(0, 99))
def test_an_epoch_has_every_row_once(widths, rows, seed):
    sampler = StepSampler(widths, rows, seed)
    orders = []
    for epoch in range(2):
        sampler.epoch = epoch
        steps = [*sampler]
        assert len(steps) == len(sampler) == -(-len(widths) // rows)
        assert sorted(row for step in steps for row in step) == [*range(len(widths))]
        assert sorted(map(len, steps))[1:] == [rows] * (len(steps) - 1)  # one has what is left
        again = StepSampler(widths, rows, seed)
        again.epoch = epoch
        assert [*again] == steps
        orders.append(steps)
    if len(sampler) > 20:
        assert orders[0] != orders[1]
        assert orders[0] != [*StepSampler(widths, rows, seed + 1)]


def test_rows_of_similar_length_go_together_and_in_other_company_each_epoch():
    widths = torch.randint(50, 800, (2000,), generator=torch.Generator().manual_seed(0)).tolist()
    sampler = StepSampler(widths, 16, 0)
    computed = sum(len(step) * max(widths[row] for row in step) for step in sampler)
    assert computed < 1.05 * sum(widths)  # in random company it would be some 1.8 times as much
    first = {frozenset(step) for step in sampler}
    sampler.epoch = 1
    assert len(first & {frozenset(step) for step in sampler}) < 5
    order = [max(widths[row] for row in step) for step in sampler]
    assert sum(a > b for a, b in pairwise(order)) in range(40, 85)  # long and short steps come in no order


@settings(max_examples=50)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 20)), min_size=1, max_size=40),
    budget=st.integers(1, 900),
)
def test_micro_batches_have_every_row_once_and_keep_the_budget(sizes, budget):
    rows = random_rows(sizes, 600)
    batches = micro_batches(rows, budget)
    assert sorted(row.fname for batch in batches for row in batch) == sorted(row.fname for row in rows)
    for batch in batches:
        assert padded_tokens(batch) <= budget or len(batch) == 1
    full = full_batches(rows, budget)
    for batch, following in pairwise(full):  # so that there is no way to have fewer
        assert padded_tokens([*batch, following[0]]) > budget
    assert len(batches) == len(full)
    if several := [padded_tokens(batch) for batch in batches if len(batch) > 1]:  # no cut is more even
        assert len(full_batches(rows, max(several) - 1)) > len(batches)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.01), (torch.float16, 1e-3)])
def test_a_loss_in_parts_and_its_gradient_are_those_of_the_whole(dtype, tolerance, smoothing):
    torch.manual_seed(0)
    logits, targets = (3 * torch.randn(600, 50)).to(dtype), torch.randint(50, (600,))
    found, scale = [], 1024.0  # as of a GradScaler
    for in_parts in (False, True):
        given = logits.clone().requires_grad_()
        if in_parts:
            loss = _SharedLoss.apply(given, targets, 7_000, smoothing)
        else:
            loss = cross_entropy(given.float(), targets, reduction="sum", label_smoothing=smoothing) / 7_000
        (scale * loss).backward()
        assert given.grad.dtype == dtype
        found.append((loss.item(), given.grad.float()))
    (loss, gradient), (ours, our_gradient) = found
    assert ours == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(our_gradient, gradient, rtol=tolerance, atol=1e-9)


class Memory:
    """A device with room for so many tokens at once: a hook of the model's, as a real one would have no say in ours."""

    def __init__(self, model, tokens):
        self.tokens, self.largest = tokens, 0
        self.handle = model.register_forward_pre_hook(self.take, with_kwargs=True)

    def take(self, module, arguments, named):
        wanted = named["input_ids"].numel()
        if "decoder_input_ids" in named:
            wanted += named["decoder_input_ids"].numel()
        if wanted > self.tokens:
            raise torch.OutOfMemoryError(f"tried to allocate {wanted} tokens")
        self.largest = max(self.largest, wanted)


@pytest.mark.parametrize("name", ["bart", "llama"])
@pytest.mark.parametrize(("sizes", "budget", "room"), [
    ([(30, 5)] * 9, 16_384, 80),
    # The widest is computed alone, and is shorter than the others together: the failure is not its own.
    ([(95, 5), (55, 5), (55, 5), (55, 5)], 190, 150),
    ([(40, 2), (9, 3), (30, 3), (12, 8), (22, 2), (31, 9)], 500, 45),
])  # fmt: skip
def test_out_of_memory_in_a_step_halves_the_budget_and_changes_no_gradient(model_of, name, sizes, budget, room):
    loaded = model_of(name)
    rows, told = random_rows(sizes, 600), []
    expected = plain_loss(loaded.model, rows, loaded.tokenizer.pad_token_id, 0.0)
    expected.backward()
    theirs = gradients_of(loaded.model)
    steps = Steps(loaded, FULL, budget, told.append)
    memory = Memory(loaded.model, room)
    try:
        loss = steps.compute(rows, torch.Tensor.backward)
    finally:
        memory.handle.remove()
        steps.loss.remove()
    ours = gradients_of(loaded.model)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    for key, gradient in theirs.items():
        torch.testing.assert_close(ours[key], gradient, atol=1e-5, rtol=0)
    assert told
    assert all(line.startswith("out of memory: ") for line in told)
    assert steps.budget < budget
    assert max(map(padded_tokens, micro_batches(rows, steps.budget))) <= room
    assert 2 * memory.largest > min(room, padded_tokens(rows)) / 2  # no more was given up than needed
    told.clear()
    steps = Steps(loaded, FULL, steps.budget, told.append)
    steps.compute(rows, torch.Tensor.backward)  # what is left goes by the smaller budget, without a word
    steps.loss.remove()
    gradients_of(loaded.model)
    assert not told


@pytest.mark.parametrize("name", ["bart", "llama"])
def test_a_single_row_that_is_too_large_is_said_with_what_would_help(model_of, name):
    loaded = model_of(name)
    steps = Steps(loaded, FULL, 16_384, lambda message: None)
    memory = Memory(loaded.model, 50)
    try:
        with pytest.raises(DialsumError, match="out of memory on a single example of 83 tokens") as error:
            steps.compute(random_rows([(10, 2), (80, 3), (10, 2)], 600), torch.Tensor.backward)
    finally:
        memory.handle.remove()
        steps.loss.remove()
    assert "--gradient-checkpointing on" in error.value.remedy
    assert all(each.grad is None for each in loaded.model.parameters())


def test_another_error_in_a_step_is_not_taken_for_want_of_memory(model_of):
    loaded = model_of("llama")
    steps = Steps(loaded, FULL, 16_384, fail)
    with pytest.raises(IndexError):
        steps.compute([Example("0", [9999], [1])], torch.Tensor.backward)
    steps.loss.remove()
