"""Compare the retention of memory cells over ten years, for every technology with retention data.

    python examples/device_gallery.py

Each panel shows one array that is programmed once; the same cells are read at every time. Expected: phase-change cells
drift to about half of the programmed conductance, each at its own rate; CMO/HfOx loses three per cent; the cells of the
NeuRRAM chip keep their mean, but vary by a tenth of the window within a day; SONOS varies far less. Grey: the
publication has no data, and reading raises an error. ``analogsim devices`` lists all cells, with and without retention
data.
"""

import jax
from _shared import arguments, save

from analogsim import plot
from analogsim.devices import CELLS, datasheet
from analogsim.plot.cells import RetentionCurve, draw_retention, retention

NAMES = ("pcm", "hermes", "hermes-one-pair", "cmo", "reram", "sonos")


def normalised(data: RetentionCurve, g_max: float) -> RetentionCurve:
    """Return the curve with conductances as fractions of the largest one, to compare technologies."""
    return RetentionCurve(data.time_s, *(values / g_max for values in data[1:]))


def main() -> None:
    options = arguments(__doc__)
    names = ("pcm", "reram") if options.fast else NAMES
    rows, columns = -(-len(names) // 3), min(3, len(names))
    first = plot.new_axes(4.3 * columns, 3.9 * rows)
    figure = first.figure
    figure.clear()
    with plot.style():
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for name, ax in zip(names, panels.flat, strict=True):
            cell = CELLS[name]()
            data = normalised(retention(cell, jax.random.key(0)), cell.g_max)
            draw_retention(data, cell.time_limit_s, ax)
            ax.set_title(f"{name}: {datasheet(cell).short}")
            ax.set(ylim=(0, 1.2), ylabel="conductance / g_max")
            ax.label_outer()
            middle, days = len(data.target) // 2, data.time_s[-1] / 86400
            low, median, high = (100 * q[middle, -1] / data.target[middle] for q in (data.low, data.median, data.high))
            print(f"{name:16} at {days:4.0f} days: {median:5.1f} % of the target ({low:.1f} to {high:.1f} %)")
    save(first, options.out / "device_gallery.png")


if __name__ == "__main__":
    main()
