"""Users' own steps that write in place, block gradients, raise, or change the state's shape."""

import math

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


class Noisy(Leaky):
    """Is random for itself."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(0)

    def step(self, x, h):
        h = x + torch.randn(x.shape, dtype=F64, generator=self.generator)
        return h, h


class Blurted(Leaky):
    """Blocks the gradient of what it puts out alone."""

    def step(self, x, h):
        h = super().step(x, h)[0]
        return h.detach().clone(), h


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


# Learnable, and the other measures of a report.


def learnable(model, head=None):
    """The measure, and the report's warning where there is none."""
    x = noise(600, 4)
    given = {} if head is None else {"head": head, "targets": (x[..., 0] > 0).long()}
    report = rnnmem.assess(model, x, lags=5, measures=("learnable",), **given)
    told = [w for w in report.warnings if w.startswith("reach of gradients: not measured")]
    assert len(told) == (report.learnable is None)
    return report.learnable, *told


def two_classes(h):
    return torch.cat((h, -h), dim=1)


BLOCKED = "reach of gradients: not measured, the step cannot be differentiated: it blocks gradients"


@pytest.mark.parametrize("kind", [NoGrad, Inference, Detached, ByNumpy])
@pytest.mark.parametrize("head", [None, two_classes], ids=["state", "loss"])
def test_a_step_that_blocks_gradients_is_told(kind, head):
    assert learnable(kind(), head) == (None, BLOCKED)


def test_an_output_that_blocks_gradients_is_told_where_it_is_read():
    assert learnable(Blurted(), two_classes) == (None, BLOCKED)
    expected, found = (learnable(kind())[0] for kind in (Leaky, Blurted))
    torch.testing.assert_close(found.gain, expected.gain)


@pytest.mark.parametrize("kind", [Deaf, AtRest, Noisy])
@pytest.mark.parametrize("head", [None, two_classes], ids=["state", "loss"])
def test_a_step_that_has_no_gradient_is_not_told_to_block_it(kind, head):
    (found,) = learnable(kind(), head)
    assert found.gain.tolist() == [1, 0, 0, 0, 0, 0]
    assert found.reach() == 0


def test_a_part_of_the_state_may_stop_gradients():
    (found,) = learnable(Half())
    assert 0 < float(found.gain[1]) < 1


@pytest.mark.parametrize("error", ERRORS, ids=lambda each: type(each).__name__)
def test_what_a_step_or_a_head_raises_is_told_in_one_line(error):
    def head(h):
        if torch.is_grad_enabled():
            raise error
        return two_classes(h)

    what = str(error).splitlines()[0] if str(error) else type(error).__name__
    for given, which in (((Raising(error),), "step"), ((Leaky(), head), "head")):
        found, told = learnable(*given)
        assert found is None
        assert f"the {which} cannot be differentiated: " in told
        assert what in told
        assert "\n" not in told


@pytest.mark.parametrize("head", [None, two_classes], ids=["state", "loss"])
def test_a_state_that_grows_leaves_what_compares_steps_unmeasured(head):
    x = noise(600, 2)
    given = {} if head is None else {"head": head, "targets": (x[..., 0] > 0).long()}
    report = rnnmem.assess(Cache(), x, lags=5, washout=20, **given)
    assert report.forgotten is None
    assert report.learnable is None
    for name in ("forgetting of states", "reach of gradients"):
        assert f"{name}: not measured, the state changes its shape" in report.warnings
    assert float(report.retention[0]) > 0.2


def test_a_state_that_grows_cannot_start_again_beside_others():
    reset = torch.zeros(300, 2, dtype=torch.bool)
    reset[100, 1] = True
    with pytest.raises(rnnmem.RnnMemError, match="model: expected a state of constant shape"):
        rnnmem.fit_recall(Cache(), noise(300, 2), lags=3, washout=5, reset=reset)
