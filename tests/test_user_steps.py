"""Users' own steps that write in place, block gradients, raise, or change the state's shape."""

import math

import numpy as np
import pytest
import torch

import rnnmem

F64 = torch.float64


def noise(steps, batch=1, size=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, batch, size, dtype=F64, generator=generator)


class Leaky:
    """h = h / 2 + tanh(x + 2 h) / 2, one unit."""

    dtype = F64

    def init_state(self, batch):
        return torch.zeros(batch, 1, dtype=F64)

    def step(self, x, h):
        h = 0.5 * h + 0.5 * torch.tanh(x + 2 * h)
        return h, h


class Writing(Leaky):
    """The same, written into the state, which begins as a view of the object's own."""

    def __init__(self):
        self.h0 = torch.zeros(1, 1, dtype=F64)

    def init_state(self, batch):
        return self.h0[:batch] if batch == 1 else self.h0.expand(batch, 1)

    def step(self, x, h):
        h.mul_(0.5).add_(0.5 * torch.tanh(x + 4 * h))
        return h, h


class NoGrad(Leaky):
    @torch.no_grad()
    def step(self, x, h):
        return super().step(x, h)


class Inference(Leaky):
    @torch.inference_mode()
    def step(self, x, h):
        return super().step(x, h)


class Detached(Leaky):
    def step(self, x, h):
        return super().step(x, h.detach())


class ByNumpy(Leaky):
    def step(self, x, h):
        return super().step(x, torch.as_tensor(h.detach().numpy()))


class Half(Leaky):
    """Two parts of state, the gradient through one of them blocked."""

    def init_state(self, batch):
        return {"h": super().init_state(batch), "c": super().init_state(batch)}

    def step(self, x, state):
        c = 0.5 * state["c"] + torch.tanh(x + state["h"].detach())
        return c, {"h": torch.tanh(c), "c": c}


class Deaf(Leaky):
    """Reads no state."""

    def step(self, x, h):
        return torch.tanh(x), torch.tanh(x)


class AtRest(Leaky):
    """A relu at 0 throughout: no gradient, and none is blocked."""

    def step(self, x, h):
        h = torch.relu(0 * x + 0.5 * h)
        return x + h, h


class Cache(Leaky):
    """Keeps all that it has read."""

    def init_state(self, batch):
        return torch.zeros(batch, 0, 1, dtype=F64)

    def step(self, x, state):
        state = torch.cat((state, x.unsqueeze(1)), dim=1)
        return state[:, -3:].mean(dim=1), state


class Raising(Leaky):
    """Raises in its second life, when it is differentiated."""

    def __init__(self, error):
        self.error = error

    def step(self, x, h):
        if torch.is_grad_enabled():
            raise self.error
        return super().step(x, h)


ERRORS = [
    KeyError("w"),
    AttributeError("no w"),
    AssertionError(),
    IndexError("w\nof h"),
    ValueError("w"),
    TypeError("w"),
]


def lyapunov_refuses(model, *words):
    with pytest.raises(rnnmem.RnnMemError) as caught:
        rnnmem.lyapunov_spectrum(model, noise(200, 2))
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in ("model: expected", *words))


# Lyapunov exponents.


def test_exponents_of_a_step_that_writes_into_its_state():
    x, model = noise(400), Writing()
    h, total = 0.0, 0.0
    for t, value in enumerate(x.flatten().tolist()):
        squashed = math.tanh(value + 2 * h)
        h, slope = 0.5 * h + 0.5 * squashed, 0.5 + (1 - squashed**2)
        total += math.log(slope) if t >= 100 else 0.0
    for each in (Leaky(), model):
        assert float(rnnmem.lyapunov_spectrum(each, x)) == pytest.approx(total / 300, abs=1e-12)
    assert model.h0.tolist() == [[0.0]]


@pytest.mark.parametrize("kind", [Inference, Detached, ByNumpy, Half])
def test_exponents_need_a_step_that_lets_derivatives_through(kind):
    lyapunov_refuses(kind(), "a step that torch.func.jvp can differentiate")


def test_exponents_are_had_without_gradients_and_where_there_are_none():
    x = noise(200, 2)
    torch.testing.assert_close(rnnmem.lyapunov_spectrum(NoGrad(), x), rnnmem.lyapunov_spectrum(Leaky(), x))
    for kind in (Deaf, AtRest):
        assert rnnmem.lyapunov_spectrum(kind(), x).tolist() == [-math.inf]


@pytest.mark.parametrize("error", ERRORS, ids=lambda each: type(each).__name__)
def test_exponents_of_a_step_that_raises(error):
    class Always(Leaky):
        def step(self, x, h):
            raise error

    lyapunov_refuses(Always(), str(error).splitlines()[0] if str(error) else type(error).__name__)


def test_exponents_of_a_state_that_grows():
    lyapunov_refuses(Cache(), "a state of constant shape", "(2, 0, 1)", "(2, 1, 1)")
