"""Comparisons: what is measured once, what is refused, and what comes back."""

import json

import pytest
import torch

import rnnmem

INPUTS = torch.randn(1200, 3, 2, generator=torch.Generator().manual_seed(0))
OPTIONS = {"lags": 3, "backend": "cpu"}


def nets(**modules):
    torch.manual_seed(1)
    return {name: build() for name, build in modules.items()}


def test_output_and_full_state():
    models = nets(GRU=lambda: torch.nn.GRU(2, 6), LSTM=lambda: torch.nn.LSTM(2, 6))
    found = rnnmem.compare(models, INPUTS, trained=False, **OPTIONS)
    for name, model in models.items():
        for state in ("output", "full"):
            (report,) = found.reports[name][state]
            alone = rnnmem.assess(model, INPUTS, state=state, **OPTIONS)
            assert torch.equal(report.retention, alone.retention)
            assert report.settings == alone.settings
    assert found.trained == {"GRU": False, "LSTM": False}
    assert "not ranked" in found.table


def test_seeds_are_kept_apart_and_json_loads_back():
    models = {"GRU": [torch.nn.GRU(2, 4), torch.nn.GRU(2, 4)], "RNN": torch.nn.RNN(2, 4)}
    found = rnnmem.compare(models, INPUTS, states=["output"], **OPTIONS)
    first, second = found.reports["GRU"]["output"]
    assert (first.retention - second.retention).abs().max() > 1e-4
    text = json.dumps(found.to_dict(), allow_nan=False)
    again = rnnmem.Comparison.from_dict(json.loads(text))
    assert again.to_dict() == found.to_dict()


def test_parameters_count_embedding_and_head_once():
    tokens = torch.randint(0, 9, (1200, 2))
    embedding = torch.nn.Embedding(9, 3)
    head = torch.nn.Linear(4, 9)
    model = torch.nn.GRU(3, 4)
    found = rnnmem.compare(
        {"GRU": model}, tokens, embedding=embedding, head=head, states=["output"], **OPTIONS
    )
    sizes = found.reports["GRU"]["output"][0].model
    own = sum(p.numel() for p in model.parameters())
    assert sizes["recurrent_parameters"] == own
    assert sizes["parameters"] == own + 27 + 45


def test_a_match_holds_or_is_refused():
    models = nets(GRU=lambda: torch.nn.GRU(2, 6), RNN=lambda: torch.nn.RNN(2, 6))
    assert rnnmem.compare(models, INPUTS, match="state", states=["output"], **OPTIONS).match == "state"
    with pytest.raises(rnnmem.RnnMemError, match=r"match: expected networks equal in parameters to 5%"):
        rnnmem.compare(models, INPUTS, match="parameters", states=["output"], **OPTIONS)


def test_embeddings_that_differ_need_common_semantics():
    tokens = torch.randint(0, 9, (1200, 2))
    models = nets(GRU=lambda: torch.nn.GRU(3, 4), RNN=lambda: torch.nn.RNN(3, 4))
    tables = {name: torch.randn(9, 3) for name in models}
    with pytest.raises(rnnmem.RnnMemError, match="semantics: expected a table"):
        rnnmem.compare(models, tokens, embedding=tables, **OPTIONS)
    common = torch.randn(9, 2)
    found = rnnmem.compare(models, tokens, embedding=tables, semantics=common, states=["output"], **OPTIONS)
    assert set(found.reports) == {"GRU", "RNN"}


def test_trained_is_never_mixed_with_untrained():
    models = nets(GRU=lambda: torch.nn.GRU(2, 4), RNN=lambda: torch.nn.RNN(2, 4))
    with pytest.raises(rnnmem.RnnMemError, match="trained: expected networks that are all"):
        rnnmem.compare(models, INPUTS, trained={"GRU": True, "RNN": False}, **OPTIONS)


class Blocking(torch.nn.Module):
    """A head that lets no gradient through."""

    def forward(self, outputs):
        return outputs.detach()


def test_what_is_about_the_whole_network_is_told_of_every_state():
    options = {"lags": 3, "measures": iter(("kept", "learnable")), "targets": torch.zeros(600, 3).long()}
    blocked = {"head": Blocking()}
    found = rnnmem.compare({"LSTM": torch.nn.LSTM(2, 5)}, torch.randn(600, 3, 2), **options, **blocked)
    for state in ("output", "full"):
        (report,) = found.reports["LSTM"][state]
        assert report.learnable is None
        assert sum(w.startswith("reach of gradients: not measured") for w in report.warnings) == 1
    options["measures"] = iter(("learnable",))
    given = {"embedding": torch.randn(9, 2), "head": torch.nn.Linear(5, 9), "lags": 3}
    read = torch.randint(9, (600, 3))
    found = rnnmem.compare({"LSTM": torch.nn.LSTM(2, 5)}, read, measures=options["measures"], **given)
    for state in ("output", "full"):
        (report,) = found.reports["LSTM"][state]
        assert report.learnable is not None
        assert report.used is not None


def test_a_head_of_another_dtype_is_refused():
    given = {"embedding": torch.randn(9, 2), "states": ["output"], **OPTIONS}
    for head in (torch.randn(9, 4).double(), torch.ones(9, 4, dtype=torch.int64)):
        with pytest.raises(rnnmem.RnnMemError, match=r"head: expected a weight of torch\.float32"):
            rnnmem.compare({"GRU": torch.nn.GRU(2, 4)}, torch.randint(9, (600, 3)), head=head, **given)
