"""What is forgotten and what can be learned: closed forms, and gradients against torch's autograd."""

import csv
import io
import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

import rnnmem
from rnnmem.forgetting import Twins
from rnnmem.learning import make_backward, measure_learning, pulled_lengths, summary
from rnnmem.network import read_network
from rnnmem.pieces import Pieces, alone
from rnnmem.runner import make_runner
from rnnmem.task import Task
from rnnmem.units import UNITS, EchoState
from rnnmem.writers import COLUMNS, csv_bytes, lag_rows

F64 = torch.float64


def noise(steps, batch, size=1, seed=0, dtype=F64):
    return torch.randn(steps, batch, size, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def linear(w_hh):
    w_hh = torch.as_tensor(np.asarray(w_hh), dtype=F64)
    return EchoState(torch.ones(len(w_hh), 1, dtype=F64), w_hh, activation="identity")


def orthogonal(size, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def pieces_of(model, data, embedding=None, backend="reference", full=True):
    network = read_network(model)
    runner = make_runner(network, backend, embedding, full)
    return Pieces(runner, alone(data), network.feature_size(full) or 1, 1000, 0)


# Learnable.


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("lam", [0.5, 0.9, 1.0])
def test_orthogonal_gradients_shrink_by_lambda_a_step(lam, backend):
    model = linear(lam * orthogonal(7))
    inputs = noise(900, 2) * (1 if lam < 1 else 0.01)
    found = rnnmem.assess(model, inputs, lags=40, washout=50, backend=backend).learnable
    expected = lam ** np.arange(41)
    for curve in (found.gain, found.median, found.q10, found.q90):
        np.testing.assert_allclose(curve, expected, rtol=1e-9)
    assert found.lags.tolist() == list(range(41))
    assert found.lags.dtype == torch.int64
    assert found.reach() == {0.5: 6, 0.9: 40, 1.0: 40}[lam]
    assert found.reach(0.3) == {0.5: 1, 0.9: 11, 1.0: 40}[lam]


def test_diagonal_gradients_are_the_root_mean_square_of_the_powers():
    lams = np.array([0.95, -0.7, 0.3, 0.1])
    model = linear(np.diag(lams))
    pieces = pieces_of(model, noise(20_000, 1))
    found = measure_learning(pieces, make_backward(pieces.runner), 12, 50)
    squares = lams[:, None] ** (2 * np.arange(13))
    # v^2 of a random unit vector of n dimensions has a Dirichlet distribution of halves.
    n = len(lams)
    spread = 2 * (n * (squares**2).sum(0) - squares.sum(0) ** 2) / (n**2 * (n + 2))
    sd = np.sqrt(spread / found.samples)
    assert found.samples > 200
    assert (np.abs(found.gain.numpy() ** 2 - squares.mean(0)) <= 5 * sd + 1e-12).all()


@pytest.mark.parametrize("keep", [0.2, 0.9])
def test_a_gru_of_constant_gates_pulls_back_its_update_gate(keep):
    model = nn.GRU(2, 5).double()
    with torch.no_grad():
        for part in model.parameters():
            part.zero_()
        model.bias_ih_l0[5:10] = math.log(keep / (1 - keep))
        model.weight_ih_l0[10:] = torch.randn(5, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    found = rnnmem.assess(model, noise(700, 2, 2), lags=12).learnable
    np.testing.assert_allclose(found.gain, keep ** np.arange(13), rtol=1e-9)


MODELS = {
    "rnn": lambda: nn.RNN(3, 6),
    "relu": lambda: nn.RNN(3, 6, nonlinearity="relu", num_layers=2),
    "gru": lambda: nn.GRU(3, 6),
    "gru, 3 layers": lambda: nn.GRU(3, 5, num_layers=3),
    "lstm": lambda: nn.LSTM(3, 6),
    "lstm, 2 layers": lambda: nn.LSTM(3, 6, num_layers=2),
}


def torch_lengths(model, inputs, states, gradient):
    """Lengths of gradients pulled back by autograd through the module, a step at a time."""
    lstm, found = isinstance(model, nn.LSTM), []
    walked = [[part.clone() for part in states]]
    for x in inputs[:-1]:
        given = tuple(walked[-1]) if lstm else walked[-1][0]
        after = model(x.unsqueeze(0), given)[1]
        walked.append([part.detach() for part in (after if lstm else (after,))])
    for x, before in zip(reversed(inputs), reversed(walked), strict=True):
        held = [part.clone().requires_grad_() for part in before]
        after = model(x.unsqueeze(0), tuple(held) if lstm else held[0])[1]
        gradient = torch.autograd.grad(after if lstm else (after,), held, gradient)
        found.append(sum(part.square().sum(dim=(0, 2)) for part in gradient).sqrt())
    return torch.stack(found)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_autograd(name, backend):
    torch.manual_seed(1)
    model = MODELS[name]().double()
    parts = 2 if isinstance(model, nn.LSTM) else 1
    inputs = noise(11, 4, 3)
    states = [torch.randn(model.num_layers, 4, model.hidden_size, dtype=F64) for _ in range(parts)]
    gradient = [torch.randn_like(part) for part in states]
    expected = torch_lengths(model, inputs, states, tuple(gradient))
    pieces = pieces_of(model, inputs, backend=backend)
    by_layer, of_layer = (list(torch.stack(each, dim=1)) for each in (states, gradient))
    with torch.no_grad():
        found = pulled_lengths(pieces, make_backward(pieces.runner), inputs, by_layer, of_layer).exp()
    start = sum(part.square().sum(dim=(0, 2)) for part in gradient).sqrt()
    np.testing.assert_allclose(found[0], 1, rtol=1e-12)
    np.testing.assert_allclose(found[1:], expected / start, rtol=1e-9)


def all_losses_pulled(model, head, inputs, targets, longest, begins):
    """Lengths [L + 1, N] of the gradient of every target's loss, by autograd through the whole way back."""
    lstm, found = isinstance(model, nn.LSTM), []
    state = torch.zeros(model.num_layers, inputs.shape[1], model.hidden_size, dtype=F64)
    states = [(state, state.clone()) if lstm else (state,)]
    for x in inputs:
        held = tuple(part.requires_grad_() for part in states[-1])
        after = model(x.unsqueeze(0), held if lstm else held[0])[1]
        states.append(after if lstm else (after,))
    for step in range(begins + longest, len(inputs)):
        losses = nn.functional.cross_entropy(head(states[step + 1][0][-1]), targets[step], reduction="sum")
        ways = [part for at in range(step + 1, step - longest, -1) for part in states[at]]
        pulled = torch.autograd.grad(losses, ways, retain_graph=True, allow_unused=True)
        square = [0 if part is None else part.square().sum(dim=(0, 2)) for part in pulled]
        count = len(states[0])
        found.append(torch.stack([sum(square[k : k + count]) for k in range(0, len(square), count)]).sqrt())
    return torch.cat(found, dim=1)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", MODELS)
def test_the_losses_own_gradients_are_those_of_autograd(name, backend):
    torch.manual_seed(2)
    model, longest, begins = MODELS[name]().double(), 9, 5
    head = nn.Linear(model.hidden_size, 4, dtype=F64)
    inputs, targets = noise(40, 3, 3), torch.randint(4, (40, 3))
    lengths = all_losses_pulled(model, head, inputs, targets, longest, begins).detach()
    pieces = pieces_of(model, inputs, backend=backend, full=False)
    with torch.no_grad():
        backward = make_backward(pieces.runner)
        found = measure_learning(pieces, backward, longest, begins, Task(head, targets, None))
    assert found.kind == "loss"
    assert found.samples == lengths.shape[1] == 3 * (40 - longest - begins)
    np.testing.assert_allclose(
        found.gain, lengths.square().mean(1).sqrt() / lengths[0].square().mean().sqrt(), rtol=1e-9
    )
    np.testing.assert_allclose(found.median, (lengths / lengths[0]).quantile(0.5, dim=1), rtol=1e-9)


def test_with_a_head_the_gradients_are_the_losses_and_where_targets_are():
    torch.manual_seed(0)
    model, head = nn.GRU(2, 5).double(), nn.Linear(5, 3, dtype=F64)
    inputs, targets = noise(3000, 2, 2), torch.full((3000, 2), -100)
    targets[70::50, 0] = 1
    given = {"lags": 12, "measures": ("learnable",), "head": head}
    found = rnnmem.assess(model, inputs, targets=targets, **given).learnable
    assert found.kind == "loss"
    assert found.samples == len(range(120, 3000, 50))
    found = rnnmem.assess(linear(0.5 * orthogonal(5)), inputs[..., :1], targets=targets, **given).learnable
    np.testing.assert_allclose(found.gain, 0.5 ** np.arange(13), rtol=1e-9)
    early = torch.full((3000, 2), -100)
    early[:100] = 1
    report = rnnmem.assess(model, inputs, targets=early, **given)
    assert report.learnable is None
    assert any(
        w.startswith("reach of gradients: not measured, no target with 112 steps") for w in report.warnings
    )


def test_the_reports_quantiles_are_those_of_every_sample():
    torch.manual_seed(6)
    model, head = nn.GRU(2, 5).double(), nn.Linear(5, 3, dtype=F64)
    inputs, targets = noise(600, 2, 2), torch.full((600, 2), -100)
    targets[-120:] = torch.randint(3, (120, 2))
    found = rnnmem.assess(
        model, inputs, lags=8, measures=("learnable",), head=head, targets=targets
    ).learnable
    lengths = all_losses_pulled(model, head, inputs, targets, 8, 472).detach().numpy()
    assert found.samples == lengths.shape[1] == 240
    for curve, level in ((found.q10, 0.1), (found.median, 0.5), (found.q90, 0.9)):
        np.testing.assert_allclose(curve, np.quantile(lengths / lengths[0], level, axis=1), rtol=1e-9)


def test_a_head_without_gradients_is_told():
    model, inputs = nn.GRU(2, 5).double(), noise(600, 2, 2)
    given = {"lags": 5, "measures": ("learnable",), "targets": torch.zeros(600, 2, dtype=torch.int64)}
    fixed = torch.eye(5, dtype=F64)
    report = rnnmem.assess(model, inputs, head=lambda h: (h @ fixed).detach(), **given)
    assert report.learnable is None
    assert any("cannot be differentiated" in w for w in report.warnings)
    report = rnnmem.assess(model, inputs, head=lambda h: 0 * h @ fixed, **given)
    assert any("the loss has no gradient at any target" in w for w in report.warnings)


class Own:
    """A leaky unit of the user's own, whose state is a dict and is written into."""

    dtype = F64

    def __init__(self):
        generator = torch.Generator().manual_seed(3)
        self.w = torch.randn(5, 5, dtype=F64, generator=generator) / 3
        self.v = torch.randn(5, 2, dtype=F64, generator=generator)

    def init_state(self, batch):
        return {"h": torch.zeros(batch, 5, dtype=F64)}

    def step(self, x, state):
        state["h"] = 0.5 * state["h"] + 0.5 * torch.tanh(x @ self.v.T + state["h"] @ self.w.T)
        return state["h"], state


def test_an_object_of_ones_own_is_differentiated_like_the_same_unit():
    own = Own()
    unit = EchoState(own.v, own.w, leak=0.5)
    inputs = noise(900, 3, 2)
    mine, theirs = (rnnmem.assess(each, inputs, lags=20) for each in (own, unit))
    for name in ("gain", "median", "q10", "q90"):
        np.testing.assert_allclose(getattr(mine.learnable, name), getattr(theirs.learnable, name), rtol=1e-9)
    np.testing.assert_allclose(mine.forgotten.median, theirs.forgotten.median, rtol=1e-6, atol=1e-12)


class OfLayers:
    """A module of torch's as an object, its state a tuple; its output is of the last layer."""

    dtype = F64

    def __init__(self, module):
        self.module, self.lstm = module, isinstance(module, nn.LSTM)

    def init_state(self, batch):
        zeros = torch.zeros(batch, self.module.num_layers, self.module.hidden_size, dtype=F64)
        return (zeros, zeros.clone()) if self.lstm else (zeros,)

    def step(self, x, state):
        given = tuple(part.transpose(0, 1).contiguous() for part in state)
        output, after = self.module(x.unsqueeze(0), given if self.lstm else given[0])
        return output[0], tuple(part.transpose(0, 1) for part in (after if self.lstm else (after,)))


@pytest.mark.parametrize("longest", [0, 1, 9])
@pytest.mark.parametrize("name", ["gru", "gru, 3 layers", "lstm, 2 layers"])
def test_an_objects_loss_reaches_as_far_as_the_same_layers(name, longest):
    torch.manual_seed(4)
    model = MODELS[name]().double()
    head, inputs, targets = (
        nn.Linear(model.hidden_size, 4, dtype=F64),
        noise(200, 3, 3),
        torch.randint(4, (200, 3)),
    )
    found = []
    for each in (model, OfLayers(model)):
        pieces = pieces_of(each, inputs, full=False)
        with torch.no_grad():
            backward = make_backward(pieces.runner)
            found.append(measure_learning(pieces, backward, longest, 20, Task(head, targets, None)))
    assert found[0].samples == found[1].samples == 256
    for curve in ("gain", "median", "q10", "q90"):
        np.testing.assert_allclose(getattr(found[1], curve), getattr(found[0], curve), rtol=1e-9)


def test_an_objects_loss_is_differentiated_by_its_output_and_then_by_its_states():
    class Outputs(Own):
        """Puts out something else than its state."""

        def step(self, x, state):
            h = super().step(x, state)[0]
            return torch.sin(3 * h[:, :4] - x[:, :1]), {"h": h}

    own, head = Outputs(), nn.Linear(4, 3, dtype=F64)
    inputs, targets = noise(40, 3, 2), torch.randint(3, (40, 3))
    pieces = pieces_of(own, inputs, full=False)
    with torch.no_grad():
        task = Task(head, targets, None)
        found = measure_learning(pieces, make_backward(pieces.runner), 8, 4, task)
    states, outputs, lengths = [torch.zeros(3, 5, dtype=F64).requires_grad_()], [], []
    for x in inputs:
        output, after = own.step(x, {"h": states[-1]})
        outputs.append(output)
        states.append(after["h"])
    for step in range(12, 40):
        loss = nn.functional.cross_entropy(head(outputs[step]), targets[step], reduction="sum")
        ways = [outputs[step], *(states[step - k] for k in range(8))]  # states[step] is before the step
        pulled = torch.autograd.grad(loss, ways, retain_graph=True)
        lengths.append(torch.stack([part.square().sum(dim=1) for part in pulled]))
    squares = torch.cat(lengths, dim=1)
    np.testing.assert_allclose(found.gain, (squares.sum(1) / squares[0].sum()).sqrt(), rtol=1e-9)
    ratios = (squares / squares[0]).sqrt().numpy()
    for curve, level in ((found.q10, 0.1), (found.median, 0.5), (found.q90, 0.9)):
        np.testing.assert_allclose(curve, np.quantile(ratios, level, axis=1), rtol=1e-9)


def test_a_loss_of_a_complex_output_is_that_of_its_real_and_imaginary_parts():
    """h = a h + x, |a| = (.9, .5); the head reads the two real parts, with gradients of equal length."""

    class Rotating:
        a = torch.tensor([0.9 * 1j**0.3, 0.5], dtype=torch.complex128)

        def init_state(self, batch):
            return torch.zeros(batch, 2, dtype=torch.complex128)

        def step(self, x, h):
            h = self.a * h + x
            return h, h

    x = noise(600, 4)
    given = {"head": lambda h: h[:, :2], "targets": (x[..., 0] > 0).long(), "measures": ("learnable",)}
    found = rnnmem.assess(Rotating(), x, lags=5, **given).learnable
    lags = np.arange(6)
    np.testing.assert_allclose(found.gain**2, (0.9 ** (2 * lags) + 0.5 ** (2 * lags)) / 2, rtol=1e-9)


def test_a_step_without_gradients_is_told_and_the_rest_is_measured():
    class Numpy(Own):
        def step(self, x, state):
            h = torch.as_tensor(np.tanh(x.numpy() @ self.v.numpy().T + state["h"].numpy() @ self.w.numpy().T))
            return h, {"h": h}

    report = rnnmem.assess(Numpy(), noise(900, 2, 2), lags=10)
    assert report.learnable is None
    assert report.forgotten is not None
    assert [w for w in report.warnings if w.startswith("reach of gradients: not measured, the step cannot")]


def test_an_embedding_is_read_where_inputs_are_tokens():
    torch.manual_seed(0)
    model, table = nn.GRU(4, 6, num_layers=2).double(), torch.randn(9, 4, dtype=F64)
    tokens = torch.randint(0, 9, (800, 3))
    found = rnnmem.assess(model, tokens, embedding=table, lags=15).learnable
    vectors = rnnmem.assess(model, table[tokens], semantics=table[tokens], lags=15).learnable
    np.testing.assert_allclose(found.gain, vectors.gain, rtol=1e-12)


def test_all_layers_are_the_state_whichever_is_measured():
    torch.manual_seed(0)
    model, inputs = nn.LSTM(2, 5, num_layers=3).double(), noise(800, 3, 2)
    first, last = (rnnmem.assess(model, inputs, lags=12, layer=layer).learnable for layer in (0, 2))
    np.testing.assert_allclose(first.gain, last.gain, rtol=1e-12)


def test_gradients_that_explode_are_told_and_end_the_reach():
    torch.manual_seed(0)
    model = nn.RNN(1, 40).double()
    with torch.no_grad():
        model.weight_hh_l0.copy_(3 * torch.randn(40, 40) / 40**0.5)
        model.weight_ih_l0 *= 0.1
    report = rnnmem.assess(model, noise(1500, 4), lags=60)
    found = report.learnable
    first = found.explodes()
    assert float(found.median[first]) > 100 >= float(found.median[first - 1])
    assert found.reach() == first - 1
    assert [w for w in report.warnings if w.startswith(f"exploding gradients: {first} steps back")]


def test_neither_overflow_nor_underflow_on_a_long_way():
    for factor in (3.0, 0.3):
        model = linear(factor * orthogonal(5))
        pieces = pieces_of(model, torch.zeros(3000, 2, 1, dtype=F64))
        backward = make_backward(pieces.runner)
        gradient = [torch.randn(1, 2, 5, dtype=F64)]
        state = [torch.zeros(1, 2, 5, dtype=F64)]
        lengths = pulled_lengths(pieces, backward, torch.zeros(3000, 2, 1, dtype=F64), state, gradient)
        np.testing.assert_allclose(lengths[:, 0], math.log(factor) * np.arange(3001), rtol=1e-9, atol=1e-9)
        told = summary(lengths, None)
        assert bool(told.gain.isfinite().all())
        assert bool(told.median.isfinite().all())


def test_a_network_that_reads_no_state_reaches_nothing():
    found = rnnmem.assess(linear(np.zeros((3, 3))), noise(600, 2), lags=5).learnable
    assert found.gain.tolist() == [1, 0, 0, 0, 0, 0]
    assert found.reach() == 0


@pytest.mark.parametrize("name", UNITS)
def test_step_backward_is_the_transpose_of_step_tangent(name):
    unit, generator = UNITS[name], torch.Generator().manual_seed(5)

    def drawn(*shape):
        return torch.randn(*shape, dtype=F64, generator=generator)

    from rnnmem.units.unit import Weights, pull_back

    parts = len(unit.state_parts)
    w = Weights(
        drawn(unit.gates * 4, 3), drawn(unit.gates * 4, 4), drawn(unit.gates * 4), drawn(unit.gates * 4)
    )
    w = Weights(w.ih, w.hh, w.bias_ih, w.bias_hh, 0.4 if name.startswith("echo") else 1.0)
    x, state, dx, dstate, grad = (
        drawn(2, 3),
        drawn(parts, 2, 4),
        drawn(2, 3),
        drawn(parts, 2, 4),
        drawn(parts, 2, 4),
    )
    moved = unit.step_tangent(w, x, state, dx[None], dstate[None])[1][0]
    side, recurrent, past = unit.step_backward(w, x, state, grad)
    back = (pull_back(w, recurrent, past) * dstate).sum() + (side @ w.ih * dx).sum()
    torch.testing.assert_close((moved * grad).sum(), back, rtol=1e-12, atol=1e-12)


# Forgotten.


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_equal_moduli_forget_at_their_logarithm(backend):
    model = linear(0.9 * orthogonal(6))
    report = rnnmem.assess(model, noise(4000, 2), lags=60, backend=backend)
    for found, kind in ((report.forgotten, "state"), (report.forgotten_inputs, "input")):
        assert found.kind == kind
        assert found.lags.tolist() == list(range(61))
        assert found.rate == pytest.approx(math.log(0.9), abs=1e-9)
        np.testing.assert_allclose(found.median / found.median[0], 0.9 ** np.arange(61), rtol=1e-9)
        first = math.ceil(math.log(0.01 / float(found.median[0])) / math.log(0.9))
        assert found.convergence_length == first
        assert found.esp_index == pytest.approx(float(found.median[-15:].mean()), rel=0.2)


def test_a_delay_line_forgets_all_at_once():
    report = rnnmem.assess(linear(np.eye(6, k=-1)), noise(4000, 2), lags=12)
    for found in (report.forgotten, report.forgotten_inputs):
        assert (found.median[6:] == 0).all()
        assert (found.median[:6] > 0).all()
        assert found.convergence_length == 6
        assert found.esp_index == 0


def test_unrelated_states_are_one_apart():
    report = rnnmem.assess(linear(0.5 * orthogonal(8)), noise(8000, 4), lags=8)
    # 64 pairs of 8 dimensions: the median of a chi distribution over its mean, to five standard errors.
    assert float(report.forgotten.median[0]) == pytest.approx(1, abs=0.2)


def test_a_network_of_several_attractors_keeps_some_twins_apart():
    """A unit that stays where its first input has put it: twins from one side meet, the others never do."""
    model = EchoState(torch.tensor([[0.05]], dtype=F64), torch.tensor([[3.0]], dtype=F64), activation="tanh")
    inputs = noise(3000, 8)
    inputs[0, :6], inputs[0, 6:] = 60.0, -60.0
    found = rnnmem.assess(model, inputs, lags=30).forgotten
    assert float(found.median[-1]) < 0.1
    assert float(found.q90[-1]) > 1
    assert found.esp_index > 0.5


def test_chaos_keeps_twins_apart():
    torch.manual_seed(0)
    model = nn.RNN(1, 60).double()
    with torch.no_grad():
        model.weight_hh_l0.copy_(3 * torch.randn(60, 60) / 60**0.5)
        model.weight_ih_l0 *= 0.1
    found = rnnmem.assess(model, noise(3000, 4), lags=80).forgotten
    assert found.convergence_length is None
    assert 0.7 < found.esp_index < 1.3


def test_states_that_coincide_have_nothing_to_forget():
    pieces = pieces_of(linear(0.5 * orthogonal(4)), torch.ones(4000, 4, 1, dtype=F64), full=False)
    twins = Twins(pieces, 20, 100)
    assert twins.from_states() == "unrelated states coincide, so that there is nothing to forget"


def test_too_short_streams_are_told():
    report = rnnmem.assess(linear(0.5 * orthogonal(4)), noise(150, 40), lags=5, washout=90, fit=0.65)
    assert report.forgotten is not None
    report = rnnmem.assess(linear(0.5 * orthogonal(4)), noise(180, 1), lags=5, washout=100, fit=0.8)
    assert report.forgotten is None
    assert [w for w in report.warnings if w.startswith("forgetting of states: not measured, no two pasts")]


def test_lengths_bound_what_twins_read():
    inputs = noise(600, 8)
    lengths = torch.tensor([600, 300, 20, 600, 5, 240, 600, 600])
    poisoned = inputs.clone()
    for stream, length in enumerate(lengths):
        poisoned[length:, stream] = 1e9
    model = linear(0.8 * orthogonal(5))
    clean, dirty = (rnnmem.assess(model, x, lags=10, lengths=lengths) for x in (inputs, poisoned))
    for name in ("forgotten", "forgotten_inputs"):
        torch.testing.assert_close(getattr(clean, name).median, getattr(dirty, name).median)
    torch.testing.assert_close(clean.learnable.gain, dirty.learnable.gain)


def test_measures_are_taken_as_asked():
    model, inputs = linear(0.8 * orthogonal(5)), noise(900, 2)
    kept = rnnmem.assess(model, inputs, lags=10, measures=("kept",))
    assert kept.forgotten is None
    assert kept.forgotten_inputs is None
    assert kept.learnable is None
    one = rnnmem.assess(model, inputs, lags=10, measures=("learnable",))
    assert one.forgotten is None
    assert one.learnable is not None
    torch.testing.assert_close(one.retention, kept.retention)


def test_the_curves_come_back_from_json(tmp_path):
    report = rnnmem.assess(linear(0.8 * orthogonal(5)), noise(900, 2), lags=10)
    report.save(tmp_path / "report.json")
    back = rnnmem.MemoryReport.load(tmp_path / "report.json")
    assert back.to_dict() == report.to_dict()
    assert back.learnable.reach(0.2) == report.learnable.reach(0.2)
    assert back.forgotten.lags.dtype == torch.int64


def test_the_largest_exponent_and_the_effective_rank_stand_in_the_report():
    lams = torch.tensor([0.9, 0.5, 0.2], dtype=F64)
    unit = EchoState(torch.eye(3, dtype=F64), torch.diag(lams), activation="identity")
    inputs = noise(4000, 4, 3)
    report = rnnmem.assess(unit, inputs, lags=10)
    assert report.exponent == pytest.approx(math.log(0.9), abs=1e-6)
    variance = 1 / (1 - lams**2)
    expected = float(variance.sum() ** 2 / variance.square().sum())
    assert report.settings["effective_rank"] == pytest.approx(expected, rel=0.05)
    assert "largest exponent" in str(report)
    assert "effective rank" in str(report)
    lengths = torch.tensor([4000, 3000, 2000, 1500])
    padded = rnnmem.assess(unit, inputs, lags=10, lengths=lengths).exponent
    assert padded == pytest.approx(math.log(0.9), abs=1e-6)
    delay = EchoState(
        torch.eye(3, 1, dtype=F64), torch.diag(torch.ones(2, dtype=F64), -1), activation="identity"
    )
    assert rnnmem.assess(delay, noise(3000, 2), lags=5).exponent is None
    assert rnnmem.assess(unit, inputs, lags=10, measures=("kept",)).exponent is None
    words = rnnmem.assess(unit, noise(12, 400, 3), lags=3, split="streams")
    assert words.exponent is None  # a direction has not settled within twelve steps
    layered = nn.LSTM(3, 4, num_layers=2).double()
    spectrum = rnnmem.lyapunov_spectrum(layered, inputs[:1100], k=1)
    assert rnnmem.assess(layered, inputs, lags=10).exponent == pytest.approx(float(spectrum[0]), rel=1e-9)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_steep_gradients_leave_no_holes_in_float32(backend):
    model = linear(1e-6 * orthogonal(5)).float()
    found = rnnmem.assess(model, noise(900, 2).float(), lags=16, washout=10, backend=backend).learnable
    np.testing.assert_allclose(found.gain.log10(), -6 * np.arange(17), atol=1e-3)


def test_short_sentences_are_measured_as_far_as_they_go():
    torch.manual_seed(0)
    lengths = torch.full((400,), 12)
    lengths[:150] = 20
    given = {"embedding": torch.randn(9, 3), "head": torch.nn.Linear(6, 9), "lengths": lengths}
    report = rnnmem.assess(torch.nn.GRU(3, 6), torch.randint(9, (20, 400)), split="streams", **given)
    assert int(report.learnable.lags[-1]) == 15
    assert report.used.lengths[-1] == 16
    assert int(report.forgotten.lags[-1]) == int(report.forgotten_inputs.lags[-1]) == 15
    rows = list(csv.DictReader(io.StringIO(csv_bytes(list(COLUMNS), lag_rows(report)).decode())))
    gains = {int(row[COLUMNS[0]]): row["learnable_gain"] for row in rows}
    assert float(gains[15]) == float(report.learnable.gain[15])
    assert gains[18] == gains[128] == ""
    assert sum("up to lag 15, which a quarter of the streams go beyond" in w for w in report.warnings) == 1


def test_a_head_that_does_not_fit_is_told_before_anything_is_measured(monkeypatch):
    monkeypatch.setattr(sys.modules["rnnmem.assess"], "Assessment", None)
    given = {"embedding": torch.randn(9, 3), "lags": 2}
    for head in (torch.nn.Linear(7, 9), torch.nn.Linear(6, 8)):
        with pytest.raises(rnnmem.RnnMemError, match="head: expected"):
            rnnmem.assess(torch.nn.GRU(3, 6), torch.arange(9).repeat(100, 3).T, head=head, **given)


def test_a_head_of_probabilities_is_told_and_a_weight_is_one():
    torch.manual_seed(0)
    tokens, given = torch.randint(9, (900, 3)), {"embedding": torch.randn(9, 3), "lags": 2}
    model, head = torch.nn.GRU(3, 6), torch.nn.Linear(6, 9, bias=False)
    with pytest.raises(rnnmem.RnnMemError, match="head: expected logits, got probabilities"):
        rnnmem.assess(model, tokens, head=torch.nn.Sequential(head, torch.nn.Softmax(-1)), **given)
    losses = [rnnmem.assess(model, tokens, head=each, **given).used.loss for each in (head, head.weight)]
    assert torch.equal(*losses)
