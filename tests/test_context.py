"""How much context is used: tasks whose answer is known, and losses worked out window by window."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import rnnmem
from rnnmem.context import ContextUse, Used
from rnnmem.context_blocks import blocks_of, spread_evenly
from rnnmem.indicators.curve import student
from rnnmem.indicators.suitable_length import suitable_length_training
from rnnmem.network import read_network
from rnnmem.pieces import Pieces, Reading, alone, piece
from rnnmem.runner import make_runner
from rnnmem.task import NONE, Task
from rnnmem.units import EchoState

F64 = torch.float64


def tokens(steps, batch, vocabulary=8, seed=0):
    return torch.randint(0, vocabulary, (steps, batch), generator=torch.Generator().manual_seed(seed))


def next_tokens(read):
    """What stands after each of tokens [T, B]; NONE after the last."""
    return torch.cat((read[1:], torch.full_like(read[:1], NONE)))


def delayed(read, delay):
    """What stood `delay` steps before."""
    out = torch.full_like(read, NONE)
    out[delay:] = read[: len(read) - delay]
    return out


def shift_register(slots, width):
    """Keeps the last `slots` one-hot tokens, the newest first."""
    first = torch.zeros(slots, 1, dtype=F64)
    first[0] = 1
    eye = torch.eye(width, dtype=F64)
    w_hh = torch.kron(torch.diag(torch.ones(slots - 1, dtype=F64), -1), eye)
    return EchoState(torch.kron(first, eye), w_hh, activation="identity")


def last_slot(width, sure=30.0):
    """Logits that are sure of what the last slot holds."""
    return lambda outputs: sure * outputs[:, -width:]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("delay", [0, 3, 10])
def test_a_delayed_copy_needs_its_delay_and_one(delay, backend):
    read, eye = tokens(2500, 4), torch.eye(8, dtype=F64)
    report = rnnmem.assess(
        shift_register(delay + 1, 8),
        read,
        embedding=eye,
        lags=range(16),
        head=last_slot(8),
        targets=delayed(read, delay),
        trained_window=64,
        backend=backend,
        innovation_order=0,
    )
    used = report.used
    assert used.lengths.tolist() == list(range(1, 17))
    # Nothing has come through: all eight are equally likely, 3 bits. Then it is certain.
    np.testing.assert_allclose(used.loss[:delay], 3, rtol=1e-9)
    np.testing.assert_allclose(used.loss[delay:], 0, atol=1e-9)
    assert used.span() == delay + 1
    assert report.suitable_length("training").length == max(2, 1 << (2 * (delay + 1) - 1).bit_length())
    assert report.suitable_length("training").low == delay + 1
    # Another past is told instead, with all confidence, and is right by chance: 7 of 8 cost 30 / ln 2 bits.
    for wrong in (used.loss_after_unrelated, used.loss_shuffled):
        np.testing.assert_allclose(wrong[:delay], 7 / 8 * 30 / math.log(2), rtol=0.15)
        np.testing.assert_allclose(wrong[delay:], 0, atol=1e-9)


def use_of(model, read, head, targets, lengths, embedding=None):
    network = read_network(model)
    runner = make_runner(network, "reference", embedding, False)
    pieces = Pieces(runner, alone(read), network.feature_size(False) or 1, 1000, 0)
    return ContextUse(pieces, Task(head, targets, None), torch.tensor(lengths), 20)


@pytest.mark.parametrize("layers", [1, 2])
def test_losses_are_those_of_each_window_alone(layers):
    torch.manual_seed(0)
    model, head, table = (
        nn.LSTM(3, 6, num_layers=layers).double(),
        nn.Linear(6, 5).double(),
        torch.randn(5, 3).double(),
    )
    read = tokens(700, 3, 5)
    targets = next_tokens(read)
    targets[100:300, 1] = NONE
    use = use_of(model, read, head, targets, [1, 2, 5, 11, 12], table)
    with torch.no_grad():
        step, stream, _ = use.chosen(use.counts(11), 11)
        reading = Reading(use.pieces, step, stream, use.longest - 1)
        losses = use.losses(reading, use.runs(step, stream), targets[step, stream], use.initial)
        assert not bool(losses.isnan().any())
        for i in range(0, len(step), 7):
            t, b = int(step[i]), int(stream[i])
            for k, n in enumerate(use.lengths.tolist()):
                out = model(table[read[t - n + 1 : t + 1, b]].unsqueeze(1))[0][-1]
                expected = nn.functional.cross_entropy(head(out), targets[t, b].view(1)) / math.log(2)
                assert float(losses[k, i]) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("embedded", [False, True])
def test_rows_read_by_number_are_those_read(backend, embedded):
    torch.manual_seed(0)
    model, table = nn.LSTM(3, 6, num_layers=2).double(), torch.randn(50, 3).double()
    inputs = tokens(90, 4, 50) if embedded else torch.randn(90, 4, 3).double()
    runner = make_runner(read_network(model, -1), backend, table if embedded else None, False)
    step, stream = torch.tensor([[20, 70, 31], [21, 71, 32]]), torch.tensor([0, 3, 3])
    with torch.no_grad():
        pieces = Pieces(runner, alone(inputs), 6, 100, 0)
        shared = Reading(pieces, step[-1].repeat(9), stream.repeat(9), 5)
        apart = Reading(pieces, step[-1], stream, 5)
        assert len(shared.rows) == 3 * 6
        assert apart.rows is None
        found, plain = (each.store(step, stream, 0, runner.init_state(3))[0] for each in (shared, apart))
        expected = runner.store(piece(inputs[step, stream], 0), runner.init_state(3))[0]
    assert torch.equal(plain, expected)
    assert torch.allclose(found, expected, atol=1e-12)


def test_targets_are_taken_in_whole_regions_and_never_twice():
    read = tokens(3000, 4)
    targets = next_tokens(read)
    targets[::3, 1] = NONE
    use = use_of(nn.RNN(3, 2).double(), read, None, targets, [1, 40], torch.randn(8, 3).double())
    step, stream, block = use.chosen(use.counts(79), 79)
    assert 2048 <= len(step) < 2048 + 64
    assert len(set(zip(step.tolist(), stream.tolist(), strict=True))) == len(step)
    assert int(step.min()) >= 79
    assert bool((targets[step, stream] != NONE).all())
    for b, region in set(zip(stream.tolist(), (step // 64).tolist(), strict=True)):
        wanted = [
            t for t in range(max(79, 64 * region), min(3000, 64 * (region + 1))) if targets[t, b] != NONE
        ]
        assert step[(stream == b) & (step // 64 == region)].tolist() == wanted
    for which in range(int(block.max()) + 1):
        assert len(set(stream[block == which].tolist())) == 1
    assert int(use.counts(3000).sum()) == 0
    assert int(use.counts(79).sum()) == int((targets[79:] != NONE).sum())


def test_runs_are_what_the_targets_need_and_no_more():
    read = tokens(400, 2)
    use = use_of(nn.RNN(3, 2).double(), read, None, next_tokens(read), [1, 3, 9], torch.randn(8, 3).double())
    step, stream = torch.tensor([50, 51, 200]), torch.tensor([0, 0, 1])
    runs = use.runs(step, stream)
    needed = {(int(t) - n + 1, int(b)): 0 for n in (1, 3, 9) for t, b in zip(step, stream, strict=True)}
    for t, b in zip(step.tolist(), stream.tolist(), strict=True):
        for n in (1, 3, 9):
            needed[t - n + 1, b] = max(needed[t - n + 1, b], n)
    starts = zip(runs.step.tolist(), runs.stream.tolist(), strict=True)
    assert dict(zip(starts, runs.steps.tolist(), strict=True)) == needed
    assert runs.steps.tolist() == sorted(runs.steps.tolist(), reverse=True)
    for k, n in enumerate((1, 3, 9)):
        assert torch.equal(runs.step[runs.serves[k]], step - n + 1)
        assert torch.equal(runs.stream[runs.serves[k]], stream)


def test_targets_at_the_ends_of_streams_of_any_length_count():
    table = torch.eye(8, dtype=F64)
    given = {"embedding": table, "head": last_slot(8), "innovation_order": 0, "washout": 10}
    read = tokens(1000, 40)
    ends = torch.full_like(read, NONE)
    ends[-1] = read[-4]
    report = rnnmem.assess(shift_register(4, 8), read, lags=32, targets=ends, **given)
    assert report.used.targets == 40
    assert report.used.span() == 4
    lengths = torch.randint(5, 61, (1000,), generator=torch.Generator().manual_seed(0))
    read = tokens(60, 1000)
    given |= {"lengths": lengths, "split": "streams", "targets": delayed(read, 3)}
    used = rnnmem.assess(shift_register(4, 8), read, lags=8, **given).used
    assert used.targets >= 2048
    assert used.span() == 4


def test_padding_makes_no_token_frequent():
    lengths = torch.full((50,), 20)
    read = tokens(200, 50, 30) + 1
    read[20:] = 0
    model, table, head = nn.GRU(3, 6).double(), torch.randn(31, 3).double(), nn.Linear(6, 31).double()
    given = {"embedding": table, "head": head, "lengths": lengths, "split": "streams", "lags": 4}
    used = rnnmem.assess(model, read, **given).used
    assert set(used.by_token_class["band"]) == set(range(5))


@pytest.mark.parametrize("numbers", [False, True], ids=["tokens", "numbers"])
@pytest.mark.parametrize(("longest", "close"), [(12, 1), (100, 3)])
def test_shuffling_leaves_what_no_order_changes(longest, close, numbers):
    """A unit that adds up what it reads: the older tokens count, their order does not."""
    count = EchoState(torch.eye(8, dtype=F64), torch.eye(8, dtype=F64), activation="identity")
    read = tokens(3000, 5)
    targets = next_tokens(read)
    table, one_hot = torch.eye(8, dtype=F64), nn.functional.one_hot(read, 8).double()
    given = (one_hot, None) if numbers else (read, table)
    use = use_of(count, given[0], lambda h: h, targets, [1, 7, longest], given[1])
    with torch.no_grad():
        step, stream, _ = use.chosen(use.counts(2 * longest - 1), 2 * longest - 1)
        reading = use.reading(step, stream, True)
        runs = use.runs(step, stream)
        found = use.losses(reading, runs, targets[step, stream], use.shuffled(reading))
    assert (reading.rows is not None) == numbers
    for i in range(len(step)):  # the first of a region reads the furthest back
        for k, n in enumerate((1, 7, longest)):
            t, b = int(step[i]), int(stream[i])
            start = t - n + 1
            past = max(longest, start - start % close)  # where the shuffled past ends
            logits = one_hot[past - longest : past, b].sum(dim=0) + one_hot[start : t + 1, b].sum(dim=0)
            expected = nn.functional.cross_entropy(logits, targets[t, b]) / math.log(2)
            assert float(found[k, i]) == pytest.approx(float(expected), rel=1e-9)


def side_by_side(regions, size=64):
    """Regions and steps of targets [N]: `size` of each of these regions."""
    region = torch.tensor(regions).repeat_interleave(size)
    return region, region * 64 + torch.arange(size).repeat(len(regions))


@pytest.mark.parametrize("touching", [False, True])
def test_standard_errors_cover_the_paired_difference(touching):
    """Losses that neighbours have in common, as within one topic: 32 apart, or runs of 32 in one stream."""
    inside, trials = 0, 200
    block = blocks_of(*side_by_side(range(0, 32) if touching else range(0, 320, 10)))
    use = use_of(nn.RNN(1, 1).double(), torch.zeros(9, 1, 1, dtype=F64), None, torch.zeros(9, 1), [1, 2])
    for seed in range(trials):
        generator = torch.Generator().manual_seed(seed)
        topic = torch.randn(2, 32, 2, 1, generator=generator, dtype=F64)
        losses = torch.randn(2, 32, 2, 32, generator=generator, dtype=F64) + topic
        losses[0] += 0.05
        found = use.summary(losses.flatten(1), None, None, torch.zeros(2048, dtype=torch.int64), block)
        assert found.blocks == (16 if touching else 32)
        half = student(found.blocks, 0.975) * found.excess_se[0]
        inside += bool(abs(found.excess[0] - 0.05) <= half)
    assert 0.9 <= inside / trials <= 0.99


def test_blocks_are_runs_of_targets_side_by_side():
    """A run of 16 regions, one of 2: 128 wide would be 9 blocks."""
    blocks = blocks_of(*side_by_side([*range(16), 100, 101]))
    assert blocks.view(18, 64).tolist() == [[k] * 64 for k in range(18)]
    assert int(blocks_of(*side_by_side(range(9))).max()) == 17  # no narrower than 32
    assert blocks_of(*side_by_side(range(32))).view(32, 64).tolist() == [[k // 2] * 64 for k in range(32)]
    assert blocks_of(*side_by_side([3, 7], 5)).tolist() == [0] * 5 + [1] * 5


@pytest.mark.parametrize("count", [1, 2, 7, 32, 1000])
def test_regions_are_spread_evenly_from_the_first_on(count):
    order = list(spread_evenly(count, 0.3))
    assert sorted(order) == list(range(count))
    for few in (2, 8, 32):
        if few <= count:
            gaps = np.diff(sorted(order[:few]))
            assert gaps.min() >= count // (3 * few)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_logits_without_an_end_are_refused_where_they_would_tell_a_loss(value):
    def head(outputs):
        logits = outputs[:, :8].clone()
        logits[:, 3] = value
        return logits

    given = {"embedding": torch.eye(8, dtype=F64), "lags": 4}
    with pytest.raises(rnnmem.RnnMemError, match="head: expected finite logits"):
        rnnmem.assess(shift_register(2, 8), tokens(1500, 2), head=head, **given)


def test_what_cannot_be_may_have_no_logit():
    def head(outputs):
        return torch.cat((outputs[:, :8], torch.full((len(outputs), 1), -math.inf, dtype=F64)), dim=1)

    given = {"embedding": torch.eye(8, dtype=F64), "lags": 4}
    assert rnnmem.assess(shift_register(2, 8), tokens(1500, 2), head=head, **given).used.span() is not None


def test_the_last_layers_output_is_read_whichever_layer_is_measured():
    torch.manual_seed(0)
    model, head = nn.GRU(3, 6, num_layers=2).double(), nn.Linear(6, 8).double()
    given = {"embedding": torch.randn(8, 3).double(), "lags": 5, "head": head}
    one, other = (rnnmem.assess(model, tokens(1500, 3), layer=layer, **given).used for layer in (0, 1))
    torch.testing.assert_close(one.loss, other.loss)


def test_a_costly_cold_start_is_told_and_a_cheap_one_is_not():
    """A state that takes some forty steps to rise to 1, and a head that is wrong until it has."""
    read, eye = tokens(2500, 4), torch.eye(8, dtype=F64)
    rising = EchoState(
        torch.full((1, 8), 1e-3, dtype=F64) * torch.arange(8),
        torch.full((1, 1), 0.9, dtype=F64),
        torch.full((1,), 0.1, dtype=F64),
        activation="identity",
    )
    given = {"embedding": eye, "lags": 8}

    def head(outputs):
        return 10 * (1 - outputs) * eye[0]

    told = "context used: given 9 tokens, the model is still"
    warm = {"head": lambda outputs: 0 * head(outputs), **given}
    assert [w.startswith(told) for w in rnnmem.assess(rising, read, head=head, **given).warnings].count(
        True
    ) == 1
    assert not [w for w in rnnmem.assess(rising, read, **warm).warnings if w.startswith("context used")]


def test_targets_end_with_their_streams():
    read = torch.arange(10).view(5, 2)
    task = Task(None, read, None, 1, torch.tensor([5, 3]))
    wanted = torch.tensor([[2, 3], [4, 5], [6, NONE], [8, NONE]])
    assert torch.equal(task.between(0, 5), wanted)
    assert torch.equal(task.between(1, 3), wanted[1:3])
    step, stream = torch.tensor([[0, 1, 2, 3, 4], [3, 2, 1, 0, 4]]), torch.tensor([0, 1, 1, 0, 0])
    assert task.at(step, stream).tolist() == [[2, 5, NONE, 8, NONE], [8, NONE, 5, 2, NONE]]
    labels = Task(None, read, None, 0, torch.tensor([5, 3]))
    assert labels.between(2, 9).tolist() == [[4, 5], [6, NONE], [8, NONE]]
    assert labels.at(torch.tensor([4, 4]), torch.tensor([0, 1])).tolist() == [8, NONE]


def test_short_streams_and_padding():
    read = tokens(14, 600)
    lengths = torch.randint(2, 15, (600,), generator=torch.Generator().manual_seed(1))
    table = torch.eye(8, dtype=F64)
    read[torch.arange(14)[:, None] >= lengths] = 7
    report = rnnmem.assess(
        shift_register(4, 8),
        read,
        embedding=table,
        lags=range(6),
        split="streams",
        lengths=lengths,
        head=last_slot(8),
        targets=delayed(read, 3),
        innovation_order=0,
    )
    assert report.used.span() == 4
    np.testing.assert_allclose(report.used.loss[3:], 0, atol=1e-9)


def test_by_token_class_adds_up():
    torch.manual_seed(0)
    model, table, head = nn.GRU(3, 6).double(), torch.randn(30, 3).double(), nn.Linear(6, 30).double()
    read = (torch.rand(3000, 4, generator=torch.Generator().manual_seed(0)) ** 2 * 30).long()
    used = rnnmem.assess(model, read, embedding=table, lags=8, head=head).used
    rows = list(zip(*used.by_token_class.values(), strict=True))
    assert {row[0] for row in rows} == set(range(5))
    for k, n in enumerate(used.lengths.tolist()):
        held = [(loss, count) for _, length, loss, count in rows if length == n]
        assert sum(count for _, count in held) == used.targets
        mean = sum(loss * count for loss, count in held) / used.targets
        assert mean == pytest.approx(float(used.loss[k]), rel=1e-9)


def test_targets_are_laid_out_like_the_inputs():
    torch.manual_seed(0)
    model, table, head = nn.GRU(3, 6).double(), torch.randn(8, 3).double(), nn.Linear(6, 8).double()
    first = nn.GRU(3, 6, batch_first=True).double()
    first.load_state_dict(model.state_dict())
    read = tokens(1500, 3)
    a = rnnmem.assess(model, read, embedding=table, lags=5, head=head, targets=delayed(read, 2)).used
    b = rnnmem.assess(first, read.T, embedding=table, lags=5, head=head, targets=delayed(read, 2).T).used
    torch.testing.assert_close(a.loss, b.loss)


def test_the_head_is_left_as_it_was():
    torch.manual_seed(0)
    model, table = nn.GRU(3, 6), nn.Embedding(8, 3)
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 8))
    before = {name: value.clone() for name, value in head.state_dict().items()}
    state = torch.random.get_rng_state()
    report = rnnmem.assess(model, tokens(1500, 3), embedding=table, lags=5, head=head)
    again = rnnmem.assess(model, tokens(1500, 3), embedding=table, lags=5, head=head)
    assert head.training and head[0].training  # noqa: PT018
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(dict(head.state_dict()), before)
    torch.testing.assert_close(report.used.loss, again.used.loss)


def made(lengths, excess, se, blocks=64):
    zero = torch.zeros(len(lengths), dtype=F64)
    parts = (torch.tensor(x, dtype=F64) for x in (excess, se))
    return Used(torch.tensor(lengths), zero, zero, *parts, None, None, None, 2048, blocks)


def test_span_is_the_last_length_that_more_would_improve_on():
    used = made([1, 2, 4, 8], [1.0, 0.005, 0.02, 0.0], [0.01, 0.001, 0.001, 0.0])
    assert used.span() == 8  # at 4 tokens it is worse again, and only what holds from there on counts
    assert used.span(0.05) == 2
    assert used.span(2.0) == 1
    assert made([1, 2, 4], [1.0, 0.005, 0.0], [0.01, 0.02, 0.0]).span() == 4  # not known well enough
    assert made([1, 2], [1.0, 0.0], [0.1, 0.0], blocks=15).span() is None


def test_advice_of_training_says_what_is_missing():
    used = made([1, 2, 4, 8, 16, 32], [1, 1, 1, 0, 0, 0], [0.0] * 6)
    assert suitable_length_training(None, None, 32).length is None
    assert "head=" in suitable_length_training(None, None, 32).reason
    assert "trained_window=" in suitable_length_training(used, None, None).reason
    assert suitable_length_training(used, None, 32).length == 16
    assert suitable_length_training(used, None, 12).length == 12
    capped = made([1, 2, 5, 8, 16], [1, 1, 0, 0, 0], [0.0] * 5)
    assert suitable_length_training(capped, None, 12).length == 12
    assert "window of 12" in suitable_length_training(capped, None, 12).reason
    assert suitable_length_training(capped, None, 12).evidence["at_least"] == 0.0
    assert suitable_length_training(used, None, 12).evidence["at_least"] == 1.0
    censored = made([1, 2, 4], [1.0, 1.0, 0.0], [0.0] * 3)
    assert suitable_length_training(censored, None, 32).length is None
    assert "lags of 31 or more" in suitable_length_training(censored, None, 32).reason
    assert "16 blocks" in suitable_length_training(made([1, 2], [1.0, 0.0], [0.0, 0.0], 3), None, 8).reason


def test_the_curve_comes_back_from_json(tmp_path):
    torch.manual_seed(0)
    model, table, head = nn.GRU(3, 6), nn.Embedding(8, 3), nn.Linear(6, 8)
    report = rnnmem.assess(model, tokens(1500, 3), embedding=table, lags=5, head=head, trained_window=35)
    report.save(tmp_path / "report.json")
    back = rnnmem.MemoryReport.load(tmp_path / "report.json")
    assert back.to_dict() == report.to_dict()
    assert back.used.span() == report.used.span()
    assert back.suitable_length("training") == report.suitable_length("training")


def test_streams_of_one_token_have_nothing_to_predict():
    given = {"embedding": torch.randn(5, 3), "head": nn.Linear(4, 5), "split": "streams", "lags": [0]}
    report = rnnmem.assess(nn.GRU(3, 4), tokens(1, 4000, 5), **given)
    assert report.used is None
    assert sum(line.startswith("context used: not measured") for line in report.warnings) == 1
