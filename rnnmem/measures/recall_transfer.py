"""Whether a token is kept in one place as it ages, or handed on: each lag's map, read out at other lags."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnmem.errors import expected
from rnnmem.fit import lagged_targets, walk
from rnnmem.network import fingerprint
from rnnmem.options import read_flag, read_full
from rnnmem.recall import RecallMaps
from rnnmem.session import measuring, open_session


def recall_transfer(
    model: Any,
    maps: RecallMaps,
    inputs: Tensor,
    *,
    embedding: nn.Embedding | Tensor | None = None,
    semantics: Tensor | None = None,
    lengths: Tensor | None = None,
    own: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Reads each token with the map of one lag when it has the age of another: the organisation of memory.

    Entry (i, j) is the retention of the token `lags[j]` steps back as the map of `lags[i]` recalls it: of a
    token read out `lags[j]` - `lags[i]` steps later than its map was made for. The diagonal is held-out
    retention. Where it alone is high, a token is handed on from place to place, as in a delay line; where
    whole blocks are, it stays where it is and fades. Below 0: the map recalls something else.

    Args:
        model: as in `assess`, the one that the maps were fitted to.
        maps: recall maps, from `fit_recall`.
        inputs: as in `assess`; others than those that the maps were fitted to.
        embedding: as in `assess`.
        semantics: as in `assess`, of the same kind as the maps'.
        lengths: as in `assess`.
        own: whether to read innovations with the maps of own retention.
        backend: as in `assess`.

    Returns:
        float64 [K, K], map by token; NaN for tokens that do not vary.

    Raises:
        RnnMemError: bad input as in `assess`; something else than recall maps, or of another size; no row.

    Source:
        King & Dehaene 2014, "Characterizing the dynamics of mental representations: the temporal
        generalization method".

    Example:
        >>> import torch, rnnmem
        >>> gru, read = torch.nn.GRU(2, 6), torch.randn(4000, 2, 2)
        >>> maps = rnnmem.fit_recall(gru, read[:2000], lags=4)
        >>> rnnmem.recall_transfer(gru, maps, read[2000:]).shape
        torch.Size([5, 5])
    """
    if not isinstance(maps, RecallMaps):
        raise expected("maps", "RecallMaps from fit_recall", type(maps).__name__)
    own = read_flag("own", own)
    with measuring(model):
        session = open_session(
            model,
            inputs,
            embedding=embedding,
            semantics=semantics,
            lengths=lengths,
            reset=None,
            layer=maps.settings["layer"],
            full=read_full(maps.settings["state"]),
            backend=backend,
            seed=maps.settings["seed"],
        )
        size = session.network.feature_size(session.full)
        if size not in (None, maps.features):
            raise expected("maps", f"maps that read {size} features like this model's state", maps.features)
        weights = fingerprint(session.network, session.space.embedding)
        if maps.settings.get("weights") not in (None, weights) and weights is not None:
            raise expected("maps", "maps fitted to this model", "maps of other weights or another embedding")
        if session.space.source != maps.settings["semantics"] or session.space.dimension != maps.dimension:
            wanted = f"{maps.dimension} dimensions, of {maps.settings['semantics']}, like the maps"
            what = f"{session.space.dimension}, of {session.space.source}"
            raise expected("semantics", wanted, what)
        count = len(maps.lags)
        first = max(maps.history, 0 if maps.settings["split"] == "streams" else maps.settings["washout"])
        means = (maps.own if own and maps.has_own else maps.raw).target_mean
        sums = torch.zeros(count, count + 1, dtype=torch.float64)  # recalled with each token; with itself
        squares = torch.zeros(2, count, dtype=torch.float64)  # of tokens; of tokens about their mean
        runner, state, rows = session.runner(), None, 0
        flops = session.flops + 4 * count * maps.dimension * (maps.features + count)
        floats = max(maps.features, 3 * count * maps.dimension)
        for chunk, _, starts in walk(session.space, session.data, maps.history, floats, flops):
            state = runner.init_state(chunk.age.shape[1]) if starts else state
            values, state = runner.store(chunk, state)
            counted = chunk.age >= first
            if not bool(counted.any()):
                continue
            targets = lagged_targets(chunk, maps.innovations, maps.lags)
            first_map = count * (own and maps.has_own)
            tokens = torch.stack([targets.of(first_map + k)[counted] for k in range(count)]).double()
            recalled = maps.recall(values[counted], own).double().flatten(1)
            both = torch.cat((tokens.flatten(1), recalled)).cpu()
            sums[:, :count] += both[count:] @ both[:count].T
            sums[:, count] += both[count:].square().sum(dim=1)
            squares[0] += both[:count].square().sum(dim=1)
            squares[1] += (tokens - means[:, None].to(tokens)).square().sum(dim=(1, 2)).cpu()
            rows += int(counted.sum())
    if rows == 0:
        raise expected("inputs", f"streams of more than {first} steps (washout, max lag)", session.data.steps)
    distance = sums[:, count:] - 2 * sums[:, :count] + squares[0]
    return torch.where(squares[1] > 0, 1 - distance / squares[1], float("nan"))
