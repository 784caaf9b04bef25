"""Lookup of rows of a stored table: each drives one word line of the tiles that hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import PrecisionLike
from jax.typing import DTypeLike

from analogsim.base.compiled import compiled
from analogsim.base.errors import InputError
from analogsim.base.types import PyTree
from analogsim.signal_path.driving import drives_noisily
from analogsim.signal_path.hardware_spec import TileHardware
from analogsim.signal_path.operators import Lookup
from analogsim.signal_path.operators.stack import Vectors
from analogsim.signal_path.ranges import UNCALIBRATED, Limits, Ranges, largest_column_sum
from analogsim.signal_path.reading import Reading
from analogsim.signal_path.tile_row import RowProduct, TileRow

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


@compiled(static=("operator", "dtype", "precision"))
def lookup(
    hardware: TileHardware,
    reading: Reading,
    numbers: Int[Array, "*batch"],
    operator: Lookup,
    *,
    key: jax.Array | None,
    dtype: DTypeLike,
    ranges: Ranges = UNCALIBRATED,
    precision: PrecisionLike | None = None,
) -> Float[Array, "*batch n_out"]:
    """Read rows of a stored table: each drives one word line of the tiles that hold it, at full scale.

    Args:
      hardware: as in ``multiply``.
      reading: the reading of the tiles of the table ``[n_rows, n_out]``.
      numbers: row numbers, ``[...]`` integers.
      operator: the operator of the table.
      key, precision: as in ``multiply``.
      dtype: of the result.
      ranges: calibrated ranges. Without an output range, the ADC range is that of one fully driven cell at its largest
        conductance, including the constant part of the current if that is converted, or the ADC's own if smaller.

    Returns:
      Rows ``[..., n_out]``; NaN for a number beyond the table.

    Raises:
      InputError: if the hardware has bound management or DAC noise, or a required key is missing.
    """
    product = RowProduct.of(hardware, reading, Vectors(), key, ranges, precision)
    if hardware.bound_management != "none":
        raise InputError(
            f"bound_management = {hardware.bound_management!r}: widens input ranges, of which a lookup has none; "
            f"put the table on hardware without it"
        )
    if drives_noisily(hardware):
        raise InputError(
            "DAC.noise: must be None for a lookup, whose one row is driven fully; put the table on hardware without it"
        )
    if ranges.output is None and hardware.adc is not None and hardware.adc.middle is None:
        fullest, adc_range = largest_column_sum(hardware.store), hardware.adc.range
        product = product._replace(limits=Limits(fullest if adc_range is None else jnp.minimum(adc_range, fullest)))
    flat = numbers.reshape(-1)
    tile, row = operator.places(flat, reading.mean.shape[-2])
    whole_tiles = hardware.store.detects_noise or (hardware.sampling == "cells" and reading.variance is not None)
    y = (_from_tiles if whole_tiles else _from_rows)(product, reading, tile, row)
    y = y.reshape(len(flat), y.shape[-2] * y.shape[-1])[:, : reading.n_out]
    y = jnp.where(operator.in_table(flat)[:, None], y, jnp.nan)
    return y.reshape(*numbers.shape, reading.n_out).astype(dtype)


def _from_rows(
    product: RowProduct, reading: Reading, tile: Int[Array, " n"], row: Int[Array, " n"]
) -> Float[Array, "n C columns"]:
    """Outputs ``[n, C, columns]`` of rows, each taken as a tile of a single row."""

    def taken(a: Any, *between: slice) -> Any:
        # Index arrays on both sides of a slice: by NumPy's rule their common axis, the lookups, comes first.
        return None if a is None else jnp.expand_dims(a[(tile, slice(None), *between, row)], 2 + len(between))

    def of_tile(tree: PyTree) -> Any:
        return jax.tree.map(lambda a: a[tile], tree)

    # ``row`` only selects random numbers: one per lookup, so that two reads of the same word line differ.
    single_rows = TileRow(
        mean=taken(reading.mean), variance=taken(reading.variance), curvature=taken(reading.curvature, slice(None)),
        converters=of_tile(reading.converters), gain=of_tile(reading.gain), scale=of_tile(reading.scale),
        state=jax.tree.map(lambda a: a[0], reading.state), row=jnp.arange(len(tile)),
    )  # fmt: skip
    alike: Any = TileRow(0, 0, 0, 0, 0, 0, None, 0)  # type: ignore[arg-type]  # the tiles' state matters to nothing here
    driven = jnp.ones(1, reading.mean.dtype)
    return jax.vmap(lambda h: product.outputs(driven, None, h), in_axes=(alike,))(single_rows)


def _from_tiles(
    product: RowProduct, reading: Reading, tile: Int[Array, " n"], row: Int[Array, " n"]
) -> Float[Array, "n C columns"]:
    """The same with whole tiles, for what is drawn for every cell or depends on all rows: slow."""
    all_rows, width = TileRow.of(reading), reading.mean.shape[-2]

    def one(numbered: tuple) -> jax.Array:
        index, t, i = numbered
        tiles = jax.tree.map(lambda a: a[t], all_rows)._replace(row=index)
        return product.outputs(jax.nn.one_hot(i, width, dtype=reading.mean.dtype), None, tiles)

    return lax.map(one, (jnp.arange(len(tile)), tile, row))
