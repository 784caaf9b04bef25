"""The report's HTML: what a phone needs to show it, and sentences that read well."""

import re

import numpy as np
import pytest
import xarray

from analogsim import report
from analogsim.chips.evaluation import LIFETIME
from analogsim.training.recipes.lifetime import points, verdict


def test_a_cell_knows_its_column_so_that_a_row_can_be_a_card():
    text = report.table(["name", "a < b"], [["x", "1"], ["y", "2"]], "caption")
    assert re.findall(r'<td[^>]*data-label="a &lt; b"[^>]*>(\d)</td>', text) == ["1", "2"]
    assert '<td class="title" data-label="name">x</td>' in text
    assert text.count("<th") == 3  # one thead, two header cells, which need no label


def test_no_line_begins_with_a_per_cent_sign():
    assert report.paragraph("97 % < all") == "<p>97\N{NO-BREAK SPACE}% &lt; all</p>"


def test_long_lines_of_fixed_text_go_on_below_with_their_indentation():
    text = report.preformatted("store\n    g_max = 25 <µS>\n\nend")
    assert re.findall(r'<span style="--in:(\d+)">([^\n]*?)</span>', text) == [
        ("0", "store"), ("4", "g_max = 25 &lt;µS&gt;"), ("0", ""), ("0", "end"),
    ]  # fmt: skip


def test_a_figure_is_drawn_for_the_page_and_for_a_phone():
    sizes = []

    def draw(ax):
        sizes.append(tuple(ax.figure.get_size_inches()))
        ax.plot([0, 1])
        return ax

    text = report.figure(draw, 'the "alt"', "caption", size=(6, 2), phone=(2, 3))
    assert sizes == [(6, 2), (2, 3)]
    assert len(set(re.findall(r"data:image/png;base64,[^\"]+", text))) == 2
    assert re.search(r'<source media="\(max-width: 45rem\)" srcset="data:', text)
    assert 'alt="the &#34;alt&#34;"' in text


@pytest.mark.parametrize(
    ("difference", "words"), [(-0.614, "0.61 points below"), (0.2, "0.20 points above"), (0.0, "0.00 points below")]
)
def test_differences_are_said_in_words(difference, words):
    assert points(difference) == words


def test_the_verdict_names_the_digital_accuracy_of_each_network():
    year = LIFETIME.index("1 year")
    score = np.zeros((2, 2, 2, 3, len(LIFETIME)))
    for network, (without, with_) in enumerate([(0.90, 0.95), (0.96, 0.98)]):
        score[:, network, 0, :, year], score[:, network, 1, :, year] = without, with_
    data = xarray.Dataset(
        {
            "score": (("seed", "network", "compensation", "chip", "time"), score),
            "digital": (("seed", "network"), np.array([[0.97, 0.99], [0.97, 0.99]])),
        },
        coords={
            "network": ["plain", "hardware-aware"],
            "compensation": ["none", "global"],
            "time_label": ("time", list(LIFETIME)),
        },
    )
    assert verdict(data, fast=False, examples="test digits") == (
        "A year after programming, the hardware-aware network on drift-compensated chips classifies 98.00 % of the "
        "test digits correctly, 1.00 points below its digital 99.00 %; without compensation, 3.00 points below. The "
        "plain network classifies 95.00 % correctly, 2.00 points below its digital 97.00 %; without compensation, "
        "7.00 points below. All values are means over 6 chips."
    )
    by_column = verdict(data.assign_coords(compensation=["none", "column"]), fast=False, examples="test digits")
    assert "classifies 96.00 % of the test digits correctly, 3.00 points below its digital 99.00 %. The" in by_column
