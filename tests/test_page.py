import re
from html.parser import HTMLParser

import pytest
import report_cases as cases
import torch

import rnnmem
from rnnmem import words
from rnnmem.indicator_words import indicator_rows
from rnnmem.page import comparison_page, report_fragment, report_page
from rnnmem.track_page import track_page

VOID = {"meta", "br", "link", "img", "hr"}
COLOURS = r"--c-([0-9a-f]{6})"


class Reader(HTMLParser):
    """Reads a page as a browser would, and refuses what a browser would have to guess.

    Attributes:
        tables: of each table its rows, of each row its cells.
        text: everything to be read, by the tag it stands in.
        tags: (tag, attributes) in order.
    """

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.open, self.tables, self.text, self.tags = [], [], [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in VOID:
            return
        self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text.append((self.open[-1] if self.open else "", data))
        if self.tables and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data.replace("\xa0", " ")

    def words(self):
        return " ".join(" ".join(data for _, data in self.text).split())

    def table(self, first, second=""):
        """The table whose head begins with these cells."""
        return next(t for t in self.tables if t[0][0] == first and (not second or t[0][1] == second))


PAGES = {name: lambda case=case: report_page(case()) for name, case in cases.CASES.items()}
PAGES["comparison"] = lambda: comparison_page([("Trained", "", cases.three_units())])
PAGES["two comparisons"] = lambda: comparison_page(
    [("Trained", "for a minute", cases.three_units()), ("Untrained", "", cases.three_units(trained=False))]
)
PAGES["track"] = lambda: track_page(tracked())


def tracked():
    """A tracker that has seen a network before and after it changed."""
    gru, sample = torch.nn.GRU(3, 6), torch.randn(400, 16, 3, generator=torch.Generator().manual_seed(0))
    measures = ("kept", "forgotten", "learnable")
    tracker = rnnmem.track(gru, sample, every=1, lags=3, washout=10, measures=measures)
    with torch.no_grad():
        gru.weight_hh_l0 *= 2
    tracker.step()
    return tracker


@pytest.fixture(scope="module")
def page():
    return report_page(cases.trained_gru(warnings=["mind the gap", "and the step"]))


@pytest.fixture(scope="module")
def read(page):
    return Reader(page)


@pytest.fixture(scope="module", params=PAGES)
def any_page(request):
    return PAGES[request.param]()


def test_pages_parse_stand_alone_and_share_no_id(any_page):
    page = any_page
    reader = Reader(page)
    assert page.startswith("<!DOCTYPE html>")
    assert [tag for tag, _ in reader.tags].count("html") == 1
    assert [tag for tag, _ in reader.tags].count("h1") == 1
    for tag, attributes in reader.tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "base", "image"}
        assert attributes.get("href", "#").startswith("#")
        assert not {
            name for name in attributes if name.startswith("on") or name in ("src", "action", "srcset")
        }
    assert "http" not in page
    assert "@import" not in page
    assert "@font-face" not in page
    assert set(re.findall(r"url\((.)", page)) == {"#"}
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', page)) <= {(i, "") for i in ids} | {
        ("", i) for i in ids
    }


def test_every_colour_of_a_figure_has_a_dark_one(any_page):
    page = any_page
    style = page[page.index("prefers-color-scheme: dark) {\n") :]
    assert set(re.findall(rf"var\({COLOURS}", page)) <= set(re.findall(rf"{COLOURS}:", style)) | {
        "ffffff",
        "000000",
    }


def test_page_leads_with_the_answer(read):
    assert next(data for tag, data in read.text if tag == "h1") == (
        "This GRU remembers about 4 tokens: up to 4 steps back its state holds more of a token than the "
        "newer tokens can account for."
    )
    order = ["Memory report: GRU, output state", "4 steps back: own retention 0.0200 ± 0.0009"]
    order += [
        "Warnings",
        "Indicators",
        "Lag by lag",
        "By frequency of the token",
        "By position in the stream",
    ]
    order += [
        "What was measured",
        "reconstruction (docs/definitions.md)",
        f"Made by rnnmem {rnnmem.__version__}.",
    ]
    text = read.words().replace("\xa0", " ")
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_every_warning_is_on_the_page(read):
    items = [data for tag, data in read.text if tag == "li"]
    assert "mind the gap" in items
    assert "and the step" in items


def test_every_indicator_has_its_card(page):
    for row in indicator_rows(cases.trained_gru()):
        card = re.search(rf'<div class="card"><h3>{row.name.capitalize()}</h3>.*?</div>', page)[0]
        text = Reader(card).words().replace("\xa0", " ")
        assert (row.own or row.raw) in text
        for part in (row.unit.removesuffix("s"), row.note, row.means, row.means_not, row.own and row.raw):
            assert part in text


def test_lag_table_has_every_lag_and_marks_what_is_beyond_inference(page, read):
    table = read.table("lag", "retention")
    assert table[0] == [
        "lag",
        "retention",
        "own retention",
        "inference control",
        "current token alone",
        "last few tokens",
        "bits",
        "own bits",
        "hull coverage",
        "distance",
    ]
    assert [row[0] for row in table[1:]] == [str(lag) for lag in cases.WORD_LAGS]
    assert table[4] == [
        "4",
        "0.0700 ± 0.0009",
        "0.0200 ± 0.0009",
        "0.0110 ± 0.0010",
        "0.015",
        "1.000",
        "0.84",
        "0.23",
        "0.265",
        "0.964",
    ]
    assert re.findall(r'<td class="beyond">(0\.\d+)', page) == ["0.2640", "0.0870", "0.0200"]


def test_breakdowns_name_bands_and_positions(read):
    head = ["retention at lag", "0", "1", "2", "4", "8", "16", "32", "rows"]
    bands, positions = (table for table in read.tables if table[0] == head)
    assert [row[0] for row in bands[1:]] == list(words.BANDS)
    assert bands[1] == [
        "most frequent fifth",
        "0.600",
        "0.396",
        "0.192",
        "0.084",
        "0.060",
        "0.048",
        "0.036",
        "20,000",
    ]
    assert [row[0] for row in positions[1:]] == ["6,144 to 8,191", "8,192 to 10,239", "10,240 to 12,287"]
    assert positions[3][1:3] == ["0.505", "0.335"]


def test_inputs_that_are_no_tokens_have_no_bands_and_are_explained():
    text = Reader(report_page(cases.delay_line())).words()
    assert "By frequency" not in text
    assert "A token is one step of the input here." in text


def test_what_was_measured(read):
    facts = {row[0]: row[1] for row in read.tables[-1]}
    assert facts["parameters"] == "129,504"
    assert facts["state carried"] == "152 floats, 608 bytes"
    assert facts["operations a step"] == "259,008 of floating point"
    assert facts["blocks for errors"] == "32 blocks of 192 steps"


def test_figures_are_drawn_for_wide_and_narrow_screens_and_described(page, read):
    drawn = [attributes for tag, attributes in read.tags if tag == "svg"]
    assert [each["class"] for each in drawn] == ["wide", "narrow"]
    assert all(each["role"] == "img" for each in drawn)
    assert all(
        each["aria-label"].startswith("Retention by lag. This GRU remembers about 4") for each in drawn
    )
    assert all("viewbox" in each for each in drawn)
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "@media print" in page


def test_whatever_a_user_names_is_only_text():
    for page in (report_page(cases.hostile()), report_fragment(cases.hostile())):
        assert "<script" not in page
        assert "alert(&quot;1&quot;)" in page
        text = Reader(page).words()
        assert text.count(cases.HOSTILE) >= 3
    comparison = cases.three_units()
    reports = {cases.HOSTILE: comparison.reports["GRU"]}
    hostile = type(comparison)(reports, None, {cases.HOSTILE: True}, [cases.HOSTILE])
    page = comparison_page([(cases.HOSTILE, cases.HOSTILE, hostile), (cases.HOSTILE, "", hostile)])
    assert "<script" not in page
    assert Reader(page).words().count(cases.HOSTILE) >= 10


def test_a_fragment_is_a_part_of_a_page_with_styles_that_stay_inside():
    report = cases.trained_gru(warnings=["mind the gap"])
    fragment = report._repr_html_()
    assert fragment == report_fragment(report)
    reader = Reader(fragment)
    assert not {"html", "head", "body", "title"} & {tag for tag, _ in reader.tags}
    assert "mind the gap" in reader.words()
    style = re.search(r"<style>(.*?)</style>", fragment, re.DOTALL)[1]
    selectors = re.findall(r"(?:^|})\s*([^{}@]+){", re.sub(r"@media[^{]*{", "}", style))
    assert len(selectors) > 30
    for selector in selectors:
        assert all(part.strip().startswith(".rnnmem") for part in selector.split(","))


def test_comparison_page_shows_both_parts_and_both_states():
    trained, untrained = cases.three_units(), cases.three_units(trained=False)
    page = comparison_page([("After training", "five minutes", trained), ("As initialised", "", untrained)])
    reader = Reader(page)
    text = reader.words().replace("\xa0", " ")
    assert [data for tag, data in reader.text if tag == "h1"] == ["What recurrent networks remember"]
    order = [
        "After training",
        "five minutes",
        "Memory horizon in the output state, in steps: RNN 8, GRU 4, LSTM 12.",
    ]
    order += [
        "What is kept in the output state",
        "What is kept in the full state",
        "What each network is and costs",
    ]
    order += ["As initialised", "What the words mean"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert text.count("matched by number of parameters (to 5 %). One seed: not ranked.") == 2
    assert sum(tag == "svg" for tag, _ in reader.tags) == 2 * 2 * 2
    costs = [table for table in reader.tables if table[0][1] == "unit"]
    assert costs[0][3] == ["LSTM", "LSTM", "trained", "131,584", "256", "1,024", "263,168"]
    assert costs[1][3][2] == "untrained"
    kept = [table for table in reader.tables if table[0][1] == "memory horizon, steps"]
    assert kept[1][3] == ["LSTM", "12", "0.989 ± 0.003", "at least 1.951 ± 0.007", "0.95", "0", "256"]
    curves = reader.table("own retention at lag")
    assert curves[2] == ["GRU", "0.500", "0.264", "0.087", "0.020", "0.005", "0.003", "0.002"]


def test_comparison_page_of_one_part_has_its_title():
    page = comparison_page([("Two & three", "", cases.three_units(match=None))])
    assert "<title>Two &amp; three</title>" in page
    assert "<h1>Two &amp; three</h1>" in page
    assert "No match declared: not ranked." in page
