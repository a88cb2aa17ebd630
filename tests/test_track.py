"""Memory while a network is trained: what is measured when, that training does not notice, and the files."""

import copy
import csv
import json
import math
import pickle
import sys
from dataclasses import replace
from itertools import pairwise

import pytest
import report_cases as cases
import torch
from test_page import Reader
from torch import nn

import rnnmem
from rnnmem import RnnMemError, Tracker, track
from rnnmem.track_page import track_page
from rnnmem.track_plot import MOST_POINTS, track_figure
from rnnmem.track_words import cell, headline, thinned

MODULE = sys.modules["rnnmem.track"]  # rnnmem.track is the function
T, B, I, H, V = 400, 16, 3, 6, 7  # noqa: E741
SMALL = {"lags": 3, "washout": 10, "innovation_order": 2}
SAMPLE = torch.randn(T, B, I, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randint(V, (T, B), generator=torch.Generator().manual_seed(1))
EVERYTHING = ("kept", "forgotten", "learnable")


class Net(nn.Module):
    """A next-token network with dropout, so that training draws random numbers."""

    def __init__(self):
        super().__init__()
        self.embedding, self.dropout = nn.Embedding(V, I), nn.Dropout(0.3)
        self.recurrent, self.head = nn.LSTM(I, H, num_layers=2, dropout=0.3), nn.Linear(H, V)

    def forward(self, tokens):
        return self.head(self.dropout(self.recurrent(self.embedding(tokens))[0]))


def network():
    torch.manual_seed(3)
    return Net()


def options(net):
    return {**SMALL, "embedding": net.embedding, "semantics": torch.eye(V)}


def learn(net, steps, after=lambda: None):
    """Trains; returns the weights and gradients, and a draw of the random state that is left."""
    torch.manual_seed(4)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for step in range(steps):
        words = TOKENS[20 * step : 20 * step + 21]
        loss = nn.functional.cross_entropy(net(words[:-1]).flatten(0, 1), words[1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        after()
    weights = [weight.detach().clone() for weight in net.parameters()]
    gradients = [weight.grad.clone() for weight in net.parameters() if weight.requires_grad]
    return weights, gradients, torch.rand(3)


@pytest.fixture(scope="module")
def trained():
    """A tracker that saw six steps of training, and the network's weights at each measurement."""
    net = network()
    tracker = track(net.recurrent, TOKENS, every=2, measures=EVERYTHING, head=net.head, **options(net))
    seen = [copy.deepcopy(net)]

    def after():
        if tracker.step():
            seen.append(copy.deepcopy(net))

    learn(net, 6, after)
    return tracker, seen


def test_the_curve_is_what_assess_says_of_the_same_weights(trained):
    tracker, seen = trained
    assert tracker.curve["step"] == [0, 2, 4, 6]
    assert tracker.warnings == []
    for entry, net in enumerate(seen):
        given = {"measures": EVERYTHING, "head": net.head, **options(net)}
        report = rnnmem.assess(net.recurrent, TOKENS, **given)
        wanted = {
            "memory_horizon": report.memory_horizon,
            "own_capacity": report.own_capacity,
            "own_capacity_se": report.own_capacity_se,
            "own_capacity_at_least": report.own_capacity_at_least,
            "own_horizon": report.own_horizon,
            "capacity": report.capacity,
            "capacity_se": report.capacity_se,
            "capacity_at_least": report.capacity_at_least,
            "convergence_length": report.forgotten.convergence_length,
            "reach": report.learnable.reach(),
            "used_span": report.used.span(),
        }
        assert {name: tracker.curve[name][entry] for name in wanted} == wanted
        assert set(tracker.curve) == {"step", "seconds", "cost", *wanted}
    assert tracker.curve["own_capacity"][0] != tracker.curve["own_capacity"][-1]
    latest = replace(report, settings={**report.settings, "training_step": 6})
    assert tracker.report.to_dict() == latest.to_dict()


def test_the_default_measures_what_is_kept_alone():
    tracker = track(nn.GRU(I, H), SAMPLE, **SMALL)
    assert not {"reach", "convergence_length", "used_span"} & set(tracker.curve)
    assert tracker.report.learnable is None
    assert tracker.report.controls["inference"] is not None


@pytest.mark.parametrize("every", [1, 3, None])
def test_training_goes_the_same_bit_for_bit(every, monkeypatch):
    monkeypatch.setattr(Tracker, "_affordable", lambda tracker: tracker.steps % 2 == 1)
    alone, followed = network(), network()
    given = {"every": every, "measures": EVERYTHING, "head": followed.head, **options(followed)}
    followed.recurrent.bias_hh_l1.requires_grad_(False)
    alone.recurrent.bias_hh_l1.requires_grad_(False)
    tracker = track(followed.recurrent, TOKENS, **given)
    for ours, theirs in zip(learn(followed, 4, tracker.step), learn(alone, 4), strict=True):
        assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))
    assert [p.requires_grad for p in followed.parameters()] == [p.requires_grad for p in alone.parameters()]
    assert all(module.training for module in followed.modules())
    assert len(tracker.curve["step"]) > 1


class Clock:
    """A clock that a test sets, and a measurement that takes as long as a test says."""

    def __init__(self, monkeypatch, cost=1.0):
        self.now, self.cost, self.report = 100.0, cost, cases.trained_gru()
        monkeypatch.setattr(Tracker, "_clock", staticmethod(lambda: self.now))
        monkeypatch.setattr(MODULE, "assess", self.assess)

    def assess(self, *args, **kwargs):
        self.now += self.cost
        if isinstance(self.report, BaseException):
            raise self.report
        return self.report

    def train(self, tracker, steps, seconds=1.0):
        """So many steps of so many seconds; the largest share of the training time that measuring took."""
        shares = []
        for _ in range(steps):
            self.now += seconds
            tracker.step()
            shares.append(tracker.spent / tracker.seconds)
        return shares


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_the_default_keeps_to_five_percent_from_the_start(clock):
    tracker = track(nn.GRU(I, H), SAMPLE)
    shares = clock.train(tracker, 1000)
    assert tracker.curve["step"] == [0, *range(40, 1001, 20)]  # the first is paid for too
    assert max(shares[19:]) <= 0.05
    assert (tracker.seconds, tracker.spent, tracker.steps) == (1000.0, 50.0, 1000)
    assert tracker.curve["seconds"] == tracker.curve["step"]
    assert set(tracker.curve["cost"]) == {1.0}


def test_costlier_measurements_come_less_often_and_stay_affordable(clock):
    tracker = track(nn.GRU(I, H), SAMPLE)
    clock.train(tracker, 100)
    clock.cost = 10.0
    shares = clock.train(tracker, 3000)
    steps = [step for step in tracker.curve["step"] if step > 300]
    assert {b - a for a, b in pairwise(steps)} == {200}
    assert max(shares[500:]) <= 0.05


def test_measurements_of_uneven_cost_are_foreseen(clock):
    tracker = track(nn.GRU(I, H), SAMPLE)
    shares = []
    for step in range(2000):
        clock.cost = 1.0 if step % 3 else 1.2
        shares += clock.train(tracker, 1)
    assert max(shares[200:]) <= 0.05
    assert len(tracker.curve["step"]) > 70


def test_a_pause_is_not_paid_out_in_a_row_of_measurements(clock):
    tracker = track(nn.GRU(I, H), SAMPLE)
    clock.now += 10_000  # the data are prepared, say
    clock.train(tracker, 60)
    assert tracker.curve["step"] == [0, 1, 21, 41]


def test_every_counts_steps_whatever_it_costs(clock):
    tracker = track(nn.GRU(I, H), SAMPLE, every=3)
    measured = []
    for _ in range(7):
        measured.append(tracker.step())
    assert measured == [False, False, True, False, False, True, False]
    assert tracker.curve["step"] == [0, 3, 6]
    tracker.measure()
    assert tracker.curve["step"] == [0, 3, 6, 7]


def test_many_measurements_keep_plain_numbers_and_one_report(clock):
    tracker = track(nn.GRU(I, H), SAMPLE, every=1)
    for _ in range(1000):
        tracker.step()
    assert {len(column) for column in tracker.curve.values()} == {1001}
    values = {type(value) for column in tracker.curve.values() for value in column}
    assert values <= {int, float, bool, type(None)}
    assert len(str(tracker).splitlines()) < 40
    assert len(track_figure(tracker).axes[0].lines[-1].get_xdata()) == MOST_POINTS
    assert "1,001 measurements" in Reader(track_page(tracker)).words()


def test_a_network_that_is_lost_is_told_and_training_goes_on():
    gru = nn.GRU(I, H)
    tracker = track(gru, SAMPLE, every=1, **SMALL)
    report = tracker.report
    whole = gru.weight_hh_l0.detach().clone()
    with torch.no_grad():
        gru.weight_hh_l0[0, 0] = math.nan
    assert [tracker.step() for _ in range(3)] == [True] * 3
    line = "model: expected finite weights, got NaN or Inf in weight_hh of layer 0"
    assert tracker.warnings == [f"training steps 1 to 3 (3 measurements): {line}"]
    assert tracker.report is report
    for name, column in tracker.curve.items():
        assert name in ("step", "seconds", "cost") or column[1:] == [None] * 3
    assert tracker.curve["step"] == [0, 1, 2, 3]
    with torch.no_grad():
        gru.weight_hh_l0.copy_(whole)
    tracker.step()
    assert tracker.curve["own_capacity"][-1] == tracker.curve["own_capacity"][0]
    for shown in (str(tracker), Reader(track_page(tracker)).words()):
        assert line in " ".join(shown.split())
    with torch.no_grad():
        gru.weight_hh_l0[0, 0] = math.nan
    with pytest.raises(RnnMemError, match=r"model: expected finite weights"):
        track(gru, SAMPLE, **SMALL)


def test_other_errors_do_not_end_training_either(clock):
    tracker = track(nn.GRU(I, H), SAMPLE, every=1)
    for error in (RuntimeError("no memory\nleft"), RuntimeError("no memory\nleft"), KeyError("x")):
        clock.report = error
        tracker.step()
    assert tracker.warnings == [
        "training steps 1 to 2 (2 measurements): RuntimeError: no memory left",
        "training step 3: KeyError: 'x'",
    ]
    clock.report = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        tracker.measure()


def test_a_failure_does_not_hasten_the_next_measurement(clock):
    tracker = track(nn.GRU(I, H), SAMPLE)
    clock.report, clock.cost = ValueError("no"), 0.0
    clock.train(tracker, 100)
    assert tracker.curve["step"] == [0, 40, 60, 80, 100]


def test_text_leads_with_the_answer_and_has_every_measurement(trained):
    tracker, _ = trained
    text = str(tracker)
    assert text == repr(tracker)
    assert " ".join(text.split()).startswith(headline(tracker))
    assert max(map(len, text.splitlines())) <= 100
    rows = [line.split("  ")[0] for line in text.splitlines()]
    rule = next(k for k, row in enumerate(rows) if row.startswith("---"))
    assert rows[rule + 1 : rule + 5] == ["0", "2", "4", "6"]


def told(clock, before, after):
    """The headline of a tracker that saw these reports."""
    clock.report = before
    tracker = track(nn.GRU(I, H), SAMPLE, every=1200)
    clock.report = after
    tracker.steps = 1199
    tracker.step()
    return headline(tracker)


def test_headline_says_then_and_now(clock):
    gru, nothing, unknown = cases.trained_gru(), cases.nothing_kept(), cases.no_control()
    assert told(clock, nothing, gru) == (
        "After 1,200 training steps this GRU remembers about 4 tokens; before training it showed none."
    )
    assert told(clock, gru, gru) == (
        "After 1,200 training steps this GRU remembers about 4 tokens, as before training."
    )
    assert told(clock, gru, nothing) == (
        "After 1,200 training steps this GRU shows no memory beyond inference; before training it "
        "remembered about 4."
    )
    assert told(clock, unknown, gru) == "After 1,200 training steps this GRU remembers about 4 tokens."
    assert told(clock, unknown, unknown).startswith("How far back this GRU remembers was not settled")


@pytest.mark.parametrize(("total", "most"), [(1, 5), (5, 5), (6, 5), (1000, 16)])
def test_thinning_keeps_both_ends(total, most):
    kept = thinned(total, most)
    assert kept == sorted(set(kept))
    assert (kept[0], kept[-1]) == (0, total - 1)
    assert len(kept) == min(total, most)


def test_files(trained, tmp_path):
    tracker, _ = trained
    for form in ("html", "png", "csv", "json"):
        tracker.save(tmp_path / f"track.{form}")
    assert (tmp_path / "track.png").read_bytes().startswith(b"\x89PNG")
    state = json.loads((tmp_path / "track.json").read_text(), parse_constant=pytest.fail)
    assert state == tracker.state_dict()
    with open(tmp_path / "track.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name, column in tracker.curve.items():
        assert [row[name] for row in rows] == ["" if value is None else str(value) for value in column]


def test_page_has_the_curve_and_the_latest_report(trained):
    tracker, _ = trained
    read = Reader(track_page(tracker))
    assert [tag for tag, _ in read.tags].count("h1") == 1
    table = read.table("training step")
    assert [row[0] for row in table[1:]] == ["0", "2", "4", "6"]
    assert table[2][2] == cell(tracker, "own_capacity", 1)
    text = read.words()
    for part in (headline(tracker), "The latest measurement, after 6 training steps", "Lag by lag"):
        assert part in text
    assert headline(tracker) in Reader(tracker._repr_html_()).words()


def test_figure_shows_the_curves_numbers(trained):
    tracker, _ = trained
    upper, lower = track_figure(tracker).axes
    lines = {line.get_label(): line for line in (*upper.lines, *lower.lines)}
    for label, name in (
        ("capacity (band: ± 2 standard errors)", "capacity"),
        ("own capacity (band: ± 2 standard errors)", "own_capacity"),
        ("memory horizon", "memory_horizon"),
        ("reach", "reach"),
        ("used span", "used_span"),
    ):
        assert lines[label].get_xdata().tolist() == tracker.curve["step"]
        wanted = [math.nan if value is None else value for value in tracker.curve[name]]
        assert lines[label].get_ydata().tolist() == pytest.approx(wanted, nan_ok=True)


SHAPES = ("few_blocks", "no_control", "without_lag_zero", "one_lag", "hostile")
CASES = {
    **{name: cases.CASES[name] for name in SHAPES},
    "nothing": lambda: cases.make_report(lags=(5, 10), retention=(0.3, 0.1), blocks=9),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_report_can_be_followed_and_written(clock, tmp_path, case):
    clock.report = case()
    tracker = track(nn.GRU(I, H), SAMPLE, every=1)
    clock.report = RuntimeError("lost <here>")
    tracker.step()
    clock.report = case()
    tracker.step()
    for form in ("html", "csv", "json"):
        tracker.save(tmp_path / f"track.{form}")
    assert "lost <here>" in Reader((tmp_path / "track.html").read_text(encoding="utf-8")).words()
    again = track(nn.GRU(I, H), SAMPLE)
    again.load_state_dict(json.loads((tmp_path / "track.json").read_text()))
    assert again.curve == tracker.curve
    again.spent -= 1  # what it measured itself
    assert str(again) == str(tracker)


def test_a_resumed_run_goes_on_with_the_curve(clock):
    first = track(nn.GRU(I, H), SAMPLE)
    clock.train(first, 100)
    clock.report = ValueError("no")
    clock.train(first, 20)
    state = copy.deepcopy(first.state_dict())
    clock.report = cases.trained_lstm()
    second = track(nn.GRU(I, H), SAMPLE)
    second.load_state_dict(state)
    assert second.state_dict() == {
        **state,
        "spent": state["spent"] + 1,
    }  # what it measured itself was paid for
    clock.train(second, 100)
    assert second.curve["step"] == [0, 40, 60, 80, 100, 120, 160, 180, 200, 220]
    assert second.spent <= 0.05 * second.seconds
    assert second.curve["own_capacity"][5] is None
    assert second.warnings == first.warnings == ["training step 120: ValueError: no"]
    assert second.report.model["unit"] == "lstm"
    assert first.state_dict() == state


def test_copies_and_pickles_go_on(clock):
    tracker = track(nn.GRU(I, H), SAMPLE)
    stored = pickle.dumps(tracker)
    for make in (lambda: pickle.loads(stored), lambda: copy.deepcopy(tracker), lambda: copy.copy(tracker)):
        clock.now += 1e6  # another process, another day
        again = make()
        clock.train(again, 30)
        assert (again.steps, again.seconds) == (30, 30.0)
        assert again.curve["step"] == [0]
    assert tracker.steps == 0


@pytest.mark.parametrize("event", ["on_train_batch_end", "on_step_end"])
def test_the_end_of_a_step_is_counted(clock, event):
    tracker = track(nn.GRU(I, H), SAMPLE, every=2)
    for batch in range(4):
        assert getattr(tracker, event)("trainer", "module", "outputs", batch, model=None) is None
    assert tracker.curve["step"] == [0, 2, 4]


@pytest.mark.parametrize("event", ["on_fit_start", "on_train_begin", "on_anything", "setup", "teardown"])
def test_other_events_are_nothing(clock, event):
    tracker = track(nn.GRU(I, H), SAMPLE, every=1)
    assert getattr(tracker, event)(1, 2, 3, stage="fit") is None
    assert tracker.steps == 0


@pytest.mark.parametrize("name", ["stepp", "_on_step", "__array__", "onward", "is_global_zero"])
def test_what_is_no_event_is_missing(clock, name):
    with pytest.raises(AttributeError, match=f"'Tracker' object has no attribute '{name}'"):
        getattr(track(nn.GRU(I, H), SAMPLE), name)


def test_two_trackers_have_keys_of_their_own_in_a_checkpoint(clock):
    net = nn.GRU(I, H, num_layers=2)
    keys = {track(net, SAMPLE, layer=layer).state_key for layer in (0, 1)}
    assert keys == {"rnnmem.Tracker{'layer': 0}", "rnnmem.Tracker{'layer': 1}"}
    assert track(net, SAMPLE).state_key == "rnnmem.Tracker"
