"""Training: the best weights are kept, it stops in time, and a run that dies goes on as if it never had."""

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import make_model

from dialsum_cli.models.loading import load
from dialsum_cli.registry import FULL, resolve
from dialsum_cli.reporter import Reporter
from dialsum_cli.settings import FinetuneSettings
from dialsum_cli.training.batches import Example
from dialsum_cli.training.methods import prepare
from dialsum_cli.training.planning import measure
from dialsum_cli.training.trainers import Steps, train

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
SMALL = replace(FULL, num_epochs=3, batch_size=4, learning_rate=1e-2)  # 3 steps an epoch
LORA = replace(SMALL, method="lora", lora_dropout=0.3)


class Killed(BaseException):
    """What no handler expects: the process is gone."""


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    return cache(lambda family: make_model(tmp_path_factory.mktemp("models") / family, family))


@cache
def examples():
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(3, 600, (12 + row % 5,), generator=generator).tolist() for row in range(12)]
    return [Example(str(row), each[:-4], each[-4:]) for row, each in enumerate(ids)]


@dataclass
class Clock(Reporter):
    """Tells nothing, and kills the process as it reports its so-and-so-manieth step."""

    dies_after: int | None = None
    steps: int = 0

    @contextmanager
    def stage(self, title, total, unit):
        yield self

    def advance(self, steps=1):
        self.steps += steps
        if self.steps == self.dies_after:
            raise Killed


def fail(message):
    raise AssertionError(message)


class Session:
    """One process's share of a run: what `dialsum finetune` does between loading and saving."""

    def __init__(self, source, folder, recipe, scores, *, dies_after=None, dies_at=None, draws=1, **given):
        self.settings = FinetuneSettings(models=[str(source)], **given)
        self.scores, self.dies_at, self.draws = scores, dies_at, draws
        self.seen = {}  # the weights that each evaluation saw, by its number
        loaded = load(resolve(str(source)), self.settings)
        self.loaded, _ = prepare(loaded, recipe, [], seed=3)
        steps = Steps(self.loaded, recipe, 40, fail)
        self.folder, self.histories = folder, []
        folder.mkdir(parents=True, exist_ok=True)
        self.trained = train(
            self.loaded, examples(), recipe, self.settings, steps, folder / "checkpoints", self.judge, self.log,
            Clock(dies_after),
        )  # fmt: skip
        steps.loss.remove()

    def judge(self):
        """The score of the evaluation that comes after those that are kept in the folder."""
        number = len(self.seen) + self.evaluated()
        if self.dies_at == number:
            raise Killed
        self.seen[number] = self.weights()
        torch.rand(self.draws)  # generating may draw random numbers
        return {"final_score": self.scores[number], "rouge1": 0.0}

    def evaluated(self):
        """Evaluations of the sessions before."""
        if not hasattr(self, "_before"):
            states = [*self.folder.glob("checkpoints/checkpoint-*/trainer_state.json")]
            logs = [json.loads(path.read_text())["log_history"] for path in states]
            self._before = max((sum("eval_final_score" in entry for entry in log) for log in logs), default=0)
        return self._before

    def weights(self):
        return {
            name: each.detach().clone() for name, each in self.loaded.model.named_parameters() if each.requires_grad
        }

    def log(self, history):
        self.histories.append([dict(entry) for entry in history])


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


KINDS = [("bart", SMALL), ("llama", SMALL), ("llama", LORA)]
IDS = ["bart", "llama", "llama-lora"]


def slow(*values):
    """A case for the slow tier: the quick one has a like of it."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(("family", "recipe"), [KINDS[0], slow(*KINDS[1]), KINDS[2]], ids=IDS)
@pytest.mark.parametrize(("scores", "best", "stopped"), [
    slow([5, 4, 3, 2, 1, 0], 1, 4),
    ([3, 5, 5, 4, 3, 9], 2, 5),  # as good is not better
    slow([1, 4, 3, 2, 6, 5, 4, 3, 2], 5, 8),
])  # fmt: skip
def test_three_evaluations_without_a_better_one_end_it_and_the_best_weights_are_kept(
    tmp_path, folder_of, family, recipe, scores, best, stopped
):
    session = Session(folder_of(family), tmp_path, recipe, scores, eval_steps=1)
    assert (session.trained.best_step, session.trained.steps) == (best, stopped)
    assert len(session.seen) == stopped
    assert_same(session.weights(), session.seen[best - 1])
    assert any(
        not torch.equal(session.seen[best - 1][name], weight) for name, weight in session.seen[stopped - 1].items()
    )
    curve = [entry["eval_final_score"] for entry in session.trained.history if "eval_final_score" in entry]
    assert curve == scores[:stopped]
    assert not session.loaded.model.training


@pytest.mark.parametrize("keep", [slow(1), 2])
def test_checkpoints_are_few_and_the_best_is_among_them(tmp_path, folder_of, keep):
    scores = [1, 9, *range(8, 0, -1)]
    session = Session(
        folder_of("bart"), tmp_path, replace(SMALL, patience=6), scores, eval_steps=1, keep_checkpoints=keep
    )
    assert session.trained.steps == 8
    left = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert left == {"checkpoint-2", "checkpoint-8"}  # the last one too: a run that dies after it has to find it
    saved = load_file(tmp_path / "checkpoints/checkpoint-2/model.safetensors")
    kept = session.weights()
    assert all(torch.equal(kept[name], weight) for name, weight in saved.items() if name in kept)


def test_an_epoch_is_evaluated_at_its_end_and_a_broken_one_as_well(tmp_path, folder_of):
    session = Session(folder_of("bart"), tmp_path, replace(SMALL, num_epochs=1.5), [1, 2, 3])
    steps = [entry["step"] for entry in session.trained.history if "eval_final_score" in entry]
    assert steps == [3, 5]
    assert session.trained.best_step == 5


@pytest.mark.slow
def test_an_interval_that_does_not_divide_the_steps_leaves_no_end_unjudged(tmp_path, folder_of):
    session = Session(folder_of("bart"), tmp_path, SMALL, [1, 2, 3, 4], eval_steps=4)
    assert [entry["step"] for entry in session.trained.history if "eval_final_score" in entry] == [4, 8, 9]


SCORES = [4.0, 7.0, 5.0]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, folder_of):
    return cache(
        lambda family, recipe, scores, **given: Session(
            folder_of(family), tmp_path_factory.mktemp("undisturbed"), recipe, scores, **given
        )
    )


def test_what_an_evaluation_draws_at_random_changes_nothing_of_the_training(tmp_path, folder_of, undisturbed):
    whole = undisturbed("llama", LORA, tuple(SCORES))
    assert_same(Session(folder_of("llama"), tmp_path, LORA, SCORES, draws=7).weights(), whole.weights())


DEATHS = [slow("llama", LORA, deaths) for deaths in ((1,), (3,), (5, 6, 7), (9,))]


@pytest.mark.parametrize(
    ("family", "recipe", "deaths"),
    [*DEATHS, ("llama", LORA, (4, 8)), slow("llama", SMALL, (4,)), ("bart", SMALL, (2,))],
)
def test_a_run_that_dies_at_any_step_ends_in_the_same_weights_to_the_bit(
    tmp_path, folder_of, undisturbed, family, recipe, deaths
):
    whole = undisturbed(family, recipe, tuple(SCORES))
    for step in deaths:
        with pytest.raises(Killed):
            Session(folder_of(family), tmp_path, recipe, SCORES, dies_after=step, checkpoint_minutes=1e-9)
        (tmp_path / "checkpoints" / ".unfinished").mkdir(exist_ok=True)  # what a kill leaves that no handler clears up
    torch.manual_seed(99)
    resumed = Session(folder_of(family), tmp_path, recipe, SCORES, checkpoint_minutes=1e-9)
    assert_same(resumed.weights(), whole.weights())
    assert (resumed.trained.best_step, resumed.trained.steps) == (whole.trained.best_step, 9) == (6, 9)
    assert resumed.trained.tokens == whole.trained.tokens


@pytest.mark.parametrize("dies_at", [slow(0), 1, slow(2)])
def test_a_run_that_dies_while_it_is_judged_is_judged_again(tmp_path, folder_of, undisturbed, dies_at):
    # With a checkpoint at every step, also at the last of an epoch: its evaluation must not be lost.
    whole = undisturbed("llama", LORA, tuple(SCORES))
    with pytest.raises(Killed):
        Session(folder_of("llama"), tmp_path, LORA, SCORES, dies_at=dies_at, checkpoint_minutes=1e-9)
    resumed = Session(folder_of("llama"), tmp_path, LORA, SCORES, checkpoint_minutes=1e-9)
    curve = [
        (entry["step"], entry["eval_final_score"]) for entry in resumed.trained.history if "eval_final_score" in entry
    ]
    assert curve == [(3, 4.0), (6, 7.0), (9, 5.0)]
    assert_same(resumed.weights(), whole.weights())


@pytest.mark.parametrize("dies_at", [slow(2), slow(3), 4])
def test_patience_counts_the_evaluations_before_a_death_as_well(tmp_path, folder_of, undisturbed, dies_at):
    scores = (3.0, 6.0, 5.0, 4.0, 3.0, 9.0)
    whole = undisturbed("llama", LORA, scores, eval_steps=1)
    assert (whole.trained.best_step, whole.trained.steps) == (2, 5)
    with pytest.raises(Killed):
        Session(folder_of("llama"), tmp_path, LORA, scores, eval_steps=1, dies_at=dies_at)
    resumed = Session(folder_of("llama"), tmp_path, LORA, scores, eval_steps=1)
    assert (resumed.trained.best_step, resumed.trained.steps) == (2, 5)
    assert_same(resumed.weights(), whole.weights())


@pytest.mark.parametrize(("scores", "given", "epochs"), [
    ((3.0, 6.0, 5.0, 4.0, 3.0, 9.0), {"eval_steps": 1}, 3),  # stopped early
    (tuple(SCORES), {}, 3),
    ((5.0, 4.0), {}, 1.5),  # stopped in the middle of an epoch
], ids=["patience", "epochs", "half an epoch"])  # fmt: skip
@pytest.mark.parametrize(("family", "recipe"), [KINDS[0], slow(*KINDS[1]), slow(*KINDS[2])], ids=IDS)
def test_a_run_that_dies_after_its_last_step_makes_no_other(tmp_path, folder_of, family, recipe, scores, given, epochs):
    recipe = replace(recipe, num_epochs=epochs)
    whole = Session(folder_of(family), tmp_path, recipe, scores, **given)
    again = Session(folder_of(family), tmp_path, recipe, scores, **given)  # the model had not been saved
    assert not again.seen
    assert (again.trained.best_step, again.trained.steps) == (whole.trained.best_step, whole.trained.steps)
    assert_same(again.weights(), whole.weights())
    assert again.trained.seconds > 0


@pytest.mark.slow
def test_a_run_folder_may_move_between_two_sessions(tmp_path, folder_of, undisturbed):
    whole = undisturbed("llama", LORA, (7.0, 5.0, 4.0))
    with pytest.raises(Killed):
        Session(folder_of("llama"), tmp_path / "here", LORA, [7.0, 5.0, 4.0], dies_after=7)
    (tmp_path / "here").rename(tmp_path / "there")
    resumed = Session(folder_of("llama"), tmp_path / "there", LORA, [7.0, 5.0, 4.0])
    assert resumed.trained.best_step == 3
    assert_same(resumed.weights(), whole.weights())


def test_the_history_has_losses_rates_and_scores(tmp_path, folder_of):
    session = Session(folder_of("bart"), tmp_path, replace(SMALL, warmup_ratio=0.2), SCORES)
    first = session.trained.history[0]
    assert {"step", "epoch", "loss", "learning_rate", "grad_norm", "seconds", "tokens"} <= first.keys()
    assert first["step"] == 1
    assert session.histories[-1][: len(session.trained.history)] == session.trained.history
    seconds = [entry["seconds"] for entry in session.trained.history]
    assert seconds == sorted(seconds)
    widths = session.trained.history[-1]["tokens"]
    assert session.trained.tokens == widths > 0


def test_a_plan_changes_neither_weights_nor_random_state(tmp_path, folder_of):
    settings = FinetuneSettings(models=["tiny-bart"])
    loaded = load(resolve(str(folder_of("llama"))), settings)
    loaded, _ = prepare(loaded, LORA, [], seed=3)
    steps = Steps(loaded, LORA, 40, fail)
    weights = {name: weight.clone() for name, weight in loaded.model.state_dict().items()}
    state = torch.get_rng_state()
    plan = measure(loaded, examples(), LORA, settings, steps, tmp_path, 4)
    steps.loss.remove()
    assert torch.equal(torch.get_rng_state(), state)
    assert_same(loaded.model.state_dict(), weights)
    assert all(each.grad is None for each in loaded.model.parameters())
    assert plan.trainable_parameters == sum(each.numel() for each in loaded.model.parameters() if each.requires_grad)
    assert (plan.examples, plan.steps) == (12, 9)
    assert plan.minutes == pytest.approx(3 * plan.minutes_an_epoch)
    assert plan.disk_bytes == (4 * 12 + 4) * plan.trainable_parameters  # checkpoints, and the model
    assert plan.memory_bytes is None or torch.cuda.is_available()


def test_files_of_a_checkpoint_that_was_being_written_are_no_checkpoint(tmp_path, folder_of):
    half = Path(tmp_path / "checkpoints/.unfinished/checkpoint-99")
    half.mkdir(parents=True)
    (half / "trainer_state.json").write_text("{", encoding="utf-8")
    session = Session(folder_of("bart"), tmp_path, replace(SMALL, num_epochs=1), [1.0])
    assert session.trained.steps == 3
    assert not (tmp_path / "checkpoints/.unfinished").exists()
