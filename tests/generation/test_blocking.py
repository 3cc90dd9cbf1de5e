"""What models write, once foreign words are blocked: from their settings to the decoded summaries."""

import pytest
import torch
from tiny_models import make_model
from tokenizers import decoders

from dialsum_cli.data.dialogues import Dialogue, read_dialogues
from dialsum_cli.engines.huggingface import HuggingFaceSummarizer
from dialsum_cli.errors import DialsumError, RequestError
from dialsum_cli.models.automaton import START, korean_characters
from dialsum_cli.models.loading import load
from dialsum_cli.registry import resolve
from dialsum_cli.settings import BUNDLED, PredictSettings
from dialsum_cli.summarizer import collect
from dialsum_cli.text import SPEAKER_TAG, TAG, foreign_scripts, korean_ratio

CAUSAL, ENCODER = ("llama", "qwen", "gpt2"), ("bart", "t5")
NAMES = [
    Dialogue("Jimmy", "#Person1#: 안녕, Jimmy?\n#Person2#: 네."),
    Dialogue("none", "#Person1#: 안녕?\n#Person2#: 네, 저는 잘 지냅니다."),
    Dialogue("UFO", "#Person1#: UFO를 봤어.\n#Person2#: 정말요? 언제요? 어디에서요?"),
]
THINKING = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def random_model(folder, family, seed=0):
    """A model with larger random weights than usual, which has more to say than one token over and over."""
    loaded = load(resolve(str(make_model(folder, family, seed=seed))), PredictSettings())
    with torch.no_grad():
        for weight in loaded.model.parameters():
            weight.mul_(8 if weight.dim() > 1 else 1)
    return loaded


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {family: random_model(root / family, family) for family in CAUSAL + ENCODER}


@pytest.fixture(scope="module")
def korean_dialogues():
    return [each for each in read_dialogues(BUNDLED / "dev.csv") if not foreign_scripts(each.text)][:4]


def summarizer_of(loaded, warn=lambda message: None, **options):
    return HuggingFaceSummarizer(loaded, PredictSettings(**{"max_new_tokens": 24} | options), warn)


def texts(loaded, dialogues, **options):
    return [each.text for each in collect(summarizer_of(loaded, **options), dialogues, lambda batch: None)]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", CAUSAL + ENCODER)
def test_random_models_write_nothing_but_korean(models, korean_dialogues, family, beams):
    blocked, free = (
        texts(models[family], korean_dialogues, num_beams=beams, block_foreign=block) for block in (True, False)
    )
    assert {korean_ratio(text, dialogue.text) for text, dialogue in zip(blocked, korean_dialogues, strict=True)} == {1}
    assert all(korean_characters().issuperset(TAG.sub("", text)) for text in blocked)
    assert any(not korean_characters().issuperset(TAG.sub("", text)) for text in free)


@pytest.mark.parametrize("family", CAUSAL + ENCODER)
def test_the_block_is_on_for_models_that_are_asked_in_words(models, korean_dialogues, family):
    default, blocked, free = (
        texts(models[family], korean_dialogues[:1], block_foreign=block) for block in (None, True, False)
    )
    assert blocked != free
    assert default == (blocked if family in CAUSAL else free)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("family", CAUSAL + ENCODER)
def test_a_blocked_batch_gives_what_its_rows_give_alone(models, family, beams):
    options = {"num_beams": beams, "block_foreign": True}
    together = texts(models[family], NAMES, **options)
    assert together == [texts(models[family], [dialogue], **options)[0] for dialogue in NAMES]


@pytest.mark.parametrize("beams", [1, 3])
def test_each_row_of_a_batch_may_write_the_letters_of_its_own_dialogue(tmp_path, beams):
    foreign = {dialogue.fname: set() for dialogue in NAMES}
    for seed in range(3):
        loaded = random_model(tmp_path / str(seed), "llama", seed)
        answers = texts(loaded, NAMES, num_beams=beams, max_new_tokens=48)
        for dialogue, text in zip(NAMES, answers, strict=True):
            foreign[dialogue.fname] |= set(TAG.sub("", text)) - korean_characters()
    assert foreign["none"] == set()
    assert foreign["Jimmy"] <= set("Jimmy")
    assert foreign["UFO"] <= set("UFO")
    assert foreign["Jimmy"] | foreign["UFO"]


@pytest.mark.parametrize("beams", [1, 4])
def test_the_block_leaves_a_trained_model_its_korean_and_its_tags(korean_dialogues, beams):
    trained, options = load(resolve("tiny-llama"), PredictSettings()), {"num_beams": beams, "max_new_tokens": 160}
    blocked = texts(trained, korean_dialogues, **options)
    assert blocked == texts(trained, korean_dialogues, block_foreign=False, **options)
    assert all(SPEAKER_TAG.search(text) for text in blocked)


def test_logits_that_are_wider_than_the_tokenizer(tmp_path):
    loaded = random_model(tmp_path, "llama")
    size = len(loaded.tokenizer)
    loaded.model.resize_token_embeddings(size + 7, mean_resizing=False)
    allowed = summarizer_of(loaded).vocabulary.allowed
    assert allowed.shape[1] == size + 7
    assert not allowed[:, size:].any()
    assert korean_characters().issuperset(TAG.sub("", texts(loaded, NAMES[1:2])[0]))


def test_a_thought_that_the_template_opens_can_be_ended(tmp_path):
    loaded = random_model(tmp_path, "qwen")
    loaded.tokenizer.chat_template = THINKING
    with pytest.raises(DialsumError, match="several tokens") as raised:
        summarizer_of(loaded)
    assert "--no-block-foreign" in raised.value.remedy
    loaded.tokenizer.add_tokens(["<think>", "</think>"])
    loaded.model.resize_token_embeddings(len(loaded.tokenizer), mean_resizing=False)
    allowed = summarizer_of(loaded).vocabulary.allowed[START]
    assert allowed[loaded.tokenizer.convert_tokens_to_ids(["<think>", "</think>"])].tolist() == [False, True]


def test_a_tokenizer_whose_bytes_are_unknown_is_refused_unless_nothing_is_blocked(tmp_path):
    loaded = random_model(tmp_path, "llama")
    loaded.tokenizer.backend_tokenizer.decoder = decoders.CTC()
    with pytest.raises(DialsumError, match="CTC") as raised:
        summarizer_of(loaded)
    assert "--no-block-foreign" in raised.value.remedy
    assert summarizer_of(loaded, block_foreign=False).vocabulary is None


@pytest.mark.parametrize("family", CAUSAL + ENCODER)
def test_a_ban_on_repeated_n_grams_that_would_break_tags_is_refused_or_told(tmp_path, family):
    loaded, told = random_model(tmp_path, family), []
    summarizer_of(loaded, told.append)
    assert told == []
    if family in CAUSAL:
        with pytest.raises(RequestError, match=r"writes #Person1# in \d+ tokens"):
            summarizer_of(loaded, told.append, no_repeat_ngram_size=3)
    else:
        summarizer_of(loaded, told.append, no_repeat_ngram_size=3)
        assert "--no-repeat-ngram-size breaks its tags" in told.pop()
    loaded.tokenizer.add_special_tokens({"additional_special_tokens": ["#Person1#"]})
    summarizer_of(loaded, told.append, no_repeat_ngram_size=3)
    assert told == []
