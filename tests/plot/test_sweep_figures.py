"""Figures of sweeps, maps and arrays: what is drawn is what the dataset holds, and mistakes are one sentence."""

import jax
import numpy as np
import pytest
import xarray

from analogsim import Hardware, InputError, plot, preset, program
from analogsim.devices import PCM, BitSlices, Crossbar, Differential, Faults, Offset
from analogsim.linen import AnalogDense
from analogsim.plot import dataset as results_data
from analogsim.plot import scales as axis_scales
from tests.support import models
from tests.support.sweep_results import BITS, NOISE, TIMES, sweep_results


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}


def legend_texts(ax):
    legend = (ax.figure.legends or [ax.get_legend()])[0]
    return [text.get_text() for text in legend.get_texts()]


def band(collection):
    """Lower and upper edge of a band over its x values."""
    points = collection.get_paths()[0].vertices
    xs = np.unique(points[:, 0])
    edges = [[points[points[:, 0] == x, 1].min(), points[points[:, 0] == x, 1].max()] for x in xs]
    return xs, np.array(edges).T


def test_lines_are_means_and_bands_are_quantiles_over_chips():
    data = sweep_results()
    ax = plot.sweep(data, ax=plot.new_axes())
    drawn = lines(ax)
    assert list(drawn) == ["ADC bits = 4", "ADC bits = 6", "ADC bits = 8", "digital"]
    scores = 100 * data.accuracy.values
    for index, bits in enumerate((4, 6, 8)):
        line = drawn[f"ADC bits = {bits}"]
        np.testing.assert_array_equal(line.get_xdata(), data[NOISE].values)
        np.testing.assert_allclose(line.get_ydata(), scores[:, index].mean(axis=1), rtol=1e-12)
        xs, edges = band(ax.collections[index])
        np.testing.assert_array_equal(xs, data[NOISE].values)
        np.testing.assert_allclose(edges, np.quantile(scores[:, index], [0.05, 0.95], axis=1), rtol=1e-12)
    np.testing.assert_allclose(drawn["digital"].get_ydata(), 97.0)
    assert drawn["digital"].get_linestyle() == ":"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("read noise", "accuracy on test digits (%)")
    assert legend_texts(ax) == [*list(drawn), "middle 90 % of 12 chips"]


def test_zero_among_decades_is_a_broken_logarithmic_axis_whose_ticks_are_the_values():
    ax = plot.sweep(sweep_results())
    assert ax.get_xscale() == "symlog"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "0.01", "0.1", "1"]
    assert [text.get_text() for text in ax.texts] == ["//"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([4, 6, 8], "linear"),
        ([0, 0.1, 0.2, 0.4], "linear"),
        ([-0.2, 0, 0.4], "linear"),
        ([0.01, 1], "log"),
        ([64, 128, 256, 512], "log"),
        ([0, 0.01, 1], "symlog"),
        ([-1, 0, 0.01], "symlog"),
        ([3], "linear"),
        ([], "linear"),
        ([np.nan, 0.01, 1], "log"),
    ],
)
def test_values_that_span_decades_get_a_logarithmic_axis(values, kind):
    assert axis_scales.kind(values) == kind


def test_a_physical_axis_has_its_unit_with_a_prefix():
    data = sweep_results({"store.cell.g_max": (5e-6, 10e-6, 25e-6)})
    data["store.cell.g_max"].attrs["units"] = "S"
    ax = plot.sweep(data)
    ax.figure.canvas.draw()
    assert ax.get_xlabel() == "g max (µS)"
    assert {"8", "16", "24"} <= {tick.get_text() for tick in ax.get_xticklabels()}
    assert results_data.point_label(data, "store.cell.g_max", 1) == "g max = 10 µS"


def test_energies_have_a_logarithmic_axis_in_joules_and_no_band():
    data = sweep_results({BITS: (4, 6, 8, 10)})
    data["energy_j"] = (BITS, [1e-12, 1e-11, 1e-10, 1e-9], {"units": "J", "long_name": "energy of an inference"})
    ax = plot.sweep(data, metric="energy_j")
    assert (ax.get_yscale(), ax.get_ylabel(), len(ax.collections)) == ("log", "energy of an inference", 0)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["1 pJ", "10 pJ", "100 pJ", "1 nJ"]


def test_a_loss_between_0_and_1_is_no_share():
    data = sweep_results({BITS: (4, 6, 8)}, metric="loss")
    data["loss"].attrs["long_name"] = "cross-entropy"
    ax = plot.sweep(data)
    assert ax.get_ylabel() == "cross-entropy"
    np.testing.assert_allclose(lines(ax)["cross-entropy"].get_ydata(), data.loss.mean("chip"))
    assert plot.sweep(data, percent=True).get_ylabel() == "accuracy (%)"


def test_two_other_axes_are_colours_and_dashes_time_last():
    data = sweep_results({NOISE: (0.5, 0.7, 0.9, 1.0), "time": TIMES[:2], BITS: (4, 6, 8)})
    ax = plot.sweep(data)
    drawn = lines(ax)
    assert len(drawn) == 6 + 1
    assert drawn["ADC bits = 6, 1 s"].get_color() == drawn["ADC bits = 6, 1 day"].get_color() == plot.COLOURS[1]
    assert [drawn[f"ADC bits = 6, {t}"].get_linestyle() for t in ("1 s", "1 day")] == ["-", "--"]
    assert len(ax.collections) == 3  # bands of the solid lines
    assert legend_texts(ax) == [
        "ADC bits = 4", "ADC bits = 6", "ADC bits = 8", "1 s", "1 day", "digital", "middle 90 % of 12 chips"
    ]  # fmt: skip


def test_x_is_the_numeric_axis_with_most_values_and_time_only_if_there_is_no_other():
    assert plot.sweep(sweep_results({"time": TIMES, BITS: (4, 8)})).get_xlabel() == "ADC bits"
    assert plot.sweep(sweep_results({"time": TIMES, "hardware": ("a", "b")})).get_xlabel() == "time after programming"
    assert plot.sweep(sweep_results({BITS: (4, 8)}), x=BITS).get_xlabel() == "ADC bits"


def test_names_along_x_are_points_with_bars_for_the_standard_deviation():
    data = sweep_results({"hardware": ("pcm", "reram", "int8"), BITS: (4, 8)})
    ax = plot.sweep(data, x="hardware")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["pcm", "reram", "int8"]
    line = lines(ax)["ADC bits = 8"]
    assert (line.get_linestyle(), len(ax.collections)) == ("None", 2)
    scores = 100 * data.accuracy.values[:, 1]
    np.testing.assert_allclose(line.get_ydata(), scores.mean(axis=1))
    bars = np.array(ax.collections[1].get_segments())[:, :, 1]
    np.testing.assert_allclose(bars.T, np.quantile(scores, [0.05, 0.95], axis=1))


def test_many_values_are_a_sequence_of_colours_of_which_the_legend_names_six():
    ax = plot.sweep(sweep_results({NOISE: np.linspace(0, 1, 15), BITS: range(3, 15)}))
    drawn = lines(ax)
    assert len({line.get_color() for line in drawn.values()}) == 12 + 1
    assert len(legend_texts(ax)) == 6 + 2


def test_values_need_not_be_in_order():
    line = lines(plot.sweep(sweep_results({BITS: (8, 4, 6)})))["accuracy on test digits"]
    np.testing.assert_array_equal(line.get_xdata(), [4, 6, 8])


@pytest.mark.parametrize("done", [0.42, 0.0])
def test_an_unfinished_sweep_is_drawn_with_what_is_there_and_says_so(done):
    data = sweep_results(done=done, chips=25)
    for ax in (plot.sweep(data), plot.heatmap(data)):
        assert ax.get_title(loc="right") == f"of these points {100 * done:.0f} % computed"
        ax.figure.canvas.draw()
    values = lines(plot.sweep(data))["ADC bits = 4"].get_ydata()
    known = np.isfinite(data.accuracy.values[:, 0]).any(axis=1)
    np.testing.assert_array_equal(np.isfinite(values), known)
    point = data.accuracy.values[1, 2]  # of this point some chips are there, or none
    drawn = lines(plot.sweep(data))["ADC bits = 8"].get_ydata()[1]
    np.testing.assert_allclose(drawn, 100 * point[np.isfinite(point)].mean() if known.any() and done else np.nan)


def test_nan_in_a_finished_sweep_is_not_called_unfinished():
    data = sweep_results()
    data.accuracy[0, 0, 0] = np.nan
    assert plot.sweep(data).get_title(loc="right") == "1 of 144 values are NaN and left out"


def test_what_the_other_axes_are_at_stands_above():
    data = sweep_results({NOISE: (0.1, 0.5), BITS: (4, 8), "time": TIMES})
    ax = plot.sweep(data.isel({"time": -1, BITS: [1]}))
    assert ax.get_title(loc="left") == "ADC bits = 8, 10 years"


def test_drift_takes_a_sweep_and_one_chip_has_no_band():
    data = sweep_results({BITS: (4, 8), "time": TIMES}, chips=1)
    ax = plot.drift(data)
    assert list(lines(ax)) == ["ADC bits = 4", "ADC bits = 8", "digital"]
    assert (len(ax.collections), ax.get_xlabel()) == (0, "time after programming")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1 s", "1 day", "1 year", "10 years"]


@pytest.mark.parametrize("statistic", ["mean", "std", "low", "high", "median", "min", "max"])
def test_cells_of_a_map_are_the_statistic(statistic):
    data = sweep_results({NOISE: (0.1, 0.5), BITS: (8, 4, 6)})
    ax = plot.heatmap(data, statistic=statistic)
    scores = 100 * data.accuracy.values
    expected = {
        "mean": scores.mean(-1), "std": scores.std(-1), "median": np.median(scores, -1), "min": scores.min(-1),
        "max": scores.max(-1), "low": np.quantile(scores, 0.05, -1), "high": np.quantile(scores, 0.95, -1),
    }[statistic][:, [1, 2, 0]]  # fmt: skip
    image = ax.collections[0]
    np.testing.assert_allclose(image.get_array().reshape(2, 3), expected)
    assert [text.get_text() for text in ax.texts] == [
        f"{v:.1f}" if expected.max() >= 10 else f"{v:.3g}" for v in expected.ravel()
    ]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("ADC bits", "read noise")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["4", "6", "8"]
    bar = image.colorbar.ax
    assert (bar.get_xlabel() or bar.get_ylabel()).startswith("accuracy on test digits (%)\n")


def test_maps_can_share_their_colours():
    image = plot.heatmap(sweep_results(), limits=(0.2, 0.9)).collections[0]
    np.testing.assert_allclose(image.get_clim(), (20, 90))


def test_a_map_of_many_cells_has_no_numbers_and_missing_cells_are_hatched():
    assert not plot.heatmap(sweep_results({NOISE: np.linspace(0, 1, 11), BITS: range(10)})).texts
    data = sweep_results(done=0.5)
    missing = int(np.isnan(data.accuracy.values).all(-1).sum())
    ax = plot.heatmap(data)
    assert (len(ax.patches), len(ax.texts)) == (missing, 12 - missing)


@pytest.mark.parametrize(("width", "height"), [(3.6, 5.0), (6.4, 4.0), (10.4, 4.4)])
def test_nothing_is_cut_off_at_any_width(width, height):
    data = sweep_results({NOISE: (0.0, 0.01, 0.03, 0.1, 1.0), BITS: (4, 5, 6, 8), "time": TIMES}, done=0.7)
    data.accuracy.attrs["long_name"] = "accuracy on four hundred and fifty digits"
    figures = [
        plot.sweep(data, ax=plot.new_axes(width, height)),
        plot.drift(data.isel({NOISE: 0}), ax=plot.new_axes(width, height)),
        plot.heatmap(data.isel(time=0), ax=plot.new_axes(width, height)),
    ]
    for ax in figures:
        figure = ax.figure
        figure.canvas.draw()
        ticks = [*zip(ax.get_xticks(), ax.get_xticklabels(), [ax.get_xlim()] * 99, strict=False)]
        ticks += [*zip(ax.get_yticks(), ax.get_yticklabels(), [ax.get_ylim()] * 99, strict=False)]
        parts = [ax.xaxis.label, ax.yaxis.label, *figure.legends]
        parts += [label for place, label, (low, high) in ticks if low <= place <= high]
        parts += [ax.get_legend()] if ax.get_legend() else []
        parts += [axes.yaxis.label for axes in figure.axes]
        for part in parts:
            box = part.get_window_extent()
            assert box.x0 >= -1, part
            assert box.y0 >= -1, part
            assert box.x1 <= figure.bbox.x1 + 1, part
            assert box.y1 <= figure.bbox.y1 + 1, part


def test_dollars_and_underscores_in_names_are_drawn_as_they_are():
    data = sweep_results({"network": ("$\\frac{1$", "_hidden"), BITS: (4, 8)})
    ax = plot.sweep(data, x=BITS)
    ax.figure.canvas.draw()  # a formula would not parse
    assert [text.strip().replace("\\$", "$") for text in legend_texts(ax)[:2]] == ["$\\frac{1$", "_hidden"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.sweep(3), "data = 3: must be the dataset that analogsim.sweep or"),
        (lambda: plot.sweep(xarray.Dataset()), "it has no numbers over chips"),
        (
            lambda: plot.sweep(sweep_results(), x="adc.bit"),
            "x = 'adc.bit': must be an axis of 'accuracy'; did you mean",
        ),
        (lambda: plot.sweep(sweep_results(), metric="acuracy"), "metric = 'acuracy': the dataset has no such numbers"),
        (lambda: plot.sweep(sweep_results(), ax=3), "ax = 3: must be matplotlib axes"),
        (lambda: plot.sweep(sweep_results(), percent=3), "percent = 3: must be True, False or None"),
        (lambda: plot.sweep(sweep_results({})), "'accuracy' has no axis except its chips"),
        (lambda: plot.drift(sweep_results()), "must be a dataset of analogsim.evaluate"),
        (
            lambda: plot.sweep(sweep_results({"a": (1, 2), "b": (1, 2), "c": (1, 2), "d": (1, 2, 3)})),
            "data: besides x = 'd' there are 3 axes, 'a' (2), 'b' (2), 'c' (2), but a figure shows two; select some",
        ),
        (lambda: plot.sweep(sweep_results({"a": range(30), "b": range(25)})), "'b' (25) values, of which a figure"),
        (lambda: plot.heatmap(sweep_results(), statistic="men"), "statistic = 'men': did you mean 'mean'?"),
        (lambda: plot.heatmap(sweep_results({BITS: (4, 8)})), "has 1 axis besides its chips; a map needs two"),
        (lambda: plot.heatmap(sweep_results(), x=BITS, y=BITS), "y = 'adc.bits': is also x"),
        (
            lambda: plot.heatmap(sweep_results(), limits=(2, 1)),
            "limits = (2, 1): must be two numbers in ascending order",
        ),
        (lambda: plot.heatmap(sweep_results(), y=3), "y = 3: must be an axis of 'accuracy'"),
        (
            lambda: plot.heatmap(sweep_results({"a": range(4), "b": range(3), "time": TIMES})),
            "data: in addition to 'a' and 'b' there is 'time' (4 values); select one with data.sel",
        ),
    ],
)
def test_bad_input_is_one_sentence_that_names_the_argument(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def chip():
    layer, x = AnalogDense(10, hardware=preset("pcm", rows=8, columns=6)), np.ones((1, 20), np.float32)
    return program(layer, models.drawn(layer, x), jax.random.key(1), x).at("1 day")


def test_weights_are_what_one_input_after_the_other_gives(chip):
    shown = plot.array(chip).images[0].get_array()
    reading = chip.readings["analog"]["array"].reading
    gain = np.asarray(reading.gain)
    expected = np.asarray(reading.mean) * gain * np.asarray(reading.scale)  # a line an output: differential pairs
    expected = np.block([[tile for tile in row] for row in expected])[:20, :10]
    np.testing.assert_allclose(shown, expected, rtol=1e-5, atol=1e-8)


def test_conductances_of_a_pair_differ_by_the_weight(chip):
    plus, minus = (plot.array(chip, show="conductance", array=i).images[0].get_array() for i in (0, 1))
    expected = chip.at("1 day", read_noise=False)  # without fluctuations
    reading = expected.readings["analog"]["array"].reading
    lines = np.block([[tile for tile in row] for row in np.asarray(reading.mean)])[:20, :10]
    np.testing.assert_allclose(plus - minus, 25 * lines, atol=1e-4)  # g_max is 25 µS
    assert plus.min() >= 0


def test_tiles_have_borders_and_axes_have_names(chip):
    ax = plot.array(chip)
    places = [line.get_ydata()[0] if line.get_xdata()[1] == 1 else line.get_xdata()[0] for line in ax.get_lines()]
    assert places == [7, 14, 5]  # 20 inputs on 3 tiles of 7, 10 outputs on 2 of 5
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("outputs", "inputs")
    assert ax.get_title(loc="left") == "3 x 2 tiles, 1 day after programming"
    assert ax.images[0].colorbar.ax.get_ylabel() == "weight"
    ax = plot.array(chip, show="conductance")
    assert ax.images[0].colorbar.ax.get_ylabel() == "conductance (µS)"


@pytest.mark.parametrize("mapping", [Offset(), Differential(slices=BitSlices(widths=(3, 3)))])
def test_every_mapping_gives_back_its_weights(mapping):
    cell = PCM(programming_noise=0.0, drift=0.0, read_noise=0.0)
    store = Crossbar(cell=cell, mapping=mapping, faults=Faults(stuck_off=0.0))
    x = np.ones((1, 7), np.float32)
    layer = AnalogDense(5, hardware=Hardware(store=store, rows=4, drift_compensation="none"))
    variables = models.drawn(layer, x)
    chip = program(layer, variables, jax.random.key(1), x)
    shown = plot.array(chip).images[0].get_array()
    kernel = np.asarray(variables["params"]["kernel"])
    np.testing.assert_allclose(shown, kernel, atol=0.03 if "Bit" in str(mapping) else 1e-5)
    assert plot.array(chip, show="conductance", array=0).images


def test_a_matrix_is_drawn_with_zero_in_the_middle():
    image = plot.array(np.array([[1.0, -3.0]])).images[0]
    assert (image.norm.vmin, image.norm.vmax) == (-3, 3)


def test_bad_input(chip):
    stack = jax.tree.map(lambda a: np.stack([a, a]), chip.readings)
    many = chip.__class__(chip.cells, {"a": chip.readings, "b": chip.readings}, None, 0.0)
    for call, message in [
        (lambda: plot.array(3), "source = 3: must be a matrix [n_in, n_out] of real numbers, a chip or"),
        (lambda: plot.array(np.ones((2, 2)) * 1j), "must be a matrix [n_in, n_out] of real numbers"),
        (lambda: plot.array(np.ones((2, 2)), show="conductance"), "show = 'conductance': a plain matrix has none"),
        (lambda: plot.array(np.ones((2, 2)), layer="a"), "layer = 'a': must be None"),
        (lambda: plot.array(chip, show="g"), "show = 'g': must be 'weights' or 'conductance'"),
        (lambda: plot.array(chip, show="conductance", array=2), "array = 2: must be an integer between 0 and 1"),
        (lambda: plot.array(chip, array=1.5), "array = 1.5: must be an integer of at least 0"),
        (lambda: plot.array(chip, layer="Dense_7"), "layer = 'Dense_7': the chip has no such layer"),
        (lambda: plot.array(many), "layer = None: the chip has 2 layers; choose one of"),
        (lambda: plot.array(chip.__class__(None, stack, None, 0.0)), "source: is a stack of 2 matrices"),
    ]:
        with pytest.raises(InputError) as error:
            call()
        assert message in str(error.value)


def test_a_store_without_cells_has_weights_only():
    layer, x = AnalogDense(3, hardware=preset("int8")), np.ones((1, 4), np.float32)
    chip = program(layer, models.drawn(layer, x), jax.random.key(1), x)
    assert plot.array(chip).images[0].get_array().shape == (4, 3)
    with pytest.raises(InputError, match="has no cells with conductances"):
        plot.array(chip, show="conductance")
