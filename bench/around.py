"""Do shapes around a row of the forward pass come as near to their floor as the row does?

Each of H = 96, 120, 200, 320 and B = 1, 3, 16, 24 is held against the row of `forward.py` that is nearest (H
of 128 or 256, B of 1 or 16): its share of its floor should be within 25 % of the row's. Outputs are
compared with float64 first, then all layers of a unit take turns, float32; what is stated is the best of the
rounds, since a shared machine can only be slower.

    python bench/around.py     # a minute
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import machine
import page
import torch
from floor import GATES, ceilings, floor

import rnnmem

RESULTS = Path(__file__).resolve().parent / "results"
ROUNDS, SECONDS, LEAST = 9, 0.01, 100  # of a timing, roughly; steps at the least
ROWS = (128, 256), (1, 16)
AROUND = (96, 120, 200, 320), (1, 3, 16, 24)
WITHIN, AGREE = 0.25, 1e-5


def percent(row: dict[str, Any]) -> str:
    return f"{row['share']:.0%}"


def nearest(value: int, among: tuple[int, ...]) -> int:
    return min(among, key=lambda each: abs(each - value))


@torch.no_grad()
def check(layer: torch.nn.Module, unit: str, x: torch.Tensor) -> None:
    """Against torch.nn in float64."""
    exact = getattr(torch.nn, unit)(layer.input_size, layer.hidden_size).double()
    exact.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x)[0].double(), exact(x.double())[0], rtol=0, atol=AGREE)


@torch.no_grad()
def shares(unit: str, threads: int, ceiling: dict[str, Any]) -> dict[tuple[int, int], float]:
    """Share of the floor by H and B."""
    torch.set_num_threads(threads)
    shapes = sorted({(h, b) for hs, bs in (ROWS, AROUND) for h in hs for b in bs})
    best, programs = {}, {}
    for h, b in shapes:
        weights = GATES[unit] * h * h
        least = floor(ceiling, 4 * weights * b, 4 * weights, threads).seconds
        steps = max(LEAST, int(SECONDS / least))
        layer, x = getattr(rnnmem.nn, unit)(h, h), torch.randn(steps, b, h)
        check(layer, unit, x[:LEAST])
        programs[h, b] = layer, x, least * steps
    for each in range(ROUNDS + 1):  # the first warms up
        for shape, (layer, x, _) in programs.items():
            begun = time.perf_counter()
            layer(x)
            spent = time.perf_counter() - begun
            best[shape] = min(best.get(shape, spent), spent) if each else spent
    return {shape: programs[shape][2] / seconds for shape, seconds in best.items()}


def main() -> None:
    about, ceiling, rows = machine.describe(2), ceilings(), []
    for threads in (1, 2):
        for unit in GATES:
            found = shares(unit, threads, ceiling)
            for h in AROUND[0]:
                for b in AROUND[1]:
                    row = nearest(h, ROWS[0]), nearest(b, ROWS[1])
                    rows.append(
                        {
                            "unit": unit,
                            "threads": threads,
                            "H": h,
                            "B": b,
                            "share": round(found[h, b], 3),
                            "row": f"{unit} {row[0]}, B={row[1]}",
                            "row_share": round(found[row], 3),
                            "within": found[h, b] >= (1 - WITHIN) * found[row],
                        }
                    )
    out = RESULTS / f"around-{page.slug(about)}.json"
    out.write_text(json.dumps({"machine": about, "ceilings": ceiling, "rows": rows}, indent=1) + "\n")
    lines = [
        f"{page.heading(about)}; {sum(row['within'] for row in rows)} of {len(rows)} shapes are within "
        f"{WITHIN:.0%}.",
        "",
        "| unit, threads | " + " | ".join(f"B={b}" for b in AROUND[1]) + " |",
        "|---|" + "---|" * len(AROUND[1]),
    ]
    for threads in (1, 2):
        for unit in GATES:
            cells = []
            for b in AROUND[1]:
                chosen = [r for r in rows if (r["unit"], r["threads"], r["B"]) == (unit, threads, b)]
                cells.append(
                    ", ".join(("{}" if r["within"] else "**{}**").format(percent(r)) for r in chosen)
                )
            lines.append(f"| {unit}, {threads} | {' | '.join(cells)} |")
    text = "\n".join(lines)
    page.write(page.PERFORMANCE, "around", text)
    print(text)


if __name__ == "__main__":
    main()
