"""What following memory costs a training at its default: the share of the training time, at most 5 %.

A next-word LSTM on the English that every Python carries, trained as in `rnnmem demo`, with a tracker.

    python bench/track.py                 # five minutes; --seconds for another length
"""

import argparse
import json
import time
from pathlib import Path

import machine
import torch

import rnnmem
from rnnmem import demo

RESULTS = Path(__file__).resolve().parent / "results" / "track.json"
STEPS, WASHOUT, LAGS = 300, 20, 16  # steps of each of the 32 streams that are measured; steps back
RATE = 3e-3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="of training (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", nargs="*", default=[], help="where to save the tracker too")
    args = parser.parse_args()
    found = machine.describe(args.threads)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    corpus = demo.read_corpus()
    model = demo.NextWord("LSTM", corpus.vocabulary, demo.LSTM_UNITS)
    optimiser = torch.optim.Adam(model.parameters())
    training, sample = corpus.tokens[:-STEPS], corpus.tokens[-STEPS:]
    start = time.perf_counter()
    tracker = rnnmem.track(
        model.recurrent,
        sample,
        embedding=model.embedding,
        semantics=corpus.semantics,
        lags=LAGS,
        washout=WASHOUT,
    )
    place, state = 0, None
    while tracker.seconds < args.seconds:
        if place + demo.WINDOW >= len(training):
            place, state = 0, None
        words = training[place : place + demo.WINDOW + 1]
        state = demo.train_step(model, optimiser, words, state, RATE)
        tracker.step()
        place += demo.WINDOW
    whole = time.perf_counter() - start
    print(tracker)
    for path in args.save:
        tracker.save(path)
    found |= {
        "network": f"LSTM, {demo.LSTM_UNITS} units, next word of {corpus.vocabulary:,}",
        "sample": f"{STEPS} steps of {demo.STREAMS} streams, {LAGS} lags",
        "training_steps": tracker.steps,
        "training_seconds": tracker.seconds,
        "measurements": len(tracker.curve["step"]),
        "first_measurement_seconds": tracker.curve["cost"][0],
        "measuring_seconds": tracker.spent,
        "share": tracker.spent / tracker.seconds,
        "share_after_the_first": (tracker.spent - tracker.curve["cost"][0]) / tracker.seconds,
        "unaccounted_seconds": whole - tracker.seconds - tracker.spent,
        "curve": tracker.curve,
        "warnings": tracker.warnings,
    }
    RESULTS.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"share {found['share']:.2%} of {tracker.seconds:.0f} s, in {RESULTS}")


if __name__ == "__main__":
    main()
