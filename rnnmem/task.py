"""What a network predicts at each step, and the logits that its head makes of its outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnmem.chunks import CHUNK_FLOATS
from rnnmem.errors import RnnMemError, expected
from rnnmem.fit import token_bands
from rnnmem.network import Network
from rnnmem.session import Session

NONE = -100  # no target, as in torch.nn.functional.cross_entropy
SUM = 1e-4  # that probabilities may be off from adding up to 1


@dataclass(frozen=True)
class Task:
    """What is predicted; targets are looked up as they are asked for, never laid out.

    Attributes:
        head: outputs [N, H] -> logits [N, V].
        given: targets [T, B], NONE where there is none, or the tokens read where targets are the next ones.
        band: class of each token [V], on the CPU; None where targets are no next tokens.
        ahead: how many steps after an output its target stands in `given`.
        ends: steps of each stream that are real [B], or None for all.
    """

    head: Any
    given: Tensor
    band: Tensor | None = None
    ahead: int = 0
    ends: Tensor | None = None

    @property
    def steps(self) -> int:
        """Steps that may have a target."""
        return len(self.given) - self.ahead

    @property
    def streams(self) -> int:
        return self.given.shape[1]

    def between(self, first: int, last: int) -> Tensor:
        """Targets [t, B] of the steps from `first` to before `last`, on the CPU; NONE where there is none."""
        last = min(last, self.steps)
        found = self.given[first + self.ahead : last + self.ahead].cpu()
        if self.ends is None:
            return found
        times = torch.arange(first, first + len(found)).unsqueeze(1) + self.ahead
        return found.masked_fill(times >= self.ends, NONE)

    def at(self, step: Tensor, stream: Tensor) -> Tensor:
        """Targets of steps and streams of one shape, on the CPU; NONE where there is none."""
        times = step + self.ahead
        inside = times < (len(self.given) if self.ends is None else self.ends[stream])
        places = (times.clamp(max=len(self.given) - 1).to(self.given.device), stream.to(self.given.device))
        return self.given[places].cpu().masked_fill(~inside, NONE)


def read_task(session: Session, head: Any, targets: Any) -> Task:
    """What the network predicts: `targets`, laid out like the inputs, or the next token.

    Raises:
        RnnMemError: targets of a wrong type, shape or range, none at all, inputs that are no tokens, or a
            head that does not make logits of outputs.
    """
    data, network = session.data, session.network
    ends = None if data.lengths is None else data.lengths.cpu()
    if targets is None:
        if not session.space.tokens:
            raise expected("targets", "int64 (T, B), since the inputs are no tokens to predict", "None")
        task = Task(head, data.inputs, next_token_bands(data.inputs, ends), 1, ends)
    else:
        task = Task(head, read_targets(session, targets), None, 0, ends)
    least, most = extremes(task)
    if least is not None and least < 0:
        raise expected("targets", f"classes >= 0, or {NONE} for none", least)
    if targets is not None and most is None:
        raise expected("targets", "at least one target", f"{NONE} everywhere")
    if most is not None and isinstance(network, Network):
        # Now, not when all else has been measured: what an output may look like, and the largest target.
        last = network.all_layers[-1].weights.hh
        outputs = torch.randn(1, last.shape[1], generator=torch.Generator().manual_seed(0)).to(last)
        read_logits(head, outputs, torch.tensor([most]))
    return task


def as_function(head: Any) -> Any:
    """A head that makes logits: a weight [V, H] is applied."""
    if not isinstance(head, Tensor):
        return head
    if head.dim() != 2:
        raise expected("head", "a weight (V, H)", f"shape {tuple(head.shape)}")

    def logits(outputs: Tensor) -> Tensor:
        if head.dtype != outputs.dtype or head.device != outputs.device:
            what = f"a weight of {outputs.dtype} on {outputs.device} like the model"
            raise expected("head", what, f"{head.dtype} on {head.device}")
        return outputs @ head.T

    return logits


def read_targets(session: Session, targets: Any) -> Tensor:
    """Targets as given, checked, time first."""
    shape = tuple(session.data.inputs.shape[:2])
    batch_first = session.network.batch_first
    shown_shape = shape[::-1] if batch_first else shape
    if not isinstance(targets, Tensor):
        raise expected("targets", f"an int64 Tensor {shown_shape}", type(targets).__name__)
    if targets.dtype != torch.int64 or tuple(targets.shape) != shown_shape or targets.is_meta:
        what = f"{targets.dtype} of shape {tuple(targets.shape)}"
        raise expected("targets", f"an int64 Tensor {shown_shape}", what)
    return targets.transpose(0, 1) if batch_first else targets


def next_token_bands(tokens: Tensor, ends: Tensor | None) -> Tensor:
    """The class of each token [V], by how often it is read."""
    frequency = torch.zeros(int(tokens.max()) + 1, dtype=torch.int64)
    whole = Task(None, tokens, None, 0, ends)
    for first in range(0, whole.steps, slice_steps(whole)):
        part = whole.between(first, first + slice_steps(whole))
        frequency += torch.bincount(part[part != NONE], minlength=len(frequency))
    return token_bands(frequency)[0]


def extremes(task: Task) -> tuple[int | None, int | None]:
    """The least and the largest target; None where there is none."""
    least, most = [], []
    for first in range(0, task.steps, slice_steps(task)):
        part = task.between(first, first + slice_steps(task))
        real = part[part != NONE]
        if len(real):
            least.append(int(real.min()))
            most.append(int(real.max()))
    return min(least, default=None), max(most, default=None)


def slice_steps(task: Task) -> int:
    """Steps that are looked through at once."""
    return max(1, CHUNK_FLOATS // max(1, task.streams))


def read_logits(head: Any, outputs: Tensor, targets: Tensor) -> Tensor:
    """What the head makes of outputs [N, H]: logits [N, V].

    Raises:
        RnnMemError: it raised, or returned something else, or has no logit for a target.
    """
    wanted = f"outputs (N, {outputs.shape[1]}) to logits (N, V)"
    try:
        logits = head(outputs)
    except RnnMemError:
        raise
    except Exception as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise expected("head", wanted, f"{type(error).__name__}: {what}") from error
    if not isinstance(logits, Tensor):
        raise expected("head", wanted, type(logits).__name__)
    if not logits.is_floating_point():
        raise expected("head", wanted, logits.dtype)
    if logits.dim() != 2 or len(logits) != len(outputs):
        raise expected("head", wanted, f"shape {tuple(logits.shape)}")
    if int(targets.max()) >= logits.shape[1]:
        what = f"a logit for each target, up to {int(targets.max())}"
        raise expected("head", what, f"{logits.shape[1]} of them")
    if logits.shape[1] > 1 and bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < SUM).all()):
        raise expected(
            "head", "logits", "probabilities, which add up to 1: give what comes before the softmax"
        )
    if bool((logits.isnan() | (logits == math.inf)).any()):
        raise expected("head", "finite logits (or -Inf for what cannot be)", "NaN or Inf")
    told = logits.gather(1, targets.to(logits.device).unsqueeze(1))
    if bool((told == -math.inf).any()):
        wrong = int(targets[(told == -math.inf).flatten().cpu().nonzero()[0]])
        raise expected("head", "finite logits for what comes", f"-Inf for class {wrong}, which is a target")
    return logits
