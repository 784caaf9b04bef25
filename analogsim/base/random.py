"""Random numbers: named streams, and Gaussians that are cheap on a CPU.

Every noise source draws from its own stream, derived from the caller's key by the source's name, so that
switching one source off never changes the numbers of another.

On CPU the stock ``jax.random.normal`` spends most of its time in a rolled loop that makes the bits
(about 20 ns a number). ``normal`` writes the same Threefry-2x32-20 generator (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", SC 2011, doi 10.1145/2063384.2063405) as straight-line code that XLA fuses and
vectorises. The numbers are those of ``jax.random.normal``, bit for bit, wherever that uses its default
generator; any other key falls through to ``jax.random``. The function is compiled as one piece, because outside of
``jax.jit`` its hundred small operations would be started one by one.
"""

import functools
import math
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.errors import InputError, brief

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_KEY_PARITY = 0x1BD11BDA


def check_key(key: Any, where: str = "key") -> None:
    """Refuse what is neither a random key nor an array of them, with the remedy."""
    if not is_key(key):
        raise InputError(f"{where} = {brief(key)}: must be a random key, for example jax.random.key(0)")


def check_one_key(key: Any, where: str = "key", remedy: str = "give one key, or map over them with jax.vmap") -> None:
    """Refuse what is not exactly one random key."""
    check_key(key, where)
    if key_shape(key) != ():
        raise InputError(f"{where}: an array of keys of shape {key_shape(key)}: must be one key; {remedy}")


def is_key(value: Any) -> bool:
    """Whether this is a typed key, a raw uint32 key, or an array of either."""
    return isinstance(value, jax.Array) and (
        jnp.issubdtype(value.dtype, jax.dtypes.prng_key) or (value.dtype == np.uint32 and value.shape[-1:] == (2,))
    )


def key_shape(key: jax.Array) -> tuple[int, ...]:
    """Leading shape of an array of keys; ``()`` for one key."""
    return key.shape if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key.shape[:-1]


def chip_key(key: jax.Array, index: Any) -> jax.Array:
    """The key from which chip number ``index`` of an evaluation, a sweep or a sensitivity follows.

    One function for all of them: a chip that one of them names is the same chip in the others.
    """
    return jax.random.fold_in(stream(key, "chips"), index)


def read_key(key: jax.Array, index: Any) -> jax.Array:
    """The key of the read noise of chip number ``index``, beside its ``chip_key``."""
    return jax.random.fold_in(stream(key, "reads"), index)


def stream(key: jax.Array, name: str) -> jax.Array:
    """The key of one named noise source, for example ``stream(key, "read noise")``."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


@functools.partial(jax.jit, static_argnums=(1, 2))
def normal(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Standard Gaussians of the given shape, equal to ``jax.random.normal(key, shape, dtype)``.

    Args:
      key: one typed key (``jax.random.key``) or raw uint32 key.
      shape: shape of the result.
      dtype: float32 takes the fast path, other types go to ``jax.random``.
    """
    if not _is_default_generator(key) or dtype != jnp.float32 or math.prod(shape) >= 2**32:
        return jax.random.normal(key, shape, dtype)

    def drawn() -> jax.Array:
        return _gaussians(key, lax.iota(jnp.uint32, math.prod(shape)).reshape(shape))

    return drawn() if math.prod(shape) < _LARGE else _drawn_once(key, drawn)


_LARGE = 2**13  # numbers that are worth an operation of their own


def _drawn_once(key: jax.Array, drawn: Callable[[], jax.Array]) -> jax.Array:
    """``drawn()``, computed once however many uses it has.

    What XLA fuses on a CPU it computes again for each of its uses. In a training step noise has five, forward and
    backward, and then costs several times the numbers themselves; a barrier does not stop it. Results of a branch are
    kept, so the numbers are drawn in a branch that is always taken, which the compiler does not know.
    """
    if jax.default_backend() != "cpu":
        return drawn()
    word = jax.random.key_data(key)[0]
    nothing = jax.eval_shape(drawn)
    return lax.cond(word % 3 < 3, drawn, lambda: jnp.zeros(nothing.shape, nothing.dtype))


def _gaussians(key: jax.Array, index: jax.Array) -> jax.Array:
    """The Gaussians with these flat indices."""
    # 23 random bits as the mantissa of a float in [1, 2), mapped to the open interval (-1, 1).
    mantissa = lax.shift_right_logical(_bits(key, index), jnp.uint32(9)) | jnp.uint32(0x3F800000)
    unit = lax.bitcast_convert_type(mantissa, jnp.float32) - jnp.float32(1)
    low = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(low, unit * (np.float32(1) - low) + low)
    return np.float32(np.sqrt(2)) * lax.erf_inv(uniform)


@functools.partial(jax.jit, static_argnums=1)
def bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """32 random bits an element (uint32) of the given shape, equal to ``jax.random.bits(key, shape)``."""
    if not _is_default_generator(key) or math.prod(shape) >= 2**32:
        return jax.random.bits(key, shape, jnp.uint32)
    return _bits(key, lax.iota(jnp.uint32, math.prod(shape)).reshape(shape))


def _is_default_generator(key: jax.Array) -> bool:
    if not jax.config.jax_threefry_partitionable:  # type: ignore[attr-defined]
        return False
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key.ndim == 0 and jax.random.key_impl(key) == "threefry2x32"
    return False


def _bits(key: jax.Array, index: jax.Array) -> jax.Array:
    """32 random bits an element: the cipher applied to the element's flat index."""
    low, high = jax.random.key_data(key)
    schedule = (low, high, low ^ high ^ jnp.uint32(_KEY_PARITY))
    a = jnp.zeros_like(index) + schedule[0]  # the index fits 32 bits: its upper word is zero
    b = index + schedule[1]
    for round_ in range(20):
        rotation = _ROTATIONS[(round_ // 4) % 2][round_ % 4]
        a = a + b
        b = ((b << jnp.uint32(rotation)) | (b >> jnp.uint32(32 - rotation))) ^ a
        if round_ % 4 == 3:
            block = round_ // 4 + 1
            a = a + schedule[block % 3]
            b = b + schedule[(block + 1) % 3] + jnp.uint32(block)
    return a ^ b
