"""The one signal path: how an input becomes an output on analog hardware.

    x -> / input range -> DAC (+ noise) -> store (+ read noise) -> + converter noise -> ADC, per tile
      -> * drift compensation, recombination of a weight's lines, * column scale (digital; knows codes without noise)
      -> sum over tiles (digital) -> * input range -> y

Training and inference, every store, Linen and NNX all pass here. Read noise is applied where it arrives: for noise
independent from cell to cell and read to read, y = M x + sqrt(V x^2) xi has the exact mean and variance of a read that
perturbs every cell, M and V being the cells' first two moments; its shape is Gaussian by the central limit theorem. It
costs one more product and one Gaussian per output, instead of one per cell and input vector. What fluctuates
slowly, the same in all reads of one reading, is part of M (``ProgrammedTiles.read``).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.dtypes import inexact
from analogsim.converters.range_rules import DynamicRange, LearnedRange, published
from analogsim.signal_path.bound_management import managed_range
from analogsim.signal_path.driving import drive_noise, drives_noisily, encode, input_range
from analogsim.signal_path.hardware_spec import TileHardware
from analogsim.signal_path.operators import Operator
from analogsim.signal_path.ranges import UNCALIBRATED, Ranges
from analogsim.signal_path.reading import Reading
from analogsim.signal_path.tile_row import RowProduct, TileRow, sum_over_tiles

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Shaped


@functools.partial(jax.jit, static_argnames=("operator", "precision"))
def multiply(
    hardware: TileHardware,
    reading: Reading,
    x: Shaped[Array, ...],
    operator: Operator,
    *,
    key: jax.Array | None,
    ranges: Ranges = UNCALIBRATED,
    precision: Any = None,
) -> Shaped[Array, ...]:
    """Carry ``x`` through the hardware.

    Args:
      hardware: what the reading is multiplied on: its store and converters.
      reading: what the tiles hold.
      x: the layer's input, in the shape its operator takes (``[..., n_in]`` for a matrix, an image for a convolution).
      operator: how inputs meet the matrix.
      key: drives this call's noise; None only if nothing is random (``is_random``).
      ranges: calibrated ranges.
      precision: matmul precision; the highest by default, so that ideal hardware is exact on every backend.

    Returns:
      The output, in the dtype of ``x``, float32 for integers. Sums and noise are carried in float32 (or float64
      for float64 inputs).
    """
    product = RowProduct.of(hardware, reading, operator, key, ranges, precision)
    x = inexact(x)  # integers are inputs, not outputs
    wide = x.astype(jnp.promote_types(x.dtype, reading.mean.dtype))
    if isinstance(hardware.input_range, DynamicRange):
        ranges = ranges._replace(input=None)
    bound, clips = input_range(hardware, wide, operator, ranges.input), ranges.input is not None
    rule, learned = hardware.input_range, None
    if isinstance(rule, LearnedRange) and rule.rule == "published" and bound is not None and clips:
        # The rule's gradient enters here and nowhere else.
        wide, learned, bound = published(rule, wide, bound), bound, lax.stop_gradient(bound)
    code = encode(hardware, wide, bound, clips)
    by_cell = hardware.sampling == "cells" and reading.variance is not None
    noisy, r = drives_noisily(hardware), reading.mean.shape[0]
    cut = functools.partial(operator.parts, r=r, unfold=by_cell or noisy or hardware.store.detects_noise)
    rows = TileRow.of(reading)
    widened = learned if rule is not None and learned is not None and rule.outputs == "widen" else None
    product = product._replace(widened=widened, rows=r)
    if hardware.bound_management == "iterative":
        bound = managed_range(product, wide, bound, cut, rows, reading.n_in)
        code = encode(hardware, wide, bound, clips)
    parts, driven = cut(code), None
    if noisy:
        driven = parts + drive_noise(hardware.dac, operator, reading.n_in, parts, key)
    y = sum_over_tiles(product.outputs, (parts, driven, rows), r)
    y = y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1])[..., : reading.n_out]
    return (y if bound is None else y * bound).astype(x.dtype)


@functools.partial(jax.jit, static_argnames=("operator",))
def column_products(
    hardware: TileHardware,
    x: Float[Array, "*batch n_in"],
    tiles: Float[Array, "R C rows n_columns"],
    largest_input: Any,
    operator: Operator,
) -> Float[Array, "R steps *batch C n_columns"]:
    """Return what perfectly written columns ``[R, C, rows, n_columns]`` carry, without noise."""
    dac = hardware.dac
    code = encode(hardware, x, input_range(hardware, x, operator, largest_input))
    of_rows = []
    for part, tile in zip(operator.parts(code, tiles.shape[0]), tiles, strict=True):
        drives = [part] if dac is None or dac.conversions == 1 else dac.steps(part)[0]
        of_rows.append(jnp.stack([operator.product(d, tile.astype(d.dtype), lax.Precision.HIGHEST) for d in drives]))
    return jnp.stack(of_rows)
