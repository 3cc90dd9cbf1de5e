"""`dialsum ensemble`, and `dialsum predict --num-samples`, which chooses among its own samples."""

import csv
import io
import json

import pytest
from heard import Heard
from rich.console import Console
from rouge import Rouge
from tiny_models import make_model

from dialsum_cli import EnsembleSettings, PredictSettings, RequestError, console, ensemble, predict
from dialsum_cli.data.dialogues import read_gold_dialogues
from dialsum_cli.data.submissions import read_submission
from dialsum_cli.errors import DataError
from dialsum_cli.metrics.morphemes import tokenizer
from dialsum_cli.metrics.scoring import CONSTANT_SENTENCE, Scorer, score
from dialsum_cli.settings import BUNDLED

DEV = BUNDLED / "dev.csv"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def rows():
    """Thirty of the bundled dialogues."""
    return read_gold_dialogues(DEV)[:30]


def write(path, fnames, summaries):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("fname", "summary"), *zip(fnames, summaries, strict=True)])
    return path


@pytest.fixture
def files(tmp_path, rows):
    """Write systems from their summaries, and the first references of the same rows as the gold."""

    def make(*systems):
        fnames = [row.fname for row in rows]
        gold = write(tmp_path / "gold.csv", fnames, [row.references[0] for row in rows])
        return [write(tmp_path / f"{'abcdef'[i]}.csv", fnames, each) for i, each in enumerate(systems)], gold

    return make


def shown(result, monkeypatch):
    """What the terminal shows, in 200 columns."""
    out = Console(file=io.StringIO(), width=200, highlight=False)
    monkeypatch.setattr(console, "stdout", out)
    monkeypatch.setattr(console, "stderr", Console(file=io.StringIO()))
    console.show(result, as_json=False)
    return out.file.getvalue()


def wrong_in(rows, share, word):
    """The references, but nonsense in every third row, beginning with `share`."""
    return [f"{word} {i}번 말." if i % 3 == share else row.references[0] for i, row in enumerate(rows)]


def test_three_systems_that_err_in_turn_are_better_together(files, rows, monkeypatch):
    systems = [wrong_in(rows, share, word) for share, word in enumerate(("사과", "구름", "열쇠"))]
    paths, gold = files(*systems)
    result = ensemble(EnsembleSettings(files=paths, gold=[gold]))
    references = [row.references[0] for row in rows]
    assert list(read_submission("ensemble.csv").values()) == references
    single = [Scorer([[each] for each in references]).score(each).final_score for each in systems]
    assert (result.verdict, result.best) == ("ensemble", str(paths[single.index(max(single))]))
    assert [each.final_score for each in result.systems] == single
    assert result.score.final_score == pytest.approx(100, abs=1e-5)
    assert result.gain == pytest.approx(result.score.final_score - max(single))
    assert result.gain_ci95[0] < result.gain < result.gain_ci95[1]
    assert (result.wins, result.ties, result.losses) == (10, 20, 0)
    assert result.p_value == pytest.approx(2 / 2**10, abs=0.0015)  # all ten coins fall alike, either way
    assert sum(each.chosen for each in result.systems) == 30
    assert [each.same for each in result.systems] == [20, 20, 20]
    text = shown(result, monkeypatch)
    assert f"Ensemble: {result.gain:+.2f}" in text
    assert "10 rows won, 20 tied, 0 lost" in text
    assert result.signature in text


def test_two_bad_systems_outvote_a_good_one(files, rows, monkeypatch):
    good = [row.references[0] for row in rows]
    bad = [f"아무 말이나 {i}번 합니다." for i in range(30)]
    paths, gold = files(good, bad, [f"{each} 정말입니다." for each in bad])
    told = Heard()
    result = ensemble(EnsembleSettings(files=paths, gold=[gold]), told)
    assert (result.verdict, result.best) == ("do not ensemble", str(paths[0]))
    assert result.gain == pytest.approx(result.score.final_score - result.systems[0].final_score)
    assert result.gain < -50
    assert (result.wins, result.ties, result.losses) == (0, 0, 30)
    assert result.p_value < 0.001
    assert [each.family for each in result.systems] == [1, 2, 2]
    assert result.systems[0].chosen == 0
    constant = score([CONSTANT_SENTENCE] * len(rows), [row.references[:1] for row in rows])
    assert result.floor == {"constant sentence": constant.final_score}
    assert f"{constant.final_score:.2f}" in shown(result, monkeypatch)
    assert any("one family wins everything" in each and "b.csv', " in each for each in told.warnings)
    assert f"Do not ensemble: {result.gain:+.2f}" in shown(result, monkeypatch)
    assert "too few" not in shown(result.model_copy(update={"rows": 19}), monkeypatch)  # it is a loss, and no chance
    trusted = {str(paths[0]): 3}
    mended = ensemble(EnsembleSettings(files=paths, gold=[gold], overwrite=True, system_weights=trusted))
    assert (mended.systems[0].chosen, mended.systems[0].weight, mended.gain) == (30, 3, 0)


@pytest.mark.parametrize(
    ("rows_won", "p_value"),
    [(0, 1.0), (3, 0.25)],  # 2 / 2**3
)
def test_a_gain_that_may_be_chance_is_none(files, rows, monkeypatch, rows_won, p_value):
    right = [row.references[0] for row in rows]
    systems = [[f"잘못 {n}번 {i}" if i % 3 == n and i < 3 * rows_won else each for i, each in enumerate(right)]
               for n in range(3)]  # fmt: skip
    paths, gold = files(*systems)
    told = Heard()
    result = ensemble(EnsembleSettings(files=paths, gold=[gold]), told)
    assert (result.verdict, result.wins, result.losses) == ("do not ensemble", rows_won, 0)
    assert (result.gain > 0) == bool(rows_won)
    assert result.p_value == pytest.approx(p_value, abs=0.02)
    assert "Do not ensemble" in shown(result, monkeypatch)
    assert "19 rows are too few to tell a small gain" in shown(result.model_copy(update={"rows": 19}), monkeypatch)
    if not rows_won:
        assert any("wins everything: 30 of 30" in each for each in told.warnings)
        assert any("all systems are one family" in each for each in told.warnings)


def test_without_a_gold_the_gain_is_unknown(files, rows, monkeypatch):
    paths, _ = files(*(wrong_in(rows, share, "말") for share in range(3)))
    result = ensemble(EnsembleSettings(files=paths))
    assert (result.verdict, result.gain, result.score, result.systems[0].final_score) == ("unknown", None, None, None)
    assert "The gain is unknown" in shown(result, monkeypatch)
    assert list(read_submission("ensemble.csv").values()) == [row.references[0] for row in rows]
    assert json.loads(result.model_dump_json())["verdict"] == "unknown"
    assert len(result.to_frame()) == 3


def test_ties_go_to_the_better_system(files, rows):
    """Two systems agree with each other equally in ROUGE-1: all rows are ties."""
    right = [row.references[0] for row in rows]
    paths, gold = files([" ".join(each.split()[:2]) for each in right], right)
    by_words = {"files": paths, "weights": {"r1": 1}, "overwrite": True}
    assert [each.chosen for each in ensemble(EnsembleSettings(**by_words)).systems] == [30, 0]  # given first
    heavier = ensemble(EnsembleSettings(**by_words, system_weights={str(paths[1]): 1.5}))
    assert [each.chosen for each in heavier.systems] == [0, 30]
    told = Heard()
    by_gold = ensemble(EnsembleSettings(**by_words, gold=[gold]), told)
    assert ([each.chosen for each in by_gold.systems], by_gold.decided_by_order) == ([0, 30], 30)
    assert any("two systems have no majority" in each for each in told.warnings)


def test_the_agreement_has_the_rows_system_as_the_hypothesis(files, rows):
    systems = [wrong_in(rows, 0, "말"), [row.references[1] for row in rows], [row.references[2] for row in rows]]
    paths, _ = files(*systems)
    result = ensemble(EnsembleSettings(files=paths))
    for each, hypotheses in zip(result.systems, systems, strict=True):
        for value, references in zip(each.agreement, systems, strict=True):
            expected = Scorer([[text] for text in references]).score(hypotheses).final_score
            assert value == pytest.approx(expected)


def test_long_outliers_and_empty_summaries_are_counted(files, rows):
    right = [row.references[0] for row in rows]
    paths, _ = files(right, [f"{each} {each} {each} {each}" for each in right], ["", *right[1:]])
    told = Heard()
    result = ensemble(EnsembleSettings(files=paths, max_length_ratio=3), told)
    assert [each.left_out for each in result.systems] == [0, 30, 1]
    assert (result.left_out, result.systems[2].empty, result.systems[1].chosen) == (31, 1, 0)
    assert any("c.csv': of 30 summaries 1 without a word" in each for each in told.warnings)


def test_several_gold_files_are_several_references(files, rows, tmp_path):
    paths, gold = files(*(wrong_in(rows, share, "말") for share in range(3)))
    more = write(tmp_path / "more.csv", [row.fname for row in rows][::-1], [row.references[1] for row in rows][::-1])
    result = ensemble(EnsembleSettings(files=paths, gold=[gold, more], refs="best"))
    references = [row.references[:2] for row in rows]
    expected = score([row.references[0] for row in rows], references, refs="best")
    assert (result.score.final_score, result.signature) == (expected.final_score, expected.signature)


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_rows_in_the_order_of_the_first_file_in_any_format(files, rows, tmp_path, name):
    paths, _ = files(*([row.references[n] for row in rows] for n in range(3)))
    write(paths[1], [row.fname for row in rows][::-1], [row.references[1] for row in rows][::-1])
    ensemble(EnsembleSettings(files=paths, output=tmp_path / name))
    written = read_submission(tmp_path / name)
    assert list(written) == [row.fname for row in rows]
    assert all(written[row.fname] in row.references for row in rows)


@pytest.mark.parametrize("renamed", ["b.csv", "gold.csv", "more.csv", "a.csv b.csv c.csv gold.csv more.csv"])
def test_columns_are_renamed_in_the_files_that_have_them(files, rows, renamed):
    paths, gold = files(*(wrong_in(rows, share, word) for share, word in enumerate(("사과", "구름", "열쇠"))))
    more = write(gold.with_name("more.csv"), [row.fname for row in rows], [row.references[1] for row in rows])
    asked = {"files": paths, "gold": [gold, more], "overwrite": True}
    expected = ensemble(EnsembleSettings(**asked))
    for path in (*paths, gold, more):
        if path.name in renamed.split():
            path.write_text(path.read_text("utf-8").replace("fname,summary", "id,답", 1), encoding="utf-8")
    found = ensemble(EnsembleSettings(**asked, columns="fname=id,summary=답"))
    assert found == expected
    alone = {"files": paths, "overwrite": True}
    if renamed.startswith("a.csv"):
        with pytest.raises(DataError, match="no column `fname`"):
            ensemble(EnsembleSettings(**alone))
    if renamed != "gold.csv" and renamed != "more.csv":
        assert ensemble(EnsembleSettings(**alone, columns="fname=id,summary=답")).sha256 == expected.sha256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "b.csv", "overwrite": True}, "'b.csv' is, or is in, what is read"),
        ({"output": "there.csv"}, "'there.csv' exists already"),
        ({"output": "out.txt"}, "neither .csv nor"),
        ({"output": "folder.csv", "overwrite": True}, "'folder.csv' is a folder"),
        ({"refs": "best"}, "--refs best means nothing without --gold"),
        ({"columns": {"summary": "답"}}, "--columns summary=답: no file has a column `답`"),
    ],
)
def test_what_is_refused_before_any_work(files, rows, tmp_path, options, message):
    files(*([row.references[n] for row in rows] for n in range(2)))
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(RequestError, match=message):
        ensemble(EnsembleSettings(files=["a.csv", "b.csv"], **options))
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_files_of_other_dialogues_are_refused_by_their_ids(files, rows):
    [one, other], gold = files(*([row.references[n] for row in rows] for n in range(2)))
    write(other, ["new", *(row.fname for row in rows[2:])], ["말."] * 29)
    with pytest.raises(DataError, match=f"lacks 2 ids: {rows[0].fname}, {rows[1].fname} and has 1 id: new beyond them"):
        ensemble(EnsembleSettings(files=[one, other]))
    with pytest.raises(DataError, match=r"b\.csv' lacks 2 ids: .* and has 1 id: new that the gold lacks"):
        ensemble(EnsembleSettings(files=[one, other], gold=[gold]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.csv"], "give two prediction files or more"),
        (["a.csv", "b.csv", "a.csv"], "'a.csv' is there twice"),
        (["a.csv", "b.csv", "--weights", "r3=1"], "--weights: 'r3' is no ROUGE"),
        (["a.csv", "b.csv", "--weights", "r1"], "--weights: write it as NAME=NUMBER"),
        (["a.csv", "b.csv", "--weights", "r1=0"], "one of r1, r2 and rl must be greater than 0"),
        (["a.csv", "b.csv", "--weights", "r1=-1"], "--weights: "),
        (["a.csv", "b.csv", "--system-weights", "c.csv=2"], "--system-weights: 'c.csv' is none of the files"),
        (["a.csv", "b.csv", "--max-length-ratio", "1"], "greater than 1"),
        (["a.csv", "b.csv"], "a.csv"),  # which isn't there
    ],
)
def test_requests_that_are_refused(dialsum, arguments, message):
    done = dialsum("ensemble", *arguments, check=2)
    assert message in done.stderr
    assert done.stdout == ""


def test_the_command_writes_the_file_and_says_what_it_is_worth(files, rows, dialsum):
    files(*(wrong_in(rows, share, word) for share, word in enumerate(("사과", "구름", "열쇠"))))
    done = dialsum(
        "ensemble", "a.csv", "b.csv", "c.csv", "--gold", "gold.csv", "--output", "out.csv", "--json",
        "--weights", "r1=1,r2=2,rl=0.5", "--system-weights", "b.csv=1.5",
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert (found["verdict"], found["rows"], found["systems"][1]["weight"]) == ("ensemble", 30, 1.5)
    assert list(read_submission("out.csv").values()) == [row.references[0] for row in rows]


def test_the_two_real_files_are_no_ensemble(shared_data):
    """As it is: of two files, where they differ in nothing but ROUGE-L's direction, the worse one wins too often."""
    paths = [shared_data / "predictions" / f"dev_kobart_{name}.csv" for name in "ab"]
    result = ensemble(EnsembleSettings(files=paths, gold=[shared_data / "korean-dialogsum" / "dev.csv"]))
    assert [each.final_score for each in result.systems] == pytest.approx([40.884197, 35.998040], abs=1e-6)
    assert (result.verdict, result.best, result.rows) == ("do not ensemble", str(paths[0]), 499)
    assert result.gain == pytest.approx(-0.43, abs=0.01)
    assert result.p_value < 0.05
    assert result.wins + result.ties + result.losses == 499


@pytest.fixture(scope="module")
def decodings(tmp_path_factory):
    """Fifteen files of the bundled models: samples, greedy and beams; with what each model chose of its samples."""
    folder = tmp_path_factory.mktemp("decodings")
    common = {"data": str(DEV), "limit": 4, "output_dir": folder / "runs", "max_new_tokens": 60}
    chosen = {}
    for model in ("tiny-bart", "tiny-llama"):
        result = predict(
            PredictSettings(model=model, num_samples=6, temperature=0.8, keep_samples=folder / f"{model}.csv",
                            output=folder / f"{model}-mbr.csv", **common)
        )  # fmt: skip
        chosen[model] = result
        predict(PredictSettings(model=model, output=folder / f"{model}-greedy.csv", **common))
    predict(PredictSettings(model="tiny-bart", num_beams=4, output=folder / "tiny-bart-beams.csv", **common))
    return folder, chosen


def naively(paths):
    """MBR by the package `rouge`, pair by pair."""
    package, join = Rouge(), tokenizer().join
    systems = [read_submission(path) for path in paths]
    picks = {}
    for fname in systems[0]:
        texts = [join(each[fname]) for each in systems]

        def score(hypothesis, reference):
            [found] = package.get_scores(hypothesis, reference)
            return sum(found[f"rouge-{name}"]["f"] for name in "12l") / 3

        expected = [
            sum(score(one, other) for j, other in enumerate(texts) if j != i) / (len(texts) - 1)
            for i, one in enumerate(texts)
        ]
        pick = next(i for i, value in enumerate(expected) if value >= max(expected) - 1e-9)
        picks[fname] = systems[pick][fname]
    return picks


def test_picks_are_those_of_the_package_over_real_decodings(decodings):
    folder, _ = decodings
    paths = sorted(path for path in folder.glob("tiny-*.csv") if not path.stem.endswith("mbr"))
    assert len(paths) == 15
    assert all(all(read_submission(path).values()) for path in paths)  # the package raises on a text without a word
    result = ensemble(EnsembleSettings(files=paths))
    assert read_submission("ensemble.csv") == naively(paths)
    assert sum(each.chosen > 0 for each in result.systems) > 1


@pytest.mark.parametrize("model", ["tiny-bart", "tiny-llama"])
def test_samples_are_chosen_from_as_an_ensemble_of_them_would(decodings, model):
    folder, chosen = decodings
    paths = [folder / f"{model}-{number}.csv" for number in range(1, 7)]
    assert chosen[model].samples == paths
    ensemble(EnsembleSettings(files=paths))
    assert read_submission("ensemble.csv") == read_submission(folder / f"{model}-mbr.csv")
    assert len({tuple(read_submission(path).values()) for path in paths}) > 1


def test_samples_are_kept_and_not_drawn_again(decodings, monkeypatch):
    folder, chosen = decodings
    from dialsum_cli.engines.huggingface import HuggingFaceSummarizer

    def never(*_):
        raise AssertionError("drawn again")

    monkeypatch.setattr(HuggingFaceSummarizer, "summarize", never)
    common = {"data": str(DEV), "limit": 4, "output_dir": folder / "runs", "max_new_tokens": 60, "temperature": 0.8}
    again = predict(PredictSettings(model="tiny-bart", num_samples=6, keep_samples="again.csv", **common))
    assert again.sha256 == chosen["tiny-bart"].sha256
    assert read_submission("again-3.csv") == read_submission(folder / "tiny-bart-3.csv")
    with pytest.raises(AssertionError, match="drawn again"):
        predict(PredictSettings(model="tiny-bart", num_samples=6, overwrite=True, **common | {"temperature": 0.9}))


def test_long_dialogues_are_chosen_part_by_part(tmp_path):
    model = make_model(tmp_path / "llama", "llama")
    turns = "\n".join(f"#Person{1 + n % 2}#: {n}번째로 말합니다." for n in range(300))
    with (tmp_path / "data.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("fname", "dialogue"), ("long", turns), ("short", "#Person1#: 네.")])
    options = {"model": str(model), "data": "data.csv", "num_samples": 3, "max_new_tokens": 8}
    result = predict(PredictSettings(**options, long_dialogue="chunk"))
    assert (result.rows, result.chunked, result.samples) == (2, 1, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.5}, "--temperature means nothing to a single summary"),
        ({"top_p": 0.5}, "--top-p means nothing to a single summary"),
        ({"keep_samples": "s.csv"}, "--keep-samples means nothing to a single summary"),
        ({"num_samples": 2, "num_beams": 2}, "--num-samples draws tokens"),
        ({"num_samples": 2, "model": "lead1"}, "--num-samples means nothing to lead1"),
        ({"num_samples": 2, "base_url": "http://127.0.0.1:9", "api_model": "m"}, "means nothing to a server"),
        ({"num_samples": 2, "engine": "vllm"}, "means nothing to --engine vllm"),
        ({"num_samples": 2, "keep_samples": "s.csv", "long_dialogue": "chunk"}, "no samples of its own"),
        ({"num_samples": 2, "keep_samples": "s.csv", "output": "s-2.csv"}, "'s-2.csv' is the output as well"),
        ({"num_samples": 2, "keep_samples": "s.txt"}, "'s-1.txt' is neither"),
    ],
)
def test_samples_that_are_refused_before_any_work(tmp_path, options, message):
    with pytest.raises(RequestError, match=message):
        predict(PredictSettings(**options))
    assert [*tmp_path.iterdir()] == []


def test_samples_that_are_there_stay(tmp_path):
    (tmp_path / "s-2.csv").write_text("mine")
    with pytest.raises(RequestError, match=r"'s-2\.csv' exists already"):
        predict(PredictSettings(num_samples=2, keep_samples="s.csv"))
    assert [path.name for path in tmp_path.iterdir()] == ["s-2.csv"]
