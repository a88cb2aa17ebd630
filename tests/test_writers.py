import csv
import json
import math

import pytest
import report_cases as cases
import torch

import rnnmem
from rnnmem import Comparison, MemoryReport, RnnMemError
from rnnmem.writers import COLUMNS, write_comparison, write_report

FORMS = (".html", ".json", ".png", ".csv")
WRITERS = {"report": (write_report, cases.trained_gru), "comparison": (write_comparison, cases.three_units)}


def no_constant(text):
    raise AssertionError(f"{text} is no strict JSON")


@pytest.mark.parametrize("case", cases.CASES.values(), ids=cases.CASES)
def test_json_is_strict_and_loads_back_to_the_bit(case, tmp_path):
    report = case()
    report.save(tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=no_constant) == report.to_dict()
    again = MemoryReport.load(tmp_path / "report.json")
    assert again.to_dict() == report.to_dict()
    for name in ("retention", "retention_se", "own_retention", "own_retention_se", "bits", "hull_coverage"):
        ours, theirs = getattr(report, name), getattr(again, name)
        assert ours.dtype == theirs.dtype
        assert ours.equal(theirs) or (ours.isnan() == theirs.isnan()).all()
        assert ours.nan_to_num().equal(theirs.nan_to_num())
    assert str(again) == str(report)


@pytest.mark.parametrize("form", [".html", ".png", ".csv"])
def test_a_loaded_report_writes_the_same_files(form, tmp_path):
    report = cases.with_nan()
    report.save(tmp_path / "report.json")
    report.save(tmp_path / f"one{form}")
    MemoryReport.load(tmp_path / "report.json").save(tmp_path / f"two{form}")
    assert (tmp_path / f"one{form}").read_bytes() == (tmp_path / f"two{form}").read_bytes()


def test_csv_has_every_lag_and_every_column_in_full_precision(tmp_path):
    report = cases.trained_gru()
    report.save(tmp_path / "report.csv")
    with open(tmp_path / "report.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [int(row["lag_steps"]) for row in rows] == report.lags.tolist()
    low, high = report.interval()
    own_low, own_high = report.interval(own=True)
    wanted = {
        "retention": report.retention,
        "retention_se": report.retention_se,
        "retention_low_95": low,
        "retention_high_95": high,
        "retention_heldout": report.retention_heldout,
        "distance": report.distance,
        "own_retention": report.own_retention,
        "own_retention_se": report.own_retention_se,
        "own_retention_low_95": own_low,
        "own_retention_high_95": own_high,
        "own_retention_heldout": report.own.heldout,
        **report.controls,
        "bits": report.bits,
        "own_bits": report.own_bits,
        "bits_per_byte": report.bits_per_byte,
        "own_bits_per_byte": report.own_bits_per_byte,
        "hull_coverage": report.hull_coverage,
        **dict.fromkeys(DYNAMICS),
    }
    assert set(wanted) == set(COLUMNS) - {"lag_steps"}
    for name, values in wanted.items():
        if values is None:
            assert {row[name] for row in rows} == {""}, name
            continue
        found = [float(row[name]) if row[name] else None for row in rows]
        assert found == [None if math.isnan(v) else v for v in values.tolist()], name


DYNAMICS = ("forgotten_median", "forgotten_inputs_median", "learnable_gain", "used_loss", "used_excess")


def test_csv_has_what_is_forgotten_learnable_and_used_at_its_lags(tmp_path):
    torch.manual_seed(0)
    given = {"embedding": torch.nn.Embedding(7, 3), "head": torch.nn.Linear(4, 7), "lags": [0, 2, 5]}
    report = rnnmem.assess(torch.nn.GRU(3, 4), torch.randint(7, (900, 2)), **given)
    report.save(tmp_path / "report.csv")
    with open(tmp_path / "report.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name, curve in (
        ("forgotten_median", report.forgotten.median[[0, 2, 5]]),
        ("forgotten_inputs_median", report.forgotten_inputs.median[[0, 2, 5]]),
        ("learnable_gain", report.learnable.gain[[0, 2, 5]]),
        ("used_loss", report.used.loss),
        ("used_excess", report.used.excess),
    ):
        assert [float(row[name]) for row in rows] == curve.tolist()


def test_csv_of_skipped_controls_and_nan_is_empty_there(tmp_path):
    cases.no_control().save(tmp_path / "report.csv")
    with open(tmp_path / "report.csv", newline="", encoding="utf-8") as file:
        assert {row[name] for row in csv.DictReader(file) for name in ("inference", "window")} == {""}
    cases.with_nan().save(tmp_path / "report.csv")
    assert "nan" not in (tmp_path / "report.csv").read_text()


def test_csv_of_a_comparison_has_a_row_for_each_network_state_seed_and_lag(tmp_path):
    comparison = cases.three_units(seeds=2)
    comparison.save(tmp_path / "comparison.csv")
    with open(tmp_path / "comparison.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2 * len(cases.WORD_LAGS)
    lstm = next(
        r for r in rows if (r["network"], r["state"], r["seed"], r["lag_steps"]) == ("LSTM", "full", "1", "2")
    )
    assert float(lstm["own_retention"]) == 0.079


def test_json_of_a_comparison_loads_back(tmp_path):
    comparison = cases.three_units(seeds=2)
    comparison.save(tmp_path / "comparison.json")
    data = json.loads((tmp_path / "comparison.json").read_text(), parse_constant=no_constant)
    assert data == comparison.to_dict()
    assert Comparison.from_dict(data).table == comparison.table


@pytest.mark.parametrize("what", WRITERS)
@pytest.mark.parametrize("form", [*FORMS, ".HTML"])
def test_forms_by_ending(form, what, tmp_path):
    write, case = WRITERS[what]
    write(case(), str(tmp_path / f"file{form}"))
    start = {".html": b"<!DOCTYPE html>", ".json": b'{"format"', ".png": b"\x89PNG"}.get(form.lower(), b"")
    written = (tmp_path / f"file{form}").read_bytes()
    assert written.startswith(start)
    assert len(written) > 1000


@pytest.mark.parametrize("what", WRITERS)
@pytest.mark.parametrize(
    "name",
    ["memory.pdf", "memory", "memory.html.gz", "", ".html"],
    ids=["pdf", "none", "gz", "empty", "hidden"],
)
def test_other_endings_are_refused(name, what, tmp_path, monkeypatch):
    write, case = WRITERS[what]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        RnnMemError, match=r"^path: expected a name that ends in one of .html, .json, .png, .csv, got '"
    ):
        write(case(), name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", WRITERS)
@pytest.mark.parametrize("path", [None, 3, b"memory.html", ["memory.html"]], ids=repr)
def test_what_is_no_path_is_refused(path, what):
    write, case = WRITERS[what]
    with pytest.raises(RnnMemError, match=r"^path: expected a str or path that ends in one of "):
        write(case(), path)


@pytest.mark.parametrize("what", WRITERS)
@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(("no/such/folder/memory", form) for form in FORMS),
        ("folder", ".csv"),
        ("nul\0byte", ".csv"),
        ("x" * 300, ".csv"),
    ],
    ids=[*(f"no folder {form}" for form in FORMS), "is a folder", "nul", "too long"],
)
def test_places_that_cannot_be_written_to_are_named(name, form, what, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    write, case = WRITERS[what]
    with pytest.raises(RnnMemError, match=r"^path: expected a place that can be written to, got '") as caught:
        write(case(), tmp_path / f"{name}{form}")
    assert "\n" not in str(caught.value)


def test_a_name_with_half_a_character_is_written(tmp_path):
    report = cases.trained_gru(unit="net\udc80", warnings=["half \udc80"])
    for form in FORMS:
        report.save(tmp_path / f"report{form}")
    assert "half \\udc80" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert MemoryReport.load(tmp_path / "report.json").warnings == ["half \udc80"]
