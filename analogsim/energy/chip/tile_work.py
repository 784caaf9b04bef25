"""Actions of the tiles of one layer for one vector: those of the weight store, and the driven rows.

The store reports the actions of every tile of the actual grid. Its arguments are the weights of the tile (normalised,
without padding) and the mean energy of its rows on the sample as a fraction of full reads: the mean squared voltage
<x^2>, or the equivalent of the input converter (``analogsim.converters.dac``). Here x is divided by the input range
(calibrated, else each example's largest value) and clipped to 1. Within a tile, inputs and weights are assumed to be
independent.

If only shapes are known, inputs are assumed uniform over the range, <x^2> = 1/3, and weights normal with four standard
deviations to the largest; a bit-serial or pulse-width converter is applied to such inputs. Everything here may be
traced: ``jax.grad`` passes through with respect to weights, inputs or hardware.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError, nearest
from analogsim.base.types import Numeric
from analogsim.converters.dac import energy
from analogsim.devices.protocol import Action, WeightStore
from analogsim.hardware.energy_table import EnergyTable
from analogsim.layers.layer import LayerUse
from analogsim.signal_path.operators import partial_sums, rows_in_use
from analogsim.signal_path.tiling import normalise, spans

_NUMBERS_AT_ONCE = 2**24
_ASSUMED_WEIGHTS = 0.25  # standard deviation, in units of the largest
_normalise = jax.jit(normalise, static_argnames="tile_rows")


@dataclasses.dataclass(frozen=True)
class ActionEnergy:
    """The energy of one action of a weight store.

    Attributes:
      component, action: names in tables.
      unit: the unit in which the store counts the action.
      unit_energy_j: returns the joules per unit.
      fields: fields of ``EnergyTable`` that enter, for their sources.
      read_time: True for an analog read, which takes the read time, in parallel in all tiles.
      per_cell: True if its quantity is a sum over weights; else it is per product, whatever the weights.
      is_power: True if it is a power, drawn for as long as the inference lasts.
    """

    component: str
    action: str
    unit: str
    unit_energy_j: Callable[[EnergyTable], Any]
    fields: tuple[str, ...]
    read_time: bool = False
    per_cell: bool = True
    is_power: bool = False


#: Every action with a known energy. A store with any other action is refused, never counted as zero.
ACTIONS = {
    "cell read": ActionEnergy(
        "cells", "read", "S", lambda p: p.read_voltage_v**2 * p.read_time_s, ("read_voltage_v", "read_time_s"), True
    ),
    "mac": ActionEnergy("arithmetic", "multiply, add", "MAC", lambda p: p.mac_j, ("mac_j",)),
    "weight fetch": ActionEnergy(
        "weight memory", "fetch", "B", lambda p: p.weight_fetch_j_per_byte, ("weight_fetch_j_per_byte",)
    ),
    "laser": ActionEnergy(
        "laser", "light", "J", lambda p: 1 / p.laser_efficiency, ("laser_efficiency",), True, per_cell=False
    ),
    "modulator": ActionEnergy(
        "modulator", "symbol", "symbol", lambda p: p.modulator_j, ("modulator_j",), per_cell=False
    ),
    "receiver": ActionEnergy("receiver", "sample", "sample", lambda p: p.receiver_j, ("receiver_j",), per_cell=False),
    "qubit gate": ActionEnergy("qubits", "gate", "gate", lambda p: p.qubit_gate_j, ("qubit_gate_j",), per_cell=False),
    "qubit read": ActionEnergy(
        "qubits", "read", "read", lambda p: p.qubit_read_j, ("qubit_read_j",), True, per_cell=False
    ),
    "qubit": ActionEnergy(
        "refrigerator",
        "power",
        "qubit",
        lambda p: p.refrigerator_w / p.refrigerator_qubits,
        ("refrigerator_w", "refrigerator_qubits"),
        per_cell=False,
        is_power=True,
    ),
    "hold": ActionEnergy("hold", "power", "W", lambda p: 1.0, (), per_cell=False, is_power=True),
}


@dataclasses.dataclass(frozen=True)
class TileWork:
    """The work of all tiles of one layer for one vector.

    Attributes:
      quantities: amount of every action, by name.
      driven_cells: cells times the mean squared input of their row.
      cells: number of physical cells.
      adc_inputs: number of ADC inputs (physical columns), each converted once.
      tiles: number of tiles.
      all_rows: amount of every action if each row is driven alone at full voltage once.
      rows: rows of all tiles.
      row_conversions: rows times columns per tile, summed over tiles: conversions if every row is read alone.
    """

    quantities: dict[str, Any]
    driven_cells: float
    cells: int
    adc_inputs: int
    tiles: int
    all_rows: dict[str, Any]
    rows: int
    row_conversions: int

    @property
    def is_analog(self) -> bool:
        """True if the store is read in place, so that its converters are circuits."""
        return any(ACTIONS[name].read_time for name in self.quantities)

    @property
    def is_electric(self) -> bool:
        """True if rows are word lines, whose capacitance is charged."""
        return "cell read" in self.quantities


def tile_work(use: LayerUse) -> TileWork:
    """Return the work of one vector in a layer, summed over the store's report on every tile of the grid.

    Args:
      use: the pass through the layer; weights ``[n_in, n_out]``, inputs ``[batch, ...]``.

    Raises:
      InputError: if the store has an action without a known energy, or counts it in another unit.
    """
    store, (n_in, n_out) = use.hardware.store, use.weights.shape
    r, c = use.grid
    normalised = _normalised(use)
    quantities: dict[str, Any] = {}
    all_rows: dict[str, Any] = {}
    driven: Any = 0.0
    cells, adc_inputs, rows, row_conversions = 0, 0, 0, 0
    in_use = rows_in_use(use.operator, n_in, r)
    elements = sum(map(len, in_use)) * n_out
    filled = (use.n_weights or elements) / elements  # a digital unit does not multiply by zeros between blocks
    for number, (tile_rows, fraction) in enumerate(zip(in_use, read_fractions(use), strict=True)):
        for first, right in spans(n_out, c):
            if normalised is None:
                actions = _assumed_cost(store, fraction, (len(tile_rows), right - first))
            else:
                part = jnp.asarray(normalised[number][tile_rows, first:right])
                actions = list(zip(store.cost(part, fraction), store.cost(part, 1.0), strict=True))
            for action, fully in actions:
                _check_action(action, store)
                entry = ACTIONS[action.name]
                digital = entry.per_cell and not entry.read_time
                quantity = action.quantity * filled if digital else action.quantity
                quantities[action.name] = quantities.get(action.name, 0.0) + quantity
                if not entry.is_power:  # one product per row, in sequence
                    row_total = fully.quantity if entry.per_cell else fully.quantity * len(tile_rows)
                    all_rows[action.name] = all_rows.get(action.name, 0.0) + row_total
            n_cells, n_columns = store.n_cells(len(tile_rows), right - first), store.n_columns(right - first)
            driven, cells, adc_inputs = driven + n_cells * fraction, cells + n_cells, adc_inputs + n_columns
            rows, row_conversions = rows + len(tile_rows), row_conversions + len(tile_rows) * n_columns
    if use.is_lookup and all(ACTIONS[name].per_cell for name in quantities):
        quantities, driven, adc_inputs = _lookup_work(use, normalised)
    elif use.is_lookup:  # one row of tiles does the product, but all of them draw holding power
        quantities = {name: q if ACTIONS[name].is_power else q / r for name, q in quantities.items()}
        adc_inputs //= r
    return TileWork(quantities, driven, cells, adc_inputs, r * c, all_rows, rows, row_conversions)


def _normalised(use: LayerUse) -> Any:
    """Return the normalised matrix as its tiles hold it, ``[R, rows, n_out]``; None if only shapes are known."""
    if isinstance(use.weights, jax.ShapeDtypeStruct):
        return None
    tiled = _normalise(wide(use.weights), use.hardware, use.operator.tile_rows)[0]
    # NumPy slices the tiles: JAX would compile a program for each shape of a slice.
    tiled = tiled if _traced(tiled) else np.asarray(tiled)
    r, c, rows, columns = tiled.shape
    return tiled.transpose(0, 2, 1, 3).reshape(r, rows, c * columns)


_SAMPLE = 64


def _assumed_cost(store: WeightStore, fraction: Numeric, shape: tuple[int, int]) -> list[tuple[Action, Action]]:
    """Return the actions of a tile of assumed weights, at its rows' fraction and fully driven, scaled from a sample."""
    few = store.cost(_assumed(1, 1), fraction)
    sample = (_SAMPLE, _SAMPLE) if all(a.name in ACTIONS and ACTIONS[a.name].per_cell for a in few) else shape
    part, times = _assumed(*sample), store.n_cells(*shape) / store.n_cells(*sample)
    return [
        (a._replace(quantity=times * a.quantity), b._replace(quantity=times * b.quantity))
        for a, b in zip(store.cost(part, fraction), store.cost(part, 1.0), strict=True)
    ]


@functools.cache
def _assumed(n_in: int, n_out: int) -> jax.Array:
    """Return a matrix of normal weights, the same in every call."""
    drawn = np.random.default_rng(0).normal(scale=_ASSUMED_WEIGHTS, size=(n_in, n_out))
    # The cache must hold an array, not a tracer of whichever function is being compiled.
    with jax.ensure_compile_time_eval():
        return jnp.asarray(np.clip(drawn, -1, 1), jnp.float32)


def _traced(*arrays: Any) -> bool:
    return any(isinstance(array, jax.core.Tracer) for array in arrays)


def _lookup_work(use: LayerUse, normalised: Any) -> tuple[dict[str, Any], Any, int]:
    """Return actions, driven cells and conversions of one lookup: one row of its tiles at full voltage."""
    store, (_, n_out) = use.hardware.store, use.weights.shape
    fraction = energy(use.hardware.dac, jnp.ones(()))  # more than one read if bits are driven sequentially
    if normalised is None:
        taken = _assumed(1, n_out)
    else:
        tile, row = (a.ravel() for a in use.operator.places(use.x, normalised.shape[1]))
        taken = jnp.asarray(normalised)[tile, row]
    quantities: dict[str, Any] = {}
    driven, columns = 0.0, 0
    for left, right in spans(n_out, use.grid[1]):
        for action in store.cost(jnp.asarray(taken[:, left:right]), fraction):
            if action.name != "mac":  # a lookup in a digital memory multiplies nothing
                quantities[action.name] = quantities.get(action.name, 0.0) + action.quantity / len(taken)
        driven += fraction * store.n_cells(1, right - left)
        columns += store.n_columns(right - left)
    return quantities, driven, columns


def read_fractions(use: LayerUse) -> list[Any]:
    """Return the mean energy of the rows of every tile along the inputs per vector, as a fraction of full reads.

    A product of the inputs' energies with a column of ones sums exactly what reaches the rows, including the padding
    and strides of a convolution.
    """
    n_in, _ = use.weights.shape
    r, _ = use.grid
    if use.is_lookup:
        return [0.0] * r  # counted row by row
    if isinstance(use.x, jax.ShapeDtypeStruct):
        uniform = jnp.linspace(-1.0, 1.0, 2049)
        return [float(energy(use.hardware.dac, uniform).mean())] * r
    x = wide(use.x)
    if use.ranges.input is None:
        largest = jnp.max(jnp.abs(x), axis=use.operator.example_axes(x), keepdims=True)
        bound = jnp.where(largest > 0, largest, 1)
    else:
        bound = jnp.asarray(use.ranges.input, x.dtype)
    fractions = energy(use.hardware.dac, jnp.clip(x / bound, -1, 1))
    ones = jnp.ones((r, 1, -(-n_in // r), 1), x.dtype)
    # A convolution whose window exceeds a tile unfolds its patches; processing a few examples at a time limits memory.
    at_once = max(1, _NUMBERS_AT_ONCE * len(x) // (use.vectors * n_in))
    sums: list[Any] = [0.0] * r
    for start in range(0, len(x), at_once):
        products = partial_sums(use.operator, fractions[start : start + at_once], ones, lax.Precision.HIGHEST)
        sums = [total + _sum(product) for total, product in zip(sums, products, strict=True)]
    in_use = rows_in_use(use.operator, n_in, r)
    return [total / use.vectors / len(rows) for total, rows in zip(sums, in_use, strict=True)]


def _sum(product: jax.Array) -> Any:
    # float32 would lose digits over this many numbers, so concrete sums are in float64 on the host.
    return product.sum() if _traced(product) else float(np.asarray(product, np.float64).sum())


def _check_action(action: Action, store: WeightStore) -> None:
    where = f"{type(store).__name__}: action '{action.name}'"
    if action.name not in ACTIONS:
        raise InputError(f"{where} has no known energy; {nearest(action.name, ACTIONS)}")
    unit = ACTIONS[action.name].unit
    if action.unit != unit:
        raise InputError(f"{where} is counted in '{action.unit}': must be in '{unit}'")
