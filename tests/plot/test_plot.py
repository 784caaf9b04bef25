"""Figures: what is drawn, and mistakes that are one sentence."""

import itertools

import numpy as np
import pytest
import xarray

from analogsim import InputError, plot

TIMES = [1.0, 86400.0, 315576000.0]


def scores(networks=("plain", "aware"), digital=(0.9, 0.8)):
    """Two seeds, networks, two compensations, five chips, three times."""
    values = np.linspace(0.5, 0.7, 2 * len(networks) * 2 * 5 * 3).reshape(2, len(networks), 2, 5, 3)
    dims = ("seed", "network", "compensation", "chip", "time")
    exact = np.array([digital, [d + 0.02 for d in digital]])
    coords = {"network": list(networks), "compensation": ["none", "global"], "time": TIMES}
    return xarray.Dataset({"score": (dims, values), "digital": (("seed", "network"), exact)}, coords=coords)


def labels(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_every_network_has_its_own_exact_line_in_its_colour():
    lines = labels(plot.drift(scores()))
    assert len(lines) == 6
    for network, mean in (("plain", 91.0), ("aware", 81.0)):  # means over the two seeds, in per cent
        exact = lines[f"{network}, digital"]
        np.testing.assert_allclose(exact.get_ydata(), mean)
        assert exact.get_linestyle() == ":"
        assert exact.get_color() == lines[f"{network}, global compensation"].get_color()
    assert lines["plain, digital"].get_color() != lines["aware, digital"].get_color()


def test_one_network_has_one_exact_line():
    data = scores(("plain",), (0.9,)).isel(network=0, seed=0)
    exact = labels(plot.drift(data))["digital"]
    np.testing.assert_allclose(exact.get_ydata(), 90.0)


def test_only_solid_lines_have_a_band():
    ax = plot.drift(scores())
    solid = [line for name, line in labels(ax).items() if line.get_linestyle() == "-"]
    assert len(solid) == len(ax.collections) == 2


@pytest.mark.parametrize(("width", "height"), [(3.6, 5.2), (6.4, 4.0), (10.4, 4.4)])
def test_nothing_is_cut_off_at_any_width(width, height):
    ax = plot.drift(scores(), ax=plot.new_axes(width, height))
    figure = ax.figure
    figure.canvas.draw()
    legend = (figure.legends or [ax.get_legend()])[0]
    for item in (legend, ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels()):
        box = item.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1 + 1
        assert box.y1 <= figure.bbox.y1 + 1
    ticks = [t.get_window_extent() for t in ax.get_xticklabels()]
    assert width < 5 or all(a.x1 < b.x0 for a, b in itertools.pairwise(ticks))


@pytest.mark.parametrize(("width", "height"), [(3.6, 3.0), (8.0, 3.0)])
def test_no_label_of_the_static_power_is_cut_off_or_covers_another(width, height):
    ax = plot.hold_power(plot.new_axes(width, height))
    figure = ax.figure
    figure.canvas.draw()
    names, values = ([t.get_window_extent() for t in texts] for texts in (ax.get_yticklabels(), ax.texts))
    assert len(names) == len(values) > 5
    for boxes in (names, values):
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
        assert all(upper.y0 >= lower.y1 - 1 for upper, lower in itertools.pairwise(boxes))


def comparison_data():
    low = np.array([[1e-12, 1e-12], [1e-9, 1e-10]])
    data = {f"energy_{k}_j": (("system", "batch"), low * f) for k, f in (("low", 1), ("typical", 3), ("high", 10))}
    return xarray.Dataset(data, coords={"system": ["pcm", "H100"], "batch": [1, 256]})


class Comparison:
    """Stands for a comparison."""

    breakdowns = ()

    def to_dataset(self):
        return comparison_data()


def test_energy_takes_a_comparison_or_its_dataset():
    for data in (comparison_data(), Comparison()):
        ax = plot.energy(data)
        assert [t.get_text() for t in ax.get_yticklabels()] == ["H100, batch 256", "H100, batch 1", "pcm"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.drift(3), "data = 3: must be a dataset of analogsim.evaluate"),
        (
            lambda: plot.drift(comparison_data()),
            "data = a Dataset: must be a dataset of analogsim.evaluate",
        ),
        (lambda: plot.energy(3), "data = 3: must be the result of analogsim.energy.compare"),
        (lambda: plot.energy(scores()), "data = a Dataset: must be the result of analogsim.energy.compare"),
        (lambda: plot.drift(scores(), ax=3), "ax = 3: must be matplotlib axes"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value)
