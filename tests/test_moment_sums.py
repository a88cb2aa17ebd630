"""Second moments by place: the reference against sums written out, the compiled operator against it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from rnnmem import ops
from rnnmem.chunks import Chunk
from rnnmem.fit import FitOptions
from rnnmem.moment_sums import Factors, MomentSums, sum_moments
from rnnmem.moments import Lagged, Moments, Rows
from rnnmem.token_controls import TokenControls

DTYPES = [pytest.param(torch.float32, id="float32"), pytest.param(torch.float64, id="float64")]
PARTS = ("left", "square", "right", "cross")


def make_factors(
    rows: int, piece: int, pieces: int, d: int, maps: int, dtype: torch.dtype = torch.float64
) -> Factors:
    """Random ones, far from zero, with a row in five left out."""
    torch.manual_seed(0)
    reach = 9
    return Factors(
        left=torch.randn(rows + reach, piece, dtype=dtype) + 3,
        left_at=torch.randint(0, reach + 1, (pieces,)),
        right=torch.randn(2 * rows + reach, d, dtype=dtype) - 50,
        right_at=torch.randint(0, rows + reach + 1, (maps,)),
        row=(torch.rand(rows) < 0.8).nonzero().flatten(),
        left_pilot=3 + torch.randn(piece * pieces, dtype=torch.float64) / 10,
        right_pilot=torch.randn(maps, d, dtype=torch.float64) / 10 - 50,
    )


def compiled(of: Factors, isa: str | None = None) -> MomentSums:
    return ops.sum_moments(of, isa)


def test_reference_against_sums_written_out() -> None:
    of = make_factors(rows=7, piece=2, pieces=2, d=3, maps=2)
    sums = sum_moments(of)
    left, square = torch.zeros(4, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.float64)
    right, cross = torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 4, 3, dtype=torch.float64)
    for r in of.row.tolist():
        h = torch.cat([of.left[r + a] for a in of.left_at.tolist()]) - of.left_pilot
        left += h
        square += h.outer(h)
        for each, at in enumerate(of.right_at.tolist()):
            e = of.right[r + at] - of.right_pilot[each]
            right[each] += e
            cross[each] += h.outer(e)
    for name, wanted in zip(PARTS, (left, square, right, cross), strict=True):
        torch.testing.assert_close(getattr(sums, name), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1, 1, 1), (130, 5, 3, 33, 4), (64, 40, 1, 2, 17), (65, 1, 37, 3, 0), (200, 70, 2, 40, 19)],
    ids=str,
)
def test_compiled_against_the_reference(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Products with targets are summed in float32 within a tile of 128 rows, all else in float64."""
    of = make_factors(*shape, dtype=dtype)
    wanted = sum_moments(of)
    loose = 1e-4 if dtype == torch.float32 else 1e-11
    for isa in ops.isa_levels():
        found = compiled(of, isa)
        for name in PARTS:
            atol = loose if name == "cross" else 1e-10
            torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=1e-11, atol=atol)
        assert torch.equal(found.square, found.square.T)


def test_a_large_mean_costs_no_digits() -> None:
    """About pilots that are near the means; float32 holds the numbers themselves to 1e-7 of 1000."""
    torch.manual_seed(0)
    left, right = torch.randn(4000, 8) + 1000, torch.randn(4000, 4) - 1000
    here = torch.zeros(1, dtype=torch.int64)
    pilots = left.double().mean(dim=0), right.double().mean(dim=0, keepdim=True)
    of = Factors(left, here, right, here, torch.arange(4000), *pilots)
    exact = (left.double() - pilots[0]).T @ (right.double() - pilots[1])
    torch.testing.assert_close(compiled(of).cross[0], exact, rtol=0, atol=1e-3)


def test_no_rows_leave_zeros() -> None:
    of = make_factors(20, 3, 2, 2, 3)
    of = replace(of, row=of.row[:0])
    for found in (sum_moments(of), compiled(of)):
        for name in PARTS:
            assert not bool(getattr(found, name).any())


def test_the_same_bits_for_any_number_of_threads() -> None:
    of = make_factors(500, 60, 2, 20, 21, torch.float32)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = compiled(of)
        for count in (2, 3, 8):
            torch.set_num_threads(count)
            many = compiled(of)
            assert all(torch.equal(getattr(one, name), getattr(many, name)) for name in PARTS)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype: torch.dtype) -> None:
    of = make_factors(30, 5, 2, 3, 4, dtype)
    given = (of.left, of.left_at, of.right, of.right_at, of.row, of.left_pilot, of.right_pilot)
    for isa in ops.isa_levels():
        torch.library.opcheck(torch.ops.rnnmem.moments.default, (*given, isa))


BAD = {
    "left rank": {"left": torch.zeros(30)},
    "left columns": {"left": torch.zeros(40, 0)},
    "left half": {"left": torch.zeros(40, 5, dtype=torch.float16)},
    "right dtype": {"right": torch.zeros(80, 3, dtype=torch.float64)},
    "right columns": {"right": torch.zeros(80, 0)},
    "left_at beyond": {"left_at": torch.tensor([0, 39])},
    "left_at negative": {"left_at": torch.tensor([0, -30])},
    "left_at dtype": {"left_at": torch.tensor([0.0, 1.0])},
    "right_at beyond": {"right_at": torch.tensor([0, 0, 0, 60])},
    "right_at overflow": {"right_at": torch.tensor([0, 0, 0, 2**63 - 1])},
    "row negative": {"row": torch.tensor([-1])},
    "row beyond": {"row": torch.tensor([2**63 - 1])},
    "row dtype": {"row": torch.tensor([0.0])},
    "left_pilot size": {"left_pilot": torch.zeros(5, dtype=torch.float64)},
    "left_pilot dtype": {"left_pilot": torch.zeros(10)},
    "right_pilot size": {"right_pilot": torch.zeros(3, 3, dtype=torch.float64)},
}


@pytest.mark.parametrize("name", BAD)
def test_bad_factors_raise(name: str) -> None:
    of = replace(make_factors(30, 5, 2, 3, 4, torch.float32), **{"row": torch.arange(10, 30), **BAD[name]})
    wanted = "expected float32 or float64" if name == "left half" else f"{name.split()[0]}: expected"
    with pytest.raises(RuntimeError, match=wanted):
        compiled(of)


@pytest.mark.parametrize("split", ["time", "streams"])
@pytest.mark.parametrize("lags", [[0, 1, 2, 3, 4], [1, 3, 6], [5, 9], [0, 2]], ids=str)
def test_lags_within_a_window_are_read_off_its_own_products(lags: list[int], split: str) -> None:
    """Where lags have rows of their own, too: streams end at different steps."""
    torch.manual_seed(0)
    window, d, history, steps, streams = 4, 3, lags[-1] + 3, 40, 5
    vectors = torch.randn(history + steps, streams, d, dtype=torch.float64) + 2
    age = torch.arange(steps).unsqueeze(1).expand(-1, streams).clone()
    age[20:, 1], age[7:, 3], age[10:, 4] = -1, -1, torch.arange(30)
    chunk = Chunk(vectors, vectors, None, age, None, 0, 0)
    options = FitOptions(torch.tensor(lags), split, 0, 1e-6, window, 0)
    space = SimpleNamespace(dimension=d)
    controls = TokenControls(space, options, None, window, sum_moments)
    rows = Rows(options.lags, split, 0)

    def moments(some: list[int]) -> Moments:
        band = [rows.band[index] for index in some]
        found = Moments(rows, band, window * d, d, torch.device("cpu"), sum_moments)
        targets = Lagged(vectors[None], [(0, lags[index]) for index in some], steps)
        found.add(vectors.flatten(0, 1), age, targets, chunk.places(window))
        return found

    beyond = [index for index, lag in enumerate(lags) if lag >= window]
    wanted, found = moments(list(range(len(lags)))), controls.of_all_lags(moments(beyond))
    torch.testing.assert_close(found.cross_covariance(), wanted.cross_covariance(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.target_mean(), wanted.target_mean(), rtol=1e-12, atol=1e-12)
    assert torch.equal(found.counts(), wanted.counts())
