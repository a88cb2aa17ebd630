"""Measuring with frozen recall maps: streams longer than memory, resumed runs, sums that merge."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from rnnmem.backends import BACKENDS, choose_backend, other_precision, running_precision
from rnnmem.errors import RnnMemError, expected
from rnnmem.measurement import Measurement
from rnnmem.meter_state import check_equal, read_carry, read_state, read_tally
from rnnmem.network import Network, at_precision, digest_of, fingerprint, read_network
from rnnmem.options import read_full, read_precision
from rnnmem.recall import RecallMaps
from rnnmem.report import MemoryReport
from rnnmem.semantics import check_tensor, check_values, read_embedding
from rnnmem.session import Session, measuring, open_session
from rnnmem.summary import summarise
from rnnmem.sync import added_up, check_alike, check_group, digest
from rnnmem.tally import Tally
from rnnmem.tree import leaves
from rnnmem.user_object import ObjectNetwork

STRANGE = (
    "the maps were fitted to other weights or another embedding than this model's: how well they read this "
    "model says little of what it keeps"
)
JOINED = " and "  # between the backends of meters that were merged


class MemoryMeter:
    """Measures what a network keeps, chunk by chunk, with maps that `fit_recall` fitted elsewhere.

    The state and the last max-lag tokens are carried from chunk to chunk; chunks may differ in length, their
    streams may not. Rows count from max(washout, max lag) steps after a start or a reset (with maps fitted by
    `split="streams"`, those of lag k from k steps on).

    Args:
        model: as in `rnnmem.assess`.
        maps: frozen recall maps for this model's `layer` and `state`.
        embedding: as in `rnnmem.assess`.
        semantics: a table (V, d), or None; a tensor beside the inputs goes to `update`.
        backend: as in `rnnmem.assess`.
        precision: as in `rnnmem.assess`.

    Raises:
        RnnMemError: maps of another size than the model's state, or bad options.

    Example:
        >>> import torch, rnnmem
        >>> gru, x = torch.nn.GRU(2, 6), torch.randn(2000, 4, 2)
        >>> maps = rnnmem.fit_recall(gru, x[:1000], lags=4)
        >>> meter = rnnmem.MemoryMeter(gru, maps)
        >>> meter.warm(x[:1000])
        >>> for chunk in x[1000:].split(300):
        ...     meter.update(chunk)
        >>> meter.compute().retention.shape
        torch.Size([5])
    """

    def __init__(
        self,
        model: Any,
        maps: RecallMaps,
        *,
        embedding: nn.Embedding | Tensor | None = None,
        semantics: Tensor | None = None,
        backend: str = "auto",
        precision: str = "highest",
    ) -> None:
        if not isinstance(maps, RecallMaps):
            raise expected("maps", "RecallMaps from fit_recall", type(maps).__name__)
        precision = read_precision(precision)
        self.network = read_measured(model, maps)
        self.full = read_full(maps.settings["state"])
        size = self.network.feature_size(self.full)
        if size is not None and size != maps.features:
            raise expected("maps", f"maps that read {size} features like this model's state", maps.features)
        if semantics is not None and (not isinstance(semantics, Tensor) or semantics.dim() != 2):
            what = tuple(semantics.shape) if isinstance(semantics, Tensor) else type(semantics).__name__
            raise expected("semantics", "a table (V, d) or None (beside the inputs: give it to update)", what)
        if semantics is not None:
            check_tensor("semantics", semantics, self.network)
            check_values("semantics", semantics)
        self.maps = maps
        table = None if embedding is None else read_embedding(self.network, embedding, tokens=True)
        if table is not None:
            check_tokens(maps, len(table))
        chosen = choose_backend(backend, self.network)
        self.asked, self.precision = precision, running_precision(chosen, self.network, precision)
        self.network = at_precision(self.network, self.precision)
        self.model, self.backend = model, backend
        self.embedding, self.semantics = embedding, semantics
        self.weights = fingerprint(self.network, table)
        self.strange = maps.settings.get("weights") not in (None, self.weights)
        self.measurement = Measurement(maps)
        self.ran = backend

    def __repr__(self) -> str:
        tally = self.measurement.tally
        rows = 0 if tally is None else int(tally.groups[:, 2 * tally.maps_counted].sum())
        return f"MemoryMeter({self.network.name}, {self.maps!r}, {rows:,} rows)"

    def warm(
        self,
        inputs: Tensor,
        *,
        semantics: Tensor | None = None,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> None:
        """Runs state and history over a chunk and counts no rows.

        Args:
            inputs: as in `update`.
            semantics: as in `update`.
            lengths: as in `update`.
            reset: as in `update`.

        Raises:
            RnnMemError: as in `update`.
        """
        self._run(inputs, semantics, lengths, reset, count=False)

    def update(
        self,
        inputs: Tensor,
        *,
        semantics: Tensor | None = None,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> None:
        """Measures a chunk.

        Args:
            inputs: float (t, B, I), or int64 tokens (t, B); batch first for a batch_first module.
            semantics: (t, B, d) beside the inputs, where the maps were fitted so.
            lengths: how many steps of each stream are real (B,); a stream that ended waits for a reset.
            reset: bool (t, B), where a document starts: the state is zeroed before that step.

        Raises:
            RnnMemError: data that does not fit the model, the maps or the chunks before.
        """
        self._run(inputs, semantics, lengths, reset, count=True)

    def _run(
        self,
        inputs: Tensor,
        semantics: Tensor | None,
        lengths: Tensor | None,
        reset: Tensor | None,
        count: bool,
    ) -> None:
        """Checks a chunk, runs it, and sums it if it is to count."""
        if isinstance(semantics, Tensor) and semantics.dim() == 2:
            what = f"a table {tuple(semantics.shape)}: give it to MemoryMeter"
            raise expected("semantics", "a Tensor (t, B, d) beside the inputs, or None", what)
        with measuring(self.model):
            session = open_session(
                self.model,
                inputs,
                embedding=self.embedding,
                semantics=self.semantics if semantics is None else semantics,
                lengths=lengths,
                reset=reset,
                layer=self.maps.settings["layer"],
                full=self.full,
                backend=self.backend,
                seed=self.maps.settings["seed"],
                precision=self.asked,
            )
            self._check(session)
            self.ran = session.backend
            runner = session.runner()
            self.measurement.feed(runner, session.space, session.data, session.flops, count)

    def _check(self, session: Session) -> None:
        """Holds a chunk against the maps and the chunks before."""
        size = session.network.feature_size(self.full)
        if size not in (None, self.maps.features):
            raise expected("model", f"a state of {self.maps.features} features like the maps", size)
        if isinstance(session.network, ObjectNetwork):
            names = ("features", "state") if self.full else ("output",)
            session.network.model.width.update(dict.fromkeys(names, self.maps.features))
        if session.space.source != self.maps.settings["semantics"]:
            sources = {
                "inputs": "the inputs themselves",
                "table": "a table",
                "beside": "a tensor beside the inputs",
            }
            wanted = f"{sources[self.maps.settings['semantics']]}, like the maps"
            raise expected("semantics", wanted, sources[session.space.source])
        if session.space.dimension != self.maps.dimension:
            raise expected(
                "semantics", f"{self.maps.dimension} dimensions like the maps", session.space.dimension
            )
        if session.space.vocabulary is not None:
            check_tokens(self.maps, session.space.vocabulary)
        carry = self.measurement.carry
        if carry is not None:
            streams = len(carry.age)
            if session.data.batch != streams:
                wanted = f"{streams} streams like the chunks before (reset() begins anew)"
                raise expected("inputs", wanted, session.data.batch)
            if (carry.tokens is not None) != session.space.tokens:
                raise expected("inputs", "tokens or floats like the chunks before", "the other")

    def _described(self) -> dict[str, Any]:
        """What meters have to have in common for their sums to be of one network."""
        table = None if self.semantics is None else digest_of([self.semantics])
        return {**self.network.describe(), "weights": self.weights, "semantics": table}

    def compute(self) -> MemoryReport:
        """The report of what has been measured so far.

        Returns:
            The report; its controls are None, because they need the fit part too.

        Raises:
            RnnMemError: nothing has been measured yet.
        """
        tally = self.measurement.tally
        if tally is None:
            raise expected("meter", "at least one update before compute", "none")
        report = summarise(tally, self.maps, self.network.describe(), self.ran, self.precision)
        more = [*[STRANGE] * self.strange, *other_precision(self.asked, self.precision)]
        return replace(report, warnings=[*report.warnings, *more])

    def reset(self) -> None:
        """Forgets all sums, states and history."""
        self.measurement = Measurement(self.maps)

    def merge(self, other: MemoryMeter) -> MemoryMeter:
        """Adds the sums of another meter of the same maps over other streams, in place.

        Args:
            other: the other meter; it stays as it is.

        Returns:
            This meter.

        Raises:
            RnnMemError: not a meter, or one with other maps.
        """
        if not isinstance(other, MemoryMeter):
            raise expected("other", "a MemoryMeter", type(other).__name__)
        if other is self:
            raise expected("other", "another meter", "the same one")
        if self.maps is not other.maps and not self.maps.equals(other.maps):
            raise expected("other", "a meter with the same maps", "one with other maps")
        mine_is, other_is = self._described(), other._described()
        if mine_is != other_is:
            what = [f"{name} {other_is[name]}" for name in other_is if other_is[name] != mine_is.get(name)]
            raise expected("other", "a meter of the same model", f"one of another: {', '.join(what)}")
        mine, theirs = self.measurement, other.measurement.tally
        if theirs is not None:
            fresh = mine.tally is None
            if mine.tally is None:
                mine.tally = Tally(self.maps)
            mine.tally.merge(theirs)
            names = {*other.ran.split(JOINED), *(() if fresh else self.ran.split(JOINED))}
            self.ran = JOINED.join(sorted(names))
        return self

    def sync(self, group: Any = None) -> MemoryMeter:
        """A meter with the sums of all processes of torch.distributed; each measures streams of its own.

        Every process of the group has to call it. This meter's own sums stay, so that it can go on.

        Args:
            group: of processes, or None for all.

        Returns:
            A new meter, the same on every process; it has no streams under way.

        Raises:
            RnnMemError: torch.distributed is not initialised, or meters of other models or maps.

        Example: see docs/scale.md.
        """
        rank, ranks = check_group(group)
        described = {"maps": digest(self.maps), **self._described()}
        here = set() if self.measurement.tally is None else set(self.ran.split(JOINED))
        ran = check_alike(group, ranks, described, here)
        total = copy.copy(self)
        total.ran = JOINED.join(sorted(ran)) or self.ran
        total.measurement = Measurement(self.maps)
        total.measurement.tally = added_up(self.maps, self.measurement.tally, group, rank, ranks)
        return total

    def state_dict(self) -> dict[str, Any]:
        """All of the meter but the model and the maps, to be saved and taken up again.

        Returns:
            Tensors, ints and strings in dicts; copies.
        """
        tally, carry, state = self.measurement.tally, self.measurement.carry, self.measurement.state
        return {
            "tally": None if tally is None else tally.state_dict(),
            "state": None if state is None else [leaf.clone() for leaf in leaves(state)],
            "carry": None
            if carry is None
            else {
                "step": carry.step,
                "age": carry.age.clone(),
                "vectors": carry.vectors.clone(),
                "tokens": None if carry.tokens is None else carry.tokens.clone(),
            },
            "backend": self.ran,
            "lags": self.maps.lags.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up where `state_dict` left off.

        Args:
            state: what `state_dict` returned, of a meter with these maps.

        Raises:
            RnnMemError: not the state of a meter with these maps; the meter stays as it was.
        """
        if not isinstance(state, dict) or set(state) != set(self.state_dict()):
            what = sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__
            raise expected("state", "the state_dict of a MemoryMeter", what)
        try:
            check_equal("lags", state["lags"], self.maps.lags)
            loaded = Measurement(self.maps)
            if state["carry"] is not None:
                loaded.carry = read_carry(self.maps, self.network.dtype, state["carry"])
                loaded.state = read_state(self.network, state["state"], loaded.carry.age)
            elif state["state"] is not None:
                raise ValueError("state: the network's without the carry")
            if state["tally"] is not None:
                loaded.tally = read_tally(self.maps, state["tally"])
            if not set(state["backend"].split(JOINED)) <= {*BACKENDS, "auto"}:
                raise ValueError(f"backend: {state['backend']!r}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise expected(
                "state",
                "the state_dict of a meter of these maps",
                f"one with a part missing or wrong: {error}",
            ) from error
        self.measurement, self.ran = loaded, state["backend"]


def read_measured(model: Any, maps: RecallMaps) -> Network | ObjectNetwork:
    """The network up to the layer that the maps were fitted to."""
    layer = maps.settings["layer"]
    try:
        return read_network(model, layer)
    except RnnMemError as error:
        if str(error).startswith("layer: "):
            raise expected("maps", "maps of a layer that this model has", f"maps of layer {layer}") from error
        raise


def check_tokens(maps: RecallMaps, vocabulary: int) -> None:
    """Refuses an embedding of other tokens than the maps were fitted to."""
    band = maps.token_band
    if band is not None and vocabulary != len(band):
        raise expected("embedding", f"{len(band)} tokens like the maps", vocabulary)
