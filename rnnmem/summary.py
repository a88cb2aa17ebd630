"""From sums to a report: which blocks to use, and every indicator in turn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnmem.errors import expected
from rnnmem.fit import FEWEST
from rnnmem.indicators.bits import bits_kept, kept_correlations, utilisation
from rnnmem.indicators.breakdown import by_position, by_token_class
from rnnmem.indicators.ceiling import own_capacity_ceiling
from rnnmem.indicators.curve import FEWEST_BLOCKS, Curve, measure_curve
from rnnmem.indicators.hull_coverage import hull_coverage
from rnnmem.recall import CurveFit, RecallMaps
from rnnmem.report import CONTROLS, MemoryReport
from rnnmem.tally import Tally

FLAT = 16


def correction(maps: RecallMaps, fit: CurveFit) -> Tensor:
    """1 - H_eff / N_eff by lag [K]; NaN with fewer than 3 effective rows a unit."""
    enough = fit.effective_rows >= FEWEST * maps.effective_size
    return torch.where(enough, 1 - maps.effective_size / fit.effective_rows, float("nan"))


def jackknife_sums(tally: Tally, by_stream: bool) -> tuple[Tensor, str]:
    """Sums [g, C] by block of time or by group of streams, and which they are.

    Groups of streams where there are too few blocks of time, or where streams are sequences of their own and
    there are enough of them: what sets one sequence apart from the next lasts longer than any block within.
    """
    groups = tally.groups[tally.groups[:, 2 * tally.maps_counted] > 0]
    if (by_stream or len(tally.blocks.sums) < FEWEST_BLOCKS) and len(groups) >= FEWEST_BLOCKS:
        return groups, "groups of streams"
    return tally.blocks.sums, f"blocks of {tally.blocks.width} steps"


def flat(curve_fit: CurveFit, variance: Tensor, dtype: str) -> Tensor:
    """Lags whose targets do not vary beyond rounding, bool [K]."""
    eps = torch.finfo(torch.float64 if dtype == "float64" else torch.float32).eps
    level = curve_fit.target_mean.square().sum(dim=-1).cpu()
    return variance <= level * (FLAT * eps) ** 2


def summarise(
    tally: Tally,
    maps: RecallMaps,
    model: dict[str, Any],
    backend: str,
    precision: str,
) -> MemoryReport:
    """The report of what was summed.

    Raises:
        RnnMemError: no row was measured.
    """
    count, columns = tally.lags, tally.maps_counted
    sums, blocks = jackknife_sums(tally, maps.settings["split"] == "streams")
    rows = sums[:, 2 * columns :]
    if not len(sums) or float(rows[:, 0].sum()) == 0:
        raise expected("inputs", "at least one row to measure after washout and max lag", "none")
    warnings = list(maps.warnings)
    curves: list[Curve] = []
    for own, fit in ((False, maps.raw), (True, maps.own)):
        first = count if own and maps.has_own else 0
        distance, variance = (
            sums[:, first : first + count],
            sums[:, columns + first : columns + first + count],
        )
        same = flat(fit, variance.sum(0) / rows.sum(0), model["dtype"])
        if bool(same.any()):
            what = "innovations" if own else "semantic vectors"
            warnings.append(f"the {what} do not vary at lags {maps.lags[same].tolist()}: no retention (NaN)")
        factor = torch.where(same, float("nan"), correction(maps, fit))
        curves.append(
            measure_curve(maps.lags, distance, variance, rows, factor, fit.map_variance, predictor_error(fit))
        )
    raw, own_curve = curves
    if not raw.judged:
        warnings.append(
            f"only {raw.blocks} blocks of rows (16 are needed): no standard errors, no significance; "
            "every lag counts in the sums; use a longer sequence, more streams or smaller lags"
        )
    kappa = [second_moments(tally, maps, own) for own in (False, True)]
    cells = tally.positions.sums
    factor = correction(maps, maps.raw)
    class_d, class_v, class_n = tally.classes.transpose(1, 2)
    order = maps.innovations.order
    return MemoryReport(
        lags=maps.lags,
        raw=raw,
        own=own_curve,
        bits=bits_kept(kappa[0], maps.entropy),
        own_bits=bits_kept(kappa[1], maps.entropy),
        hull_coverage=hull_coverage(tally.recalled, tally.expressed, maps.ranges.cpu(), raw.retention),
        controls=dict.fromkeys(CONTROLS),
        by_position=by_position(
            tally.positions.index,
            tally.positions.width,
            cells[:, :count],
            cells[:, columns : columns + count],
            cells[:, 2 * columns :],
            factor,
            maps.lags,
        ),
        by_token_class=None
        if maps.token_band is None
        else by_token_class(class_d, class_v, class_n, factor, maps.lags),
        own_capacity_ceiling=own_capacity_ceiling(
            maps.innovations, maps.innovation_spectra, maps.rank, int(maps.lags[-1])
        )
        if maps.has_own
        else None,
        utilisation=utilisation(kappa[1], maps.lags, order, maps.features),
        warnings=warnings,
        backend=backend,
        precision=precision,
        rows={"fit": int(maps.rows[0]), "measured": int(rows[:, 0].sum())},
        model=model,
        settings={
            **maps.settings,
            "block_width": maps.block_width,
            "blocks": blocks,
            "entropy": maps.entropy,
            "rank": maps.rank,
        },
    )


def predictor_error(fit: CurveFit) -> Tensor:
    """Variance, gain and loss of the innovation predictor [3, K]."""
    return torch.stack((fit.predictor_variance, fit.predictor_gain, fit.predictor_loss))


def second_moments(tally: Tally, maps: RecallMaps, own: bool) -> Tensor:
    """Squared canonical correlations [K, d] of what is kept."""
    first = tally.lags if own and maps.has_own else 0
    part = slice(first, first + tally.lags)
    rows = tally.moment_rows.view(-1, 1, 1)
    factor = correction(maps, maps.own if own else maps.raw).view(-1, 1, 1)
    return kept_correlations(tally.target_moment[part] / rows, tally.residual_moment[part] / rows * factor)
