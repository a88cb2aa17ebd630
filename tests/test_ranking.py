"""Orders of networks: only at a match, over three seeds or more, with intervals."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

import rnnmem
from rnnmem.ranking import rank, told_apart
from rnnmem.units import EchoState

SEEDS = {
    "slow": (7.0, 7.2, 6.9),
    "middle": (3.0, 5.0, 4.2),
    "other": (4.1, 4.0, 4.3),
    "fast": (1.0, 1.1, 0.9),
}


def stub(values, match="state", at_least=False):
    """A comparison whose reports know only their own capacity."""
    lags = torch.arange(5)
    reports = {
        name: {
            "output": [
                SimpleNamespace(own_capacity=v, own_capacity_at_least=at_least, capacity_at_least=False,
                                memory_horizon=None, learnable=None, used=None, lags=lags)
                for v in seeds
            ]
        }
        for name, seeds in values.items()
    }  # fmt: skip
    return SimpleNamespace(reports=reports, match=match)


def test_places_are_ranges_where_seeds_do_not_tell_networks_apart():
    ranks = {each.name: each for each in rank(stub(SEEDS), "own_capacity", "output")}
    assert [*ranks] == ["slow", "other", "middle", "fast"]
    assert (ranks["slow"].first, ranks["slow"].last) == (1, 2)  # three seeds of "middle" spread widely
    assert (ranks["other"].first, ranks["other"].last) == (2, 3)
    assert ranks["fast"].last == 4
    for name, values in SEEDS.items():
        low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert ranks[name].mean == pytest.approx(np.mean(values))
        assert (ranks[name].low, ranks[name].high) == (pytest.approx(low), pytest.approx(high))
        assert ranks[name].at_least is False


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_told_apart_is_welchs_test(level):
    generator = np.random.default_rng(0)
    found = []
    for _ in range(200):
        one, other = generator.standard_normal(4), generator.standard_normal(3) * 2 + 1.5
        expected = stats.ttest_ind(one, other, equal_var=False).pvalue < 1 - level
        found.append(expected)
        assert told_apart(list(one), list(other), level) == expected
    assert 0 < sum(found) < 200
    assert not told_apart([1.0, 1.0, 1.0], [1.0, 1.0, 1.0], level)
    assert told_apart([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], level)
    # Whole numbers, each off by up to a half: their means may be one apart for no reason.
    assert not told_apart([7.0] * 3, [8.0] * 3, 0.99, 1 / 12, 1 / 12)
    assert told_apart([7.0] * 3, [9.0] * 3, 0.9, 1 / 12 / 3, 1 / 12 / 3)


def test_values_that_go_on_beyond_what_was_measured_say_so():
    assert all(each.at_least for each in rank(stub(SEEDS, at_least=True), "own_capacity", "output"))


@pytest.fixture(scope="module")
def leaky():
    """Leaky linear units, slow and fast, three seeds each."""
    torch.manual_seed(0)
    models = {
        name: [EchoState(torch.randn(6, 1), rate * torch.eye(6), activation="identity") for _ in range(3)]
        for name, rate in (("fast", 0.2), ("slow", 0.6))
    }
    inputs = torch.randn(3000, 4, 1)
    given = {"lags": 12, "states": ["output"], "measures": ("forgotten", "learnable")}
    return rnnmem.compare(models, inputs, match="parameters", **given)


def test_networks_are_ranked_in_words_and_files(leaky, tmp_path):
    order = leaky.ranking("convergence_length")
    assert [each.name for each in order] == ["slow", "fast"]
    assert [round(each.mean) for each in order] == [9, 3]  # 0.6^9 = 0.0101, of a median below 1 at step 0
    assert [each.mean for each in leaky.ranking("reach")] == [9, 2]
    assert not leaky.ranking("reach")[0].at_least
    assert "By own capacity, in tokens (output state)" in leaky.table
    assert "Keeping more is not being better." in leaky.table
    leaky.save(tmp_path / "both.html")
    assert "95 % interval" in (tmp_path / "both.html").read_text()
    leaky.save(tmp_path / "both.json")
    assert rnnmem.Comparison.load(tmp_path / "both.json").to_dict() == leaky.to_dict()


def test_what_cannot_be_ranked_is_refused(leaky):
    with pytest.raises(rnnmem.RnnMemError, match=r"match: expected networks compared at a declared match"):
        rank(stub(SEEDS, match=None), "own_capacity", "output")
    with pytest.raises(rnnmem.RnnMemError, match=r"models: expected at least 3 seeds.*2 of 'slow'"):
        rank(stub({"slow": (1.0, 2.0), "fast": (1.0, 2.0, 3.0)}), "own_capacity", "output")
    with pytest.raises(rnnmem.RnnMemError, match=r"indicator: expected one that every seed has a value of"):
        leaky.ranking("used_span")
    for wrong in ("best", None, 3, ["reach"]):
        with pytest.raises(rnnmem.RnnMemError, match="indicator: expected"):
            leaky.ranking(wrong)
    for wrong in ("full", None, 0):
        with pytest.raises(rnnmem.RnnMemError, match="state: expected"):
            leaky.ranking(state=wrong)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "rnnmem memory report 1"}', "null"])
def test_comparisons_that_are_none_are_refused(content, tmp_path):
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(rnnmem.RnnMemError, match=r"path: expected a comparison saved as \.json") as error:
        rnnmem.Comparison.load(tmp_path / "bad.json")
    assert "\n" not in str(error.value)
    with pytest.raises(rnnmem.RnnMemError, match=r"path: expected a comparison saved as \.json"):
        rnnmem.Comparison.load(tmp_path / "nowhere.json")
