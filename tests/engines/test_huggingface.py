import pytest
import torch
from tiny_models import make_model

from dialsum_cli.data.dialogues import Dialogue, read_dialogues
from dialsum_cli.engines.huggingface import HuggingFaceSummarizer, open_summarizer
from dialsum_cli.errors import RequestError
from dialsum_cli.generation.sampling import Sampling
from dialsum_cli.registry import resolve
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import BUNDLED, PredictSettings
from dialsum_cli.summarizer import collect

FAMILIES = ("llama", "qwen", "gpt2", "bart", "t5")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {family: make_model(tmp_path_factory.mktemp("models") / family, family) for family in FAMILIES}


def summaries(folder, dialogues, **options):
    settings = PredictSettings(**{"max_new_tokens": 12} | options)
    with open_summarizer(resolve(str(folder)), settings, Reporter()) as (summarizer, _):
        return collect(summarizer, dialogues, lambda summary: None)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("beams", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_batch_gives_what_its_rows_give_alone(folders, family, beams):
    dialogues = read_dialogues(BUNDLED / "dev.csv", limit=5)
    settings = PredictSettings(max_new_tokens=12, num_beams=beams)
    with open_summarizer(resolve(str(folders[family])), settings, Reporter()) as (summarizer, _):
        together, *alone = (
            collect(summarizer, rows, lambda _: None) for rows in (dialogues, *([d] for d in dialogues))
        )
    alone = [summary for (summary,) in alone]
    assert [each.text for each in together] == [each.text for each in alone]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kind_is_read_from_the_config(folders, family):
    with open_summarizer(resolve(str(folders[family])), PredictSettings(), Reporter()) as (_, loaded):
        assert loaded.spec.kind == ("seq2seq" if family in ("bart", "t5") else "causal")
        assert loaded.layers == 2
        assert loaded.parameters == sum(weight.numel() for weight in loaded.model.parameters())
        assert loaded.precision == "fp32"


@pytest.mark.parametrize("family", FAMILIES)
def test_speaker_tags_survive_decoding_and_control_tokens_do_not(folders, family):
    with open_summarizer(resolve(str(folders[family])), PredictSettings(), Reporter()) as (summarizer, loaded):
        text = "#Person1#은 #Person2#에게 #PhoneNumber#를 알려 줍니다."
        ids = loaded.tokenizer.encode(text, add_special_tokens=False)
        silent = loaded.tokenizer.pad_token_id
        end = min(summarizer.end_ids)
        assert summarizer.reader.read([*ids, end, silent, silent]) == (text, False)
        assert summarizer.reader.read([silent, *ids]) == (text, True)


def test_tags_that_a_model_added_as_special_tokens_survive_decoding(folders, tmp_path):
    folder = make_model(tmp_path / "tagged", "bart")
    with open_summarizer(resolve(str(folder)), PredictSettings(), Reporter()) as (_, loaded):
        loaded.tokenizer.add_special_tokens({"additional_special_tokens": ["#Person1#", "#Person2#"]})
        loaded.model.resize_token_embeddings(len(loaded.tokenizer))
        summarizer = HuggingFaceSummarizer(loaded, PredictSettings(), lambda message: None)
        text = "#Person1#은 #Person2#에게 묻습니다."
        ids = loaded.tokenizer.encode(text, add_special_tokens=False)
        assert len(loaded.tokenizer.encode("#Person1#", add_special_tokens=False)) == 1
        assert summarizer.reader.read(ids)[0] == text


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("end", ["</think>", ""])
def test_a_thought_between_special_tokens_is_no_part_of_the_summary(tmp_path, opened, end):
    folder = make_model(tmp_path / "thinker", "qwen")
    with open_summarizer(resolve(str(folder)), PredictSettings(), Reporter()) as (_, loaded):
        loaded.tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
        loaded.model.resize_token_embeddings(len(loaded.tokenizer))
        if opened:  # the template makes the model think
            template = loaded.tokenizer.chat_template
            loaded.tokenizer.chat_template = template.replace("assistant\n", "assistant\n<think>\n")
        reader = HuggingFaceSummarizer(loaded, PredictSettings(), lambda message: None).reader
        thought = ("" if opened else "<think>") + "#Person1#이 무엇을 했는지 봅시다."
        answer = "#Person1#은 점심을 먹습니다." if end else ""
        ids = loaded.tokenizer.encode(f"{thought}{end}{answer}", add_special_tokens=False)
        assert reader.read(ids) == (answer, True)


def test_samples_through_generate_keep_to_the_budget(tmp_path):
    folder, tokens = make_model(tmp_path / "gemma", "gemma2"), 2000
    settings = PredictSettings(max_new_tokens=4, batch_tokens=tokens)
    widths = []
    with open_summarizer(resolve(str(folder)), settings, Reporter()) as (summarizer, loaded):
        assert summarizer.decoder is None
        loaded.model.register_forward_pre_hook(
            lambda _, args, kwargs: widths.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
        )
        dialogues = [Dialogue(str(number), "#Person1#: 네.") for number in range(12)]
        assert len([*summarizer.summarize(dialogues, Sampling(3))]) > 1
    prefills = [(rows, width) for rows, width in widths if width > 1]
    assert max(rows for rows, _ in prefills) > 3
    assert all(rows * (width + 4) <= tokens for rows, width in prefills)


def test_sampling_habits_of_a_model_are_not_ours(folders, tmp_path):
    folder = make_model(tmp_path / "sampler", "llama")
    (folder / "generation_config.json").write_text(
        '{"do_sample": true, "temperature": 2.0, "repetition_penalty": 5.0, "bos_token_id": 0, "eos_token_id": [1, 7]}'
    )
    dialogues = read_dialogues(BUNDLED / "dev.csv", limit=2)
    first, again, greedy = (summaries(path, dialogues) for path in (folder, folder, folders["llama"]))
    assert [each.text for each in first] == [each.text for each in again] == [each.text for each in greedy]


def test_every_way_of_ending_that_the_model_knows_ends_an_answer(tmp_path):
    folder = make_model(tmp_path / "ends", "llama")
    (folder / "generation_config.json").write_text('{"bos_token_id": 0, "eos_token_id": [1, 7]}')
    with open_summarizer(resolve(str(folder)), PredictSettings(), Reporter()) as (summarizer, _):
        assert summarizer.end_ids == {1, 7}


def test_a_dialogue_that_does_not_fit_is_shortened_and_counted(tmp_path):
    folder = make_model(tmp_path / "short", "gpt2", positions=400)
    turns = "\n".join(f"#Person{n % 2 + 1}#: {n}번째 이야기를 길게 늘어놓고 있습니다." for n in range(80))
    long, short = summaries(folder, [Dialogue("long", turns), Dialogue("short", "#Person1#: 네.\n#Person2#: 네.")])
    assert (long.prompt_truncated, short.prompt_truncated) == (True, False)


def test_more_new_tokens_than_positions_are_refused(folders, tmp_path):
    folder = make_model(tmp_path / "small", "llama", positions=64)
    settings = PredictSettings(max_new_tokens=64)
    with (
        pytest.raises(RequestError, match="64 positions"),
        open_summarizer(resolve(str(folder)), settings, Reporter()),
    ):
        pass


@pytest.mark.parametrize("precision", ["fp16", "nf4", "bf16"])
def test_precisions_on_a_cpu(folders, precision):
    if torch.cuda.is_available():
        pytest.skip("is about machines without a GPU")
    dialogues = read_dialogues(BUNDLED / "dev.csv", limit=1)
    if precision == "fp16":
        with pytest.raises(RequestError, match="CPU"):
            summaries(folders["llama"], dialogues, precision=precision)
    else:
        assert summaries(folders["llama"], dialogues, precision=precision)
