"""What is refused of users' own objects and classes, and of networks that do not go together."""

from functools import partial

import pytest
import torch
from torch.nn.utils import parametrizations, prune

import rnnmem
from rnnmem.units import EchoState


class OtherForward(torch.nn.GRU):
    def forward(self, *given):
        return tuple(0 * part for part in super().forward(*given))


class OtherStep(EchoState):
    def step(self, x, state):
        return 0 * state, 0 * state


class OtherCell(torch.nn.LSTMCell):
    def forward(self, x, state=None):
        return super().forward(0 * x, state)


class SameGRU(torch.nn.GRU):
    """A subclass that computes what its class does."""

    def extra(self):
        return 1


def test_subclasses_that_compute_something_else_are_refused():
    echo = OtherStep(torch.ones(4, 2), 0.5 * torch.eye(4))
    for model in (OtherForward(2, 4), OtherCell(2, 4), echo):
        with pytest.raises(rnnmem.RnnMemError, match=f"model: .*{type(model).__name__} with a .* of its own"):
            rnnmem.assess(model, torch.randn(500, 2, 2), lags=2)
    assert rnnmem.assess(SameGRU(2, 4), torch.randn(1500, 2, 2), lags=2).retention[0] > 0


def test_networks_of_two_layouts_are_not_compared():
    nets = {"a": torch.nn.GRU(2, 4), "b": torch.nn.GRU(2, 4, batch_first=True)}
    with pytest.raises(rnnmem.RnnMemError, match=r"models: .*layout"):
        rnnmem.compare(nets, torch.randn(600, 400, 2), lags=2)


def test_embeddings_that_cut_lengths_differ_from_those_that_do_not():
    table = 3 * torch.randn(20, 4)
    free, cut = (
        torch.nn.Embedding.from_pretrained(table),
        torch.nn.Embedding.from_pretrained(table, max_norm=0.5),
    )
    nets = {"a": torch.nn.GRU(4, 4), "b": torch.nn.GRU(4, 4)}
    with pytest.raises(rnnmem.RnnMemError, match="semantics: "):
        rnnmem.compare(nets, torch.randint(0, 20, (900, 2)), embedding={"a": free, "b": cut}, lags=2)


def weight_norm(module, name):
    """torch's own, which goes by hooks and warns that it is deprecated."""
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(module, name)


@pytest.mark.parametrize("hook", [weight_norm, partial(prune.l1_unstructured, amount=0.3)])
def test_weights_that_a_hook_makes_are_refused_and_parametrized_ones_read(hook):
    read, inputs = torch.nn.GRU(2, 5), torch.randn(900, 3, 2)
    hook(read, "weight_hh_l0")
    with pytest.raises(rnnmem.RnnMemError, match="model: expected weight_hh_l0 to be a parameter"):
        rnnmem.assess(read, inputs, lags=2)
    read = parametrizations.weight_norm(torch.nn.GRU(2, 5), "weight_hh_l0")
    with torch.no_grad():
        read.parametrizations.weight_hh_l0.original0.mul_(2)
    plain = torch.nn.GRU(2, 5)
    plain.load_state_dict({name: getattr(read, name) for name in plain.state_dict()})
    found = [rnnmem.assess(each, inputs, lags=2, measures=("kept",)).retention for each in (read, plain)]
    assert torch.equal(*found)


class Scaled(torch.nn.Embedding):
    def forward(self, tokens):
        return 50 * super().forward(tokens)


def test_embeddings_that_do_more_than_look_up_are_refused():
    tokens = torch.randint(9, (900, 3))
    with pytest.raises(rnnmem.RnnMemError, match="embedding: expected an nn"):
        rnnmem.assess(torch.nn.GRU(4, 5), tokens, embedding=Scaled(9, 4), lags=2)


def test_the_state_carried_is_that_of_all_layers():
    inputs = torch.randn(900, 3, 2)
    models = {"flat": torch.nn.GRU(2, 8), "deep": torch.nn.GRU(2, 8, num_layers=4)}
    with pytest.raises(rnnmem.RnnMemError, match="match: expected networks equal in state"):
        rnnmem.compare(models, inputs, match="state", lags=2)
    assert rnnmem.assess(models["deep"], inputs, lags=2).model["state_floats"] == 32


def test_maps_of_other_weights_say_nothing_of_transfer():
    inputs = torch.randn(900, 3, 2)
    maps = rnnmem.fit_recall(torch.nn.GRU(2, 5), inputs, lags=2)
    with pytest.raises(rnnmem.RnnMemError, match="maps: expected maps fitted to this model"):
        rnnmem.recall_transfer(torch.nn.GRU(2, 5), maps, inputs)
