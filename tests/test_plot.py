import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
import report_cases as cases
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection

from rnnmem import plot
from rnnmem.drawing import lag_ticks, own_style, png, svg
from rnnmem.plot import comparison_figure, report_figure


def drawn(figure):
    """The figure laid out, with its renderer."""
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    return figure.canvas.get_renderer()


def line(panel, colour):
    return next(line for line in panel.lines if line.get_color() == colour and len(line.get_xdata()) > 2)


def test_curves_and_controls_are_the_reports_numbers():
    report = cases.trained_gru()
    main, zoom = report_figure(report).axes
    for panel, colour, values in (
        (main, plot.RAW, report.retention),
        (main, plot.OWN, report.own_retention),
        (zoom, plot.OWN, report.own_retention),
        (main, plot.MEMORYLESS, report.controls["memoryless"]),
        (main, plot.WINDOW, report.controls["window"]),
    ):
        assert line(panel, colour).get_xdata().tolist() == report.lags.tolist()
        assert line(panel, colour).get_ydata().tolist() == values.tolist()
    marks = line(main, plot.INFERENCE).get_ydata()
    assert marks.tolist() == pytest.approx(report.controls["inference"].tolist(), nan_ok=True)


def test_bands_are_95_percent_intervals():
    report = cases.nothing_kept()
    main, zoom = report_figure(report).axes
    low, high = report.interval(own=True)
    for panel in (main, zoom):
        own = [c for c in panel.collections if isinstance(c, PolyCollection)][-1]
        heights = own.get_paths()[0].vertices[:, 1]
        assert heights.min() == pytest.approx(float(low.min()))
        assert heights.max() == pytest.approx(float(high.max()))
    assert len([c for c in main.collections if isinstance(c, PolyCollection)]) == 2


def test_no_bands_without_standard_errors():
    main = report_figure(cases.few_blocks()).axes[0]
    assert not [c for c in main.collections if isinstance(c, PolyCollection)]
    texts = [text.get_text() for text in report_figure(cases.few_blocks()).legends[0].get_texts()]
    assert texts[:2] == ["retention", "own retention"]


@pytest.mark.parametrize("case", cases.CASES.values(), ids=cases.CASES)
def test_limits_ticks_and_the_place_of_lag_zero(case):
    report = case()
    figure = report_figure(report)
    main = figure.axes[0]
    low, high = main.get_ylim()
    assert high == 1.02
    assert -0.3 <= low <= -0.04
    ticks = main.get_xticks().tolist()
    assert ticks[0] == report.lags[0]
    left, right = main.get_xlim()
    assert left < float(report.lags[0])
    assert right > float(report.lags[-1])
    drawn(figure)
    assert [label.get_text() for label in main.get_xticklabels()] == [f"{tick:.0f}" for tick in ticks]


def test_the_lag_axis_is_even_in_the_log_of_lag_and_one():
    main = report_figure(cases.trained_gru()).axes[0]
    places = main.transData.transform([(lag, 0) for lag in (0, 1, 3, 7, 15, 31)])[:, 0]
    assert np.diff(places) == pytest.approx(np.full(5, np.diff(places)[0]))


@pytest.mark.parametrize(
    ("first", "last", "most", "ticks"),
    [
        (0, 0, 12, [0]),
        (0, 1, 12, [0, 1]),
        (0, 20, 12, [0, 1, 2, 4, 8, 16]),
        (0, 32, 12, [0, 1, 2, 4, 8, 16, 32]),
        (0, 128, 12, [0, 1, 2, 4, 8, 16, 32, 64, 128]),
        (0, 128, 8, [0, 1, 4, 16, 64, 128]),
        (0, 100, 12, [0, 1, 2, 4, 8, 16, 32, 64, 100]),
        (5, 40, 12, [5, 8, 16, 32]),
        (1, 8, 12, [1, 2, 4, 8]),
        (0, 10**6, 8, [0, 1, 16, 256, 4096, 65536, 10**6]),
    ],
)
def test_lag_ticks(first, last, most, ticks):
    assert lag_ticks(first, last, most) == ticks


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
@pytest.mark.parametrize("last", [1, 8, 128, 4096, 10**6])
def test_tick_labels_do_not_overlap(last, narrow):
    lags = sorted({*range(min(last, 8) + 1), last})
    figure = report_figure(cases.make_report(lags=lags), narrow=narrow)
    renderer = drawn(figure)
    boxes = [label.get_window_extent(renderer) for label in figure.axes[0].get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
@pytest.mark.parametrize("case", cases.CASES.values(), ids=cases.CASES)
def test_the_legend_is_above_the_data_and_within_the_figure(case, narrow):
    figure = report_figure(case(), narrow=narrow, title=True)
    with own_style():
        renderer = drawn(figure)
        box = figure.legends[0].get_window_extent(renderer)
        panels = [panel.get_tightbbox(renderer) for panel in figure.axes]
    assert box.y0 >= max(panel.y1 for panel in panels)
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1
    assert not any(a.overlaps(b) for a, b in pairwise(panels))


def test_the_lower_panel_shows_where_the_headline_is_decided():
    report = cases.trained_gru()
    _, zoom = report_figure(report).axes
    assert zoom.get_ylim()[1] == pytest.approx(2.5 * (0.023 + 2 * 0.001))
    assert [float(each.get_xdata()[0]) for each in zoom.lines if each.get_linestyle() == "--"] == [4.0]
    assert zoom.get_title(loc="right") == "dashed: memory horizon, 4 steps"


@pytest.mark.parametrize("case", [cases.no_control, cases.one_lag], ids=["no control", "one lag"])
def test_there_is_no_lower_panel_without_a_tested_lag(case):
    assert len(report_figure(case()).axes) == 1


def test_title_is_the_headline_whole():
    title = report_figure(cases.trained_gru(), title=True).legends[0].get_title().get_text()
    assert " ".join(title.split()) == (
        "This GRU remembers about 4 tokens: up to 4 steps back its state holds more of a token than the "
        "newer tokens can account for."
    )


def test_coinciding_curves_are_both_seen():
    main = report_figure(cases.delay_line()).axes[0]
    assert line(main, plot.RAW).get_linewidth() >= 2 * line(main, plot.OWN).get_linewidth()


def test_curves_are_told_apart_in_grey():
    def lightness(colour):
        return float(np.dot(matplotlib.colors.to_rgb(colour), (0.2126, 0.7152, 0.0722)))

    main = report_figure(cases.trained_gru()).axes[0]
    looks = [line(main, colour) for colour in (plot.RAW, plot.OWN, plot.MEMORYLESS, plot.WINDOW)]
    seen = {(each.get_marker(), each.get_linestyle(), each.get_linewidth()) for each in looks}
    assert len(seen) == 4
    assert abs(lightness(plot.RAW) - lightness(plot.OWN)) > 0.05


def test_comparison_shows_own_retention_filled_up_to_the_horizon():
    comparison = cases.three_units()
    figure = comparison_figure(comparison)
    assert len(figure.axes) == 4
    assert [panel.get_ylabel() for panel in figure.axes] == [
        "own retention\n(output state)",
        "near zero",
        "own retention\n(full state)",
        "near zero",
    ]
    main = figure.axes[0]
    for index, (name, horizon) in enumerate((("RNN", 8), ("GRU", 4), ("LSTM", 12))):
        colour = plot.NETWORKS[index]
        report = comparison.reports[name]["output"][0]
        lines = [each for each in main.lines if each.get_color() == colour]
        thin, thick, filled, hollow = lines
        assert thin.get_ydata().tolist() == report.retention.tolist()
        assert thick.get_ydata().tolist() == report.own_retention.tolist()
        assert thin.get_linewidth() < thick.get_linewidth()
        assert filled.get_xdata().tolist() == [lag for lag in report.lags.tolist() if lag <= horizon]
        assert hollow.get_xdata().tolist() == [lag for lag in report.lags.tolist() if lag > horizon]


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "narrow"])
def test_many_networks_with_any_name_keep_to_their_legend(narrow):
    names = ["_hidden", "$x_1$", "漢字", "<b>", *(f"a rather long name of network {i}" for i in range(6))]
    comparison = cases.three_units()
    reports = {name: {"output": [cases.trained_gru()]} for name in names}
    figure = comparison_figure(type(comparison)(reports, None, {}, []), narrow=narrow)
    with own_style():
        right = figure.legends[0].get_window_extent(drawn(figure)).x1
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[:5] == ["_hidden", "$x_1$", "漢字", "<b>", "a rather long name of..."]
    assert right <= figure.bbox.x1
    looks = {(*plot.look(i),) for i in range(49)}
    assert len(looks) == 49


def test_every_seed_has_its_curve():
    comparison = cases.three_units(seeds=3)
    lines = [
        each for each in comparison_figure(comparison).axes[0].lines if each.get_color() == plot.NETWORKS[0]
    ]
    assert len(lines) == 3 * 4


def test_png_is_a_picture_and_svg_a_part_of_a_page():
    figure = report_figure(cases.trained_gru())
    assert png(figure).startswith(b"\x89PNG")
    text = svg(figure)
    root = ET.fromstring(text)
    assert root.tag == "svg"
    assert "http" not in text
    assert "var(--c-0072b2, #0072b2)" in text
    known = {element.get("id") for element in root.iter() if element.get("id")}
    used = {element.get("href")[1:] for element in root.iter() if element.get("href")}
    clips = {element.get("clip-path")[5:-1] for element in root.iter() if element.get("clip-path")}
    assert used
    assert clips
    assert used | clips <= known


def test_drawing_is_the_same_every_time():
    assert svg(report_figure(cases.trained_gru())) == svg(report_figure(cases.trained_gru()))
    assert png(report_figure(cases.trained_gru())) == png(report_figure(cases.trained_gru()))


def test_the_users_settings_neither_change_figures_nor_are_changed():
    plain = png(report_figure(cases.trained_gru()))
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "black", "text.usetex": True}):
        before = dict(matplotlib.rcParams)
        assert png(report_figure(cases.trained_gru())) == plain
        assert dict(matplotlib.rcParams) == before


def test_matplotlib_is_imported_only_to_draw_and_pyplot_never():
    code = (
        "import sys, rnnmem, rnnmem.writers, rnnmem.page, rnnmem.text_report, rnnmem.plot\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import report_cases\n"
        "rnnmem.plot.report_svg(report_cases.trained_gru())\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
