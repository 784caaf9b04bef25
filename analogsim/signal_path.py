"""The one signal path: how an input becomes an output on analog hardware.

    x -> / input range -> DAC -> store (+ read noise) -> + converter noise -> ADC, per tile
      -> * column scale -> sum over tiles (digital) -> * input range -> y

Training and inference, every store, Linen and NNX all pass here. Read noise is applied where it arrives: for noise
independent from cell to cell and read to read, y = M x + sqrt(V x^2) xi has the exact mean and variance of a read that
perturbs every cell, M and V being the cells' first two moments; its shape is Gaussian by the central limit theorem. It
costs one more product and one Gaussian an output, instead of one Gaussian a cell and input vector.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.converters import quantise
from analogsim.devices.errors import InputError
from analogsim.devices.random import normal, stream
from analogsim.operators import Operator
from analogsim.tiles import Reading

_UNROLLED = 8  # tiles along the inputs that are written out one by one
_TINY = 1e-20  # least variance: its root is invisible, and the slope of sqrt stays finite where nothing is driven


class Ranges(NamedTuple):
    """A layer's calibrated ranges; None where not calibrated.

    Attributes:
      input: largest input that the DAC passes, in the units of x. None: each example's own largest value.
      output: largest output that the ADC passes, in fully driven cells. None: the hardware's default.
    """

    input: Any = None
    output: Any = None


#: A layer without calibrated ranges.
UNCALIBRATED = Ranges()


def is_random(reading: Reading) -> bool:
    """Whether a product with this reading draws random numbers (so that a key is needed)."""
    adc = reading.hardware.adc
    converter = adc is not None and adc.noise is not None
    return reading.variance is not None or converter or adds_noise(reading)


def adds_noise(reading: Reading) -> bool:
    """Whether the store's detection adds noise at the output; found from shapes, without computing anything."""
    _, _, rows, columns = reading.mean.shape
    x, y = jnp.zeros((1, rows), reading.mean.dtype), jnp.zeros((1, columns), reading.mean.dtype)

    def noise_of_one_tile(state: Any) -> Any:
        return reading.hardware.store.noise(x, y, jax.tree.map(lambda a: a[0, 0], state))

    return jax.eval_shape(noise_of_one_tile, reading.state) is not None


@functools.partial(jax.jit, static_argnames=("operator", "precision"))
def multiply(
    reading: Reading,
    x: jax.Array,
    operator: Operator,
    *,
    key: jax.Array | None,
    ranges: Ranges = UNCALIBRATED,
    precision: Any = None,
) -> jax.Array:
    """Carry ``x`` through the hardware.

    Args:
      reading: what the tiles hold.
      x: the layer's input, in the shape its operator takes (``[..., n_in]`` for a matrix, an image for a convolution).
      operator: how inputs meet the matrix.
      key: drives this call's noise; None only if nothing is random (``is_random``).
      ranges: calibrated ranges.
      precision: matmul precision; the highest by default, so that ideal hardware is exact on every backend.

    Returns:
      The output, in the dtype of ``x``. Sums and noise are carried in float32 (or float64 for float64 inputs).
    """
    hardware = reading.hardware
    precision = lax.Precision.HIGHEST if precision is None else precision
    wide = x.astype(jnp.promote_types(x.dtype, reading.mean.dtype))
    bound = _input_range(hardware, wide, operator, ranges)
    code = wide if bound is None else wide / bound
    if hardware.dac is not None:
        code = quantise(code, hardware.dac.bits, 1.0)

    if key is None and is_random(reading):
        raise InputError(f"key = None: hardware '{hardware.name}' has read or converter noise and needs a random key")

    detection = adds_noise(reading)

    def tile(part, mean, variance, scale, state, index):
        """The scaled output of one row of tiles, ``[..., C, columns]``."""
        y = operator.product(part, mean.astype(part.dtype), precision)
        total = _noise_variance(hardware, operator, part, variance, precision)
        if detection:
            of_tiles = jax.vmap(hardware.store.noise, in_axes=(None, -2, 0), out_axes=-2)
            total = of_tiles(part, y, state) ** 2 + (0.0 if total is None else total)
        if total is not None and key is not None:
            xi = normal(jax.random.fold_in(stream(key, "output noise"), index), y.shape, y.dtype)
            y = y + jnp.sqrt(jnp.maximum(total, _TINY)) * xi
        if hardware.adc is not None:
            y = quantise(y, hardware.adc.bits, hardware.adc.range if ranges.output is None else ranges.output)
        return y * scale[:, 0, :].astype(y.dtype)

    r = reading.mean.shape[0]
    parts = operator.parts(code, r, unfold=detection)
    each = (parts, reading.mean, reading.variance, reading.scale, reading.state, jnp.arange(r))
    y = _sum_over_tiles(tile, each, r)
    y = y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1])[..., : reading.n_out]
    return (y if bound is None else y * bound).astype(x.dtype)


def _sum_over_tiles(tile: Any, each: tuple, r: int) -> jax.Array:
    """Digital accumulation of the partial sums: written out for a few tiles, a loop for many (bounded compile time)."""
    parts = [tile(*jax.tree.map(lambda a, i=i: a[i], each)) for i in range(min(r, _UNROLLED))]
    y = functools.reduce(jnp.add, parts)
    if r <= _UNROLLED:
        return y
    rest = jax.tree.map(lambda a: a[_UNROLLED:], each)
    return lax.scan(lambda total, some: (total + tile(*some), None), y, rest)[0]


def _input_range(hardware: Any, x: jax.Array, operator: Operator, ranges: Ranges) -> jax.Array | None:
    if hardware.dac is None and hardware.adc is None:
        return None  # nothing has a full scale: values pass as they are
    if ranges.input is not None:
        return jnp.asarray(ranges.input, x.dtype)
    largest = jnp.max(jnp.abs(lax.stop_gradient(x)), axis=operator.example_axes(x), keepdims=True)
    return jnp.where(largest > 0, largest, 1.0)


def _noise_variance(hardware: Any, operator: Operator, part: jax.Array, variance: Any, precision: Any) -> Any:
    """Variance of one row of tiles' outputs: of reading, sum_i x_i^2 Var(w_ij), and of the converter; None without."""
    noisy_adc = hardware.adc is not None and hardware.adc.noise is not None
    converter = jnp.asarray(hardware.adc.noise, part.dtype) ** 2 if noisy_adc else None
    if variance is None:
        return converter
    # The noise does not steer the inputs: no gradient through x, and no transposed product of squares to pay for.
    squares = lax.stop_gradient(part) ** 2
    read = operator.product(squares, variance.astype(part.dtype), precision)
    return read if converter is None else read + converter
