"""Charts as the pictures that a notebook shows."""

from xml.etree import ElementTree

import pytest
from IPython.core.formatters import DisplayFormatter

from dialsum_cli.reports.charts import Bar, Bars, Curve, Histogram, Mark, Scatter

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>x</script> & "점수" \''
CHARTS = [
    Histogram(HOSTILE, [1, 2, 50, float("nan")], "final score", mark=Mark(20, "mean")),
    Scatter(HOSTILE, [(1, 2), (3, 4)], "x", "y"),
    Curve(HOSTILE, {"a": [(0, 1), (1, 2)], HOSTILE: [(0, 2), (1, 1)]}, "step", "loss"),
    Bars(HOSTILE, [Bar(HOSTILE, 48.79, 120, (46.0, 51.6)), Bar("lead1", 20.5, 120)], "model"),
]


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: type(chart).__name__)
def test_a_notebook_shows_a_chart_as_a_picture_of_its_own(chart):
    bundle, _ = DisplayFormatter().format(chart)
    assert bundle["text/plain"].startswith(f"{type(chart).__name__}({HOSTILE}: ")
    picture = ElementTree.fromstring(bundle["image/svg+xml"])
    assert picture.tag == f"{SVG}svg"
    texts = [each.text for each in picture.iter(f"{SVG}text")]
    assert any(HOSTILE in text for text in texts)
    assert not list(picture.iter(f"{SVG}script"))
    assert "href" not in bundle["image/svg+xml"]
    _, _, width, height = map(float, picture.get("viewBox").split())
    (paper,) = [each for each in picture.iter(f"{SVG}rect") if each.get("class") == "paper"]
    assert (float(paper.get("width")), float(paper.get("height"))) == (width, height)
    for rule in picture.find(f"{SVG}style").text.split("}")[:-1]:
        assert rule.strip().startswith(".dialsum-chart")  # nothing else on the page changes


def test_a_key_stands_above_several_lines_alone():
    def texts(chart):
        return [each.text for each in ElementTree.fromstring(chart._repr_svg_()).iter(f"{SVG}text")]

    assert texts(Curve("t", {"loss": [(0, 1), (1, 2)]}, "x", "y"))[0] == "t"
    assert "loss" not in texts(Curve("t", {"loss": [(0, 1), (1, 2)]}, "x", "y"))
    assert texts(Curve("t", {"loss": [(0, 1)], "dev": [(0, 1)]}, "x", "y"))[:3] == ["t", "loss", "dev"]


def test_what_is_not_drawn_is_told():
    assert "(1 not drawn: no finite numbers)" in CHARTS[0]._repr_svg_()


def test_bars_have_their_numbers_and_as_much_length_as_they_are_worth():
    picture = ElementTree.fromstring(CHARTS[3]._repr_svg_())
    bars = [float(each.get("width")) for each in picture.iter(f"{SVG}rect") if each.get("class") == "bar"]
    assert bars[0] / bars[1] == pytest.approx(48.79 / 20.5, rel=0.01)
    assert "48.8 (46.0–51.6)" in [each.text for each in picture.iter(f"{SVG}text")]
