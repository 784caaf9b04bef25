"""Show the IR drop of a crossbar: a map of one array, and the current loss at the outputs versus array size.

    python examples/ir_drop_map.py

Cells of 1 to 100 uS, all inputs on, and wire segments of 1 ohm from cell to cell, driven from the left and read at the
bottom. The map shows the fraction of the input voltage that is lost at each cell; the other panel shows the fraction of
the current that is lost at each output, from the exact network and from the fast estimate. Expected: cells far from the
drivers and from the readout lose most, and the loss grows with the square of the size at first.
"""

import jax
import jax.numpy as jnp
import numpy as np
from _shared import arguments, save
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analogsim import plot
from analogsim.devices import Wires
from analogsim.devices.crossbar.wires import approximate_conductance, effective_conductance, solve

WIRES = Wires(word_line_ohm=1.0, bit_line_ohm=1.0)


def cells(size: int) -> jax.Array:
    """Draw conductances between 1 and 100 uS, ``[size, size]``."""
    return jax.random.uniform(jax.random.key(size), (size, size), minval=1e-6, maxval=100e-6)


def voltage_lost(size: int) -> np.ndarray:
    """Return the voltage lost at each cell with all inputs on, in per cent of the input, ``[size, size]``."""
    solution = solve(WIRES, cells(size), jnp.ones((1, size)))
    return 100 * (1 - np.asarray(solution.word_v - solution.bit_v)[0])


def current_lost(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the current lost at each output in per cent, ``[size]``: from the exact network and from the estimate."""
    g = cells(size)
    ideal = g.sum(0)
    exact, estimate = effective_conductance(WIRES, g), approximate_conductance(WIRES, g)
    return tuple(100 * (1 - np.asarray(matrix.sum(0) / ideal)) for matrix in (exact, estimate))


def draw_map(ax: Axes, lost: np.ndarray) -> None:
    size = len(lost)
    image = ax.imshow(lost, cmap="YlGnBu", vmin=0, interpolation="nearest", extent=(0.5, size + 0.5, size + 0.5, 0.5))
    bar = ax.figure.colorbar(image, ax=ax, pad=0.03)
    bar.set_label("voltage lost at the cell (% of input)")
    bar.outline.set_visible(False)
    ax.grid(visible=False)
    ax.set(xlabel="column (driven from the left)", ylabel="row (read at the bottom)")
    ax.set_xticks([1, size // 2, size])
    ax.set_yticks([1, size // 2, size])
    ax.set_title(f"One array of {size} × {size}")


def draw_outputs(ax: Axes, sizes: list[int], losses: list) -> None:
    blue, orange = plot.COLOURS[:2]
    exact, estimate = (
        np.array([[x.min(), x.mean(), x.max()] for x in column]).T for column in zip(*losses, strict=True)
    )
    ax.fill_between(sizes, exact[0], exact[2], color=blue, alpha=0.15, linewidth=0, label="exact: all columns")
    ax.plot(sizes, exact[1], color=blue, label="exact: mean")
    bars = np.abs(estimate[[0, 2]] - estimate[1])
    ax.errorbar(
        sizes, estimate[1], bars, fmt="o", color=orange, markersize=5, capsize=4, label="estimate: mean, min and max"
    )
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ticks = [x for x in (0.1, 1, 10, 100) if 0.5 * exact.min() < x <= 100]
    ax.set_yticks(ticks, [f"{x:g}" for x in ticks])
    ax.xaxis.minorticks_off()
    ax.set(xlabel="rows and columns", ylabel="current lost at an output (%)")
    ax.set_title("Outputs versus array size")
    ax.legend(loc="lower right")


def draw(lost: np.ndarray, sizes: list[int], losses: list) -> Axes:
    """Draw both panels and return the axes of the first."""
    with plot.style():
        figure = Figure(figsize=(11.0, 4.4), layout="constrained")
        figure.get_layout_engine().set(wspace=0.05)
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
        draw_map(left, lost)
        draw_outputs(right, sizes, losses)
        figure.suptitle("1 Ω per wire segment, cells of 1 to 100 µS, all inputs on", fontsize=11)
    return left


def main() -> None:
    options = arguments(__doc__)
    sizes = [8, 16, 32] if options.fast else [8, 16, 32, 64, 128, 256]
    lost = voltage_lost(sizes[-1] // 2)
    print(f"voltage lost at a cell: {lost.min():.1f} to {lost.max():.1f} % of the input, mean {lost.mean():.1f} %")
    losses = [current_lost(size) for size in sizes]
    for size, (exact, estimate) in zip(sizes, losses, strict=True):
        print(
            f"{size:4d} x {size:<4d} outputs lose {exact.min():6.2f} to {exact.max():6.2f} %;"
            f" the estimate is off by at most {np.max(np.abs(estimate - exact)):.2f} points"
        )
    save(draw(lost, sizes, losses), options.out / "ir_drop_map.png")


if __name__ == "__main__":
    main()
