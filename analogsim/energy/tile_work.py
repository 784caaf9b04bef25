"""What the tiles of one layer do for one vector: the store's own actions, and the rows that are driven.

The store is asked tile by tile of the true grid, with the weights it would be given (normalised, no padding) and what
the rows of that tile spend on the sample as a share of full reads: the mean squared voltage <x^2>, or what the input
converter makes of it (``analogsim.converters.dac``), with x / input range, clipped to 1, and the range that was
calibrated or else each example's largest value. Within a tile inputs and weights are taken as independent.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim import tiles
from analogsim.converters.dac import energy
from analogsim.devices.errors import InputError, nearest
from analogsim.devices.protocol import Action
from analogsim.layer import LayerUse
from analogsim.operators import partial_sums
from analogsim.prices import Prices

_NUMBERS_AT_ONCE = 2**24
_normalise = jax.jit(tiles.normalise)


@dataclasses.dataclass(frozen=True)
class PricedAction:
    """What a store's action costs.

    Attributes:
      component, action: how a table calls it.
      unit: what the price is per; the store must count in it.
      price_j: joules of one unit.
      fields: the prices that enter, for their sources.
      read_time: whether it takes ``Prices.read_time_s``, side by side in all tiles: an analog read.
    """

    component: str
    action: str
    unit: str
    price_j: Callable[[Prices], Any]
    fields: tuple[str, ...]
    read_time: bool


#: Every action that has a price. A store with another one is refused, never billed at zero.
PRICED = {
    "cell read": PricedAction(
        "cells", "read", "S", lambda p: p.read_voltage_v**2 * p.read_time_s, ("read_voltage_v", "read_time_s"), True
    ),
    "mac": PricedAction("arithmetic", "multiply, add", "MAC", lambda p: p.mac_j, ("mac_j",), False),
    "weight fetch": PricedAction(
        "weight memory", "fetch", "B", lambda p: p.weight_fetch_j_per_byte, ("weight_fetch_j_per_byte",), False
    ),
}


@dataclasses.dataclass(frozen=True)
class TileWork:
    """What all tiles of one layer do for one vector.

    Attributes:
      quantities: amount of every action, by name.
      driven_cells: cells times the mean squared input of their row.
      cells: physical cells.
      lines: readout lines, each converted.
      tiles: how many tiles.
    """

    quantities: dict[str, Any]
    driven_cells: float
    cells: int
    lines: int
    tiles: int

    @property
    def is_analog(self) -> bool:
        """Whether something is read in place, so that lines are charged and converters are circuits."""
        return any(PRICED[name].read_time for name in self.quantities)


def tile_work(use: LayerUse) -> TileWork:
    """Ask the store, tile by tile of the true grid, what one vector costs it."""
    store, (n_in, n_out) = use.hardware.store, use.weights.shape
    r, c = tiles.grid(n_in, n_out, use.hardware)
    weights = np.asarray(use.weights, jnp.promote_types(use.weights.dtype, jnp.float32))
    normalised = np.asarray(_normalise(weights, use.hardware)[0])[:, 0]
    quantities: dict[str, Any] = {}
    driven, cells, lines = 0.0, 0, 0
    for (top, bottom), held, share in zip(_spans(n_in, r), normalised, read_shares(use), strict=True):
        for left, right in _spans(n_out, c):
            part = jnp.asarray(held[: bottom - top, left:right])
            for action in store.cost(part, share):
                _check_priced(action, store)
                quantities[action.name] = quantities.get(action.name, 0.0) + action.quantity
            here = store.cells(*part.shape)
            driven, cells, lines = driven + here * share, cells + here, lines + store.n_lines(right - left)
    return TileWork(quantities, driven, cells, lines, r * c)


def read_shares(use: LayerUse) -> list[float]:
    """What the rows of every tile along the inputs spend a vector, in full reads, averaged over the whole sample.

    One product of the shares with a column of ones sums exactly what reaches the rows, padding and strides of a
    convolution included.
    """
    n_in, n_out = use.weights.shape
    r, _ = tiles.grid(n_in, n_out, use.hardware)
    x = np.asarray(use.x, jnp.promote_types(use.x.dtype, jnp.float32))
    if use.ranges.input is None:
        largest = np.max(np.abs(x), axis=use.operator.example_axes(use.x), keepdims=True)
        bound = np.where(largest > 0, largest, 1)
    else:
        bound = np.asarray(use.ranges.input, x.dtype)
    shares = np.asarray(energy(use.hardware.dac, jnp.asarray(np.clip(x / bound, -1, 1))))
    ones = jnp.ones((r, 1, -(-n_in // r), 1), x.dtype)
    # A convolution over several tiles unfolds its patches: a few examples at a time keep that small.
    at_once = max(1, _NUMBERS_AT_ONCE * len(x) // (use.vectors * n_in))
    sums = np.zeros(r)
    for start in range(0, len(x), at_once):
        some = jnp.asarray(shares[start : start + at_once])
        products = partial_sums(use.operator, some, ones, lax.Precision.HIGHEST)
        sums += np.array([np.asarray(product, np.float64).sum() for product in products])
    return [float(s) / use.vectors / (bottom - top) for s, (top, bottom) in zip(sums, _spans(n_in, r), strict=True)]


def _check_priced(action: Action, store: Any) -> None:
    where = f"{type(store).__name__}: action '{action.name}'"
    if action.name not in PRICED:
        raise InputError(f"{where} has no price; {nearest(action.name, PRICED)}")
    unit = PRICED[action.name].unit
    if action.unit != unit:
        raise InputError(f"{where} is counted in '{action.unit}': its price is per '{unit}'")


def _spans(n: int, parts: int) -> list[tuple[int, int]]:
    """The even cut of ``analogsim.tiles``: from where to where each part goes."""
    size = -(-n // parts)
    return [(i * size, min((i + 1) * size, n)) for i in range(parts)]
