"""What users' own objects and classes do that torch's modules do not."""

import math
import subprocess
import sys

import pytest
import torch

import rnnmem
from rnnmem import ops
from rnnmem.units import EchoState


class Pure:
    """A leaky tanh network."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.w = 0.25 * torch.randn(12, 12, generator=generator)
        self.v = torch.randn(12, 2, generator=generator)

    def init_state(self, batch):
        return torch.zeros(batch, 12)

    def step(self, x_t, state):
        h = torch.tanh(x_t @ self.v.T + state @ self.w.T)
        return h, h


class InPlace(Pure):
    """The same, writing into the state it is given."""

    fails_at = None

    def step(self, x_t, state):
        state.copy_(super().step(x_t, state)[0])
        if self.fails_at is not None:
            self.fails_at -= 1
            if self.fails_at == 0:
                raise RuntimeError("now")
        return state, state


class OneBuffer(Pure):
    """The same, handing out one tensor again and again."""

    buffer = None

    def step(self, x_t, state):
        new = super().step(x_t, state)[0]
        if self.buffer is None or self.buffer.shape != new.shape:
            self.buffer = torch.empty_like(new)
        self.buffer.copy_(new)
        return self.buffer, new


@pytest.mark.parametrize("kind", [InPlace, OneBuffer])
def test_objects_may_reuse_their_tensors(kind):
    torch.manual_seed(0)
    x = torch.randn(3000, 2, 2)
    reset = torch.rand(3000, 2) < 0.01
    expected, found = (rnnmem.assess(each, x, lags=6) for each in (Pure(), kind()))
    torch.testing.assert_close(found.retention, expected.retention)
    maps = [rnnmem.fit_recall(each, x, lags=3, washout=0, reset=reset) for each in (Pure(), kind())]
    torch.testing.assert_close(maps[1].weight, maps[0].weight)


def test_a_failing_update_leaves_a_state_that_is_written_in_place_as_it_was():
    torch.manual_seed(0)
    x, model = torch.randn(2000, 2, 2), InPlace()
    maps = rnnmem.fit_recall(model, x, lags=3)
    meter = rnnmem.MemoryMeter(model, maps)
    meter.update(x)
    before = meter.state_dict()
    model.fails_at = 100
    with pytest.raises(rnnmem.RnnMemError, match="now"):
        meter.update(x)
    torch.testing.assert_close(meter.state_dict()["state"], before["state"], rtol=0, atol=0)


def test_ridge_zero_and_a_dead_unit():
    torch.manual_seed(0)
    unit = EchoState(torch.randn(5, 2), torch.diag(torch.tensor([0.5, 0.4, 0.3, 0.2, 0.0])))
    with torch.no_grad():
        unit.weight_ih[4] = 0
    x = torch.randn(3000, 2, 2)
    none, little = (rnnmem.assess(unit, x, lags=3, ridge=ridge) for ridge in (0.0, 1e-9))
    assert not none.retention.isnan().any()
    torch.testing.assert_close(none.retention, little.retention, rtol=0, atol=1e-5)


def test_a_control_with_too_few_rows_ends_the_horizon_and_is_said():
    torch.manual_seed(0)
    shift = EchoState(torch.eye(40, 1), torch.diag(torch.ones(39), -1), activation="identity")
    report = rnnmem.assess(shift, torch.randn(154, 20, 1), lags=38, washout=0)
    measured = dict(zip(report.lags.tolist(), report.controls["inference"].tolist(), strict=True))
    failed = [lag for lag in report.settings["inference_lags"] if math.isnan(measured[lag])]
    assert failed
    assert any("inference control" in line and str(failed) in line for line in report.warnings)
    assert report.memory_horizon is None or report.memory_horizon < failed[0]
    assert "larger lags were not tested" not in str(report)


def test_the_sample_of_fit_rows_is_bounded_where_few_rows_count(monkeypatch):
    from rnnmem.sample import MOST_STORED, FitSample

    seen, original = [], FitSample.drop_old

    def watched(self):
        original(self)
        seen.append(sum(f.shape[0] * f.shape[1] for run in self.runs for f, _ in run))
        assert sum(self.rows(chunk) for run in self.runs for _, chunk in run) > 0

    monkeypatch.setattr(FitSample, "drop_old", watched)
    unit = EchoState(torch.ones(4, 1), 0.5 * torch.eye(4))
    lengths = torch.full((64,), 300)
    lengths[0] = 9000
    x = torch.randn(9000, 64, 1)
    rnnmem.fit_recall(unit, x, lags=4, lengths=lengths, innovation_order=0)
    assert max(seen) <= MOST_STORED * 65_536 + 2 * 8192


def test_a_meter_says_that_its_maps_are_of_other_weights():
    torch.manual_seed(0)
    tokens, table = torch.randint(0, 20, (2000, 2)), torch.randn(20, 4)
    model, other = torch.nn.GRU(4, 8), torch.nn.GRU(4, 8)
    maps = rnnmem.fit_recall(model, tokens, embedding=table, lags=3)
    for network, embedding, strange in ((model, table, False), (other, table, True), (model, -table, True)):
        meter = rnnmem.MemoryMeter(network, maps, embedding=embedding)
        meter.update(tokens)
        said = [line for line in meter.compute().warnings if "other weights" in line]
        assert len(said) == strange
    assert repr(maps) == "RecallMaps(4 lags up to 3, 8 features to 4 dimensions)"
    assert repr(meter) == f"MemoryMeter(GRU, {maps!r}, {2 * (2000 - 100):,} rows)"


@pytest.mark.parametrize("command", ["", "demo", "assess", "compare", "info"])
def test_every_command_explains_itself(command, capsys):
    from rnnmem.cli import main

    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    assert left.value.code == 0
    assert f"usage: rnnmem {command}".strip() in capsys.readouterr().out


def test_an_object_that_writes_into_what_it_reads_leaves_the_inputs_alone():
    class Greedy(Pure):
        def step(self, x_t, state):
            h = super().step(x_t, state)[0]
            x_t.zero_()
            return h, h

    inputs = torch.randn(600, 2, 2, generator=torch.Generator().manual_seed(2))
    before = inputs.clone()
    given = {"lags": 4, "washout": 20}
    greedy, pure = rnnmem.assess(Greedy(), inputs, **given), rnnmem.assess(Pure(), inputs, **given)
    assert torch.equal(inputs, before)
    assert torch.equal(greedy.retention, pure.retention)
    assert torch.equal(greedy.learnable.gain, pure.learnable.gain)
    spectrum = rnnmem.lyapunov_spectrum(Greedy(), inputs, k=2)
    assert torch.equal(inputs, before)
    torch.testing.assert_close(spectrum, rnnmem.lyapunov_spectrum(Pure(), inputs, k=2))


class Wrapped:
    """Holds a module, as the wrapper of a network of one's own does."""

    def __init__(self, cell, drop):
        self.parts = {"cell": cell, "drop": drop}

    def init_state(self, batch):
        return torch.zeros(batch, 6)

    def step(self, x, state):
        state = self.parts["cell"](self.parts["drop"](x), state)
        return state, state


def test_modules_that_an_object_holds_are_measured_in_eval_mode():
    torch.manual_seed(0)
    cell, drop, inputs = torch.nn.GRUCell(2, 6), torch.nn.Dropout(0.9), torch.randn(900, 3, 2)
    found = rnnmem.assess(Wrapped(cell, drop), inputs, lags=2, measures=("kept",))
    assert drop.training
    torch.testing.assert_close(
        found.retention, rnnmem.assess(cell, inputs, lags=2, measures=("kept",)).retention, atol=1e-5, rtol=0
    )


class Whole(torch.nn.Module):
    """A network whose head is a method of it."""

    def __init__(self):
        super().__init__()
        self.drop, self.decoder = torch.nn.Dropout(0.9), torch.nn.Linear(6, 9)

    def decode(self, outputs):
        return self.decoder(self.drop(outputs))


def test_a_method_is_measured_in_eval_mode():
    torch.manual_seed(0)
    tokens, given = torch.randint(9, (900, 3)), {"embedding": torch.randn(9, 3), "lags": 2}
    model, whole = torch.nn.GRU(3, 6), Whole()
    losses = [
        rnnmem.assess(model, tokens, head=each, **given).used.loss for each in (whole.decode, whole.decoder)
    ]
    assert torch.equal(*losses)
    assert whole.drop.training


class Drawn(Wrapped):
    """Begins somewhere else each time."""

    def init_state(self, batch):
        return torch.randn(batch, 6)


def test_looking_at_an_object_draws_no_numbers():
    unit, inputs = Drawn(torch.nn.GRUCell(1, 6), torch.nn.Identity()), torch.randn(900, 3, 1)
    maps = rnnmem.fit_recall(unit, inputs, lags=2)
    before = torch.random.get_rng_state()
    meter = rnnmem.MemoryMeter(unit, maps)
    meter.update(inputs)
    meter.compute()
    meter.load_state_dict(meter.state_dict())
    rnnmem.memory_capacity(unit, 3, steps=3000)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_reservoir_has_weights_of_its_own():
    weight = 0.5 * torch.eye(3)
    unit = rnnmem.units.EchoState(torch.ones(3, 1), weight).requires_grad_()
    with torch.no_grad():
        unit.weight_hh.mul_(2)
    assert torch.equal(weight, 0.5 * torch.eye(3))


def test_padding_that_nobody_told_of_is_asked_about():
    torch.manual_seed(0)
    tokens = torch.randint(1, 9, (700, 4))
    tokens[-200:, :3] = 0
    given = {"embedding": torch.randn(9, 3), "lags": 2, "measures": ("kept",)}
    model, told = torch.nn.GRU(3, 6), "3 of 4 streams end in one input"
    said = rnnmem.assess(model, tokens, **given).warnings
    assert sum(line.startswith(told) for line in said) == 1
    lengths = torch.tensor([500, 500, 500, 700])
    assert not [w for w in rnnmem.assess(model, tokens, lengths=lengths, **given).warnings if told in w]
    floats = torch.randn(700, 4, 3)
    floats[-100:, :2] = 0
    said = rnnmem.assess(model, floats, lags=2, measures=("kept",)).warnings
    assert sum(line.startswith("2 of 4 streams end in one input") for line in said) == 1


def test_a_missing_extension_is_said_in_the_report(monkeypatch):
    monkeypatch.setattr(ops, "_extension", None)
    monkeypatch.setattr(ops, "_missing", "the compiled extension")
    report = rnnmem.assess(torch.nn.GRU(3, 6), torch.randn(900, 3, 3), lags=2, measures=("kept",))
    assert report.backend == "reference"
    assert sum(line.startswith("the reference backend ran") for line in report.warnings) == 1


def test_where_nothing_varies_nothing_is_kept_or_lost():
    report = rnnmem.assess(torch.nn.GRU(3, 6), torch.ones(900, 3, 3), lags=2, measures=("kept",))
    assert report.capacity is None
    assert report.own_capacity is None
    assert report.suitable_length().length is None
    assert str(report)
    assert report._repr_html_()


def test_python_m_runs_the_commands():
    done = subprocess.run(
        [sys.executable, "-m", "rnnmem", "info"], capture_output=True, text=True, check=True
    )
    assert rnnmem.__version__ in done.stdout
