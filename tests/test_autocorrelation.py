"""Autocorrelation times against closed forms and against sums written out."""

import numpy as np
import pytest
import torch

from rnnmem.autocorrelation import Autocorrelation, blocking_time, integrated_time
from rnnmem.fit_cost import loss_time


def ar1(phi, steps, batch, seed=0):
    """Stationary sequences of variance 1, [T, B, 1]."""
    noise = np.random.default_rng(seed).standard_normal((steps, batch))
    noise[1:] *= np.sqrt(1 - phi**2)
    for t in range(1, steps):
        noise[t] += phi * noise[t - 1]
    return torch.as_tensor(noise).unsqueeze(-1)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_both_times_of_an_autoregression(phi):
    x = ar1(phi, 20_000, 4)
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    expected = (1 + phi) / (1 - phi)
    assert integrated_time(Autocorrelation([x], [mask])) == pytest.approx(expected, rel=0.1)
    # Blocking takes the largest over widths, so its noise is always upwards.
    assert 0.9 * expected < blocking_time([x], [mask]) < 1.35 * expected


def test_blocking_is_the_largest_over_sums_of_neighbours_from_the_first_row_that_counts():
    x = ar1(0.8, 301, 2)
    mask = torch.ones(301, 2, dtype=torch.bool)
    mask[:13] = False
    x = x.masked_fill(~mask.unsqueeze(-1), 0)
    values, times = x.numpy()[13:, :, 0], [1.0]
    for width in (2, 4, 8, 16):  # 576 rows: 32 sums of 18 at most
        sums = [values[i : i + width].sum(axis=0) for i in range(0, len(values), width)]
        times.append(np.square(sums).sum() / np.square(values).sum())
    assert blocking_time([x], [mask]) == pytest.approx(max(times), rel=1e-12)


def test_a_long_thin_tail_is_seen_by_blocking_alone():
    slow = ar1(0.98, 40_000, 1)
    x = 0.2 * slow + ar1(0.0, 40_000, 1, seed=1)
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    expected = (0.04 * 99 + 1) / 1.04
    assert integrated_time(Autocorrelation([x], [mask])) < 0.5 * expected
    assert blocking_time([x], [mask]) > 0.75 * expected


def test_loss_time_sees_what_lasts_in_the_ratio_though_the_losses_do_not():
    steps = 20_000
    slow, white = ar1(0.95, steps, 1), ar1(0.0, steps, 1, seed=1)
    mask = torch.ones(steps, 1, dtype=torch.bool)
    assert loss_time([white], [white], [mask]) < 2
    assert loss_time([white], [slow], [mask]) > 5  # |deviation|^2 of AR(1) lasts as phi^2 does: 19


def test_nothing_and_constant_sequences_have_time_one():
    empty, none = torch.zeros(0, 2, 1), torch.zeros(0, 2, dtype=torch.bool)
    assert blocking_time([empty], [none]) == 1
    zeros, mask = torch.zeros(200, 1, 1), torch.ones(200, 1, dtype=torch.bool)
    assert blocking_time([zeros], [mask]) == 1
