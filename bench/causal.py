"""Does own retention say what the state really carries? A causal check.

The one token at t - τ is swapped for another, drawn by how frequent words are; everything newer stays as it
was. The network runs on both, from the same state before the swap, and own maps read both states at t:

causal share(τ) = Σ <P_τ (h' - h), e' - e> / Σ |e' - e|²

is the part of the swap's shift that the recalled point follows. The newer tokens are the same in both, so
the innovation that P_τ recalls shifts by e' - e as well, and whatever a map infers from the newer tokens
cancels.

Should it fall with τ as own retention does? For a linear network on independent tokens it is own retention:
the swap shifts h by A_τ (e' - e), the map is P_τ = Σ_e A_τᵀ Cov(h)⁻¹, so for scalar tokens P_τ A_τ = ρ_τ, and
for vectors the ratio of sums is tr(P_τ A_τ Σ_e) / tr Σ_e = ρ_τ. A delay line of H slots gives 1 below H and 0
from there on. For words and trained networks the two differ: a swapped word stands in a context that it does
not fit, the network is not linear, and at long lags own retention is partly inference (newer words reveal,
through more than an affine prediction, what was there), which a swap cannot move. So the values need not
agree; their order over lags should, where there is anything to order. It is judged by Spearman's rank
correlation over the lags of the demo's grid up to 32 at which own retention is significant, and shown for
lags 0 to 12 too. Where the share is within two standard errors of zero its order is noise; how many such lags
a judgement holds is said beside it.

    python bench/causal.py                  # trains for 180 s; about 6 minutes on two cores
"""

import argparse
import json
import platform
from pathlib import Path

import numpy as np
import scipy
import torch
from scipy.stats import spearmanr

import rnnmem
from rnnmem import demo
from rnnmem.units import EchoState

RANK, EXACT, RETAINED = 0.9, 1e-3, 12
RESULTS = Path(__file__).resolve().parent / "results"


def unigram_swap(tokens, frequency, generator):
    """For each token another one, drawn by frequency."""
    drawn = tokens.clone()
    while bool((same := drawn == tokens).any()):
        drawn[same] = torch.multinomial(frequency, int(same.sum()), True, generator=generator)
    return drawn


@torch.no_grad()
def causal_share(model, embedding, meanings, maps, tokens, state, stride, seed):
    """The share by lag [K] and its standard error over streams [K], from swaps every `stride` steps.

    Args:
        model: a recurrent layer, `model(inputs, state) -> (outputs, state)`.
        embedding: what it reads for each token [V, I].
        meanings: semantic vectors [V, d].
        maps: recall maps, fitted to other text.
        tokens: int64 [T, B].
        state: the state before the first of them.
        stride: steps from one swap to the next, in every stream at once.
        seed: of the swaps.
    """
    longest, streams = int(maps.lags[-1]), tokens.shape[1]
    frequency = torch.bincount(tokens.flatten(), minlength=len(meanings)).double()
    generator = torch.Generator().manual_seed(seed)
    lags = maps.lags.tolist()
    sums = torch.zeros(2, len(lags), streams, dtype=torch.float64)
    for start in range(0, len(tokens) - longest, stride):
        window = tokens[start : start + longest + 1]
        swapped = window.clone()
        swapped[0] = unigram_swap(window[0], frequency, generator)
        both = model(embedding[torch.cat((window, swapped), dim=1)], twice(state))[0]
        shift = both[:, streams:].double() - both[:, :streams].double()
        of_meaning = (meanings[swapped[0]] - meanings[window[0]]).double()
        for k, lag in enumerate(lags):
            recalled = shift[lag] @ maps.own_weight[k].T  # the bias cancels
            sums[0, k] += (recalled * of_meaning).sum(dim=1)
            sums[1, k] += of_meaning.square().sum(dim=1)
        state = model(embedding[tokens[start : start + stride]], state)[1]
    total = sums.sum(dim=2, keepdim=True)
    left_out = (total - sums)[0] / (total - sums)[1]
    error = ((streams - 1) / streams * (left_out - left_out.mean(1, keepdim=True)).square().sum(1)).sqrt()
    return (total[0] / total[1])[:, 0], error


def twice(state):
    """The state of all streams, and the same once more for the swapped ones."""
    if isinstance(state, tuple):
        return tuple(twice(part) for part in state)
    return torch.cat((state, state), dim=-2)


@torch.no_grad()
def check(model, embedding, meanings, tokens, lags, stride, seed):
    """Fits to the first half of the tokens, measures and swaps in the second: the row of one network."""
    first = len(tokens) // 2
    given = {"embedding": embedding, "semantics": meanings}
    maps = rnnmem.fit_recall(model, tokens[:first], lags=lags, seed=seed, **given)
    meter = rnnmem.MemoryMeter(model, maps, **given)
    meter.warm(tokens[:first])
    meter.update(tokens[first:])
    report = meter.compute()
    state = model(embedding[tokens[:first]])[1]
    share, error = causal_share(model, embedding, meanings, maps, tokens[first:], state, stride, seed)
    own, significant = report.own_retention, report.own.significant
    clear = share > 2 * error
    near = maps.lags <= RETAINED
    return {
        "lags": lags, "own_retention": own.tolist(), "own_retention_se": report.own_retention_se.tolist(),
        "causal_share": share.tolist(), "causal_share_se": error.tolist(),
        "significant": significant.tolist(), "clear": clear.tolist(),
        "rank_correlation": rank(own[significant], share[significant]),
        f"rank_correlation_0_to_{RETAINED}": rank(own[near], share[near]),
        "rank_correlation_where_clear": rank(own[significant & clear], share[significant & clear]),
    }  # fmt: skip


def rank(a, b):
    return float(spearmanr(a.numpy(), b.numpy()).statistic) if len(a) > 2 else None


def linear_cases(seed):
    """Networks whose causal share is known, on tokens drawn independently: name -> (row, expected share)."""
    rng = np.random.default_rng(seed)
    vocabulary, steps, streams = 50, 4000, 8
    shares = 1 / np.arange(2, vocabulary + 2)
    tokens = torch.as_tensor(rng.choice(vocabulary, size=(steps, streams), p=shares / shares.sum()))
    cases = {}
    for name, slots, dim, lam in (
        ("delay line, 8 slots, scalar tokens", 8, 1, 1.0),
        ("delay line, 4 slots, 3-dimensional tokens", 4, 3, 1.0),
        ("cyclic shift x 0.9, 6 units, scalar tokens", 6, 1, 0.9),
    ):
        table = torch.as_tensor(rng.standard_normal((vocabulary, dim)))
        ring = np.roll(np.eye(slots), 1, axis=0) if lam < 1 else np.eye(slots, k=-1)
        unit = EchoState(
            torch.as_tensor(np.kron(np.eye(slots, 1), np.eye(dim))),
            torch.as_tensor(lam * np.kron(ring, np.eye(dim))),
            activation="identity",
        )
        lags = list(range(13))
        turns = np.arange(13) // slots
        expected = (1 - lam ** (2 * slots)) * lam ** (2.0 * slots * turns) if lam < 1 else (turns == 0) * 1.0
        cases[name] = check(unit, table, table, tokens, lags, 20, seed)
        found = np.array(cases[name]["causal_share"])
        rows = steps * streams / 2  # a fitted map's share is off by sqrt(share (1 - share) / rows)
        slack = EXACT + 5 * np.sqrt(expected * (1 - expected) / rows)
        cases[name] |= {
            "expected": expected.tolist(),
            "pass": bool((np.abs(found - expected) <= slack).all()),
        }
        print(f"{'pass' if cases[name]['pass'] else 'MISS'}  {name}", flush=True)
    return cases


def trained_cases(seconds, stride, seed):
    """RNN, GRU and LSTM of equal size, trained as next-word models on the English that Python carries."""
    corpus = demo.read_corpus()
    torch.manual_seed(seed)
    sizes = demo.equal_sizes(corpus.vocabulary)
    models = {name: demo.NextWord(name, corpus.vocabulary, units) for name, units in sizes.items()}
    training = demo.train(models, corpus.tokens, seconds)
    lags = rnnmem.lags.lag_grid(demo.LAGS).tolist()
    cases = {}
    for name, model in models.items():
        embedding = model.embedding.weight.detach()
        case = check(model.recurrent, embedding, corpus.semantics, corpus.tokens, lags, stride, seed)
        case |= {"units": sizes[name], "perplexity": training.perplexity[name], "steps": training.steps}
        case["pass"] = case["rank_correlation"] is not None and case["rank_correlation"] >= RANK
        cases[f"{name}, trained"] = case
        print(f"{'pass' if case['pass'] else 'MISS'}  {name}: {case['rank_correlation']}", flush=True)
    return cases


def table(results):
    """The results as Markdown."""
    lines = [__doc__.split("\n\n    python")[0], "", f"Command: `{results['command']}`", ""]
    lines += [", ".join(f"{name} {version}" for name, version in results["versions"].items()), ""]
    for name, case in results["cases"].items():
        lines += [f"**{name}**: {'pass' if case['pass'] else 'miss'}"]
        if "units" in case:
            hazy = sum(s and not c for s, c in zip(case["significant"], case["clear"], strict=True))
            lines[-1] += (
                f" ({case['units']} units, {case['steps']} steps, perplexity {case['perplexity']:.0f}). Rank "
                f"correlation {case['rank_correlation']:.3f} over {sum(case['significant'])} significant "
                f"lags ({hazy} of them with a share within 2 se of 0); over lags 0 to {RETAINED} "
                f"{case[f'rank_correlation_0_to_{RETAINED}']:.3f}; where both are clear "
                f"{case['rank_correlation_where_clear']:.3f}"
            )
        rows = [("own retention", "own_retention"), ("se", "own_retention_se")]
        rows += [("causal share", "causal_share"), ("se", "causal_share_se"), ("expected share", "expected")]
        lines += [
            "",
            "| lag | " + " | ".join(map(str, case["lags"])) + " |",
            "|---" * (1 + len(case["lags"])) + "|",
        ]
        lines += [
            f"| {word} | " + " | ".join(f"{v:.5f}" for v in case[key]) + " |"
            for word, key in rows
            if key in case
        ]
        lines += [""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--seconds", type=float, default=180, help="of training, for all three networks together"
    )
    parser.add_argument("--stride", type=int, default=10, help="steps from one swap to the next")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--linear-only", action="store_true", help="only the networks with a known answer")
    parser.add_argument("--out", type=Path, default=RESULTS / "causal.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = linear_cases(options.seed)
    if not options.linear_only:
        cases |= trained_cases(options.seconds, options.stride, options.seed)
    command = f"python bench/causal.py --seconds {options.seconds:g} --stride {options.stride}"
    command += f" --seed {options.seed}"
    versions = {"rnnmem": rnnmem.__version__, "torch": torch.__version__, "numpy": np.__version__}
    versions |= {"scipy": scipy.__version__, "python": platform.python_version()}
    results = {"command": command, "versions": versions, "cases": cases}
    options.out.write_text(json.dumps(results, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(table(results))


if __name__ == "__main__":
    main()
