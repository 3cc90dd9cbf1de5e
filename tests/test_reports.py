"""The pages: sound markup, nothing that runs or loads, every number drawn or counted."""

import fnmatch
import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialsum_cli import reports
from dialsum_cli.markup import Html, html, tag
from dialsum_cli.metrics.statistics import bootstrap_interval
from dialsum_cli.reports.charts import HEIGHT, WIDTH, Bar, Bars, Curve, Histogram, Mark, Scatter, _ticks
from dialsum_cli.reports.page import Difference, Differences, Facts, Grid, Page, Paragraph, Section, render
from dialsum_cli.reports.score import FEWEST, TOPICS, score_page
from dialsum_cli.results import (
    Diagnostics,
    Piece,
    ScoredItems,
    ScoreResult,
    SystemItems,
    SystemScore,
    Verification,
    WorstCase,
)
from dialsum_cli.tables import Column, Table

CSS = (Path(reports.__file__).parent / "page.css").read_text(encoding="utf-8")
HOSTILE = (
    "</style></title><script src='https://evil.example/x.js'>alert(1)</script><img src=x onerror=\"a\">&amp;한글\0"
)


class Reader(HTMLParser):
    """Refuses markup whose tags don't match; keeps elements, their attributes and the text in each."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.open, self.elements, self.texts = [], [], []
        self.feed(markup)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def named(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]

    def text(self, *within):
        return "".join(data for name, data in self.texts if not within or name in within)


def read(block):
    return Reader(block.to_html())


def numbers(reader):
    """All coordinates of a chart's shapes, as (x, y)."""
    for attributes in reader.named("rect"):
        x, y = float(attributes["x"]), float(attributes["y"])
        yield from ((x, y), (x + float(attributes["width"]), y + float(attributes["height"])))
    for attributes in reader.named("path"):
        for x, y in re.findall(r"[ML](\S+?) ([-\d.]+)", attributes["d"]):
            yield float(x), float(y)


def result(*, rows=12, systems=2, text="요약입니다.", topic=lambda row: "", dialogue="", references=1):
    diagnostics = Diagnostics(
        empty=1, length_ratio=0.93, repetition_rate=0.0, tag_fidelity=None, unknown_tags=0, lost_tags=2, broken_tags=0,
        broken_characters=0, korean_ratio=0.99, foreign_scripts={"Han": 3}, cut_off=0, speaker_swaps=4,
        unsupported_names=None, unsupported_numbers=None,
    )  # fmt: skip
    worst = [
        WorstCase(
            index=rows - 1, fname=text, final_score=1.5,
            reference=[Piece(text, "common"), Piece(" 만나", "missing"), Piece(".", "")],
            summary=[Piece(text, "common"), Piece(" 헤어", "extra"), Piece("지", "extra")],
        )
    ]  # fmt: skip
    scores = [100.0 * row / rows for row in range(rows)]
    made = [
        SystemScore(
            path=f"{number}/{text}", rouge1=50.0, rouge2=30.0, rougeL=40.0, final_score=40.0, rouge_sum=120.0,
            ci95=(39.0, 41.0), n=rows, empty=1, empty_fnames=[text], by_refs={"mean": 40.0, "best": 43.21},
            diagnostics=diagnostics,
            **({"difference": -1.25, "difference_ci95": (-2.0, -0.5), "p_value": 0.0001, "wins": 1, "ties": 2,
                "losses": 9, "tied": number == 2} if number else {}),
        )
        for number in range(systems)
    ]  # fmt: skip
    items = ScoredItems(
        fnames=[str(row) for row in range(rows)],
        dialogues=[dialogue] * rows,
        topics=[topic(row) for row in range(rows)],
        references=[[text] * references] * rows,
        systems=[SystemItems([text] * rows, scores, scores, scores, scores, worst) for _ in made],
    )
    return ScoreResult(
        systems=made, signature="ROUGE-ko|n:12", floor={"constant sentence": 27.8}, ceiling={}, tokenizer="mecab",
        refs="mean", references=references, verification=Verification(pairs=24, raised=2), items=items,
    )  # fmt: skip


def page_of(made, settings=None, provenance=None):
    page = score_page(made, settings=settings or {}, provenance=provenance or {}, interval=bootstrap_interval)
    return render(page)


# Markup


@given(st.text())
def test_text_and_attributes_come_back_as_they_were_given(text):
    reader = Reader(tag("p", text, title=text))
    expected = re.sub("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]", "\ufffd", text)
    assert reader.text("p") == expected
    assert reader.named("p") == [{"title": expected}]


def test_only_markup_is_not_escaped():
    assert html("<b>", Html("<i></i>"), 1) == "&lt;b&gt;<i></i>1"
    assert tag("td", tag("b", "&"), class_="x", aria_label='"', hidden=None) == (
        '<td class="x" aria-label="&quot;"><b>&amp;</b></td>'
    )


def test_half_a_surrogate_pair_can_be_written():
    assert tag("p", "\ud83d").encode() == "<p>\ufffd</p>".encode()


# The page


@pytest.mark.parametrize("systems", [1, 2, 4])
@pytest.mark.parametrize("text", ["요약입니다.", HOSTILE])
def test_a_page_is_sound_and_loads_and_runs_nothing(systems, text):
    made = result(systems=systems, text=text, topic=lambda row: text, dialogue=text)
    page = page_of(made, {text: text, "files": [text]}, {"versions": {text: text}})
    reader = Reader(page)
    assert page.startswith("<!DOCTYPE html>\n<html lang=")
    known = {"html", "head", "body", "meta", "title", "style", "main", "section", "footer", "article", "h1", "h2", "h3",
             "p", "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "svg", "g",
             "path", "rect", "text", "ul", "li", "dl", "dt", "dd", "details",
             "summary", "span", "del", "ins"}  # fmt: skip
    assert {name for name, _ in reader.elements} <= known
    for name, attributes in reader.elements:
        assert not {"href", "src", "style", "xlink:href"} & attributes.keys(), name
        assert not any(key.startswith("on") for key in attributes), name
    assert not re.search(r"url\(|@import|http", reader.text("style"))
    [policy] = [meta["content"] for meta in reader.named("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    shown = text.replace("\0", "\ufffd")
    assert all(shown in reader.text(name) for name in ("h3", "dt", "dd", "th", "span", "p"))
    assert all(shown.rsplit("/")[-1] in reader.text(name) for name in ("title", "h1", "h2", "td", "figcaption"))


def test_a_page_is_written_for_phones_and_for_the_dark():
    reader = Reader(render(Page("쪽", [])))
    contents = {meta.get("name"): meta.get("content") for meta in reader.named("meta")}
    assert contents["viewport"] == "width=device-width, initial-scale=1"
    assert contents["color-scheme"] == "light dark"
    assert "prefers-color-scheme: dark" in reader.text("style")
    for font in ("Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR"):
        assert font in reader.text("style")


def palettes():
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r":root \{(.*?)\}", CSS, re.S))
    return {"light": light, "dark": dark}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("letters", "paper"),
    [("ink", "paper"), ("ink", "box"), ("ink", "common"), ("ink", "missing"), ("ink", "extra"), ("faint", "paper"),
     ("faint", "box"), ("accent", "paper"), ("accent", "box"), ("mark", "paper"), ("warning", "paper")],
)  # fmt: skip
def test_letters_stand_out(theme, letters, paper):
    """Contrast of at least 4.5 : 1, as WCAG 2.2 (1.4.3) defines it."""

    def luminance(colour):
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    colours = palettes()[theme]
    darker, lighter = sorted(luminance(colours[name]) for name in (letters, paper))
    assert (lighter + 0.05) / (darker + 0.05) >= 4.5


def test_every_class_and_colour_has_a_style():
    page = page_of(result(topic=lambda row: "예약", dialogue="대화"))
    curve = Curve("곡선", {str(index): [(0, index), (1, 1)] for index in range(4)}, "x", "y").to_html()
    used = {name for _, attributes in Reader(page + curve).elements for name in attributes.get("class", "").split()}
    assert used - set(re.findall(r"\.([a-z]\w*)", CSS)) <= {"right", "shade4"}
    assert set(re.findall(r"var\(--(\w+)\)", CSS)) <= palettes()["light"].keys()
    assert palettes()["light"].keys() == palettes()["dark"].keys()


def test_the_style_sheet_is_packaged():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["dialsum_cli"]
    assert any(fnmatch.fnmatch("reports/page.css", pattern) for pattern in patterns)


# Blocks


@pytest.mark.parametrize(
    "block",
    [
        Table([]),
        Table([Column("열")]),
        Histogram("빈 그림", [], "x"),
        Histogram("하나", [41.0], "x", within=(41, 41)),
        Scatter("빈 그림", [], "x", "y"),
        Scatter("하나", [(3, 3)], "x", "y", x_within=(3, 3), y_within=(3, 3)),
        Curve("빈 그림", {}, "x", "y"),
        Curve("빈 줄", {"a": []}, "x", "y"),
        Curve("하나", {"a": [(0, 1e20)]}, "x", "y", Mark(5, "beyond")),
        Bars("빈 그림", [], "x"),
        Bars("하나", [Bar("가", 0.0, 1)], "x", within=(0, 0)),
        Facts([]),
        Grid([]),
        Differences([]),
        Difference("빈 글", [("Prediction", [])]),
        Paragraph(""),
        Section("빈 절", []),
    ],
    ids=lambda block: type(block).__name__,
)
def test_little_or_nothing_is_sound_too(block):
    reader = Reader(render(Page("쪽", [Section("절", [block])])))
    assert not re.search(r"\bnan\b|\binf\b", " ".join(str(attributes) for _, attributes in reader.elements))


def test_a_table_keeps_all_columns_and_its_rows_styles():
    table = Table([Column("이름", "left"), Column("값", weight=1)], title="제목", caption="서명|n:1")
    table.add("<가>", None, style="dim")
    table.add("나", 0)
    reader = read(table)
    assert [data for name, data in reader.texts if name == "td"] == ["<가>", "–", "나", "0"]
    assert [attributes.get("class") for attributes in reader.named("tr")] == [None, "dim", None]
    assert [attributes["class"] for attributes in reader.named("th")] == ["left", "right"]
    assert (reader.text("caption"), reader.text("p")) == ("제목", "서명|n:1")


finite = st.floats(-1e9, 1e9).map(lambda value: round(value, 6))
anything = st.one_of(finite, st.sampled_from([float("nan"), float("inf"), float("-inf")]))


@given(st.lists(anything, max_size=60), st.integers(1, 30))
def test_a_histogram_draws_or_counts_every_value(values, bins):
    reader = read(Histogram("분포", values, "점수", bins=bins))
    bars = [data for name, data in reader.texts if name == "title" and ": " in data and " to " in data][1:]
    drawn = sum(int(bar.rsplit(": ")[1]) for bar in bars)
    told = re.search(r"(\d+) not drawn", reader.text("p"))
    assert len(bars) == len(reader.named("rect"))
    assert drawn + (int(told[1]) if told else 0) == len(values)


def test_a_histograms_bars_are_as_high_as_their_counts():
    reader = read(Histogram("분포", [0, 5, 15, 15, 15, 100], "점수", bins=10))
    heights = [float(attributes["height"]) for attributes in reader.named("rect")]
    assert [round(height / heights[2]) for height in heights] == [2, 3, 1]


@given(st.lists(st.tuples(anything, anything), max_size=40))
def test_shapes_stay_within_their_chart(points):
    for chart in (
        Scatter("점", points, "x", "y"),
        Curve("선", {"a": points, "b": points[::-1]}, "x", "y", Mark(0, "0")),
        Histogram("분포", [x for x, _ in points], "x"),
    ):
        reader = read(chart)
        assert all(-1 <= x <= WIDTH + 1 and -1 <= y <= HEIGHT + 1 for x, y in numbers(reader))
        assert reader.named("svg")[0]["role"] == "img"
        assert reader.text("title").startswith(chart.title)


def test_a_scatter_of_many_points_draws_each_place_once():
    points = [(x % 1000, x * 7919 % 1009 / 10) for x in range(200_000)]
    markup = Scatter("점", points, "x", "y").to_html()
    assert len(markup) < 200_000
    assert "200000 points" in Reader(markup).text("title")
    few = Scatter("점", [(1, 1), (50, 50), (50, 50)], "x", "y").to_html()
    assert [path["class"] for path in Reader(few).named("path") if "dot" in path.get("class", "")] == [
        "dot shade1",
        "dot shade2",
    ]


def test_a_curve_leaves_a_gap_where_there_is_no_number():
    nan = float("nan")
    reader = read(Curve("곡선", {"dev": [(0, 1), (1, 2), (2, nan), (3, 2), (4, nan), (5, 1), (6, 3)]}, "step", "loss"))
    [line] = [path["d"] for path in reader.named("path") if "line" in path.get("class", "")]
    assert (line.count("M"), line.count("L")) == (3, 2)
    assert "2 not drawn" in reader.text("p")


def test_curves_are_told_apart_without_colours():
    reader = read(Curve("곡선", {str(index): [(0, index), (1, 0)] for index in range(16)}, "x", "y"))
    looks = [(path["class"], path["stroke-dasharray"]) for path in reader.named("path") if "stroke-dasharray" in path]
    assert len(looks) == 32  # each in the chart and in its key
    assert len(set(looks)) == 16
    assert all(first[1] != second[1] for first, second in pairwise(looks[::2][:4]))


@given(finite, st.floats(1e-3, 1e6), st.integers(3, 8))
def test_ticks_are_few_and_within(low, width, most):
    ticks = _ticks(low, low + width, most)
    assert len(ticks) <= most
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in ticks)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 100, [0, 20, 40, 60, 80, 100]), (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (-3, 7, [-2, 0, 2, 4, 6])],
)
def test_ticks_are_round(low, high, expected):
    assert _ticks(low, high) == expected


def test_bars_tell_their_numbers():
    reader = read(Bars("주제별", [Bar("호텔 <예약>", 41.23, 7, (38.0, 44.44)), Bar("길", 0.0, 1)], "Topic"))
    assert [data for name, data in reader.texts if name == "td"] == ["41.2", "38.0–44.4", "7", "0.0", "–", "1"]
    assert [rect["width"] for rect in reader.named("rect")] == ["41.2", "0"]


def test_marks_are_told_apart_without_colours_and_neighbours_are_one():
    pieces = [("  만나", "missing"), ("고", "missing"), (" 있", "common"), (".", ""), (" \n", "extra"), ("다", "extra")]
    markup = Difference("1", [("Reference", pieces)], context="대화\n둘째 줄").to_html()
    assert '  <del class="missing">만나고</del> <span class="common">있</span>. \n<ins class="extra">다</ins>' in markup
    assert Reader(markup).text("dd", "del", "span", "ins") == "".join(text for text, _ in pieces)
    assert Reader(markup).text("details", "summary", "p") == "Dialogue대화\n둘째 줄"


# The page of scores


def test_a_page_of_scores_tells_what_it_knows():
    topics = (
        [f"주제 {number}" for number in range(TOPICS + 3) for _ in range(2)] + ["호텔 예약"] * FEWEST + ["하나", ""]
    )
    made = result(rows=len(topics), systems=3, topic=lambda row: topics[row], dialogue="#Person1#: 안녕", references=3)
    reader = Reader(page_of(made, {"seed": 42, "columns": {}}, {"versions": {"torch": "2.8"}, "data": [{"rows": 499}]}))
    cells = [data for name, data in reader.texts if name == "td"]
    assert reader.text("h1") == "dialsum score · 0/요약입니다., 1/요약입니다., 2/요약입니다."
    assert {"39.0–41.0", "(constant sentence)", "27.80", "-1.25", "-2.00 to -0.50", "< 0.001"} <= set(cells)
    assert [cell for cell in cells if cell in ("worse", "tied", "better")] == ["worse", "tied"]
    assert len(reader.named("figure")) == 6
    rows = [data for name, data in reader.texts if name == "th"]
    assert rows.count("호텔 예약") == rows.count("(5 other topics)") == rows.count("(no topic)") == 3
    assert "Reference 1, the nearest of 3" in reader.text("dt")
    assert "rows with a broken character" in cells
    assert ("Final, best of 3" in rows, cells.count("43.21")) == (True, 3)
    assert "rouge 1.0.1 scores 22 pairs the same, and raises on 2 more" in reader.text("p")
    footer = dict(zip(*([d for n, d in reader.texts if n == name][-5:] for name in ("dt", "dd")), strict=True))
    assert footer == {
        "signature": "ROUGE-ko|n:12",
        "seed": "42",
        "columns": "–",
        "versions · torch": "2.8",
        "data 1 · rows": "499",
    }


def test_empty_predictions_are_listed_or_counted():
    made = result(systems=1)
    [system] = made.systems
    for count, told in [(0, None), (2, "2 without a word, which score 0: 0, 1."), (23, ", 19 and 3 more.")]:
        changed = system.model_copy(update={"empty": count, "empty_fnames": [str(row) for row in range(count)]})
        text = Reader(page_of(made.model_copy(update={"systems": [changed]}))).text("p")
        assert told in text if told else "without a word" not in text


def test_another_ruler_is_named_in_the_headline():
    assert "Scores by char, not by morphemes" in Reader(
        page_of(result().model_copy(update={"tokenizer": "char"}))
    ).text("h2")


def test_one_system_is_compared_with_none_and_topics_may_be_absent():
    reader = Reader(page_of(result(systems=1)))
    assert "Against" not in reader.text("caption")
    assert "Topics" not in reader.text("h2")
    assert not reader.named("details")


def test_systems_of_one_name_go_by_their_paths():
    made = result(systems=2)
    systems = [system.model_copy(update={"path": f"{i}/같은.csv"}) for i, system in enumerate(made.systems)]
    assert "0/같은.csv, 1/같은.csv" in Reader(page_of(made.model_copy(update={"systems": systems}))).text("h1")


def test_empty_summaries_have_a_page_too():
    made = result(rows=1, systems=1)
    items = replace(made.items, systems=[replace(made.items.systems[0], summaries=[""], worst=[])])
    assert "Lowest" not in Reader(page_of(made.model_copy(update={"items": items}))).text("h2")


def test_many_rows_make_no_large_page():
    page = page_of(result(rows=20_000, topic=lambda row: f"주제 {row % 5000}", dialogue="대화 " * 200))
    assert len(page.encode()) < 200_000
    assert "(4985 other topics)" in Reader(page).text("th")


def test_a_result_without_items_has_no_page():
    with pytest.raises(ValueError, match="items"):
        page_of(result().model_copy(update={"items": None}))
