"""vLLM's engine: what can be told without it, and where it is installed the engine itself against `hf`."""

import sys
import time
from importlib.util import find_spec
from itertools import count
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from tiny_models import make_model

from dialsum_cli.data.dialogues import Dialogue, read_dialogues
from dialsum_cli.engines.choice import choose_engine, open_engine
from dialsum_cli.engines.huggingface import HuggingFaceSummarizer, open_summarizer
from dialsum_cli.engines.moving_rows import MovingRows
from dialsum_cli.engines.vllm import VllmSummarizer
from dialsum_cli.errors import MissingPartError, RequestError
from dialsum_cli.models.loading import load, open_checkpoint
from dialsum_cli.models.vocabulary import KoreanLogitsProcessor, Vocabulary
from dialsum_cli.registry import resolve
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import BUNDLED, PredictSettings
from dialsum_cli.summarizer import collect

HERE = find_spec("vllm") is not None
with_vllm = pytest.mark.skipif(not HERE, reason="vLLM has an environment of its own: docs/scale.md")
without_vllm = pytest.mark.skipif(HERE, reason="is about environments without vLLM")
DIALOGUES = [*read_dialogues(BUNDLED / "dev.csv", limit=6)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load(resolve(str(make_model(tmp_path_factory.mktemp("models") / "llama", "llama"))), PredictSettings())


@pytest.fixture(scope="module")
def vocabulary(loaded):
    return Vocabulary.build(loaded.tokenizer, [loaded.tokenizer.eos_token_id])


def wish(name, step, size):
    """What a model would like to write: the same for the same dialogue and step, whatever is beside it."""
    return torch.rand(size, generator=torch.Generator().manual_seed(hash((name, step)) % 2**31))


def alone(vocabulary, dialogue, name, steps):
    """The greedy tokens of one dialogue as the engine `hf` keeps them to the vocabulary."""
    processor = KoreanLogitsProcessor(vocabulary, vocabulary.extra_mask(dialogue)[None], 1)
    ids = torch.zeros((1, 1), dtype=torch.long)  # its prompt
    for step in range(steps):
        scores = processor(ids, wish(name, step, vocabulary.allowed.shape[1])[None])
        ids = torch.cat([ids, scores.argmax(1, keepdim=True)], 1)
    return ids[0, 1:].tolist()


@given(
    moves=st.lists(
        st.tuples(st.sampled_from(["come", "leave", "swap", "move", "again", "stay"]), st.integers(0, 9)), max_size=25
    )
)
@settings(max_examples=25)
def test_rows_that_come_and_go_are_written_as_if_they_were_alone(vocabulary, moves):
    rows = MovingRows(lambda size: vocabulary, torch.device("cpu"))
    size, names = vocabulary.allowed.shape[1], count()
    batch: dict[int, tuple[int, str | None, list[int]]] = {}  # by index: name, dialogue, tokens
    over = []
    for move, number in moves:
        removed, added, moved = [], [], []
        index = [*batch][number % len(batch)] if batch else 0
        if move == "come" or not batch:
            name = next(names)
            dialogue = None if name % 4 == 3 else DIALOGUES[name % len(DIALOGUES)].text
            index = next(free for free in count() if free not in batch)
            batch[index] = (name, dialogue, [])
            added = [(index, *batch[index][1:])]
        elif move == "leave":
            over.append(batch.pop(index))
            removed = [index]
        elif move == "again":  # pre-empted: its tokens are there already when it is back
            name, dialogue, tokens = batch[index]
            batch[index] = (name, dialogue, [*tokens])
            removed, added = [index], [(index, *batch[index][1:])]
        elif move == "move":
            target = next(free for free in count() if free not in batch)
            batch[target] = batch.pop(index)
            moved = [(index, target, False)]
        elif move == "swap":
            other = [*batch][(number + 1) % len(batch)]
            batch[index], batch[other] = batch[other], batch[index]
            moved = [(index, other, True)] if index != other else []
        if removed or added or moved:
            rows.change(removed, added, moved)
        if batch:
            logits = torch.zeros(max(batch) + 1, size)
            for place, (name, _, tokens) in batch.items():
                logits[place] = wish(name, len(tokens), size)
            for place, token in enumerate(rows.block(logits).argmax(1).tolist()):
                if place in batch:
                    batch[place][2].append(token)
    for name, dialogue, tokens in [*over, *batch.values()]:
        if dialogue is None:
            assert tokens == [wish(name, step, size).argmax().item() for step in range(len(tokens))]
        else:
            assert tokens == alone(vocabulary, dialogue, name, len(tokens))


def test_an_engine_that_hides_its_last_tokens_is_no_guess(vocabulary):
    rows = MovingRows(lambda size: vocabulary, torch.device("cpu"))
    rows.change([], [(0, DIALOGUES[0].text, [-1])], [])
    with pytest.raises(RuntimeError, match="hides its last tokens"):
        rows.block(torch.zeros(1, vocabulary.allowed.shape[1]))


def test_prompts_ends_and_answers_are_those_of_hf(loaded):
    options = PredictSettings(engine="vllm", max_new_tokens=12)
    here = HuggingFaceSummarizer(loaded, options, lambda message: None)
    there = VllmSummarizer(open_checkpoint(loaded.spec), "fp32", options)
    assert there.max_prompt_tokens == here.max_prompt_tokens
    assert there.prompt_name == here.prompt_name
    assert there.reader.end_ids == here.end_ids
    for dialogue in DIALOGUES:
        most = here.max_prompt_tokens
        assert there.prompt.encode(dialogue.text, most) == here.prompt.encode(dialogue.text, most)
    text = "#Person1#은 #Person2#에게 #PhoneNumber#를 알려 줍니다."
    ids = loaded.tokenizer.encode(text, add_special_tokens=False)
    end = min(here.end_ids)
    for written in (ids, [*ids, end], [*ids, end, *ids], ids[:-2], [loaded.tokenizer.pad_token_id, *ids]):
        assert there.reader.read(written) == here.reader.read(written)


START = 2.0  # seconds


def double():
    """A double of vLLM that takes its time to start and completes a request with each step."""
    vllm, inputs = ModuleType("vllm"), ModuleType("vllm.inputs")
    requests, asked = [], []

    def step():
        return [SimpleNamespace(finished=True, request_id=requests.pop(0), outputs=[SimpleNamespace(token_ids=[7])])]

    def add_request(name, prompt, params, lora_request):
        requests.append(name)
        asked.append(params)

    def start(**_):
        time.sleep(START)
        config = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=4))
        core = SimpleNamespace(shutdown=lambda: None)
        engine = SimpleNamespace(step=step, add_request=add_request, vllm_config=config, engine_core=core)
        return SimpleNamespace(llm_engine=engine)

    vllm.LLM, vllm.SamplingParams, inputs.tokens_input = start, SimpleNamespace, list
    return {"vllm": vllm, "vllm.inputs": inputs}, asked


def test_its_start_is_not_the_pace_of_what_follows(loaded, monkeypatch):
    modules, asked = double()
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    summarizer = VllmSummarizer(open_checkpoint(loaded.spec), "fp32", PredictSettings(engine="vllm"))
    dialogues = [Dialogue(str(number), f"#Person1#: {number}번") for number in range(40)]
    first, *others = summarizer.summarize(dialogues)
    assert first.seconds < START
    assert first.work_left == pytest.approx(39 / 4)  # one of four that are answered at once
    assert all(batch.seconds * batch.work_left < 39 * START / 4 for batch in others)
    assert (len(others), others[-1].work_left) == (39, 0)
    assert [params.extra_args["dialogue"] for params in asked] == [each.text for each in dialogues]
    assert all(params.stop_token_ids == params.extra_args["open_ids"] == [7] for params in asked)


@without_vllm
def test_where_it_is_missing_the_remedy_installs_it(dialsum):
    with (
        pytest.raises(MissingPartError, match="not installed") as error,
        open_engine(resolve("tiny-llama"), PredictSettings(engine="vllm"), Reporter()),
    ):
        pass
    assert error.value.remedy.startswith("pip install '.[vllm]'")
    done = dialsum("predict", "--engine", "vllm", "--model", "tiny-llama", check=1)
    assert "vLLM is not installed" in done.stderr
    assert "pip install" in done.stderr
    assert choose_engine(PredictSettings()) == ("hf", "no --base-url was given, and vLLM is not installed")


@with_vllm
@pytest.mark.parametrize(("model", "options"), [("tiny-bart", {}), ("tiny-llama", {"precision": "nf4"})])
def test_what_it_can_not_serve_is_refused(model, options):
    with (
        pytest.raises(RequestError, match=r"encoder-decoder|4-bit") as error,
        open_engine(resolve(model), PredictSettings(engine="vllm", **options), Reporter()),
    ):
        pass
    assert error.value.remedy == "use --engine hf"


def summaries(model, dialogues, **options):
    batches = []
    chosen = PredictSettings(model=model, max_new_tokens=80, **options)
    with open_engine(resolve(model), chosen, Reporter()) as (summarizer, facts):
        found = collect(summarizer, dialogues, batches.append)
    return found, facts, batches


@with_vllm
@pytest.mark.slow
@pytest.mark.parametrize("blocked", [True, False])
def test_it_writes_what_hf_writes(blocked):
    dialogues = [*read_dialogues(BUNDLED / "test.csv", limit=40)]
    there, facts, batches = summaries("tiny-llama", dialogues, engine="vllm", block_foreign=blocked)
    here, loaded, _ = summaries("tiny-llama", dialogues, engine="hf", block_foreign=blocked)
    assert there == here
    assert (facts.parameters, facts.layers, facts.precision) == (loaded.parameters, loaded.layers, loaded.precision)
    assert len(batches) > 5  # kept as they come, not all at the end


@with_vllm
@pytest.mark.slow
def test_an_adapter_is_served_on_its_base(tmp_path):
    with open_summarizer(resolve("tiny-llama"), PredictSettings(), Reporter()) as (_, loaded):
        torch.manual_seed(1)
        adapted = get_peft_model(
            loaded.model, LoraConfig(r=4, init_lora_weights=False, target_modules=["q_proj", "v_proj"])
        )
        adapted.save_pretrained(tmp_path / "adapter")
        loaded.tokenizer.save_pretrained(tmp_path / "adapter")
    there, *_ = summaries(str(tmp_path / "adapter"), DIALOGUES, engine="vllm")
    here, *_ = summaries(str(tmp_path / "adapter"), DIALOGUES, engine="hf")
    plain, *_ = summaries("tiny-llama", DIALOGUES, engine="hf")
    assert there == here != plain
