"""Any chunking, merge, save and resume equals one pass, and nothing that is not counted changes a number."""

import itertools

import pytest
import torch

import rnnmem
from rnnmem.backends import BACKENDS
from rnnmem.moments import Lagged, Moments, Rows

# Retention is a difference from 1 and bits are logarithms: their absolute errors are relative ones of sums.
SAME = {"rtol": 1e-6, "atol": 1e-6, "equal_nan": True}
CURVES = ("retention", "own_retention", "retention_heldout", "distance", "bits", "own_bits", "hull_coverage")
ERRORS = ("retention_se", "own_retention_se")


def same(first, second, errors=True):
    """Two reports, number for number."""
    for name in (*CURVES, *(ERRORS if errors else ())):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), **SAME)
    assert first.rows["measured"] == second.rows["measured"]
    for table in ("by_position", "by_token_class"):
        mine, theirs = getattr(first, table), getattr(second, table)
        assert (mine is None) == (theirs is None)
        for column in mine or ():
            torch.testing.assert_close(torch.tensor(mine[column]), torch.tensor(theirs[column]), **SAME)


class Data:
    """A model, its data of one kind, and how each chunk of it is handed over."""

    def __init__(self, kind, steps=2600, streams=4):
        torch.manual_seed(0)
        self.model = torch.nn.LSTM(3, 7)
        self.embedding, self.table, self.aligned = None, None, None
        self.inputs = torch.randn(steps, streams, 3)
        if kind == "tokens":
            self.inputs = torch.randint(0, 30, (steps, streams))
            self.embedding, self.table = torch.randn(30, 3), torch.randn(30, 2)
        if kind == "aligned":
            self.aligned = self.inputs[..., :2].cumsum(0).sin()
        self.fit = steps // 2
        self.options = {"lags": [0, 1, 2, 5, 9], "backend": "cpu"}

    def semantics(self, part):
        return None if self.aligned is None else self.aligned[part]

    def assess(self):
        semantics = self.table if self.table is not None else self.aligned
        return rnnmem.assess(
            self.model, self.inputs, embedding=self.embedding, semantics=semantics, **self.options
        )

    def maps(self):
        part = slice(0, self.fit)
        semantics = self.table if self.table is not None else self.semantics(part)
        return rnnmem.fit_recall(
            self.model, self.inputs[part], embedding=self.embedding, semantics=semantics, **self.options
        )

    def meter(self, maps):
        return rnnmem.MemoryMeter(
            self.model, maps, embedding=self.embedding, semantics=self.table, backend="cpu"
        )

    def feed(self, meter, cuts, warm=False):
        for start, end in itertools.pairwise(cuts):
            part = slice(start, end)
            (meter.warm if warm else meter.update)(self.inputs[part], semantics=self.semantics(part))


KINDS = ["inputs", "tokens", "aligned"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cuts", [[1300, 2600], [1300, 1301, 1308, 1900, 2599, 2600]], ids=["one", "many"])
def test_fit_warm_update_equals_assess(kind, cuts):
    data = Data(kind)
    meter = data.meter(data.maps())
    data.feed(meter, [0, 700, 1300] if len(cuts) > 2 else [0, 1300], warm=True)
    data.feed(meter, cuts)
    same(meter.compute(), data.assess())


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_resumed(kind, tmp_path):
    data = Data(kind)
    maps = data.maps()
    maps.save(tmp_path / "maps.safetensors")
    meter = data.meter(maps)
    data.feed(meter, [0, 1300], warm=True)
    data.feed(meter, [1300, 1777])
    torch.save(meter.state_dict(), tmp_path / "meter.pt")
    resumed = data.meter(rnnmem.RecallMaps.load(tmp_path / "maps.safetensors"))
    resumed.load_state_dict(torch.load(tmp_path / "meter.pt", weights_only=True))
    data.feed(resumed, [1777, 2600])
    data.feed(meter, [1777, 2600])
    first, second = resumed.compute(), meter.compute()
    same(first, second)
    assert torch.equal(first.retention, second.retention)
    assert first.settings == second.settings
    assert first.warnings == second.warnings


@pytest.mark.parametrize("kind", KINDS)
def test_merged_streams_equal_one_pass(kind):
    data = Data(kind, streams=6)
    maps = data.maps()
    whole = data.meter(maps)
    data.feed(whole, [0, 1300], warm=True)
    data.feed(whole, [1300, 2600])
    halves = []
    for part in (slice(0, 2), slice(2, 6)):
        half = data.meter(maps)
        for start, end, count in ((0, 1300, False), (1300, 2600, True)):
            semantics = data.semantics((slice(start, end), part))
            (half.update if count else half.warm)(data.inputs[start:end, part], semantics=semantics)
        halves.append(half)
    merged = halves[0].merge(halves[1])
    assert merged is halves[0]
    same(merged.compute(), whole.compute())


def test_meters_of_other_weights_or_meanings_are_not_merged():
    torch.manual_seed(0)
    model, inputs, table = torch.nn.GRU(2, 4), torch.randint(5, (1200, 2)), torch.randn(5, 2)
    meanings = torch.randn(5, 3)
    given = {"embedding": table, "semantics": meanings}
    maps = rnnmem.fit_recall(model, inputs, lags=3, **given)
    meter = rnnmem.MemoryMeter(model, maps, **given)
    other = rnnmem.MemoryMeter(model, maps, embedding=table, semantics=2 * meanings)
    with pytest.raises(
        rnnmem.RnnMemError, match="other: expected a meter of the same model, got one of another: sem"
    ):
        meter.merge(other)
    with torch.no_grad():
        model.weight_hh_l0[0, 0] += 1e-3
    with pytest.raises(
        rnnmem.RnnMemError, match="other: expected a meter of the same model, got one of another: wei"
    ):
        meter.merge(rnnmem.MemoryMeter(model, maps, **given))


def test_merge_of_different_block_widths_takes_the_coarser():
    data = Data("inputs", steps=12_000)
    maps = data.maps()
    long, short = data.meter(maps), data.meter(maps)
    data.feed(long, [0, 12_000])
    data.feed(short, [0, 2600])
    widths = [m.measurement.tally.blocks.width for m in (long, short)]
    assert widths[0] > widths[1]
    rows = [m.compute().rows["measured"] for m in (long, short)]
    report = short.merge(long).compute()
    assert report.rows["measured"] == sum(rows)
    assert short.measurement.tally.blocks.width == widths[0]


def test_reset_starts_a_document_anywhere():
    """Two documents in one stream, the second begun by a reset in mid-chunk, are two streams of their own."""
    data = Data("inputs", streams=2)
    maps = data.maps()
    documents = data.inputs[:1000, :1], data.inputs[:800, 1:]
    joined = torch.cat(documents)
    reset = torch.zeros(1800, 1, dtype=torch.bool)
    reset[1000] = True
    one = data.meter(maps)
    for start, end in ((0, 300), (300, 1250), (1250, 1800)):
        one.update(joined[start:end], reset=reset[start:end])
    two = data.meter(maps)
    two.update(documents[0])
    other = data.meter(maps)
    other.update(documents[1])
    separate = two.merge(other).compute()
    together = one.compute()
    for name in ("retention", "own_retention", "distance", "bits"):
        torch.testing.assert_close(getattr(together, name), getattr(separate, name), **SAME)
    assert together.rows["measured"] == (1000 - 100) + (800 - 100)


def test_fit_recall_with_resets_uses_no_row_whose_lags_cross_one():
    data = Data("inputs", streams=1)
    reset = torch.zeros(1300, 1, dtype=torch.bool)
    reset[600] = True
    maps = rnnmem.fit_recall(data.model, data.inputs[:1300], reset=reset, **data.options)
    assert maps.rows.tolist() == [1300 - 2 * 100] * 5


def test_lengths_in_a_meter_end_a_stream_until_its_reset():
    data = Data("inputs", streams=2)
    maps = data.maps()
    meter = data.meter(maps)
    meter.update(data.inputs[:500], lengths=torch.tensor([500, 350]))
    meter.update(data.inputs[500:900])
    reset = torch.zeros(300, 2, dtype=torch.bool)
    reset[0, 1] = True
    meter.update(data.inputs[900:1200], reset=reset)
    assert meter.compute().rows["measured"] == (1200 - 100) + (350 - 100) + (300 - 100)


def test_streams_split_in_batches_of_sequences():
    """Maps fitted by streams measure batches of padded sequences, each begun by a reset."""
    torch.manual_seed(1)
    model, inputs = torch.nn.GRU(2, 5), torch.randn(12, 200, 2)
    lengths = torch.randint(3, 13, (200,))
    options = {"lags": 3, "split": "streams", "backend": "cpu"}
    whole = rnnmem.assess(model, inputs, lengths=lengths, **options)
    maps = rnnmem.fit_recall(model, inputs[:, :100], lengths=lengths[:100], **options)
    meter = rnnmem.MemoryMeter(model, maps, backend="cpu")
    for start in (100, 150):
        part = slice(start, start + 50)
        first = torch.zeros(12, 50, dtype=torch.bool)
        first[0] = True
        meter.update(inputs[:, part], lengths=lengths[part], reset=first)
    report = meter.compute()
    for name in ("retention", "own_retention", "distance", "bits"):
        torch.testing.assert_close(getattr(report, name), getattr(whole, name), **SAME)


def test_reset_forgets_everything():
    data = Data("tokens")
    maps = data.maps()
    meter = data.meter(maps)
    data.feed(meter, [0, 900])
    meter.reset()
    data.feed(meter, [500, 1500])
    fresh = data.meter(maps)
    data.feed(fresh, [500, 1500])
    same(meter.compute(), fresh.compute())


def test_the_fit_parts_future_does_not_leak():
    """Shuffling the later half of the fit part moves the maps, never measured rows' targets and states."""
    data = Data("inputs")
    shuffled = data.inputs.clone()
    # The last steps stay: lags of measured rows and the state reach back into them.
    order = torch.randperm(500)
    shuffled[600:1100] = shuffled[600:1100][order]
    maps = data.maps()
    meters = []
    for inputs in (data.inputs, shuffled):
        meter = data.meter(maps)
        meter.warm(inputs[:1300])
        meter.update(inputs[1300:])
        meters.append(meter.compute())
    torch.testing.assert_close(meters[0].raw.variance, meters[1].raw.variance, rtol=1e-7, atol=0)
    torch.testing.assert_close(meters[0].distance, meters[1].distance, rtol=1e-5, atol=0)


def test_many_streams_run_in_groups(monkeypatch):
    data = Data("tokens", streams=5)
    whole = data.assess()
    monkeypatch.setattr("rnnmem.chunks.BATCH_STREAMS", 2)
    same(data.assess(), whole)


class FailsOnce:
    """A memoryless object whose step number `at` fails, the first time."""

    def __init__(self, at):
        self.steps, self.at = 0, at

    def init_state(self, batch):
        return torch.zeros(batch, 2)

    def step(self, x, state):
        self.steps += 1
        if self.steps == self.at:
            raise RuntimeError("once")
        return x, x


def test_an_update_that_fails_leaves_the_meter_as_it_was():
    torch.manual_seed(3)
    inputs = torch.randn(30_000, 1, 2)
    steady, failing = FailsOnce(-1), FailsOnce(-1)
    maps = rnnmem.fit_recall(steady, inputs[:1000], lags=2)
    meters = [rnnmem.MemoryMeter(model, maps) for model in (steady, failing)]
    for meter in meters:
        meter.update(inputs[:5000])
    failing.at = failing.steps + 20_000  # in the third of the chunks that the update is cut into
    with pytest.raises(rnnmem.RnnMemError, match="once"):
        meters[1].update(inputs[5000:])
    for meter in meters:
        meter.update(inputs[5000:])
    same(*(meter.compute() for meter in meters))


def test_a_fresh_meter_merges_and_goes_on():
    data = Data("inputs", streams=6)
    maps = data.maps()
    first, fresh = data.meter(maps), data.meter(maps)
    first.update(data.inputs[:, :2])
    fresh.merge(first)
    fresh.update(data.inputs[:, 2:])
    other = data.meter(maps)
    other.update(data.inputs[:, 2:])
    expected = first.merge(other)
    same(fresh.compute(), expected.compute())
    assert torch.equal(fresh.measurement.tally.groups, expected.measurement.tally.groups)


def test_many_merged_groups_join_in_order():
    data = Data("inputs", streams=40)
    maps = data.maps()
    meters = [data.meter(maps) for _ in range(3)]
    for meter in meters:
        meter.update(data.inputs[:400])
    merged = meters[0].merge(meters[1]).merge(meters[2])
    merged.update(data.inputs[400:800])
    tally = merged.measurement.tally
    # 40 and 40 join to 40 of two; with 40 more they are 80, which join to 40 again.
    assert len(tally.groups) == 40
    rows = tally.groups[:, -1]
    per_stream = 400 - 100
    own = 40 >> tally.joins
    assert rows[0] == (1 << tally.joins) * (per_stream + 400)
    assert rows.sum() == 40 * (3 * per_stream + 400)
    assert (rows[:own] == rows[0]).all()


def test_padding_at_the_end_of_the_fit_part_changes_nothing():
    """Rows beyond `lengths` fill the last 65,536; the fit's cost is told from the last that count."""
    torch.manual_seed(4)
    model, inputs = torch.nn.GRU(1, 4), (0.2 * torch.randn(700, 64, 1)).cumsum(0).sin()
    padded = torch.cat((inputs, torch.randn(3000, 64, 1)))
    lengths = torch.full((64,), 700)
    options = {"lags": 3, "backend": "cpu"}
    plain = rnnmem.fit_recall(model, inputs, **options)
    found = rnnmem.fit_recall(model, padded, lengths=lengths, **options)
    torch.testing.assert_close(found.weight, plain.weight, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.raw.effective_rows, plain.raw.effective_rows, rtol=1e-3, atol=0)
    assert float(plain.raw.effective_rows[0]) < 0.8 * float(plain.rows[0])


def test_a_growing_state_in_padding_does_not_reach_the_maps():
    torch.manual_seed(5)
    unit = rnnmem.units.EchoState(torch.ones(1, 1), torch.tensor([[3.0]]), activation="identity")
    inputs = torch.randn(60, 300, 1, dtype=torch.float32)
    lengths = torch.full((300,), 10)
    options = {"lags": 2, "split": "streams", "innovation_order": 0}
    padded = rnnmem.assess(unit, inputs, lengths=lengths, **options)
    plain = rnnmem.assess(unit, inputs[:10], **options)
    torch.testing.assert_close(padded.retention, plain.retention, rtol=0, atol=1e-4)


def test_the_sample_for_autocorrelations_is_bounded_for_long_streams_too(monkeypatch):
    seen = []
    from rnnmem.sample import FitSample

    original = FitSample.drop_old

    def watched(self):
        original(self)
        seen.append(sum(f.numel() for run in self.runs for f, _ in run))

    monkeypatch.setattr(FitSample, "drop_old", watched)
    model = rnnmem.units.EchoState(torch.ones(2, 1), 0.5 * torch.eye(2))
    rnnmem.fit_recall(model, torch.randn(150_000, 2, 1), lags=1, split="streams", innovation_order=0)
    assert max(seen) <= (65_536 + 8192) * 2


def test_semantics_of_another_kind_than_the_maps_are_refused():
    data = Data("aligned")
    maps = data.maps()
    meter = data.meter(maps)
    model_inputs = data.inputs[..., :3]
    with pytest.raises(rnnmem.RnnMemError, match="semantics: expected a tensor beside the inputs"):
        meter.update(model_inputs)


@pytest.mark.parametrize("backend", [BACKENDS["reference"], BACKENDS["cpu"]], ids=["reference", "cpu"])
def test_means_of_targets_that_drift_keep_their_digits(backend):
    """Far from the pilot, which is the first chunk's mean: a sum of float32 would lose five of them."""
    torch.manual_seed(0)
    rows = Rows(torch.tensor([0]), "time", 0)
    moments = Moments(rows, [0], 2, 3, torch.device("cpu"), backend.sum_moments)
    chunks = [torch.randn(4000, 2, 3), torch.randn(4000, 2, 3) + 100]
    for chunk in chunks:
        age = torch.zeros(4000, 2, dtype=torch.int64)
        moments.add(torch.randn(8000, 2), age, Lagged(chunk.unsqueeze(0), [(0, 0)], 4000))
    exact = torch.cat(chunks).flatten(0, 1).double().mean(dim=0)
    torch.testing.assert_close(moments.target_mean()[0], exact, atol=1e-6, rtol=0)
