"""Encode a layer's input as codes, which drive the rows of its tiles.

DAC noise is added to the DAC output: for a code x_i, row i is driven with x_i + sigma xi_i. It is drawn for every
vector that drives a tile: for every window of a convolution, although windows share pixels, and also for rows driven by
zeros of a window. All columns of all tiles in one row of tiles are driven together. With W the column weights of those
tiles, the noise of the columns has

    variance  sigma^2 sum_i W_ij^2        covariance of two columns  sigma^2 (W^T W)_jk        of two vectors  none

Digital computations with the codes (the sum of inputs that ``Offset`` subtracts) use them without noise.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.random import normal, stream
from analogsim.base.straight_through import scale_of, straight_through
from analogsim.converters import DAC, quantise
from analogsim.signal_path.hardware_spec import TileHardware
from analogsim.signal_path.operators import Operator, rows_in_use


class RowDrive(NamedTuple):
    """The drive of the rows by one conversion, arrays in the shape of the code.

    Attributes:
      code: factor of the cells' conductances.
      squares: factor of their variances.
      powers: factors of their second- and third-order currents; empty for linear cells.
      step_contributions: parts of the code and the powers, one per read of the cells with independent noise.
    """

    code: jax.Array
    squares: jax.Array
    powers: tuple[jax.Array, ...]
    step_contributions: list[tuple[jax.Array, ...]]

    @classmethod
    def of(cls, dac: Any, code: jax.Array, non_linear: bool, noise_persists: bool) -> "RowDrive":
        """Return the drive of a code by an input converter; by amplitudes without one.

        ``noise_persists`` tells whether cells stay the same in all steps of a product (``Reading``).
        """
        dac = DAC() if dac is None else dac
        powers = dac.powers(code) if non_linear else ()
        # Over the steps, lasting noise adds as an amplitude, (sum_s f_s x_s)^2; independent noise as sum_s (f_s x_s)^2.
        if noise_persists:
            return cls(code, code**2, powers, [(code, *powers)])
        return cls(code, dac.squares(code), powers, dac.step_contributions(code, non_linear))


def input_range(hardware: TileHardware, x: jax.Array, operator: Operator, calibrated: Any) -> jax.Array | None:
    """Return the input value of a full code, in the units of ``x``; None if no converter has a full scale.

    Uses the ``calibrated`` range, or if that is None the largest value of each example. For an example of zeros
    without a calibrated range it is negligible, so that its output is zero without noise, and gradients pass
    (``straight_through.scale_of``).
    """
    if hardware.dac is None and hardware.adc is None:
        return None  # nothing has a full scale: values pass unchanged
    if calibrated is not None:
        return scale_of(jnp.asarray(calibrated, x.dtype))
    # No derivative: outputs are multiplied by the range again, which leaves only that of rounding errors.
    return scale_of(jnp.max(jnp.abs(lax.stop_gradient(x)), axis=operator.example_axes(x), keepdims=True))


def encode(hardware: TileHardware, x: jax.Array, bound: jax.Array | None, clips: bool = True) -> jax.Array:
    """Return the codes in [-1, 1] that drive the rows, for inputs with the range ``bound``.

    ``clips`` is False if the range is the maximum of the example. The largest input then equals the range up to
    rounding, which differs between compilations and must not decide whether a gradient passes.
    """
    code = x if bound is None else x / bound
    if hardware.dac is None:
        return code
    codes = quantise(code, hardware.dac.bits, 1.0)
    return codes if clips else straight_through(code, lax.stop_gradient(codes))


def drives_noisily(hardware: TileHardware) -> bool:
    """Return whether the DACs have noise."""
    return hardware.dac is not None and hardware.dac.noise is not None


def drive_noise(dac: Any, operator: Operator, n_in: int, parts: jax.Array, key: Any) -> jax.Array:
    """Return the DAC noise of the codes ``[R, ..., rows]`` that drive R tiles along the inputs of a matrix.

    Rows of a tile without weights are not driven.
    """
    xi = normal(stream(key, "input noise"), parts.shape, parts.dtype)
    r, rows = parts.shape[0], parts.shape[-1]
    # NumPy, so that the mask is a constant, and no operation at all if every row is in use.
    in_use = np.zeros((r, rows), bool)
    for tile, rows_of_tile in enumerate(rows_in_use(operator, n_in, r)):
        in_use[tile, rows_of_tile] = True
    noise = jnp.asarray(dac.noise, parts.dtype) * xi
    return noise if in_use.all() else noise * jnp.asarray(in_use.reshape(r, *(1,) * (parts.ndim - 2), rows), xi.dtype)
