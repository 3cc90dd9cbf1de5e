import pytest

from dialsum_cli.errors import DataError, RequestError
from dialsum_cli.prompts import DEFAULT_PROMPT, Prompt, load_prompt, prompt_names


@pytest.mark.parametrize("name", prompt_names())
def test_shipped_prompts_are_complete(name):
    prompt = load_prompt(name)
    assert prompt.name == name
    assert prompt.plain.endswith("요약:")
    for text in (prompt.system, prompt.user, prompt.plain):
        assert text == text.strip() != ""
    for text in (prompt.system, prompt.plain):
        assert "한국어" in text or name == "short"
    assert "#Person1#" in prompt.system


def test_the_default_is_among_them():
    assert DEFAULT_PROMPT in prompt_names()


def test_messages():
    prompt = Prompt("p", "규칙 {x}", "대화:\n{dialogue}", "{dialogue}")
    assert prompt.messages("{dialogue} {y}") == [
        {"role": "system", "content": "규칙 {x}"},
        {"role": "user", "content": "대화:\n{dialogue} {y}"},
    ]
    assert prompt.messages("네", with_system=False) == [{"role": "user", "content": "규칙 {x}\n\n대화:\n네"}]
    assert Prompt("p", "", "{dialogue}", "{dialogue}").messages("네") == [{"role": "user", "content": "네"}]


@pytest.mark.parametrize("name", prompt_names())
def test_a_saved_prompt_reads_back_equal(name, tmp_path):
    file = tmp_path / "prompt.yaml"
    file.write_text(load_prompt(name).to_yaml(), encoding="utf-8")
    assert load_prompt(file) == load_prompt(name)
    assert load_prompt(str(file)) == load_prompt(name)


def test_a_file_needs_no_more_than_the_users_turn(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("system: 규칙\nuser: |\n  요약해: {dialogue}\n", encoding="utf-8")
    assert load_prompt(file) == Prompt("mine", "규칙", "요약해: {dialogue}", "규칙\n\n요약해: {dialogue}\n\n요약:")
    file.write_text("user: 요약해 {dialogue}", encoding="utf-8")
    assert load_prompt(file) == Prompt("mine", "", "요약해 {dialogue}", "요약해 {dialogue}\n\n요약:")


@pytest.mark.parametrize(
    ("name", "remedy"), [("koraen", "'korean'"), ("zzz", "korean, short"), ("no/such.yaml", "korean")]
)
def test_unknown_names_say_what_there_is(name, remedy):
    with pytest.raises(RequestError, match="no prompt named") as raised:
        load_prompt(name)
    assert remedy in raised.value.remedy


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"user: no slot here", "`user` has the slot {dialogue} 0 times"),
        (b"user: '{dialogue} {dialogue}'", "`user` has the slot {dialogue} 2 times"),
        (b"user: '{dialogue}'\nplain: nothing", "`plain` has the slot {dialogue} 0 times"),
        (b"system: '{dialogue}'\nuser: '{dialogue}'", "`system` has the slot {dialogue} 1 times"),
        (b"system: only", "`user` has the slot {dialogue} 0 times"),
        (b"user: {dialogue}", "a mapping of keys to texts"),  # YAML's own braces: a mapping, not a slot
        (b"just text", "a mapping of keys to texts"),
        (b"", "a mapping of keys to texts"),
        (b"users: '{dialogue}'", "unknown key `users`"),
        (b"user: [", "isn't readable as YAML"),
        (b"user: '\xff'", "isn't readable as YAML"),
    ],
)
def test_malformed_files_say_what_is_wrong(content, message, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(DataError) as raised:
        load_prompt(file)
    assert message in str(raised.value)
    assert str(file) in str(raised.value)
    assert raised.value.remedy


def test_a_mistyped_key_gets_the_nearest(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("usr: '{dialogue}'", encoding="utf-8")
    with pytest.raises(DataError) as raised:
        load_prompt(file)
    assert raised.value.remedy == "did you mean `user`?"
