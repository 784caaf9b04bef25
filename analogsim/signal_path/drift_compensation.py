"""Drift compensation: a digital factor that restores the readout of a tile, or a column, right after programming.

The calibration reads drive every row of a tile alone at full voltage and convert all columns. They measure the cells'
weights W(t); digital logic reduces them to one number per column and compares it with the number after programming.
With T the programmed weights, rounded to 8 bits, the factor is

    projection       sum T W(0) / sum T W(t)          least squares along T: restores the weights' part of the output
    mean absolute    sum |W(0)| / sum |W(t)|          as published

summed over the rows of a column ("column") or over the tile ("global", where slices are weighted by significance).
Programming errors are independent of T and do not bias the projection. Cells that store zero contain only errors, which
drift faster than weights; the mean absolute readout includes them, and overcompensates if there are many.

The relative standard deviation of the projection, with n calibration reads per row and noise of variance V per cell, is
sqrt(sum T^2 V / n) / sum T W(t). The tile stores T, one byte per column and row, in addition to its cells.

Sources: M. Le Gallo et al., IEEE Trans. Electron Devices 65, 4304 (2018), doi 10.1109/TED.2018.2865352 (mean absolute
readout); the projection is derived here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.dtypes import to_rank
from analogsim.base.random import normal
from analogsim.base.types import PyTree
from analogsim.signal_path.hardware_spec import TileHardware

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int8

    Columns = Float[Array, "R C rows n_columns"]
    Codes = Int8[Array, "R C rows n_columns"]
    Readout = Float[Array, "R C 1 n_columns"]


ESTIMATORS = ("projection", "mean absolute")

_FULL_SCALE = 127.0  # of the 8-bit codes of the written weights


def written_codes(hardware: TileHardware, columns: Columns) -> Codes | None:
    """Return T ``[R, C, rows, n_columns]``, int8, from ideal columns; None if the estimator does not need it."""
    if hardware.drift_estimator != "projection":
        return None
    return jnp.clip(jnp.round(columns * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE).astype(jnp.int8)


def readout(hardware: TileHardware, codes: Codes | None, mean: Columns) -> Readout:
    """Return the noise-free calibration readout of every column, ``[R, C, 1, n_columns]``."""
    if codes is None:
        return jnp.mean(jnp.abs(mean), axis=-2, keepdims=True)
    return jnp.mean(codes.astype(mean.dtype) * mean, axis=-2, keepdims=True) / _FULL_SCALE


def noisy_readout(
    hardware: TileHardware, codes: Codes | None, state: PyTree, mean: Columns, variance: Columns | None, key: jax.Array
) -> Readout:
    """Return the calibration readout with the noise of ``hardware.calibration_reads`` reads per row.

    Noise of reads, detection and converters is averaged; ADC rounding is neglected, because the noise dithers it.
    """
    noise = jnp.zeros_like(mean) if variance is None else variance
    adc, store = hardware.adc, hardware.store
    if adc is not None and adc.noise is not None:
        noise = noise + jnp.asarray(adc.noise, mean.dtype) ** 2
    alone = jnp.eye(mean.shape[-2], dtype=mean.dtype)
    # For the unit matrix as input, i.e. each row driven alone, the outputs are the cells themselves.
    detected = jax.vmap(jax.vmap(lambda s, m: store.noise(alone, m, s)))(state, mean)
    if detected is not None:
        noise = noise + detected**2
    noise = noise / jnp.asarray(hardware.calibration_reads, mean.dtype)
    if codes is None:
        return readout(hardware, None, mean + _root(noise) * normal(key, mean.shape, mean.dtype))
    weights = codes.astype(mean.dtype) / _FULL_SCALE
    total = jnp.sum(weights**2 * noise, axis=-2, keepdims=True)  # exact, without a number per cell
    xi = normal(key, total.shape, total.dtype)
    # The readout is a mean, so the deviation of the sum is divided by the number of rows.
    return readout(hardware, codes, mean) + _root(total) * xi / mean.shape[-2]


def factors(
    hardware: TileHardware, choice: str, before: Readout, now: Readout, columns: int
) -> Float[Array, "R C 1 _"] | None:
    """Return the factors of columns, ``[R, C, 1, n_columns or 1]``, from readouts ``[R, C, 1, n_columns]``.

    ``choice`` is "none", "global" or "column"; ``columns`` is the number of outputs per tile.
    """
    if choice == "none":
        return None
    if choice == "global":
        fractions = _significance(hardware, columns) if hardware.drift_estimator == "projection" else 1.0
        before, now = (jnp.mean(a * to_rank(fractions, a.ndim), axis=-1, keepdims=True) for a in (before, now))
    restorable = (before > 0) & (now > 0)  # nothing to restore in a line of zeros
    return jnp.where(restorable, before / jnp.where(restorable, now, 1.0), 1.0)


def _significance(hardware: TileHardware, columns: int) -> Any:
    """Return the weight of each column in the squared output: for slices, the square of their significance."""
    lines = hardware.store.column_map(columns)
    counts = np.asarray(lines.factor, float)[np.asarray(lines.slice)]
    return np.float32((counts / counts.max()) ** 2)


def _root(values: jax.Array) -> jax.Array:
    """Return the square root with a finite gradient at zero."""
    return jnp.where(values > 0, jnp.sqrt(jnp.where(values > 0, values, 1.0)), 0.0)
