"""How a layer's input becomes codes, and codes drive the rows of its tiles.

The noise of a DAC is that of its output: with a code x_i, row i is driven with x_i + sigma xi_i. It is drawn anew for
every vector that drives a tile: for every window of a convolution, though windows share pixels, and for rows that a
window's zeros drive, too. All columns of all tiles in one row of tiles are driven together. So, with W the lines of
those tiles, what it adds to the lines of one vector and of different ones has

    variance  sigma^2 sum_i W_ij^2        covariance of two columns  sigma^2 (W^T W)_jk        of two vectors  none

What is computed digitally from the codes (the sum of inputs that ``Offset`` subtracts) knows them without noise.
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
    """How one conversion drives the rows, arrays like the code itself.

    Attributes:
      code: what meets the cells' conductances.
      squares: what meets their variances.
      powers: what meets their second- and third-order currents; empty for linear cells.
      shares: of the code and the powers, what each read of the cells adds that has noise of its own.
    """

    code: jax.Array
    squares: jax.Array
    powers: tuple[jax.Array, ...]
    shares: list[tuple[jax.Array, ...]]

    @classmethod
    def of(cls, dac: Any, code: jax.Array, non_linear: bool, noise_persists: bool) -> "RowDrive":
        """The drive of a code by an input converter; by amplitudes without one.

        ``noise_persists`` is whether cells stay as they are through all steps of a product (``Reading``).
        """
        dac = DAC() if dac is None else dac
        powers = dac.powers(code) if non_linear else ()
        if noise_persists:
            return cls(code, code**2, powers, [(code, *powers)])
        return cls(code, dac.squares(code), powers, dac.shares(code, non_linear))


def input_range(hardware: TileHardware, x: jax.Array, operator: Operator, calibrated: Any) -> jax.Array | None:
    """What a full input code stands for, in the units of ``x``; None where nothing has a full scale.

    A ``calibrated`` range is taken, else (None) each example's largest value.

    It is next to nothing for an example of zeros without a calibrated range, as for no input: nothing is heard of its
    output, noise included, and gradients pass (``straight_through.scale_of``).
    """
    if hardware.dac is None and hardware.adc is None:
        return None  # nothing has a full scale: values pass as they are
    if calibrated is not None:
        return scale_of(jnp.asarray(calibrated, x.dtype))
    return scale_of(jnp.max(jnp.abs(lax.stop_gradient(x)), axis=operator.example_axes(x), keepdims=True))


def encode(hardware: TileHardware, x: jax.Array, bound: jax.Array | None, clips: bool = True) -> jax.Array:
    """The codes in [-1, 1] that drive the rows, for inputs with the range ``bound``.

    ``clips`` is False for a range that is the example's own. Its largest input is as large as the range but for
    rounding, which each compilation does in its own way and which must not decide whether a gradient passes.
    """
    code = x if bound is None else x / bound
    if hardware.dac is None:
        return code
    codes = quantise(code, hardware.dac.bits, 1.0)
    return codes if clips else straight_through(code, lax.stop_gradient(codes))


def drives_noisily(hardware: TileHardware) -> bool:
    """Whether what drives the rows is random."""
    return hardware.dac is not None and hardware.dac.noise is not None


def drive_noise(dac: Any, operator: Operator, n_in: int, parts: jax.Array, key: Any) -> jax.Array:
    """What the DACs add to the codes ``[R, ..., rows]`` that drive R tiles along the inputs of a matrix.

    Rows of a tile that no weight lies in are not driven.
    """
    xi = normal(stream(key, "input noise"), parts.shape, parts.dtype)
    r, rows = parts.shape[0], parts.shape[-1]
    in_use = np.zeros((r, rows), bool)
    for tile, held in enumerate(rows_in_use(operator, n_in, r)):
        in_use[tile, held] = True
    noise = jnp.asarray(dac.noise, parts.dtype) * xi
    return noise if in_use.all() else noise * jnp.asarray(in_use.reshape(r, *(1,) * (parts.ndim - 2), rows), xi.dtype)
