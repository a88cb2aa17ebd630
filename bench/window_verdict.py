"""Is an advised window as good as the best? Judges and prints what suitable_length.py has trained."""

import math
from statistics import median

import torch
from scipy.stats import t as student

BY_BITS = {"next byte"}  # the others by accuracy
SEEDS = (0, 1, 2)
WINDOWS = (4, 8, 16, 32, 64, 128, 256)
LONGEST = WINDOWS[-1]
BEATS_CHANCE = 0.95
WITHIN_BITS, WITHIN_ACCURACY = 0.02, 0.01


def judge(rows, tasks, units):
    """Every cell (task, unit): scores, advice, and which windows are as good as the best."""
    cells = []
    for task in tasks:
        for unit in units:
            found = [row for row in rows if (row["task"], row["unit"]) == (task, unit)]
            if len(found) == len(SEEDS):
                cells.append(cell(task, unit, sorted(found, key=lambda row: row["seed"])))
    return cells


def cell(task, unit, rows):
    """One of them."""
    which = 0 if task in BY_BITS else 1
    sign, slack = (1, WITHIN_BITS) if task in BY_BITS else (-1, WITHIN_ACCURACY)
    scores = torch.tensor([[row["windows"][str(n)]["carried"] for n in WINDOWS] for row in rows])
    worse = sign * scores[:, :, which]
    best = int(worse.mean(0).argmin())
    paired = (worse - worse[:, [best]]).double()
    half = float(student.ppf(0.95, len(rows) - 1)) * paired.std(0) / math.sqrt(len(rows))
    good = (paired.mean(0) - half <= slack) | (paired.mean(0) <= slack)
    advice = [row["advice"] for row in rows]
    used = [span["used_span"] for span in advice]
    settled = [row["advice"] for row in rows if row["settled"]]
    return {
        "task": task,
        "unit": unit,
        "steps": [row["steps"] for row in rows],
        "settled": [row["settled"] for row in rows],
        "chance": rows[0]["chance"],
        "bits": scores[:, :, 0].mean(0).tolist(),
        "accuracy": scores[:, :, 1].mean(0).tolist(),
        "own_window": [own_score(rows, n, which) for n in WINDOWS],
        "best": WINDOWS[best],
        "as_good": [n for n, fine in zip(WINDOWS, good.tolist(), strict=True) if fine],
        "counts": float(scores[:, :, 0].mean(0).min()) <= BEATS_CHANCE * rows[0]["chance"],
        "used_spans": used,
        "reach": [found["reach"] for found in advice],
        "advised": [found["length"] for found in advice],
        "advice": on_grid([found["length"] for found in settled]),
        "u": on_grid([found["used_span"] for found in settled]),
    }


def own_score(rows, length, which):
    """Mean score inside windows of the length trained at, from zero; None where they hold no target."""
    found = [row["windows"][str(length)]["own_window"] for row in rows]
    return None if None in found else sum(each[which] for each in found) / len(found)


def on_grid(lengths):
    """The median, rounded up to the grid of windows; None where a seed has no advice, or none has settled."""
    if not lengths or None in lengths:
        return None
    return next((n for n in WINDOWS if n >= median(lengths)), LONGEST)


def from_factor(cell, factor):
    """The window of the first power of two from so many times the used span on."""
    spans = [u for u, settled in zip(cell["used_spans"], cell["settled"], strict=True) if settled]
    lengths = [u and min(LONGEST, 1 << (math.ceil(factor * u) - 1).bit_length()) for u in spans]
    return on_grid(lengths)


RULES = {
    "the advice (2u)": lambda cell: cell["advice"],
    "1.5u": lambda cell: from_factor(cell, 1.5),
    "u alone": lambda cell: cell["u"],
    "always 256": lambda _: LONGEST,
    "always 16": lambda _: 16,
}


def tally(cells):
    """How every rule fares over the cells that count, and its (geometric) mean window."""
    found = {}
    for name, rule in RULES.items():
        chosen = [rule(cell) for cell in cells]
        good = [n in cell["as_good"] for n, cell in zip(chosen, cells, strict=True)]
        below = [None if n is None else two_below(n) for n in chosen]
        too_short = [n not in cell["as_good"] for n, cell in zip(below, cells, strict=True)]
        mean = 2 ** (sum(math.log2(n or LONGEST) for n in chosen) / max(1, len(chosen)))
        found[name] = {
            "as_good": sum(good),
            "two_below_not": sum(too_short),
            "cells": len(cells),
            "mean": mean,
        }
    return found


def two_below(length):
    """The window two below on the grid, or None."""
    place = WINDOWS.index(length) - 2
    return WINDOWS[place] if place >= 0 else None


def table(results, about, parts):
    """The results as Markdown: what was done, then each part, a title and the names of its tasks."""
    lines = [about.split("\n\n    python")[0], "", f"Command: `{results['command']}`", ""]
    lines += [", ".join(f"{name} {value}" for name, value in results["machine"].items()), ""]
    for part, names in parts.items():
        cells = [found for found in results["cells"] if found["task"] in names]
        counted = [found for found in cells if found["counts"] and found["advice"]]
        lines += [f"## {part}", "", *rows_of(cells), ""]
        lines += [
            "| rule | as good as the best | two windows below is not | mean window |",
            "|---|---|---|---|",
        ]
        for name, found in tally(counted).items():
            good, below = (f"{found[key]} of {found['cells']}" for key in ("as_good", "two_below_not"))
            lines.append(f"| {name} | {good} | {below} | {found['mean']:.0f} |")
        lines += [
            "",
            "Scores inside windows of the length trained at, begun from zero:",
            "",
            *own_rows(cells),
            "",
        ]
    return "\n".join(lines)


def own_rows(cells):
    """One row for each cell: score by window, inside such windows."""
    lines = ["| task | unit | " + " | ".join(map(str, WINDOWS)) + " |", "|---" * (2 + len(WINDOWS)) + "|"]
    for found in cells:
        form = "{:.3f}" if found["task"] in BY_BITS else "{:.1%}"
        shown = ["-" if value is None else form.format(value) for value in found["own_window"]]
        lines.append("| " + " | ".join([found["task"], found["unit"], *shown]) + " |")
    return lines


def rows_of(cells):
    """One row for each cell: score by window, those as good as the best in bold."""
    head = ["task", "unit", "steps", "u", "reach", "advice", *map(str, WINDOWS)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for found in cells:
        key, form = ("bits", "{:.3f}") if found["task"] in BY_BITS else ("accuracy", "{:.1%}")
        shown = [
            f"**{form.format(value)}**" if n in found["as_good"] else form.format(value)
            for n, value in zip(WINDOWS, found[key], strict=True)
        ]
        facts = [found["steps"], found["used_spans"], found["reach"]]
        facts = [", ".join(map(str, fact)) for fact in facts]
        name = found["task"]
        if not found["counts"]:
            name += " (not counted: no window beats chance)"
        elif found["advice"] is None:
            name += " (not counted: not settled, so no advice)"
        lines.append("| " + " | ".join([name, found["unit"], *facts, str(found["advice"]), *shown]) + " |")
    return lines
