"""Where the inference control is sampled, and what it says of networks that remember and that infer."""

import pytest
import torch

import rnnmem
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
