from html.parser import HTMLParser
from pathlib import Path

from dialsum_cli.reports.page import render
from dialsum_cli.reports.training import training_page
from dialsum_cli.results import FinetuneRun, Scores


class Words(HTMLParser):
    """The texts of a page, and how many points its lines have."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.points: list[int] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "path" and "line0" in (values.get("class") or "") and len(values["d"]) > len("M1 5h26"):
            self.points.append(values["d"].count("M") + values["d"].count("L"))

    def handle_data(self, data):
        self.texts.append(data)


def scores(final: float) -> Scores:
    return Scores(rouge1=final, rouge2=final, rougeL=final, final_score=final, rouge_sum=3 * final, ci95=(1.0, 99.0))


def test_the_curves_hold_every_point_and_begin_with_the_untrained_model():
    history = [
        {"step": 1, "loss": 3.0, "learning_rate": 1e-4},
        {"step": 10, "loss": 2.0, "learning_rate": 2e-4},
        {"step": 10, "final_score": 41.5},
        {"step": 20, "loss": 1.0, "learning_rate": 1e-4},
        {"step": 20, "final_score": 40.0},
        {"step": 20, "seconds": 12.0},
    ]
    run = FinetuneRun(
        model="<b>", run_dir=Path("runs/x"), best_step=10, train_seconds=12.34567, before=scores(30),
        after=scores(41.5), gain=11.5, gain_ci95=(9.0, 14.0), p_value=0.0001, wins=90, ties=10, losses=20,
    )  # fmt: skip
    words = Words(render(training_page(run, history, signature="ROUGE-ko|…")))
    assert words.points == [3, 3, 3]  # loss; before and two evaluations; learning rate
    assert {"30.00", "41.50", "12.35", "kept", "dialsum finetune · <b>"} <= set(words.texts)
    assert "+11.50 (+9.00 to +14.00), p < 0.001; 90 rows won, 10 tied, 20 lost" in words.texts
