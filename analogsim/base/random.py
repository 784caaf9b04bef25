"""Random numbers: named streams, and Gaussians that are fast on CPUs.

Every noise source draws from a separate stream, derived from the caller's key by the source's name, so that disabling
one source never changes the numbers of another.

On CPUs, ``jax.random.normal`` spends most of its time in a rolled loop that generates the bits (about 20 ns per
number). ``normal`` implements the same Threefry-2x32-20 generator (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", SC 2011, doi 10.1145/2063384.2063405) as straight-line code that XLA fuses and vectorises. For keys of JAX's
default generator the numbers equal those of ``jax.random.normal`` bit for bit; other keys fall through to
``jax.random``. The function is jitted, because outside of ``jax.jit`` its hundred small operations would be dispatched
one by one.
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
from jax.typing import DTypeLike

from analogsim.base.errors import InputError, brief

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_KEY_PARITY = 0x1BD11BDA


def check_key(key: Any, where: str = "key") -> None:
    """Check that ``key`` is a random key or an array of keys.

    Raises:
      InputError: for anything else; ``where`` is the argument's name in the message.
    """
    if not is_key(key):
        raise InputError(f"{where} = {brief(key)}: must be a random key, for example jax.random.key(0)")


def check_one_key(key: Any, where: str = "key", remedy: str = "give one key, or map over them with jax.vmap") -> None:
    """Check that ``key`` is exactly one random key.

    Raises:
      InputError: for anything else; ``remedy`` ends the message about an array of keys.
    """
    check_key(key, where)
    if key_shape(key) != ():
        raise InputError(f"{where}: an array of keys of shape {key_shape(key)}: must be one key; {remedy}")


def is_key(value: Any) -> bool:
    """Return whether a value is a typed key, a raw uint32 key, or an array of either."""
    return isinstance(value, jax.Array) and (
        jnp.issubdtype(value.dtype, jax.dtypes.prng_key) or (value.dtype == np.uint32 and value.shape[-1:] == (2,))
    )


def key_shape(key: jax.Array) -> tuple[int, ...]:
    """Return the leading shape of an array of keys; ``()`` for one key."""
    return key.shape if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key.shape[:-1]


def chip_key(key: jax.Array, index: Any) -> jax.Array:
    """Return the key of chip number ``index`` in an evaluation, a sweep or a sensitivity analysis.

    All of them use this function, so that chip i of one is the same chip as chip i of another.
    """
    return jax.random.fold_in(stream(key, "chips"), index)


def read_key(key: jax.Array, index: Any) -> jax.Array:
    """Return the key of the read noise of chip number ``index``, independent of its ``chip_key``."""
    return jax.random.fold_in(stream(key, "reads"), index)


def stream(key: jax.Array, name: str) -> jax.Array:
    """Return the key of a named noise source.

    Args:
      key: one random key.
      name: name of the source; different names give independent streams.

    Example:
      >>> key = jax.random.key(0)
      >>> bool(stream(key, "read noise") == stream(key, "drift"))
      False
    """
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


@functools.partial(jax.jit, static_argnums=(1, 2))
def normal(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """Return standard Gaussians, equal to ``jax.random.normal(key, shape, dtype)``.

    Args:
      key: one typed key (``jax.random.key``) or raw uint32 key.
      shape: shape of the result.
      dtype: float32 takes the fast path, other dtypes go to ``jax.random``.

    Example:
      >>> key = jax.random.key(0)
      >>> bool((normal(key, (3,)) == jax.random.normal(key, (3,))).all())
      True
    """
    if not _is_default_generator(key) or dtype != jnp.float32 or math.prod(shape) >= 2**32:
        return jax.random.normal(key, shape, dtype)

    def drawn() -> jax.Array:
        return _gaussians(key, lax.iota(jnp.uint32, math.prod(shape)).reshape(shape))

    return drawn() if math.prod(shape) < _LARGE else _drawn_once(key, drawn)


_LARGE = 2**13  # from this count on, drawing only once pays for the branch


def _drawn_once(key: jax.Array, drawn: Callable[[], jax.Array]) -> jax.Array:
    """Compute ``drawn()`` once, regardless of its number of uses.

    On CPUs XLA fuses the computation into each of its uses and so repeats it. In a training step the noise has five
    uses, forward and backward, and then costs several times the drawing itself; an optimization barrier does not
    prevent this. Results of a branch are materialised, so the numbers are drawn in a branch that is always taken, which
    the compiler cannot know.
    """
    if jax.default_backend() != "cpu":
        return drawn()
    word = jax.random.key_data(key)[0]
    nothing = jax.eval_shape(drawn)
    return lax.cond(word % 3 < 3, drawn, lambda: jnp.zeros(nothing.shape, nothing.dtype))


def _gaussians(key: jax.Array, index: jax.Array) -> jax.Array:
    """Return the Gaussians with these flat indices."""
    # 23 random bits as the mantissa of a float in [1, 2), mapped to the open interval (-1, 1).
    mantissa = lax.shift_right_logical(_bits(key, index), jnp.uint32(9)) | jnp.uint32(0x3F800000)
    unit = lax.bitcast_convert_type(mantissa, jnp.float32) - jnp.float32(1)
    low = np.nextafter(np.float32(-1), np.float32(0))
    uniform = jnp.maximum(low, unit * (np.float32(1) - low) + low)
    return np.float32(np.sqrt(2)) * lax.erf_inv(uniform)


@functools.partial(jax.jit, static_argnums=1)
def bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw 32 random bits per element (uint32), equal to ``jax.random.bits(key, shape)``."""
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
    """Return 32 random bits per element: the cipher applied to the element's flat index."""
    low, high = jax.random.key_data(key)
    schedule = (low, high, low ^ high ^ jnp.uint32(_KEY_PARITY))
    a = jnp.zeros_like(index) + schedule[0]  # the upper word of the counter is 0, as the index fits in 32 bits
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
