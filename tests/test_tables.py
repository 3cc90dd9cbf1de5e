import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from dialsum_cli.display import below
from dialsum_cli.tables import Column, Table

COLUMNS = [Column("#"), Column("모델", "left"), Column("점수"), Column("Hangul", weight=1), Column("R1", weight=2)]


def lines(table: Table, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table.to_rich(width))
    return console.file.getvalue().splitlines()


def table_of(*models: str) -> Table:
    table = Table(COLUMNS, title="순위표 [/INST]")
    for place, model in enumerate(models, 1):
        table.add(place, model, f"{place * 7.5:.2f}", "98%", None, style="bold")
    return table


@pytest.mark.parametrize("width", [60, 80, 120])
def test_hangul_and_latin_rows_end_in_the_same_cell(width):
    shown = lines(table_of("가나다라", "llama3b", "한 mixed 글", "runs/모델 [1]"), width)
    body = [line.rstrip() for line in shown if "%" in line]
    assert len(body) == 4
    assert len({cell_len(line) for line in body}) == 1
    for texts in (["7.50", "15.00", "22.50", "30.00"], ["98%"] * 4, ["–"] * 4):
        ends = {cell_len(line[: line.index(text) + len(text)]) for line, text in zip(body, texts, strict=True)}
        assert len(ends) == 1
    assert all(cell_len(line) <= width for line in shown)


def test_columns_of_the_lowest_weight_go_first_and_those_without_stay():
    table = table_of("가나다라")
    everything = next(width for width in range(1, 100) if len(table.fitting(width)) == len(COLUMNS))
    assert table.fitting(everything + 50) == [0, 1, 2, 3, 4]
    assert table.left_out(everything) == []
    assert table.left_out(everything - 1) == ["Hangul"]
    assert table.left_out(1) == ["Hangul", "R1"]
    kept = [table.fitting(width) for width in range(everything, 0, -1)]
    assert [0, 1, 2, 4] in kept
    assert [0, 1, 2, 3] not in kept
    assert kept[-1] == [0, 1, 2]


def test_markup_of_the_user_is_text():
    table = table_of("[bold]x[/bold]", "[/INST]", "빈 칸/[draft].csv", ":smile:")
    text = "\n".join(lines(table, 80))
    for name in ("순위표 [/INST]", "[bold]x[/bold]", "빈 칸/[draft].csv", ":smile:"):
        assert name in text


def test_none_is_a_dash_and_zero_is_not():
    table = Table([Column("a"), Column("b")])
    table.add(None, 0)
    assert lines(table, 40)[-2].split() == ["–", "0"]


def test_a_long_name_folds_and_loses_nothing():
    name = "Bllossom/llama-3.2-Korean-Bllossom-3B-가나다라마바사아자차카타파하"
    shown = lines(table_of(name), 60)
    assert all(cell_len(line) <= 60 for line in shown)
    assert name in "".join("".join(shown).split()).replace("7.50", "").replace("98%", "").replace("–", "")


def test_an_empty_table_is_its_header():
    shown = "\n".join(lines(Table(COLUMNS), 80))
    assert all(column.header in shown for column in COLUMNS)


@given(
    st.lists(st.text(st.sampled_from("가나ab [](/)-1"), max_size=70), min_size=1, max_size=5),
    st.sampled_from([60, 80, 120]),
)
def test_no_line_is_wider_than_the_terminal(models, width):
    assert all(cell_len(line) <= width for line in lines(table_of(*models), width))


def test_notes_without_a_table_miss_no_columns():
    table = Table(COLUMNS, notes=[("아무것도 없습니다", "dim")])
    assert [line.plain for line in below(table, 5)] == ["아무것도 없습니다"]
    table.add(1, "가", "7.50", "98%", None)
    assert next(line.plain for line in below(table, 5)).startswith("No room here for Hangul, R1: ")
