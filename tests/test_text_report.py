import re

import pytest
import report_cases as cases

from rnnmem import indicator_words, words
from rnnmem.text_report import comparison_text, report_text


def cells(text, first):
    """The cells of the line that begins with `first`, split at two spaces or more."""
    line = next(line for line in text.splitlines() if re.match(rf"{re.escape(first)}(  |$)", line))
    return re.split(r" {2,}", line.strip())


def joined(text):
    """The text without its line breaks."""
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (
            cases.trained_gru,
            "This GRU remembers about 4 tokens: up to 4 steps back its state holds more of a token than the "
            "newer tokens can account for.",
        ),
        (cases.trained_rnn, "This RNN remembers about 8 tokens: "),
        (cases.trained_lstm, "This LSTM remembers about 12 tokens: "),
        (
            cases.delay_line,
            "This linear echo state network remembers about 7 inputs: up to 7 steps back its state ",
        ),
        (cases.nothing_kept, "This GRU shows no memory beyond inference: 1 step back its state does not "),
        (cases.few_blocks, "How far back this GRU remembers was not settled: 9 blocks of data are too few "),
        (cases.no_control, "How far back this GRU remembers was not settled: the inference control, "),
        (cases.one_lag, "How far back this GRU remembers was not settled: no lag from 1 on was compared "),
    ],
)
def test_headline_leads_and_says_what_was_found(case, said):
    assert joined(report_text(case())).startswith(said)


def test_horizon_at_the_last_tested_lag_is_at_least_that():
    report = cases.make_report(lags=(0, 1, 2), retention=(0.9, 0.8, 0.7), inference=(None, 0.01, 0.01))
    text = joined(report_text(report))
    assert text.startswith("This GRU remembers at least 2 tokens: ")
    assert "larger lags were not tested" in text


def test_evidence_compares_the_horizon_with_the_next_tested_lag():
    said = words.evidence(cases.trained_gru())
    assert said[0] == (
        "4 steps back: own retention 0.0200 ± 0.0009, inference 0.0110 ± 0.0010; "
        "6 steps back: own retention 0.0087 ± 0.0009, inference 0.0090 ± 0.0010, no longer told apart."
    )
    assert said[1].startswith("Added up over lags 0 to 32, it keeps 0.99 tokens' worth ")


def test_evidence_says_where_lags_between_were_not_tested():
    assert words.evidence(cases.trained_lstm())[0].endswith("told apart (lags between them were not tested).")


def test_evidence_does_not_judge_a_lag_that_was_not_measured():
    assert words.evidence(cases.with_nan())[0].endswith("; 8 steps back: not measured.")


def test_lag_table_holds_every_curve():
    text = report_text(cases.trained_gru())
    assert cells(text, "4") == [
        "4",
        "0.0700 ± 0.0009",
        "0.0200 ± 0.0009*",
        "0.0110 ± 0.0010",
        "0.015",
        "1.000",
        "0.84",
    ]
    assert cells(text, "16") == ["16", "0.0400 ± 0.0009", "0.0030 ± 0.0009", "-", "0.004", "0.045", "0.47"]
    starred = [line.split()[0] for line in text.splitlines() if re.match(r"\d+ .*\*", line)]
    assert starred == ["1", "2", "4"]
    assert "a token has 8.73 bits of entropy" in joined(text)


def test_lag_table_without_standard_errors_and_controls():
    assert cells(report_text(cases.few_blocks()), "1")[1:3] == ["0.6300", "0.6300"]
    assert cells(report_text(cases.no_control()), "1")[3:6] == ["-", "-", "-"]
    assert cells(report_text(cases.with_nan()), "8")[1:3] == ["-", "-"]


def test_a_long_grid_is_thinned_and_says_so():
    report = cases.make_report(lags=tuple(range(65)))
    text = report_text(report)
    shown = [line.split()[0] for line in text.splitlines() if re.match(r"\d+ +0\.", line)]
    assert shown == ["0", "1", "2", "4", "8", "16", "32", "64"]
    assert "8 of 65 lags are shown" in text


UNSETTLED = "9 blocks of data are too few for standard errors (16 are needed)"
DENSE = "defined only where every lag is sampled and the innovation order reaches the last"
NOT_KEPT = "own and in all: lag 0 is not significantly kept"
NO_LAG_0 = "lag 0 is not among the lags"
MORE_DATA = "fewer than 16 blocks: measure a longer sequence"


@pytest.mark.parametrize(
    ("case", "name", "own", "raw", "unit", "note"),
    [
        (cases.trained_gru, "memory horizon", "4", "", "steps", "tested at lags 1, 2, 4, 6, 8, 12, 24, 32"),
        (
            cases.trained_gru,
            "capacity",
            "0.99 ± 0.02",
            "at least 2.30 ± 0.03",
            "tokens",
            "own capacity could be 9.50",
        ),
        (cases.trained_gru, "horizon", "16", "at least 32", "steps", ""),
        (cases.trained_gru, "half-life", "1.08", "1.47", "steps", ""),
        (cases.trained_gru, "span", "1", "1", "steps", ""),
        (cases.trained_gru, "density", "0.030", "0.070", "", "n = 33"),
        (cases.trained_gru, "relative distance", "0.984", "0.964", "", "n = 33"),
        (cases.trained_gru, "bits", "3.54", "4.62", "bits", "at lag 1; a token has 8.73 bits of entropy"),
        (cases.trained_gru, "bits a byte", "0.0058", "0.0076", "bits/byte", "at lag 1; 608 bytes of state"),
        (cases.trained_gru, "hull coverage", "", "0.574", "", "at lag 1"),
        (cases.trained_gru, "utilisation", "-", "", "", DENSE),
        (cases.trained_gru, "suitable length", "7", "", "steps", "the last 7 tokens hold 95%"),
        (cases.delay_line, "capacity", "8.00 ± 0.02", "8.00 ± 0.02", "tokens", "own capacity could be 9.50"),
        (cases.delay_line, "half-life", "7.50", "7.50", "steps", ""),
        (cases.delay_line, "span", "7", "7", "steps", ""),
        (cases.delay_line, "bits", "8.73", "8.73", "bits", "at lag 1"),
        (cases.nothing_kept, "memory horizon", "0", "", "steps", "tested at lags 1, 2, 4,"),
        (
            cases.nothing_kept,
            "capacity",
            "0.00 ± 0.00",
            "0.00 ± 0.00",
            "tokens",
            "own capacity could be 0.00",
        ),
        (cases.nothing_kept, "horizon", "-", "-", "steps", "own and in all: no lag is significantly kept"),
        (cases.nothing_kept, "half-life", "-", "-", "steps", NOT_KEPT),
        (cases.nothing_kept, "suitable length", "-", "", "steps", "no lag is significantly kept"),
        (cases.few_blocks, "memory horizon", "-", "", "steps", UNSETTLED),
        (cases.few_blocks, "capacity", "3.06", "3.06", "tokens", "own capacity could be 9.50"),
        (cases.few_blocks, "horizon", "-", "-", "steps", "9 blocks of data, 16 are needed"),
        (cases.few_blocks, "suitable length", "-", "", "steps", MORE_DATA),
        (cases.no_control, "memory horizon", "-", "", "steps", "the inference control, which tells memory"),
        (cases.without_lag_zero, "capacity", "-", "-", "tokens", NO_LAG_0),
        (cases.without_lag_zero, "span", "-", "-", "steps", NO_LAG_0),
        (cases.without_lag_zero, "density", "-", "-", "", NO_LAG_0),
        (cases.without_lag_zero, "horizon", "20", "20", "steps", ""),
        (cases.one_lag, "half-life", "more than 0", "more than 0", "steps", ""),
    ],
)
def test_indicators_carry_value_unit_and_why_there_is_none(case, name, own, raw, unit, note):
    report = case()
    row = next(row for row in indicator_words.indicator_rows(report) if row.name == name)
    assert (row.own, row.raw, row.unit) == (own, raw, unit)
    assert row.note.startswith(note)
    assert bool(row.note) == bool(note)
    text = report_text(report)
    printed = cells(text[text.index("indicator ") :], name)
    assert printed[: len([name, own, raw, unit]) - [own, raw, unit].count("")] == [
        c for c in (name, own, raw, unit) if c
    ]


def test_utilisation_where_it_is_defined():
    report = cases.make_report(lags=(0, 1, 2), utilisation=0.34)
    row = next(row for row in indicator_words.indicator_rows(report) if row.name == "utilisation")
    assert (row.own, row.note) == ("0.340", "")


@pytest.mark.parametrize("row", indicator_words.indicator_rows(cases.trained_gru()), ids=lambda row: row.name)
def test_every_indicator_says_what_it_means_and_what_it_does_not(row):
    assert row.means.endswith(".")
    assert re.match(r"It (is|says|does|falls)\b", row.means_not)
    assert row.means_not.endswith(".")


def test_what_was_measured():
    text = report_text(cases.trained_lstm(state="full"))
    assert cells(text, "network") == ["network", "LSTM, layer 1 of 1, 128 inputs, 128 hidden units"]
    assert cells(text, "parameters")[1] == "131,584"
    assert cells(text, "state carried")[1] == "256 floats, 1,024 bytes"
    assert cells(text, "state measured")[1] == "full, 256 floats"
    assert cells(text, "operations a step")[1] == "263,168 of floating point"
    assert cells(text, "rows")[1].startswith("195,000 to fit, 196,352 to measure")
    assert cells(text, "split")[1] == "by time, 0.5 of it to fit"
    assert cells(text, "blocks for errors")[1] == "32 blocks of 192 steps"
    assert cells(text, "backend")[1] == "cpu, precision highest, float32"
    assert cells(text, "ridge")[1] == "1e-06"


@pytest.mark.parametrize("case", cases.CASES.values(), ids=cases.CASES)
def test_every_report_fits_a_terminal_and_says_where_the_definitions_are_from(case):
    report = case()
    text = report_text(report)
    assert max(map(len, text.splitlines())) <= 96
    for line in report.warnings:
        assert f"- {line}" in text
    assert text.count("not that paper's") == 1
    assert "docs/definitions.md" in text
    assert "better" not in text
    assert "nan" not in text.lower().replace("nan)", "")
    assert str(report) == text


def test_every_warning_is_printed_whole():
    lines = ["first " + "word " * 40 + "end", "second"]
    assert f"Warnings - {joined(lines[0])} - second " in joined(
        report_text(cases.trained_gru(warnings=lines))
    )


def test_comparison_states_match_costs_and_what_is_kept():
    text = comparison_text(cases.three_units())
    assert joined(text).startswith("Memory horizon in the output state, in steps: RNN 8, GRU 4, LSTM 12.")
    assert "The networks are matched by number of parameters (to 5 %). One seed: not ranked." in joined(text)
    assert cells(text, "LSTM") == ["LSTM", "LSTM", "trained", "131,584", "256", "1,024", "263,168"]
    output, full = (text[text.index(f"What is kept in the {state} state") :] for state in ("output", "full"))
    assert cells(output, "LSTM") == [
        "LSTM",
        "12",
        "0.989 ± 0.003",
        "at least 1.951 ± 0.007",
        "0.95",
        "0",
        "128",
    ]
    assert cells(full, "LSTM")[-1] == "256"
    assert cells(output[output.index("by lag") :], "GRU") == [
        "GRU",
        "0.500",
        "0.264",
        "0.087",
        "0.020",
        "0.005",
        "0.003",
        "0.002",
    ]
    assert max(map(len, text.splitlines())) <= 96


@pytest.mark.parametrize(
    ("seeds", "match", "said"),
    [
        (1, None, "No match declared: not ranked."),
        (
            1,
            "state",
            "The networks are matched by size of the state they carry (to 5 %). One seed: not ranked.",
        ),
        (2, "parameters", "(to 5 %). 2 seeds, fewer than 3: not ranked."),
        (3, "parameters", "(to 5 %). 3 seeds each, listed as given."),
    ],
)
def test_a_comparison_is_ranked_over_three_seeds_at_a_match(seeds, match, said):
    text = joined(comparison_text(cases.three_units(seeds=seeds, match=match)))
    assert ("By own capacity, in tokens" in text) == (seeds == 3)
    assert f"{said} What keeps more does not thereby predict or perform any better." in text
    assert text.index("RNN 8, GRU 4, LSTM 12") < text.index(said)


def test_trained_or_not_is_said_as_far_as_known():
    for trained, said in ((True, "trained"), (False, "untrained"), (None, "not said")):
        assert cells(comparison_text(cases.three_units(trained=trained)), "GRU")[2] == said


def test_several_seeds_show_mean_lowest_and_highest():
    comparison = cases.three_units(seeds=2)
    comparison.reports["GRU"]["output"][1] = cases.trained_lstm()
    text = comparison_text(comparison)
    kept = cells(text[text.index("What is kept in the output") :], "GRU")
    assert kept[1:4] == ["8.0 (4-12)", "0.99", "at least 2.13 (1.95-2.30)"]
    assert cells(text[text.index("state, by lag") :], "GRU")[1] == "0.525"


def test_warnings_of_reports_are_shown_once_with_the_networks_they_are_about():
    comparison = cases.three_units()
    for name in ("RNN", "GRU"):
        comparison.reports[name]["output"][0].warnings.append("few rows")
    assert "- RNN (output), GRU (output): few rows" in comparison_text(comparison)


def test_hostile_names_keep_to_their_columns():
    comparison = cases.three_units()
    comparison.reports["a\nvery long name " * 4] = comparison.reports.pop("GRU")
    assert max(map(len, comparison_text(comparison).splitlines())) <= 100


def test_innovation_order_zero_is_said():
    report = cases.make_report(order=0, requested_order=0)
    assert "own retention: the same as retention here: nothing was predicted" in joined(report_text(report))


def test_numbers():
    assert words.number(-0.0001, 3) == "0.000"
    assert words.number(float("inf")) == "-"
    assert words.with_error(1.0, 0.0004) == "1.0000 ± 0.0004"
    assert words.with_error(1.0, 0.3) == "1.00 ± 0.30"
    assert words.with_error(1.0, float("nan")) == "1.00"
    assert words.plural(1, "step") == "1 step"
    assert words.count(1234567) == "1,234,567"
