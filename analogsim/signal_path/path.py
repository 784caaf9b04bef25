"""The signal path: from input to output on analog hardware.

    x -> / input range -> DAC (+ noise) -> store (+ read noise) -> + converter noise -> ADC, per tile
      -> * drift compensation, combination of a weight's columns, * column scale (digital; uses noise-free codes)
      -> sum over tiles (digital) -> * input range -> y

Training and inference, all stores, Linen and NNX use this path. Read noise is applied at the outputs: for noise that is
independent between cells and reads, y = M x + sqrt(V x^2) xi has the exact mean and variance of a read that perturbs
every cell, where M and V are the cells' first two moments; the distribution is Gaussian by the central limit theorem.
It costs one more product and one Gaussian number per output, instead of one per cell and input vector. Slow
fluctuations, the same in all reads of one reading, are part of M (``ProgrammedTiles.read``).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import PrecisionLike

from analogsim.base.compiled import compiled
from analogsim.base.dtypes import inexact, promoted
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


# Operators are static: frozen, hashable records of sizes and axes. Hardware is a pytree: its numbers may be traced.
@compiled(static=("operator", "precision"))
def multiply(
    hardware: TileHardware,
    reading: Reading,
    x: Shaped[Array, ...],
    operator: Operator,
    *,
    key: jax.Array | None,
    ranges: Ranges = UNCALIBRATED,
    precision: PrecisionLike | None = None,
) -> Shaped[Array, ...]:
    """Multiply ``x`` with a reading on the hardware.

    Args:
      hardware: its store and converters.
      reading: the reading of the tiles.
      x: the layer's input in the shape of its operator (``[..., n_in]`` for a matrix, an image for a convolution).
      operator: maps inputs to the matrix.
      key: random key of this call's noise; None only if nothing is random (``is_random``).
      ranges: calibrated ranges.
      precision: matmul precision; the highest by default, so that ideal hardware is exact on every backend.

    Returns:
      The output, in the dtype of ``x``, float32 for integers. Sums and noise are computed in float32 (float64 for
      float64 inputs).

    Raises:
      InputError: if something is random and ``key`` is None, or an output range does not fit the columns.

    Example:
      >>> from analogsim import Hardware
      >>> from analogsim.signal_path import program
      >>> from analogsim.signal_path.operators.stack import Vectors
      >>> hardware = Hardware()
      >>> reading = program(hardware, jnp.array([[1.0, 2.0], [3.0, -4.0]]), None).read(0.0)
      >>> multiply(hardware, reading, jnp.array([1.0, 1.0]), Vectors(), key=None).tolist()
      [4.0, -2.0]
    """
    product = RowProduct.of(hardware, reading, operator, key, ranges, precision)
    x = inexact(x)  # integers are inputs, not outputs
    wide = x.astype(promoted(x.dtype, reading.mean.dtype))
    if isinstance(hardware.input_range, DynamicRange):
        ranges = ranges._replace(input=None)
    bound, clips = input_range(hardware, wide, operator, ranges.input), ranges.input is not None
    rule, learned = hardware.input_range, None
    if isinstance(rule, LearnedRange) and rule.rule == "published" and bound is not None and clips:
        # The rule's gradient enters here and nowhere else.
        wide, learned, bound = published(rule, wide, bound), bound, lax.stop_gradient(bound)
    code = encode(hardware, wide, bound, clips)
    # What is drawn for every row and vector needs all vectors written out; a convolution otherwise keeps its image.
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
    # All tiles are equally wide: the padding of the last one is cut off here.
    y = y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1])[..., : reading.n_out]
    return (y if bound is None else y * bound).astype(x.dtype)


@compiled(static=("operator",))
def column_products(
    hardware: TileHardware,
    x: Float[Array, "*batch n_in"],
    tiles: Float[Array, "R C rows n_columns"],
    largest_input: Any,
    operator: Operator,
) -> Float[Array, "R steps *batch C n_columns"]:
    """Return the noise-free outputs of ideal columns ``[R, C, rows, n_columns]``, for every step of an input."""
    dac = hardware.dac
    code = encode(hardware, x, input_range(hardware, x, operator, largest_input))
    of_rows = []
    for part, tile in zip(operator.parts(code, tiles.shape[0]), tiles, strict=True):
        drives = [part] if dac is None or dac.conversions == 1 else dac.steps(part)[0]
        of_rows.append(jnp.stack([operator.product(d, tile.astype(d.dtype), lax.Precision.HIGHEST) for d in drives]))
    return jnp.stack(of_rows)
