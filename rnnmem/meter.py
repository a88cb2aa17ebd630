"""Measuring with frozen recall maps: streams longer than memory, resumed runs, sums that merge."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnmem.chunks import Carry
from rnnmem.errors import expected
from rnnmem.measurement import Measurement
from rnnmem.network import read_network
from rnnmem.options import read_full, read_precision
from rnnmem.recall import RecallMaps
from rnnmem.report import MemoryReport
from rnnmem.runner import make_runner
from rnnmem.session import Session, measuring, open_session
from rnnmem.summary import summarise
from rnnmem.tally import Tally
from rnnmem.tree import leaves, unflatten


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
        self.network = read_network(model, maps.settings["layer"])
        self.full = read_full(maps.settings["state"])
        size = self.network.feature_size(self.full)
        if size is not None and size != maps.features:
            raise expected("maps", f"maps that read {size} features like this model's state", maps.features)
        if semantics is not None and (not isinstance(semantics, Tensor) or semantics.dim() != 2):
            what = tuple(semantics.shape) if isinstance(semantics, Tensor) else type(semantics).__name__
            raise expected("semantics", "a table (V, d) or None (beside the inputs: give it to update)", what)
        self.precision = read_precision(precision)
        self.model, self.maps, self.backend = model, maps, backend
        self.embedding, self.semantics = embedding, semantics
        self.measurement = Measurement(maps)
        self.ran = backend

    def warm(
        self,
        inputs: Tensor,
        *,
        semantics: Tensor | None = None,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> None:
        """Runs state and history over a chunk and counts no rows; arguments as in `update`."""
        self.open(inputs, semantics, lengths, reset, count=False)

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
        self.open(inputs, semantics, lengths, reset, count=True)

    def open(
        self,
        inputs: Tensor,
        semantics: Tensor | None,
        lengths: Tensor | None,
        reset: Tensor | None,
        count: bool,
    ) -> None:
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
            )
            self.check(session)
            self.ran = session.backend
            runner = session.runner()
            self.measurement.feed(runner, session.space, session.data, session.flops, count)

    def check(self, session: Session) -> None:
        """Holds a chunk against the maps and the chunks before."""
        if session.space.dimension != self.maps.dimension:
            raise expected(
                "semantics", f"{self.maps.dimension} dimensions like the maps", session.space.dimension
            )
        vocabulary = session.space.vocabulary
        if self.maps.token_band is not None and vocabulary not in (None, len(self.maps.token_band)):
            raise expected("embedding", f"{len(self.maps.token_band)} tokens like the maps", vocabulary)
        carry = self.measurement.carry
        if carry is not None:
            streams = len(carry.age)
            if session.data.batch != streams:
                raise expected("inputs", f"{streams} streams like the chunks before", session.data.batch)
            if (carry.tokens is not None) != session.space.tokens:
                raise expected("inputs", "tokens or floats like the chunks before", "the other")

    def compute(self) -> MemoryReport:
        """The report of what has been measured so far.

        Raises:
            RnnMemError: nothing has been measured yet.
        """
        tally = self.measurement.tally
        if tally is None:
            raise expected("meter", "at least one update before compute", "none")
        return summarise(tally, self.maps, self.network.describe(), self.ran, self.precision)

    def reset(self) -> None:
        """Forgets all sums, states and history."""
        self.measurement = Measurement(self.maps)

    def merge(self, other: MemoryMeter) -> MemoryMeter:
        """Adds the sums of another meter of the same maps over other streams, in place.

        Raises:
            RnnMemError: not a meter, or one with other maps.
        """
        if not isinstance(other, MemoryMeter):
            raise expected("other", "a MemoryMeter", type(other).__name__)
        if other is self:
            raise expected("other", "another meter", "the same one")
        same = (
            torch.equal(self.maps.lags, other.maps.lags)
            and self.maps.weight.shape == other.maps.weight.shape
            and torch.equal(self.maps.weight, other.maps.weight)
            and torch.equal(self.maps.own_weight, other.maps.own_weight)
            and self.maps.settings == other.maps.settings
        )
        if not same:
            raise expected("other", "a meter with the same maps", "one with other maps")
        mine, theirs = self.measurement, other.measurement.tally
        if theirs is not None:
            if mine.tally is None:
                mine.tally = Tally(self.maps, theirs.streams)
                mine.tally.load_state_dict(theirs.state_dict())
            else:
                mine.tally.merge(theirs)
            self.ran = other.ran
        return self

    def state_dict(self) -> dict[str, Any]:
        """All of the meter but the model and the maps: tensors, ints and strings in dicts."""
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

        Raises:
            RnnMemError: not the state of a meter with these lags.
        """
        if not isinstance(state, dict) or set(state) != set(self.state_dict()):
            what = sorted(state) if isinstance(state, dict) else type(state).__name__
            raise expected("state", "the state_dict of a MemoryMeter", what)
        if not torch.equal(state["lags"], self.maps.lags):
            raise expected("state", f"one of the lags {self.maps.lags.tolist()}", state["lags"].tolist())
        carry, tally = state["carry"], state["tally"]
        self.reset()
        if carry is not None:
            age, vectors, tokens = carry["age"].clone(), carry["vectors"].clone(), carry["tokens"]
            self.measurement.carry = Carry(carry["step"], age, vectors, tokens)
            template = make_runner(self.network, "reference", None, self.full).init_state(len(age))
            self.measurement.state = unflatten(template, iter([leaf.clone() for leaf in state["state"]]))
        if tally is not None:
            self.measurement.tally = Tally(self.maps, int(tally["streams"]))
            self.measurement.tally.load_state_dict(tally)
        self.ran = state["backend"]
