"""Whatever is computed beyond the last measured age says so: datasets, tables, pages, figures, chips."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray

from analogsim import (
    InputError,
    chip_statistics,
    cite,
    evaluate,
    load_hardware,
    plot,
    preset,
    program,
    report,
    sweep,
    to_toml,
)
from analogsim.base import seconds
from analogsim.base.extrapolation import EXTRAPOLATED, MARK, extrapolates, in_words
from analogsim.base.tables import as_text
from analogsim.cli import devices as device_report
from analogsim.cli.sweep import table
from analogsim.devices import SONOS, Crossbar, MeasuredCell, ReRAM
from analogsim.linen import AnalogDense
from analogsim.plot import cells as device_figure
from analogsim.plot import dataset as results
from analogsim.storage import storage
from analogsim.sweeps import load_results
from analogsim.training import Sensitivity
from analogsim.training.recipes.lifetime import lifetime_table, table_rows, verdict

LATE = preset("reram", **{"store.cell.extrapolate": True})
TIMES = ("1 s", "2 days", "1 year")
X = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
LAYER = AnalogDense(3, hardware=LATE)
VARIABLES = LAYER.init(jax.random.key(0), X)


@functools.cache
def evaluated(extrapolate: bool):
    layer = LAYER if extrapolate else AnalogDense(3, hardware=preset("pcm"))
    return evaluate(layer, VARIABLES, X, np.argmax(X[:, :3], 1), key=jax.random.key(1), chips=2, times=TIMES)


def deviation_of(hardware, key, time_s):
    """One number of one chip."""
    state = hardware.store.program(key, jnp.full((4, 3), 0.5))
    return jnp.std(hardware.store.read(state, time_s).mean)


@functools.cache
def swept():
    """Of two stores, one of which goes on beyond its data."""
    over = {"hardware": {"pcm": preset("pcm"), "reram": LATE}, "time": TIMES}
    return sweep(deviation_of, over=over, chips=2, key=jax.random.key(2), progress=False)


def test_an_evaluation_says_at_which_times():
    found = evaluated(True)
    assert found[EXTRAPOLATED].dims == ("time",)
    assert found[EXTRAPOLATED].values.tolist() == [False, False, True]  # measured until 2 days, which still count
    assert found.attrs[EXTRAPOLATED].startswith("'reram' after 2 days: measured no later")
    assert found.to_dataframe()[EXTRAPOLATED].any()  # goes into a CSV file
    plain = evaluated(False)
    assert EXTRAPOLATED not in plain.coords
    assert EXTRAPOLATED not in plain.attrs


def test_a_sweep_says_for_which_hardware_too(tmp_path):
    found = swept()
    assert found[EXTRAPOLATED].transpose("hardware", "time").values.tolist() == [[False] * 3, [False, False, True]]
    assert "'reram'" in found.attrs[EXTRAPOLATED]
    assert "'pcm'" not in found.attrs[EXTRAPOLATED]
    over = {"store.cell.programming_noise": [0.5, 1.0], "time": TIMES}
    how = dict(over=over, chips=1, key=jax.random.key(2), progress=False, path=tmp_path / "r.nc")
    leaf = sweep(deviation_of, LATE, **how)
    assert leaf[EXTRAPOLATED].dims == ("time",)
    again = sweep(deviation_of, LATE, **how)  # continued from the file
    kept = load_results(tmp_path / "r.nc")
    for one in (again, kept):
        assert one[EXTRAPOLATED].values.tolist() == [False, False, True]
        assert one.attrs[EXTRAPOLATED] == leaf.attrs[EXTRAPOLATED]
    within = sweep(deviation_of, LATE, over={"time": TIMES[:2]}, chips=1, key=jax.random.key(2), progress=False)
    assert EXTRAPOLATED not in within.coords


def test_nothing_is_swept_beyond_the_data_unasked():
    with pytest.raises(InputError, match=r"only from 0 to 172800 .*store\.cell\.extrapolate=True continues"):
        sweep(deviation_of, preset("reram"), over={"time": TIMES}, chips=1, key=jax.random.key(0), progress=False)
    chip = program(AnalogDense(3, hardware=preset("reram")), VARIABLES, jax.random.key(0), X)
    with pytest.raises(InputError, match=r"only from 0 to 172800 .*store\.cell\.extrapolate=True continues"):
        chip.at("1 year")


def test_a_chip_says_how_it_is_read():
    chip = program(LAYER, VARIABLES, jax.random.key(0), X)
    late = chip.at("1 year")
    assert repr(late).endswith("at 1 year, extrapolated)")
    assert repr(late.readings).count("extrapolated") == 1
    assert "extrapolated" not in repr(chip.at("2 days"))
    assert plot.array(late).get_title(loc="left").endswith("1 year (extrapolated) after programming")
    assert "extrapolated" not in plot.array(chip.at("1 day")).get_title(loc="left")


def test_printed_tables_mark_every_number():
    text = as_text(table(swept()))
    marked = [line for line in text.splitlines() if MARK in line]
    assert [line.count(MARK) for line in marked] == [1, 1]  # reram after a year, and what it means
    assert "reram" in marked[0]
    assert marked[1].startswith(f"{MARK} Extrapolated, not measured: 'reram' after 2 days")
    assert MARK not in as_text(table(evaluated(False)))
    one = evaluated(True).sel(compensation="none")
    both = one.expand_dims(compensation=["none"], seed=[0], network=["plain", "hardware-aware"])
    assert [row[-1].endswith(MARK) for row in table_rows(both)] == [True, True]
    assert not any(MARK in cell for row in table_rows(both) for cell in row[:-1])
    assert "extrapolated" in str(lifetime_table(both, False, "digits").caption).lower()
    assert verdict(both, False, "digits").endswith("This age is extrapolated, not measured.")
    assert chip_statistics(swept())[EXTRAPOLATED].values.sum() == 1


def test_pages_say_it_in_words_and_mark_numbers(tmp_path):
    page = report.write(swept(), tmp_path / "page.html").read_text()
    assert f"{MARK} Extrapolated, not measured" in page
    rows = page[page.index("<h2>Numbers") :]
    rows = rows[: rows.index("</section>")] if "</section>" in rows else rows[: rows.index("Hardware")]
    assert rows.count(MARK) == 2  # the caption, and the number of reram after a year
    assert MARK not in report.write(evaluated(False), tmp_path / "plain.html").read_text()


def labels(ax):
    legend = ax.get_legend() or (ax.figure.legends or [None])[0]
    return [text.get_text() for text in legend.get_texts()]


def test_figures_are_paler_beyond_the_last_measured_age():
    data = evaluated(True)
    ax = plot.drift(data)
    measured, beyond = ax.lines[:2]
    mean = 100 * data.score.mean("chip").values[0]
    np.testing.assert_allclose(measured.get_ydata(), mean[:2], rtol=1e-6)
    np.testing.assert_allclose(beyond.get_ydata(), mean[1:], rtol=1e-6)
    assert (measured.get_alpha(), beyond.get_markerfacecolor()) == (None, "white")
    assert beyond.get_alpha() < 1
    assert f"{MARK} extrapolated beyond the last measured age" in labels(ax)
    assert not any("extrapolated" in label for label in labels(plot.drift(evaluated(False))))


def test_points_and_maps_are_marked_too():
    ax = plot.sweep(swept(), x="hardware")
    hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in hollow] == [1]
    assert hollow[0].get_xdata()[0] > 1  # at reram, the second name
    assert results.value_label(swept().isel(time=2), "hardware", 1) == f"reram {MARK}"
    ax = plot.heatmap(swept())
    assert [text.get_text() for text in ax.texts].count(MARK) == 1
    assert "extrapolated" in ax.get_title(loc="left")


def test_storage_marks_what_is_read_beyond_the_data():
    found = storage(stores=[LATE, preset("reram")], time="1 year")
    late, plain = found.rows
    assert (late.extrapolated, plain.extrapolated, plain.bits) == (True, False, None)
    assert late.bits > 0
    assert late.lifetime_extrapolated == (late.lifetime_s > 172800.0)
    assert f"{late.bits:.1f} {MARK}" in str(found)
    assert f"{MARK} extrapolated beyond" in str(found)
    assert found.to_dict()["stores"][0]["extrapolated"] is True


def test_device_figures_are_dashed_beyond_the_data(tmp_path):
    ax = device_figure.draw(SONOS(extrapolate=True), "sonos", jax.random.key(0))
    middle = ax.figure.axes[1]
    solid = [line for line in middle.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 2]
    dashed = [line for line in middle.lines if line.get_linestyle() == "--"]
    assert len(solid) == len(dashed) == 5
    assert all(line.get_xdata()[-1] == 432000.0 for line in solid)
    assert all((line.get_xdata()[0], line.get_xdata()[-1]) == (432000.0, device_figure.TEN_YEARS_S) for line in dashed)
    assert [text.get_text() for text in middle.texts] == ["extrapolated\nafter 5 days"]
    plain = device_figure.draw(ReRAM(), "reram", jax.random.key(0)).figure.axes[1]
    assert "is refused" in plain.texts[0].get_text()


def test_the_data_sheet_says_until_when_there_are_data():
    for cell in (ReRAM(), ReRAM(extrapolate=True)):
        sheet = device_report.datasheet(cell)
        assert device_report.words(sheet.validity) == "2 days"
    page = as_text(device_report.details("reram", ReRAM(extrapolate=True))[0])
    assert f"2 days {MARK}" in page
    assert f"{MARK} extrapolated" in page
    with pytest.raises(InputError, match="device 'pcm' is valid at all times"):
        device_report.extrapolated(device_report.build("pcm"), "pcm")
    with pytest.raises(InputError, match="device 'milo' has no trend over time"):
        device_report.extrapolated(device_report.build("milo"), "milo")
    with pytest.raises(InputError, match="--extrapolate: applies only to the figure of one device"):
        device_report.run(None, False, None, None, True)


@pytest.mark.parametrize("time", ["2 days", "1 year"])
def test_sensitivities_of_late_chips_say_so(time):
    # Tables and figures need no more than what a sensitivity holds, so none is computed.
    values = {"gradient": (("chip", "layer", "parameter"), [[[1.0]]]), "value": (("layer", "parameter"), [[2.0]]),
              "effect": (("chip", "step", "parameter"), [[[0.1], [-0.1]]]), "loss": ("chip", [1.0])}  # fmt: skip
    coords = {"step": ["more", "less"], "parameter": ["adc.noise"], "layer": ["a"],
              "method": ("parameter", ["gradient"]), "unit": ("parameter", [""]),
              "change": (("step", "parameter"), [["+10 %"], ["-10 %"]])}  # fmt: skip
    late = in_words([LATE]) if extrapolates(LATE, seconds(time)) else ""
    attrs = {"time": time, "absent": "", "unknown": "", **({EXTRAPOLATED: late} if late else {})}
    found = Sensitivity(xarray.Dataset(values, coords, attrs))
    assert ("extrapolated, not measured: 'reram'" in str(found)) == (time == "1 year")
    assert (MARK in plot.sensitivity(found).get_xlabel()) == (time == "1 year")


def test_files_and_sweeps_take_the_choice(tmp_path):
    path = tmp_path / "late.toml"
    path.write_text(to_toml(LATE))
    assert load_hardware(path).extrapolated_after_s == 172800.0
    over = {"store.cell.extrapolate": [False, True], "time": ("1 s", "2 days")}
    found = sweep(deviation_of, preset("reram"), over=over, chips=1, key=jax.random.key(2), progress=False).score.values
    np.testing.assert_array_equal(found[0], found[1])  # the same chips until the last measured age
    assert np.ptp(found) > 0


def test_a_citation_says_that_no_paper_stands_behind_it():
    assert "store.cell.equations: assumed: the trend of the last decade continues" in cite(LATE).text
    assert "last decade" not in cite(preset("reram")).text


def test_a_stack_of_measured_chips_can_be_printed():
    rows = [(g, 1e-7 * t, t) for t in (1.0, 100.0) for g in (0.0, 1e-5)]
    cell = MeasuredCell.from_rows(rows, extrapolate=True)
    layer = AnalogDense(3, hardware=preset("reram", **{"store": Crossbar(cell=cell)}))
    chips = program(layer, VARIABLES, jax.random.split(jax.random.key(0), 2), X)
    assert repr(chips.at(1000.0)).endswith("extrapolated)")
    assert "extrapolated" not in repr(chips)
