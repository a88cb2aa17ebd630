"""Where the inference control is sampled, and what it says of networks that remember and that infer."""

import warnings

import pytest
import torch

import rnnmem
from rnnmem import inference
from rnnmem.chunks import Streams
from rnnmem.inference import sampled_lags
from rnnmem.lags import lag_grid


@pytest.mark.parametrize(
    ("lags", "own_horizon", "expected"),
    [
        (5, 3, [0, 1, 2, 3, 4, 5]),
        (128, None, [1, 2, 4, 8, 15, 33, 63, 128]),
        (128, 128, [1, 2, 4, 8, 15, 33, 63, 128]),
        (128, 15, [1, 2, 3, 4, 5, 8, 12, 18]),
        (128, 2, [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
    ids=["few", "unjudged", "to-the-end", "short", "very-short"],
)
def test_which_lags_are_sampled(lags, own_horizon, expected):
    grid = lag_grid(lags)
    assert grid[sampled_lags(grid, own_horizon)].tolist() == expected


class Bent:
    """Remembers only the last input, and shows it with its square and its cube."""

    def init_state(self, batch):
        return torch.zeros(batch, 3)

    def step(self, x, state):
        return torch.cat((x, x.square(), x.pow(3)), dim=1), state


def test_what_a_memoryless_unit_infers_is_not_memory():
    """x_t depends on x_{t-1}^2: its own square tells something of the past that no affine prediction does."""
    torch.manual_seed(0)
    steps, streams = 6000, 4
    x = torch.rand(steps, streams, 1) * 2 - 1
    for t in range(1, steps):
        x[t] = (0.9 * x[t - 1].square() * 2 - 0.9) + 0.1 * (2 * torch.rand(streams, 1) - 1)
    report = rnnmem.assess(Bent(), x, lags=4)
    assert report.memory_horizon == 0
    inference, own = report.controls["inference"], report.own_retention
    assert torch.allclose(inference[1:], own[1:], atol=0.02)


def test_memory_beyond_inference_is_found():
    torch.manual_seed(1)
    weight = torch.zeros(6, 6)
    weight[range(1, 6), range(5)] = 1
    unit = rnnmem.units.EchoState(torch.eye(6)[:, :1].clone(), weight, activation="identity")
    report = rnnmem.assess(unit, torch.randn(6000, 2, 1), lags=20)
    assert report.memory_horizon == 5
    sampled = ~report.controls["inference"].isnan()
    assert int(sampled.sum()) == 8
    assert float(report.controls["inference"][sampled].abs().max()) < 0.01


@pytest.mark.parametrize(
    ("steps", "streams", "split"), [(400, 1500, "time"), (2000, 24, "streams")], ids=["wide", "few-streams"]
)
def test_few_window_starts_still_have_blocks(steps, streams, split):
    """A delay line of 3 remembers 2 steps, also where windows start at few times or in few streams."""
    torch.manual_seed(2)
    unit = rnnmem.units.EchoState(
        torch.eye(3)[:, :1].clone(), torch.eye(3).roll(1, 0).tril(), activation="identity"
    )
    report = rnnmem.assess(unit, torch.randn(steps, streams, 1), lags=4, split=split)
    assert report.memory_horizon == 2
    assert not report.controls["inference_se"][1:].isnan().any()


def test_sentences_shorter_than_the_longest_lag_are_measured_as_far_as_they_go():
    torch.manual_seed(3)
    weight = torch.zeros(20, 20)
    weight[range(1, 20), range(19)] = 1
    unit = rnnmem.units.EchoState(torch.eye(20)[:, :1].clone(), weight, activation="identity")
    report = rnnmem.assess(unit, torch.randn(12, 3000, 1), split="streams")
    kept = report.own_retention[:10]
    torch.testing.assert_close(kept, torch.ones(10, dtype=torch.float64), rtol=0, atol=1e-3)
    assert report.own_capacity_at_least
    assert report.own_capacity == pytest.approx(11, abs=0.01)
    assert report.suitable_length().length is None
    assert report.relative_distance(50) is None
    assert report.memory_horizon is not None
    assert report.memory_horizon <= 10


def test_the_innovation_order_follows_the_rows_of_its_own_lag():
    """Of 4,000 sentences only 60 have 9 tokens: rows for 5 tokens of 4 dimensions, not for 8."""
    torch.manual_seed(4)
    lengths = torch.randint(3, 6, (8000,))
    lengths[::67] = 9
    inputs = torch.randn(9, 8000, 4)
    report = rnnmem.assess(torch.nn.GRU(4, 6), inputs, lags=8, split="streams", lengths=lengths)
    assert report.settings["innovation_order"] == 5
    assert any(line.startswith("innovation_order lowered from 8") for line in report.warnings)
    # White tokens: own retention and retention have one truth.
    pairs = zip(report.retention[:4].tolist(), report.own_retention[:4].tolist(), strict=True)
    assert all(abs(raw - own) < 0.02 for raw, own in pairs)


def test_where_nothing_is_kept_only_the_first_lags_are_controlled():
    torch.manual_seed(0)
    unrelated = torch.randn(8000, 4, 2)
    report = rnnmem.assess(torch.nn.GRU(1, 4), torch.randn(8000, 4, 1), semantics=unrelated, lags=30)
    assert report.own_horizon is None
    assert report.settings["inference_lags"] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert report.memory_horizon == 0


@pytest.mark.parametrize("padding", [0, 2000, 6000])
def test_padding_changes_no_horizon(padding):
    torch.manual_seed(5)
    weight = torch.diag(torch.ones(5), -1)
    unit = rnnmem.units.EchoState(torch.eye(6)[:, :1].clone(), weight, activation="identity")
    inputs = torch.cat((torch.randn(4000, 4, 1), torch.zeros(padding, 4, 1)))
    share = 2000 / len(inputs)
    report = rnnmem.assess(unit, inputs, lags=12, fit=share, lengths=torch.full((4,), 4000))
    assert report.memory_horizon == report.own_horizon == 5
    sampled = torch.isin(report.lags, torch.tensor(report.settings["inference_lags"]))
    assert bool(report.controls["inference_se"][sampled].isfinite().all())


def test_windows_are_drawn_from_the_streams_that_have_rows(monkeypatch):
    """One long stream among short ones: as many rows as are wanted, where they are there."""
    monkeypatch.setattr(inference, "FEWEST_ROWS", 600)
    lengths = torch.tensor([3000] + [400] * 9)
    control = control_of(torch.zeros(3000, 10, 1), lengths, [1, 8], by_stream=False)
    part = inference.Part(range(10), 200, 3000)
    windows = control.windows(part, 600)
    assert int(control.valid(part, windows, 8).sum()) >= 600
    assert int(control.counted(part, windows).sum()) <= 2 * 600


def test_few_long_sentences_do_not_make_all_others_run():
    lengths = torch.full((5000,), 6)
    lengths[::500] = 40
    control = control_of(torch.zeros(40, 5000, 1), lengths, [1, 30], by_stream=True)
    part = inference.Part(range(5000), 0, 40)
    windows = control.windows(part, 500)
    assert int(control.valid(part, windows, 30).sum()) == 10 * (40 - 30)
    assert len(windows.start) == 4 * 500 + 10 * (40 - 30)


def control_of(inputs, lengths, lags, by_stream):
    """An inference control over some streams, to see its windows."""
    data = Streams(inputs, None, lengths, None)
    return inference.InferenceControl(None, None, data, None, lags, 1e-6, by_stream)


def test_inputs_that_do_not_vary_are_no_fault_of_their_number():
    report = rnnmem.assess(torch.nn.GRU(2, 4), torch.ones(3000, 4, 2), lags=4)
    assert not [line for line in report.warnings if line.startswith("inference control")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report._repr_html_()


class Picky:
    """Runs no step of nobody."""

    def init_state(self, batch):
        assert batch > 0
        return torch.zeros(batch, 1)

    def step(self, x, state):
        assert len(x) > 0
        return 0.5 * state + x, 0.5 * state + x


def test_windows_that_end_in_no_row_are_not_run():
    """Of lags 6 and 9 alone, and the first two thousand sentences have no row at either."""
    torch.manual_seed(6)
    lengths = torch.full((8000,), 4)
    lengths[3000::4] = 20
    given = {"lags": [6, 9], "split": "streams", "fit": 0.6, "lengths": lengths, "measures": ("kept",)}
    report = rnnmem.assess(Picky(), torch.randn(20, 8000, 1), **given)
    assert bool(report.controls["inference"].isfinite().all())
    assert bool((report.controls["inference"].abs() < 0.05).all())
