"""Do the nominal 95 % intervals of retention and own retention cover the truth? A simulation.

Each repetition draws fresh data, fits and measures as `rnnmem.assess` does (its controls, which no interval
uses, left out) and asks at each lag whether the interval holds the true retention.

- Linear networks on scalar inputs (white; AR(1) with phi = .9), and states that ignore the input: the truth
  is exact, from `population_curves` of tests/closed_forms.py. `reservoir` is a random dense matrix of
  spectral radius .9 whose units take in a little noise; `cyclic` is a shift in a ring that loses little.
- Text: an untrained GRU reads the English that Python, numpy, scipy, matplotlib and torch carry in their
  docstrings, its paragraphs in random order, cut into stretches, other stretches in each of 40 repetitions;
  streams are stretches (`split="streams"`), of about 2,300, 1,100 and 570 words at 16, 32 and 64 blocks.
  After 40 the paragraphs are shuffled anew and cut again, until there are 400 repetitions: among 54
  intervals that cover exactly 95 %, 200 repetitions would find one below 92 %. The truth of a repetition is
  the retention of the best affine map over the words of the 39 others (39 times its data), from the joint
  covariance of the state and the last tokens, worked out here without rnnmem's fit.

What must hold, at each lag: where the truth is at most .95, cover at least 92 %, and at most 98 % except
where the spread over repetitions is below .003 or H_eff below 10; elsewhere cover 92 %, or err by at most
.002 in 95 % of repetitions. States that ignore the input: within q se of zero at every lag in 90 % of
repetitions.

Cases whose name begins with `limit` are beyond what the intervals are made for, and show by how much:

- `orthogonal`, and `cyclic` on AR(1) input: networks that lose next to nothing. The distance follows the
  variance with a delay, so that what the edges of blocks add cancels between neighbours, which the jackknife
  does not see: too wide.
- `short text`: stretches of 460, 230 and 110 words. What a paragraph adds is skewed (a table of numbers is
  recalled far better than prose is), and a block that holds few paragraphs passes that on: where the estimate
  is low, so is its standard error, and nearly all misses are there.
- `one text`: a single stream of docstrings after each other. Documents differ, some are thousands of words
  long, and no block of the width that the data allow is independent of the next: too narrow.

    python bench/coverage.py                                     # all of it; goes on where it was interrupted
    python bench/coverage.py --cases white --repetitions 100 --out pilot.json
"""

import argparse
import json
import platform
import re
import sys
import sysconfig
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy
import torch
from scipy.signal import lfilter

import rnnmem
from rnnmem import text
from rnnmem.assess import describe_settings
from rnnmem.assessment import Assessment
from rnnmem.options import parts, read_fit_options
from rnnmem.session import open_session
from rnnmem.units import EchoState

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from closed_forms import population_curves

COVER, MOST, EXACT, ERROR, NARROW, FEW_UNITS, JOINT = 0.92, 0.98, 0.95, 0.002, 0.003, 10, 0.90
BLOCKS = {16: 18, 32: 34, 64: 60}  # aimed at, since the width of a block varies from draw to draw
WORDS, MEANING, UNITS, WASHOUT = 2000, 8, 12, 50
RESULTS = Path(__file__).resolve().parent / "results"


@dataclass
class Draw:
    """One repetition's data, and the truth about it."""

    model: torch.nn.Module
    inputs: torch.Tensor
    options: dict
    truth: np.ndarray  # [2, K], raw and own


@dataclass
class Linear:
    """A linear network on scalar AR(1) input.

    Attributes:
        w_hh, w_in: recurrent weights [H, H] and what each unit takes of the input [H].
        width: of a block, as it mostly comes out.
        noise: standard deviation of what every unit takes in besides, at every step.
    """

    w_hh: np.ndarray
    w_in: np.ndarray
    lags: list
    width: int
    phi: float = 0.0
    noise: float = 0.0
    batch: int = 2
    repetitions: int = 1000

    @property
    def ignores(self):
        return not self.w_in.any()

    def draw(self, blocks, rng, index):
        units, steps = len(self.w_hh), 2 * BLOCKS[blocks] * self.width
        x = inputs = ar1(steps, self.batch, 1, self.phi, rng)
        w_ih = self.w_in[:, None]
        if self.noise:
            w_ih = np.concatenate([w_ih, self.noise * np.eye(units)], axis=1)
            inputs = np.concatenate([x, rng.standard_normal((steps, self.batch, units))], axis=2)
        truth = np.zeros((2, len(self.lags)))
        if not self.ignores:
            truth = np.stack(population_curves(self.w_hh, w_ih, self.lags, self.phi, noise=self.noise**2))
        unit = EchoState(torch.as_tensor(w_ih), torch.as_tensor(self.w_hh), activation="identity")
        options = {"lags": self.lags, "semantics": torch.as_tensor(x)}
        return Draw(unit, torch.as_tensor(inputs), options, truth)


class Text:
    """An untrained GRU on word text, other words in each repetition.

    Args:
        many: whether a repetition reads many stretches of the text, half of them to fit on (blocks are
            stretches), or one long one, its first half to fit on (blocks are of time).
        segments: repetitions that the whole text is enough for.
        orders: how many times it is shuffled.
    """

    def __init__(self, many, segments, orders):
        self.many, self.width, self.batch, self.prepared = many, 48, 1, None
        self.lags, self.segments, self.repetitions = list(range(9)), segments, segments * orders

    def prepare(self, blocks, order):
        """Cuts the text, in this of its orders, for so many blocks and sums what the truth needs."""
        numbers, self.table = read_text(order)
        torch.manual_seed(0)
        self.model = torch.nn.GRU(MEANING, UNITS)
        stretches = 2 * blocks if self.many else 1
        tokens = text.streams(numbers, self.segments * stretches)
        mixed = torch.randperm(tokens.shape[1], generator=torch.Generator().manual_seed(order))
        self.tokens = (tokens[:, mixed] if self.many else tokens).view(len(tokens), self.segments, stretches)
        self.moments = np.stack([self.sum_up(self.tokens[:, i]) for i in range(self.segments)])
        self.total, self.prepared = self.moments.sum(axis=0), (blocks, order)
        print(f"text: {len(numbers):,} words, {self.tokens.shape} in steps, repetitions, streams", flush=True)

    @torch.no_grad()
    def sum_up(self, tokens):
        """Sums of products of (1, state, e_t, e_{t-1}, ...) over the rows that count for each lag."""
        e = self.table[tokens]
        h, out = self.model(e)[0], []
        for lag in self.lags if self.many else [self.lags[-1]]:
            first = lag if self.many else WASHOUT
            lagged = [e[first - i : len(e) - i] for i in range(lag + 1)]
            z = torch.cat([torch.ones(*h[first:].shape[:2], 1), h[first:], *lagged], dim=2).flatten(0, 1)
            z = torch.nn.functional.pad(z, (0, MEANING * (self.lags[-1] - lag))).double()
            out.append((z.T @ z).numpy())
        return np.stack(out)

    def draw(self, blocks, rng, index):
        order, index = divmod(index, self.segments)
        if self.prepared != (blocks, order):
            self.prepare(blocks, order)
        options = {"lags": self.lags, "embedding": self.table, "semantics": self.table, "washout": WASHOUT}
        sums = self.total - self.moments[index]
        truth = np.stack([covariance_curve(sums[min(k, len(sums) - 1)], k) for k in self.lags], axis=1)
        tokens = self.tokens[:, index]
        if self.many:
            return Draw(self.model, tokens, {**options, "split": "streams"}, truth)
        return Draw(self.model, tokens[: 2 * BLOCKS[blocks] * self.width], options, truth)


def covariance_curve(products, lag):
    """Retention and own retention at a lag, of the best affine maps, from sums of products of (1, h, e)."""
    mean = products[0, 1:] / products[0, 0]
    S = products[1:, 1:] / products[0, 0] - np.outer(mean, mean)
    h, e = slice(0, UNITS), slice(UNITS + lag * MEANING, UNITS + (lag + 1) * MEANING)
    newer = slice(UNITS, UNITS + lag * MEANING)
    predictor = np.linalg.solve(S[newer, newer], S[newer, e])
    pairs = [(S[h, e], S[e, e]), (S[h, e] - S[h, newer] @ predictor, S[e, e] - S[e, newer] @ predictor)]
    return [np.trace(c.T @ np.linalg.solve(S[h, h], c)) / np.trace(v) for c, v in pairs]


@lru_cache(1)
def read_text(order):
    """The text, shuffled by this seed, as numbers [N], and what each means [V, d], of unit variance."""
    found = paragraphs()
    mixed = np.random.default_rng(order).permutation(len(found))
    words = text.tokenize("\n\n".join(found[i] for i in mixed))
    vocabulary = text.Vocabulary.build(words, WORDS)
    numbers = vocabulary.encode(words)
    table = text.semantic_vectors(numbers, vocabulary.size, dim=MEANING)
    return numbers, table / table[numbers].std(dim=0)


@lru_cache(1)
def paragraphs():
    """Those of the docstrings of Python and four packages and of Python's language topics, each once."""
    site = Path(sysconfig.get_paths()["purelib"])
    packages = ("numpy", "scipy", "matplotlib", "torch")
    roots = [Path(sysconfig.get_paths()["stdlib"]), *(site / name for name in packages)]
    docstrings = [doc for root in roots for path in text._modules(root) for doc in text._docstrings(path)]
    from pydoc_data.topics import topics

    documents = [topics[name] for name in sorted(topics)] + docstrings
    found = (each.strip() for document in documents for each in re.split(r"\n\s*\n", document))
    return list(dict.fromkeys(filter(None, found)))


def ar1(steps, batch, dim, phi, rng):
    """Stationary AR(1) inputs of variance 1, [T, B, dim]."""
    noise = rng.standard_normal((steps, batch, dim))
    noise[1:] *= np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise, axis=0) if phi else noise


def first_unit(units):
    return np.eye(units)[0]


def reservoir(units, radius):
    """A random dense matrix [H, H] of this spectral radius, and random input weights [H] of norm 1."""
    rng = np.random.default_rng(0)
    w_hh, w_in = rng.standard_normal((units, units)), rng.standard_normal(units)
    return radius / np.abs(np.linalg.eigvals(w_hh)).max() * w_hh, w_in / np.linalg.norm(w_in)


def cyclic(units, lam):
    """A shift in a ring: kept alike up to `units` steps, then what the second turn has left."""
    return lam * np.roll(np.eye(units), 1, axis=0), first_unit(units)


def orthogonal(units, lam):
    """A random rotation, read in by one unit: what is kept falls off by and by."""
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((units, units)))[0]
    return lam * rotation, first_unit(units)


def deaf(units, lam):
    """Units that each keep their own noise and nothing of the input."""
    return lam * np.eye(units), np.zeros(units)


GRID, SHORT, RING = [0, 1, 2, 4, 8, 11, 12, 14, 16], [0, 1, 2, 4, 8, 12], [0, 1, 6, 11, 12, 16]
CASES = {
    "white, reservoir": Linear(*reservoir(16, 0.9), GRID, 64, noise=0.1),
    "AR(1) .9, reservoir": Linear(*reservoir(16, 0.9), GRID, 96, phi=0.9, noise=0.1, batch=3),
    "white, cyclic": Linear(*cyclic(12, 0.93), RING, 64),
    "ignores, phi .5": Linear(*deaf(10, 0.5), SHORT, 48, phi=0.5, noise=1.0),
    "ignores, phi .9": Linear(*deaf(10, 0.9), SHORT, 96, phi=0.9, noise=1.0, batch=3),
    "text": Text(many=True, segments=40, orders=10),
    "limit: white, orthogonal": Linear(*orthogonal(12, 0.95), GRID, 64),
    "limit: AR(1) .9, cyclic": Linear(*cyclic(12, 0.93), RING, 96, phi=0.9, batch=3),
    "limit: AR(1) .9, orthogonal": Linear(*orthogonal(12, 0.95), GRID, 96, phi=0.9, batch=3),
    "limit: short text": Text(many=True, segments=200, orders=5),
    "limit: one text": Text(many=False, segments=200, orders=1),
}


def summarise(draw, seed):
    """The maps and the report of one repetition."""
    given = {"embedding": None, "semantics": None, "washout": 100, "split": "time", **draw.options}
    washout, lags, split = given.pop("washout"), given.pop("lags"), given.pop("split")
    options = read_fit_options(lags, split, washout, 1e-6, 8, seed)
    with torch.no_grad():
        session = open_session(
            draw.model, draw.inputs, **given, lengths=None, reset=None, layer=-1, full=False,
            backend="auto", seed=seed,
        )  # fmt: skip
        first = parts(split, 0.5, session.data.steps, session.data.batch)
        settings = describe_settings(options, -1, "output", 0.5)
        fitted, _, report = Assessment(session, options, first, settings).kept(session.runner(), show=False)
        return fitted.maps, report


def measure(draw, seed):
    """What one repetition finds: curves [2, 3, K] (value, low, high), se, and sizes."""
    maps, report = summarise(draw, seed)
    curves = (report.raw, report.own)
    ends = [torch.stack([c.interval(0.95)[end] for c in curves]).numpy() for end in (0, 1)]
    effective = torch.stack([maps.raw.effective_rows, maps.own.effective_rows])
    jackknife = torch.stack([(c.se**2 - c.fit_variance).clamp(min=0).sqrt() for c in curves])
    return {
        "value": torch.stack([c.retention for c in curves]).numpy(), "low": ends[0], "high": ends[1],
        "se": torch.stack([c.se for c in curves]).numpy(), "jackknife": jackknife.numpy(),
        "within": np.array([bool((c.retention.abs() <= c.quantile * c.se).all()) for c in curves]),
        "effective_rows": (effective / maps.effective_size).numpy(),
        "effective_size": maps.effective_size.numpy(), "order": maps.innovations.order,
        "blocks": report.blocks, "width": maps.block_width, "truth": draw.truth,
    }  # fmt: skip


def judge(case, stacked):
    """Statistics by curve and lag over the repetitions that have intervals, and what they mean."""
    judged = stacked["blocks"] >= 16
    at = {name: values[judged] for name, values in stacked.items()}
    truth, error = at["truth"], at["value"] - at["truth"]
    inside = (at["low"] <= truth) & (truth <= at["high"])
    covered, spread = inside.mean(axis=0), error.std(axis=0)
    level, far = truth.mean(axis=0), np.quantile(np.abs(error), 0.95, axis=0)
    size = np.median(at["effective_size"], axis=0)
    not_wide = (covered <= MOST) | (spread < NARROW) | (size < FEW_UNITS)
    good = np.where(level <= EXACT, (covered >= COVER) & not_wide, (covered >= COVER) | (far <= ERROR))
    lags = case.lags
    result = {
        "repetitions": len(judged), "without_intervals": int((~judged).sum()), "lags": lags,
        "blocks": np.quantile(stacked["blocks"], [0.05, 0.5, 0.95]).tolist(),
        "block_width": np.quantile(stacked["width"], [0.05, 0.5, 0.95]).tolist(),
        "innovation_order": int(np.median(at["order"])), "effective_size": size.tolist(), "curves": {},
    }  # fmt: skip
    for row, name in enumerate(("raw", "own")):
        result["curves"][name] = {
            "truth": level[row].tolist(), "cover": covered[row].tolist(), "spread": spread[row].tolist(),
            "bias": error.mean(axis=0)[row].tolist(), "error_95": far[row].tolist(),
            "mean_se": at["se"].mean(axis=0)[row].tolist(), "good": good[row].tolist(),
            "mean_jackknife_se": at["jackknife"].mean(axis=0)[row].tolist(),
            "effective_rows_per_unit": np.median(at["effective_rows"], axis=0)[row].tolist(),
            "within_q_se_at_all_lags": float(at["within"].mean(axis=0)[row]),
        }  # fmt: skip
    ignores = isinstance(case, Linear) and case.ignores
    joint = all(c["within_q_se_at_all_lags"] >= JOINT for c in result["curves"].values()) if ignores else None
    result["joint_good"] = joint
    result["pass"] = bool(good.all()) and joint is not False
    return result


def run(case, blocks, repetitions, seed):
    """All repetitions of a case at a nominal number of blocks."""
    found = []
    for repetition in range(min(repetitions, case.repetitions)):
        rng = np.random.default_rng([seed, blocks, repetition])
        draw = case.draw(blocks, rng, repetition)
        found.append(measure(draw, seed))
    stacked = {name: np.stack([each[name] for each in found]) for name in found[0]}
    steps, streams = draw.inputs.shape[:2]
    return {**judge(case, stacked), "steps": steps, "streams": streams, "seed": seed}


def table(results):
    """The results as Markdown."""
    order = [f"{name}, {blocks} blocks" for name in CASES for blocks in BLOCKS]
    cases = {name: results["cases"][name] for name in order if name in results["cases"]}
    lines = [__doc__.split("\n\n    python")[0], "", f"Command: `{results['command']}`", ""]
    lines += [", ".join(f"{k} {v}" for k, v in results["versions"].items()), ""]
    lines += [
        "| case | repetitions | blocks (5, 50, 95 %) | curve | verdict | cover by lag |",
        "|---" * 6 + "|",
    ]
    for name, r in cases.items():
        blocks = ", ".join(f"{b:.0f}" for b in r["blocks"])
        few = r["without_intervals"]
        count = str(r["repetitions"]) + f" ({few} had under 16 blocks: no interval)" * bool(few)
        for curve, c in r["curves"].items():
            cover = ", ".join(f"{v:.3f} ({lag})" for v, lag in zip(c["cover"], r["lags"], strict=True))
            lines.append(f"| {name} | {count} | {blocks} | {curve} | {verdict(r, c)} | {cover} |")
    lines += ["", "Truth, bias, spread over repetitions and mean standard error by lag, in thousandths."]
    for name, r in cases.items():
        size = f"{r['steps']} steps x {r['streams']} streams, blocks of {r['block_width'][1]:.0f} steps"
        lines += ["", f"**{name}** ({size})", ""]
        lines += [row("", [f"lag {lag}" for lag in r["lags"]]), "|---" * (1 + len(r["lags"])) + "|"]
        for curve, c in r["curves"].items():
            for key in ("truth", "bias", "spread", "mean_se"):
                lines.append(row(f"{curve} {key.replace('_', ' ')}", [f"{1000 * v:.1f}" for v in c[key]]))
            rows = [f"{v:.0f}" for v in c["effective_rows_per_unit"]]
            lines.append(row(f"{curve} N_eff / H_eff", rows))
    return "\n".join(lines) + "\n"


def row(name, cells):
    return f"| {name} | " + " | ".join(cells) + " |"


def verdict(r, curve):
    """In words: pass, or where it misses and to which side."""
    missed = [(lag, v) for lag, v, ok in zip(r["lags"], curve["cover"], curve["good"], strict=True) if not ok]
    low, high = ([str(lag) for lag, v in missed if (v < COVER) == side] for side in (True, False))
    words = [f"miss: covers too little at lags {', '.join(low)}"] * bool(low)
    words += [f"miss: covers too much at lags {', '.join(high)}"] * bool(high)
    said = "; ".join(words) or "pass"
    if r["joint_good"] is not None:
        said += f"; within q se at every lag in {curve['within_q_se_at_all_lags']:.1%}"
    return said


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    which = "; ".join(CASES) + "; or how they begin"
    parser.add_argument("--cases", nargs="*", default=list(CASES), help=which)
    parser.add_argument("--blocks", nargs="*", type=int, default=list(BLOCKS), choices=BLOCKS)
    parser.add_argument("--repetitions", type=int, default=1000, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS / "coverage.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(options.out.read_text()) if options.out.exists() else {"cases": {}}
    results["command"] = "python bench/coverage.py --seed " + str(options.seed)
    results["versions"] = {
        "rnnmem": rnnmem.__version__, "torch": torch.__version__, "numpy": np.__version__,
        "scipy": scipy.__version__, "python": platform.python_version(),
    }  # fmt: skip
    for name, case in CASES.items():
        if not any(name.startswith(each) for each in options.cases):
            continue
        for blocks in options.blocks:
            key = f"{name}, {blocks} blocks"
            wanted = min(options.repetitions, case.repetitions)
            if results["cases"].get(key, {}).get("repetitions", 0) >= wanted:
                continue
            start = time.monotonic()
            results["cases"][key] = run(case, blocks, options.repetitions, options.seed)
            results["cases"][key]["seconds"] = round(time.monotonic() - start, 1)
            options.out.write_text(json.dumps(results, indent=1) + "\n")
            options.out.with_suffix(".md").write_text(table(results))
            r = results["cases"][key]
            print(f"{'pass' if r['pass'] else 'MISS'}  {key}  ({r['seconds']} s)", flush=True)


if __name__ == "__main__":
    main()
