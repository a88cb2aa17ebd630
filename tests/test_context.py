"""How much context is used: tasks whose answer is known, and losses worked out window by window."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import rnnmem
from rnnmem.context import NONE, ContextUse, Regions, Task, Used, blocks_of, next_tokens, spread_evenly
from rnnmem.indicators.curve import student
from rnnmem.indicators.suitable_length import suitable_length_training
from rnnmem.network import read_network
from rnnmem.pieces import Pieces, alone
from rnnmem.runner import make_runner
from rnnmem.units import EchoState

F64 = torch.float64


def tokens(steps, batch, vocabulary=8, seed=0):
    return torch.randint(0, vocabulary, (steps, batch), generator=torch.Generator().manual_seed(seed))


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
    targets = next_tokens(read, None)
    targets[100:300, 1] = NONE
    use = use_of(model, read, head, targets, [1, 2, 5, 11, 12], table)
    with torch.no_grad():
        regions = use.regions(23)
        losses = use.losses(regions, use.initial(regions))
        for r, (first, stream) in enumerate(
            zip(regions.first.tolist(), regions.stream.tolist(), strict=True)
        ):
            for i in range(0, regions.size, 7):
                t = first + i
                for k, n in enumerate(use.lengths.tolist()):
                    if targets[t, stream] == NONE:
                        assert math.isnan(losses[k, r, i])
                        continue
                    out = model(table[read[t - n + 1 : t + 1, stream]].unsqueeze(1))[0][-1]
                    expected = nn.functional.cross_entropy(head(out), targets[t, stream].view(1)) / math.log(
                        2
                    )
                    assert float(losses[k, r, i]) == pytest.approx(float(expected), rel=1e-9)


def test_a_region_begins_where_all_lengths_have_their_tokens():
    read = tokens(500, 2)
    use = use_of(
        nn.RNN(3, 2).double(), read, None, next_tokens(read, None), [1, 40], torch.randn(8, 3).double()
    )
    assert int(use.regions(79).first.min()) >= 79
    assert use.regions(500) is None


def test_shuffling_leaves_what_no_order_changes():
    """A unit that adds up what it reads: the older tokens count, their order does not."""
    count = EchoState(torch.eye(8, dtype=F64), torch.eye(8, dtype=F64), activation="identity")
    read, longest = tokens(900, 3), 12
    targets = next_tokens(read, None)
    use = use_of(count, read, lambda h: h, targets, [1, 7, longest], torch.eye(8, dtype=F64))
    with torch.no_grad():
        regions = use.regions(2 * longest - 1)
        found = use.losses(regions, use.shuffled(regions))
    one_hot = nn.functional.one_hot(read, 8).double()
    for r, (first, stream) in enumerate(zip(regions.first.tolist(), regions.stream.tolist(), strict=True)):
        for i in range(0, regions.size, 31):
            for k, n in enumerate((1, 7, longest)):
                t = first + i
                if targets[t, stream] == NONE:
                    continue
                logits = one_hot[t - n + 1 - longest : t + 1, stream].sum(dim=0)
                expected = nn.functional.cross_entropy(logits, targets[t, stream]) / math.log(2)
                assert float(found[k, r, i]) == pytest.approx(float(expected), rel=1e-9)


def scattered(count, size, touching):
    """Regions of 1,000 streams' data, each in a stream of its own, or side by side in one."""
    each = torch.arange(count)
    return Regions(each * size, each * 0, size) if touching else Regions(each * 0, each, size)


@pytest.mark.parametrize("touching", [False, True])
def test_standard_errors_cover_the_paired_difference(touching):
    """Losses that neighbours have in common, as within one topic: 32 apart, or runs of 32 in one stream."""
    inside, trials, regions = 0, 200, scattered(32, 64, touching)
    use = use_of(
        nn.RNN(1, 1).double(), torch.zeros(9, 1, 1, dtype=F64), None, torch.zeros(2048, 32).long(), [1, 2]
    )
    for seed in range(trials):
        generator = torch.Generator().manual_seed(seed)
        topic = torch.randn(2, 32, 2, 1, generator=generator, dtype=F64)
        losses = torch.randn(2, 32, 2, 32, generator=generator, dtype=F64) + topic
        losses[0] += 0.05
        found = use.summary(regions, losses.flatten(2), None, None)
        assert found.blocks == (16 if touching else 32)
        half = student(found.blocks, 0.975) * found.excess_se[0]
        inside += bool(abs(found.excess[0] - 0.05) <= half)
    assert 0.9 <= inside / trials <= 0.99


def test_blocks_are_runs_of_targets_side_by_side():
    """Streams 0 and 1 hold runs of 16 and 2 regions, out of order, and stream 2 one without a target."""
    first = torch.tensor([*range(64 * 15, -1, -64), 128, 64, 640])
    stream = torch.tensor([0] * 16 + [1, 1, 2])
    real = torch.ones(19, 64, dtype=torch.bool)
    real[-1] = False
    blocks = blocks_of(Regions(first, stream, 64), real)
    assert blocks[:16].flip(0).tolist() == [[k] * 64 for k in range(16)]  # 128 wide would be 9 blocks
    assert blocks[16:].tolist() == [[17] * 64, [16] * 64, [-1] * 64]
    assert blocks_of(Regions(first[:9], stream[:9], 64), real[:9]).max() == 17  # no narrower than 32
    wide = blocks_of(scattered(32, 64, True), torch.ones(32, 64, dtype=torch.bool))
    assert wide.tolist() == [[k // 2] * 64 for k in range(32)]


@pytest.mark.parametrize("count", [1, 2, 7, 32, 1000])
def test_regions_are_spread_evenly_from_the_first_on(count):
    order = list(spread_evenly(count, 0.3))
    assert sorted(order) == list(range(count))
    for few in (2, 8, 32):
        if few <= count:
            gaps = np.diff(sorted(order[:few]))
            assert gaps.min() >= count // (3 * few)


def test_next_tokens_end_with_their_streams():
    read = tokens(5, 2)
    after = next_tokens(read, torch.tensor([5, 3]))
    assert after[:4, 0].tolist() == read[1:, 0].tolist()
    assert after[:, 1].tolist() == [*read[1:3, 1].tolist(), NONE, NONE, NONE]
    assert int(after[4, 0]) == NONE


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
