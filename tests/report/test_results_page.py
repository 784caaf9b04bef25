"""Pages about files of results: numbers, words, escaping, offline, and mistakes that are one sentence."""

import html
import html.parser
import re
import sys

import markupsafe
import numpy as np
import pytest
import xarray

from analogsim import InputError, report
from analogsim.cli import app as cli
from analogsim.report import wording as results_words
from analogsim.report.figures import pictures
from analogsim.report.tables import points_table
from tests.support.sweep_results import BITS, NOISE, TIMES, sweep_results

BAD = '<script>pwned=1</script>"&'


class Page(html.parser.HTMLParser):
    """Tables as rows of texts, tags with their attributes, and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.words, self.cell = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = ""

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self.cell)
            self.cell = None

    def handle_data(self, data):
        self.words.append(data)
        if self.cell is not None:
            self.cell += data

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A file of a sweep with a nasty name in it, and its page."""
    data = sweep_results({NOISE: (0.0, 0.01, 1.0), "hardware": ("pcm", BAD), "time": TIMES})
    data.attrs |= {"title": BAD, "evaluate": BAD, "hardware": BAD, "note": BAD, "sources": BAD, "inputs": BAD}
    data[NOISE].attrs["long_name"] = BAD
    data.accuracy.attrs["long_name"] = BAD
    data["energy_j"] = ("hardware", [1e-9, 2e-9], {"units": "J", "long_name": "energy of an inference"})
    path = tmp_path_factory.mktemp("results") / "results.nc"
    data.to_netcdf(path, engine="h5netcdf")
    return data, path, report.write(path).read_text(encoding="utf-8")


def test_the_page_stands_beside_the_file_and_needs_nothing_else(saved):
    _, path, text = saved
    assert path.with_suffix(".html").is_file()
    page = Page(text)
    assert {"script", "link", "iframe", "object", "embed"}.isdisjoint(tag for tag, _ in page.tags)
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "href", "data", "action"):
            assert attributes.get(name, "data:").startswith("data:"), tag
    assert "url(" not in text
    assert "@import" not in text


def test_all_text_is_inert(saved):
    _, _, text = saved
    assert "<script" not in text
    assert (
        text.count(str(markupsafe.escape(BAD))) > 8
    )  # title, lead, axis, heading, hardware, papers, inputs, another attribute...
    assert Page(text).words[2].strip() == BAD or BAD in Page(text).words


def test_numbers_of_the_table_are_those_of_the_file(saved):
    data, _, text = saved
    table = next(t for t in Page(text).tables if "1 s" in t[0])
    assert table[0] == ["read noise", "hardware", "energy of an inference", "1 s", "1 day", "1 year", "10 years"]
    rows = iter(table[1:])
    for i, noise in enumerate(("0", "0.01", "1")):
        for j, name in enumerate(("pcm", BAD)):
            scores = 100 * data.accuracy.values[i, j]
            cells = [f"{m:.2f} ± {s:.2f}" for m, s in zip(scores.mean(-1), scores.std(-1), strict=True)]
            assert next(rows) == [noise, name, f"{j + 1} nJ", *cells]
    assert next(rows, None) is None


def test_quantiles_stand_in_a_table_without_times():
    data = sweep_results({BITS: (4, 8)})
    table = Page(points_table(data, "accuracy")).tables[0]
    assert table[0] == ["ADC bits", "mean", "5th percentile", "95th percentile"]
    for row, scores in zip(table[1:], 100 * data.accuracy.values, strict=True):
        low, high = np.quantile(scores, [0.05, 0.95])
        assert row[1:] == [f"{scores.mean():.2f} ± {scores.std():.2f}", f"{low:.2f}", f"{high:.2f}"]


def test_a_long_table_says_how_many_points_there_are():
    text = points_table(sweep_results({"a": range(21), "b": range(11)}, chips=2), "accuracy")
    assert len(Page(text).tables[0]) == 1 + 200
    assert "first 200 of 231 points; the results file holds all" in Page(text).text


def test_the_verdict_names_best_and_worst_the_exact_model_and_ageing():
    data = sweep_results({BITS: (8, 6), "time": TIMES}, chips=50)
    scores = 100 * data.accuracy.values
    year, ends = scores[:, 2], scores.mean((0, 2))
    assert results_words.verdict(data, "accuracy") == [
        "1 year after programming: accuracy on test digits, mean and standard deviation over 50 chips at each of 2 "
        "points.",
        f"Best: {year[0].mean():.2f} ± {year[0].std():.2f} % (ADC bits = 8).",
        f"Worst: {year[1].mean():.2f} ± {year[1].std():.2f} % (ADC bits = 6).",
        f"The digital model has 97.00 %; the best point is {97 - year[0].mean():.2f} points below it.",
        f"From 1 s to 10 years after programming the mean over all points changes from {ends[0]:.2f} % to "
        f"{ends[-1]:.2f} %; most at ADC bits = {8 if np.ptp(scores[0].mean(-1)) > np.ptp(scores[1].mean(-1)) else 6}, "
        f"down by {max(np.ptp(s.mean(-1)[[0, -1]]) for s in scores):.2f} points.",
    ]


def test_points_that_chips_cannot_tell_from_the_best_are_counted():
    data = sweep_results({BITS: (4, 6, 8)}, chips=20)
    data.accuracy.values[1] = data.accuracy.values[0, ::-1]
    assert "; 1 other point within two standard errors of it." in results_words.verdict(data, "accuracy")[1]


def test_of_a_loss_the_lowest_is_best_and_of_an_unknown_number_only_the_highest_is_said():
    loss = results_words.verdict(sweep_results({BITS: (4, 8)}, metric="loss"), "loss")
    assert "(ADC bits = 8)" in loss[1]
    assert loss[1].startswith("Best")
    data = sweep_results({BITS: (4, 8)}, metric="score")
    data["score"] = (data.score - 1).assign_attrs(data.score.attrs)  # no share: it may be anything
    assert [line[:7] for line in results_words.verdict(data, "score")[1:3]] == ["Highest", "Lowest:"]


def test_an_unfinished_sweep_says_how_much_there_is(tmp_path):
    data = sweep_results({NOISE: (0.0, 0.01, 1.0), BITS: (4, 8)}, chips=25, done=0.42)
    page = Page(report.write(data, tmp_path / "r.html").read_text())
    assert "Incomplete: 42 % computed." in page.text
    table = page.tables[1]
    there = np.isfinite(data.accuracy.values).sum(-1).ravel()
    assert [row[-1] for row in table[1:]] == list(map(str, there))
    assert [row[2] for row in table[1:]].count("–") == np.sum(there == 0)


def test_nothing_computed_yet_is_a_page_too(tmp_path):
    page = Page(report.write(sweep_results({BITS: (4, 8)}, done=0.0), tmp_path / "r.html").read_text())
    assert "Incomplete: 0 % computed." in page.text


def test_figures_are_over_time_every_numeric_axis_and_two_of_them_and_few():
    data = sweep_results({NOISE: range(9), BITS: range(3, 8), "drift_compensation": ("none", "global"), "time": TIMES})
    found = dict(pictures(data, "accuracy"))
    start = "Accuracy on test digits versus "
    assert list(found) == [start + s for s in ("time", "read noise", "ADC bits", "read noise and ADC bits")]
    assert max(map(len, found.values())) <= 4
    first = found[start + "time"][0]
    assert "6 of the 9 values of read noise" in first.caption
    names = {d: data.sizes[d] for d in ("hardware", "time") if d in data.sizes}
    assert names == {"time": 4}
    only = sweep_results({"hardware": ("a", "b")})
    assert [heading for heading, _ in pictures(only, "accuracy")] == [start + "hardware"]


def test_every_metric_has_its_figure_and_table(tmp_path):
    data = sweep_results({BITS: (4, 8)})
    data["loss"] = (data.accuracy.dims, 1 - data.accuracy.values, {"long_name": "cross-entropy", "units": ""})
    page = Page(report.write(data, tmp_path / "r.html").read_text())
    assert [tag for tag, _ in page.tags].count("img") == 2
    for heading in ("Numbers: accuracy on test digits", "Numbers: cross-entropy", "Cross-entropy versus ADC bits"):
        assert heading in page.text


def test_results_of_evaluate_and_of_the_quickstart(tmp_path):
    dims = ("seed", "network", "compensation", "chip", "time")
    scores = np.linspace(0.7, 0.9, 2 * 2 * 2 * 5 * 3).reshape(2, 2, 2, 5, 3)
    data = xarray.Dataset(
        {"score": (dims, scores), "digital": (("seed", "network"), [[0.9, 0.8], [0.92, 0.82]])},
        {"network": ["plain", "aware"], "compensation": ["none", "global"], "time": list(TIMES[:3])},
        {"key": 0, "settings": "Settings(epochs=4)", "analogsim": "0.1.0"},
    )
    page = Page(report.write(data, tmp_path / "quickstart.html").read_text())
    table = page.tables[1]
    assert table[0] == ["network", "compensation", "digital model", "1 s", "1 day", "1 year"]
    mean = 100 * scores[:, 1, 0, :, 1]
    assert table[3] == ["aware", "none", "81.00", *table[3][3:]]
    assert table[3][4] == f"{mean.mean():.2f} ± {mean.std():.2f}"
    assert "10 chips" in page.text
    assert ["settings", "Settings(epochs=4)"] in page.tables[-1]
    one = data.isel(seed=0, network=0).drop_vars("network")
    assert Page(report.write(one, tmp_path / "evaluate.html").read_text()).tables[1][0][:2] == ["compensation", "1 s"]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.assign_attrs(complete="perhaps", title=3, hardware=np.arange(3)),
        lambda d: d.isel(chip=slice(0, 0)),
        lambda d: d.isel({BITS: 0}, drop=True),
        lambda d: d.drop_vars(BITS),
        lambda d: d.assign_coords({BITS: [4.0, np.nan]}),
        lambda d: d.assign(accuracy=d.accuracy * np.inf),
        lambda d: d.assign(accuracy=(100 * d.accuracy).astype(int)),
    ],
)
def test_odd_datasets_are_pages_too(change, tmp_path):
    page = Page(report.write(change(sweep_results({BITS: (4, 8)}, chips=3)), tmp_path / "r.html").read_text())
    assert len(page.tables) >= 2


def test_energies_have_their_own_page(tmp_path):
    low = np.array([[1e-12, 1e-12], [1e-9, 1e-10]])
    parts = {f"energy_{k}_j": (("system", "batch"), low * f) for k, f in (("low", 1), ("typical", 3), ("high", 10))}
    data = xarray.Dataset(parts, {"system": ["pcm", BAD], "batch": [1, 256]}, {"macs": 640, "excludes": "cooling"})
    data.to_netcdf(tmp_path / "energy.nc", engine="h5netcdf")
    text = report.write(tmp_path / "energy.nc").read_text()
    page = Page(text)
    assert "<script" not in text
    assert page.tables[0][1] == ["pcm", "1", "1 pJ", "3 pJ", "10 pJ", "–"]
    assert "typically 1,000 times as much." in page.text
    assert "Excluded cooling" in page.text


def test_the_page_shows_how_to_load_the_file_and_that_works(saved, monkeypatch):
    data, path, text = saved
    code = [html.unescape(s) for s in re.findall(r"<span[^>]*>(.*?)</span>", text[text.index("Load the numbers") :])]
    monkeypatch.chdir(path.parent)
    names = {}
    exec("\n".join(code), names)
    assert names["ds"].accuracy.shape == data.accuracy.shape


def test_the_page_is_the_same_every_time(saved, tmp_path):
    _, path, text = saved
    assert report.write(path, tmp_path / "again.html").read_text(encoding="utf-8") == text


@pytest.fixture
def files(tmp_path):
    """Files that are no results."""
    (tmp_path / "text.nc").write_text("no netCDF")
    (tmp_path / "folder.nc").mkdir()
    xarray.Dataset({"rain": ("day", [1.0])}).to_netcdf(tmp_path / "foreign.nc", engine="h5netcdf")
    xarray.Dataset().to_netcdf(tmp_path / "empty.nc", engine="h5netcdf")
    whole = tmp_path / "whole.nc"
    sweep_results({BITS: (4, 8)}).to_netcdf(whole, engine="h5netcdf")
    (tmp_path / "cut.nc").write_bytes(whole.read_bytes()[:3000])
    return tmp_path


@pytest.mark.parametrize(
    ("name", "out", "message"),
    [
        ("none.nc", None, "none.nc: does not exist"),
        ("text.nc", None, "text.nc: cannot be read as netCDF"),
        ("cut.nc", None, "cut.nc: cannot be read as netCDF"),
        ("folder.nc", None, "folder.nc: is a folder; give the path of a file"),
        (
            "foreign.nc",
            None,
            "foreign.nc: is not a result of analogsim.sweep, analogsim.evaluate or analogsim.energy: it",
        ),
        ("empty.nc", None, "it holds nothing, and no numbers over 'chip'"),
        ("whole.nc", "whole.nc", "whole.nc: must end in .html"),
        ("whole.nc", "folder.nc", "folder.nc: is a folder; give the path of a page"),
        ("whole.nc", "/proc/nowhere/r.html", "--out /proc/nowhere: cannot write there"),
    ],
)
def test_mistakes_are_one_sentence(files, name, out, message):
    before = (files / "whole.nc").read_bytes()
    with pytest.raises(InputError) as error:
        report.write(files / name, None if out is None else files / out)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert (files / "whole.nc").read_bytes() == before


def test_a_dataset_needs_to_be_told_where_its_page_goes():
    with pytest.raises(InputError, match="out = None: must be the path of the page"):
        report.write(sweep_results())
    with pytest.raises(InputError, match="results = 3: must be a dataset or the path"):
        report.write(3)
    with pytest.raises(InputError, match="out = 3: must be the path"):
        report.write(sweep_results(), 3)


def test_the_command_writes_the_page_and_says_mistakes_without_a_traceback(files, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["analogsim", "report", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    (files / "page.html").write_text("an older page")
    code, out, _ = run(files / "whole.nc", "--out", files / "page.html")
    assert (code, out) == (0, f"Wrote {files / 'page.html'}\n")
    assert "A sweep" in (files / "page.html").read_text()
    code, _, said = run(files / "foreign.nc")
    assert (code, said.count("\n"), said[:11]) == (2, 1, "analogsim: ")
    assert "Example:  analogsim report quickstart/results.nc" in run("--help")[1]
