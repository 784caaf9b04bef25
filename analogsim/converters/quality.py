"""Quality measures of converters: transfer curve, DNL and INL, errors in LSB, effective number of bits.

One LSB is the step between neighbouring outputs. Every measure takes a converter and the state that its ``fabricate``
drew, and returns one value per column. Terms as in IEEE Std 1241 (recalled):

    DNL(k) = width of code k / mean width - 1      INL(k) = sum of DNL below code k      both without the end codes
    SINAD  = signal / (noise + distortion), in dB  ENOB = (SINAD - 10 log10 1.5) / (20 log10 2)     of a sine

Gain and offset errors count in ``errors`` and are removed from DNL, INL and ENOB. All measures are functions of the
transfer curve, which has no memory, so a ramp and a sine differ only in the density of their values. They work under
``jax.vmap`` over a stack of states.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base import units
from analogsim.base.checks import check_integer
from analogsim.base.errors import InputError
from analogsim.base.types import PyTree
from analogsim.converters.protocol import Converter


class TransferCurve(NamedTuple):
    """Response of a converter to a ramp, in units of the range.

    Attributes:
      inputs: from -1 to 1, ``[n]``.
      outputs: converted values, ``[n, n_columns]``.
    """

    inputs: jax.Array
    outputs: jax.Array


class Linearity(NamedTuple):
    """Differential and integral non-linearity, in LSB.

    Attributes:
      dnl: of the codes 1 .. codes-2, ``[codes-2, n_columns]``; -1 for a missing code.
      inl: of the thresholds below the codes 1 .. codes-1, ``[codes-1, n_columns]``; zero at both ends.
    """

    dnl: jax.Array
    inl: jax.Array


class Errors(NamedTuple):
    """Root-mean-square and largest error (output minus input) over the whole range, in LSB, ``[n_columns]`` each."""

    rms: jax.Array
    largest: jax.Array


def transfer_curve(converter: Converter, state: PyTree = None, *, points: int = 32) -> TransferCurve:
    """Convert a ramp over the whole range and return the transfer curve.

    Args:
      converter: any ADC with a concrete number of bits.
      state: the result of its ``fabricate``; None for a converter that draws nothing.
      points: inputs per code, evenly spaced and off the ideal thresholds.

    Example:
      >>> from analogsim.converters import ADC
      >>> transfer_curve(ADC(bits=2, style="mid-rise"), points=1).outputs[:, 0].tolist()
      [-0.75, -0.25, 0.25, 0.75]
    """
    n = check_integer(points, "points") * round(2 / float(converter.lsb))
    inputs = (2 * jnp.arange(n) + (1 - n)) / n
    return TransferCurve(inputs, _convert(converter, inputs, state))


def linearity(converter: Converter, state: PyTree = None, *, points: int = 64) -> Linearity:
    """Return DNL and INL from the histogram of codes over a ramp, with a resolution of 1/points LSB.

    Args:
      converter, state, points: as for ``transfer_curve``.

    Raises:
      InputError: if the converter has fewer than 4 codes.

    Example:
      >>> from analogsim.converters import SARADC
      >>> float(abs(linearity(SARADC(bits=6)).inl).max())
      0.0
    """
    codes = int(converter.codes)
    if codes < 4:
        raise InputError(
            f"{type(converter).__name__}.bits = {converter.bits}: must give at least 4 codes to have a DNL"
        )
    outputs = transfer_curve(converter, state, points=points).outputs
    code = jnp.round(outputs / converter.lsb + (codes - 1) / 2).astype(jnp.int32)
    width = jax.vmap(lambda line: jnp.bincount(line, length=codes), in_axes=1, out_axes=1)(code)[1:-1]
    mean = jnp.mean(width, axis=0, keepdims=True)
    dnl = width.astype(mean.dtype) / mean - 1
    inl = jnp.concatenate([jnp.zeros_like(dnl[:1]), jnp.cumsum(dnl, axis=0)])
    return Linearity(dnl, inl)


def errors(converter: Converter, state: PyTree = None, *, points: int = 32) -> Errors:
    """Return the RMS and the largest error of a ramp over the whole range, in LSB; arguments as for ``transfer_curve``.

    An ideal converter has an RMS error of 1/sqrt(12) LSB.

    Example:
      >>> from analogsim.converters import RampADC
      >>> round(float(errors(RampADC(bits=6)).rms[0]), 3)
      0.289
    """
    inputs, outputs = transfer_curve(converter, state, points=points)
    error = (outputs - inputs[:, None]) / converter.lsb
    return Errors(jnp.sqrt(jnp.mean(error**2, axis=0)), jnp.max(jnp.abs(error), axis=0))


def effective_bits(converter: Converter, state: PyTree = None, *, signal: str = "sine", points: int = 32) -> jax.Array:
    """Return the effective number of bits of every column, ``[n_columns]``.

    The output is fitted with gain times input plus offset; the residual is noise and distortion. Its power is compared
    with that of a full-scale sine for either signal.

    Args:
      converter, state, points: as for ``transfer_curve``.
      signal: ``"sine"`` or ``"ramp"``, over the whole range.

    Example:
      >>> from analogsim.converters import SARADC
      >>> round(float(effective_bits(SARADC(bits=6), signal="ramp")[0]), 2)
      6.0
    """
    if signal not in ("sine", "ramp"):
        raise InputError(f"signal = {signal!r}: must be one of 'sine', 'ramp'")
    n = check_integer(points, "points") * round(2 / float(converter.lsb))
    x = (2 * jnp.arange(n) + (1 - n)) / n
    if signal == "sine":  # half a period passes every value once; the other half repeats them
        x = jnp.sin(math.pi / 2 * x)
    # Fit the error instead of the output: it is small, so that float32 is precise enough.
    error = _convert(converter, x, state) - x[:, None]
    gain_error = jnp.sum(error * x[:, None], axis=0, keepdims=True) / jnp.sum(x**2)  # x has the mean zero
    residual = error - jnp.mean(error, axis=0, keepdims=True) - gain_error * x[:, None]
    sinad = (1 + gain_error[0]) ** 2 / 2 / jnp.mean(residual**2, axis=0)
    return units.effective_bits(10 * jnp.log10(sinad))


def _convert(converter: Converter, inputs: jax.Array, state: PyTree) -> jax.Array:
    return converter.convert(inputs[:, None], 1.0, state)
