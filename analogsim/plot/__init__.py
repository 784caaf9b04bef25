"""Figures in one call: labels with units, bands for the variation over chips, colour-blind-safe colours.

Every function takes ``ax=None``, draws on these axes (or on those of a new figure) and returns them. No function runs a
simulation.

sweeps        sweep, drift: a metric over one axis
heatmaps      heatmap: a metric over two axes
arrays        array: weights or conductances of a layer
energy_bars   energy, energy_batch: an energy comparison
sensitivity   sensitivity: the ranking of a sensitivity analysis
light         mesh, hold_power: interferometer meshes, static power of optical memories
cells         programming error, retention and read noise of a cell (``analogsim devices``)
axes, scales, dataset   style, ticks, and labels derived from a dataset
"""

from analogsim.plot.arrays import array as array
from analogsim.plot.axes import COLOURS as COLOURS
from analogsim.plot.axes import new_axes as new_axes
from analogsim.plot.axes import style as style
from analogsim.plot.energy_bars import energy as energy
from analogsim.plot.energy_bars import energy_batch as energy_batch
from analogsim.plot.heatmaps import heatmap as heatmap
from analogsim.plot.light import hold_power as hold_power
from analogsim.plot.light import mesh as mesh
from analogsim.plot.sensitivity import sensitivity as sensitivity
from analogsim.plot.sweeps import drift as drift
from analogsim.plot.sweeps import sweep as sweep
