"""What a network predicts at each step, and the logits that its head makes of its outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnmem.errors import RnnMemError, expected
from rnnmem.fit import token_bands
from rnnmem.session import Session

NONE = -100  # no target, as in torch.nn.functional.cross_entropy


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Attributes:
        head: outputs [N, H] -> logits [N, V].
        targets: of every step and stream [T, B], on the CPU, NONE where there is none; steps at the end that
            have none may be missing.
        band: class of each token [V], on the CPU; None where targets are no next tokens.
    """

    head: Any
    targets: Tensor
    band: Tensor | None


def next_tokens(tokens: Tensor, lengths: Tensor | None) -> Tensor:
    """The token after each of tokens [T, B]; NONE after the last one of a stream."""
    after = torch.full_like(tokens, NONE)
    after[:-1] = tokens[1:]
    if lengths is not None:
        times = torch.arange(1, len(tokens) + 1, device=tokens.device).unsqueeze(1)
        after = after.masked_fill(times >= lengths, NONE)
    return after


def read_task(session: Session, head: Any, targets: Any) -> Task:
    """What the network predicts: `targets`, laid out like the inputs, or the next token.

    Raises:
        RnnMemError: targets of a wrong type, shape or range, none at all, or inputs that are no tokens.
    """
    data, network = session.data, session.network
    if targets is None:
        if not session.space.tokens:
            raise expected("targets", "int64 (T, B), since the inputs are no tokens to predict", "None")
        tokens = data.inputs.cpu()
        times = torch.arange(len(tokens)).unsqueeze(1)
        real = tokens.flatten() if data.lengths is None else tokens[times < data.lengths.cpu()]
        band = token_bands(torch.bincount(real, minlength=int(tokens.max()) + 1))[0]
        whole = data.lengths is None and len(tokens) > 1  # no copy where none is needed
        return Task(head, tokens[1:] if whole else next_tokens(tokens, data.lengths), band)
    shape = tuple(data.inputs.shape[:2])
    shown_shape = shape[::-1] if network.batch_first else shape
    if not isinstance(targets, Tensor):
        raise expected("targets", f"an int64 Tensor {shown_shape}", type(targets).__name__)
    if targets.dtype != torch.int64 or tuple(targets.shape) != shown_shape or targets.is_meta:
        what = f"{targets.dtype} of shape {tuple(targets.shape)}"
        raise expected("targets", f"an int64 Tensor {shown_shape}", what)
    own = (targets.transpose(0, 1) if network.batch_first else targets).cpu()
    if data.lengths is not None:
        own = own.clone()
        own[torch.arange(len(own)).unsqueeze(1) >= data.lengths.cpu()] = NONE
    wrong = own[(own < 0) & (own != NONE)]
    if len(wrong):
        raise expected("targets", f"classes >= 0, or {NONE} for none", int(wrong[0]))
    if not bool((own != NONE).any()):
        raise expected("targets", "at least one target", f"{NONE} everywhere")
    return Task(head, own, None)


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
    if bool((logits.isnan() | (logits == math.inf)).any()):
        raise expected("head", "finite logits (or -Inf for what cannot be)", "NaN or Inf")
    told = logits.gather(1, targets.to(logits.device).unsqueeze(1))
    if bool((told == -math.inf).any()):
        wrong = int(targets[(told == -math.inf).flatten().cpu().nonzero()[0]])
        raise expected("head", "finite logits for what comes", f"-Inf for class {wrong}, which is a target")
    return logits
