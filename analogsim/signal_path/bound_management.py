"""Bound management: an example that overflows an ADC is re-read with twice the input range."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.random import stream
from analogsim.signal_path.driving import drive_noise, drives_noisily, encode
from analogsim.signal_path.tile_row import RowProduct, TileRow

_MOST_DOUBLINGS = 10  # of an input range: a factor of about 1000


def managed_range(product: RowProduct, x: jax.Array, bound: Any, cut: Any, tiles: TileRow, n_in: int) -> jax.Array:
    """Return the input range of every example, doubled until none of its columns overflows an ADC (at most 10 times).

    Each trial is a separate read, and the final product is one more. Every example has its own range, so that an
    overflow of one example does not reduce the resolution of another. T. Gokmen et al., Front. Neurosci. 11, 538
    (2017), doi 10.3389/fnins.2017.00538.
    """
    # The choice of a range has no derivative, and reverse mode cannot pass a while_loop.
    hardware, limits, x, tiles = lax.stop_gradient((product.hardware, product.limits, x, tiles))
    product = product._replace(hardware=hardware, limits=limits)
    axes = product.operator.example_axes(x)
    # Only the shape of the maximum is used: a range for every example, also where a calibrated one is a single number.
    start = jnp.broadcast_to(bound, jnp.max(x, axis=axes, keepdims=True, initial=0.0).shape)

    def overflows(number: jax.Array, bound: jax.Array) -> jax.Array:
        trial = product
        if product.key is not None:
            trial = product._replace(key=jax.random.fold_in(stream(product.key, "bound management"), number))
        parts = cut(encode(product.hardware, x, bound))
        if drives_noisily(hardware):
            parts = parts + drive_noise(hardware.dac, product.operator, n_in, parts, trial.key)
        rows = [jax.tree.map(lambda a, i=i: a[i], (parts, tiles)) for i in range(parts.shape[0])]
        over = functools.reduce(jnp.logical_or, [jnp.any(trial.overflows(*row), axis=(-2, -1)) for row in rows])
        # Axes behind those of the examples are the windows of one image, which share its range.
        of_example = jnp.any(over, axis=tuple(range(x.ndim - len(axes), over.ndim)))
        return of_example.reshape(bound.shape)

    def again(state: tuple) -> tuple:
        number, bound, over = state
        bound = jnp.where(over, 2 * bound, bound)
        # New noise must not widen a range that was accepted: only examples that still overflowed are tested again.
        return number + 1, bound, over & overflows(number + 1, bound)

    def unfinished(state: tuple) -> jax.Array:
        return (state[0] < _MOST_DOUBLINGS) & jnp.any(state[2])

    first = jnp.zeros((), jnp.int32)
    return lax.while_loop(unfinished, again, (first, start, overflows(first, start)))[1]
